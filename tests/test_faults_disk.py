"""A full disk: clear words, no file half-written, and once there is room the sweep goes on."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from faults import EXPERIMENT, assert_whole, start
from running import Sweep

pytestmark = pytest.mark.faults


@contextmanager
def small_disk(path: Path, size: str) -> Iterator[Path]:
    """A file system of so many bytes in memory."""
    if os.getuid() != 0:
        pytest.skip("only root may mount a tmpfs")
    path.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)], capture_output=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"no tmpfs can be mounted here: {done.stderr.decode()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def enlarge(path: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=512m", str(path)], check=True)


def only_error(folder: Path) -> str:
    """The line that a sweep ended with."""
    log = (folder / "log.txt").read_text()
    assert "Traceback" not in log, log
    return next(line for line in reversed(log.splitlines()) if line.startswith("digitsweep: "))


@pytest.mark.parametrize("full", ["artifacts", "spool"])
def test_a_full_disk(full: str, tmp_path: Path) -> None:
    """Where artifacts, or what waits to be sent, find no room, the sweep ends with one line that says so; after making room
    it is resumed and comes to its end."""
    (tmp_path / "faults.yaml").write_text(EXPERIMENT)
    database = f"sqlite:///{tmp_path}/mlflow.db"
    with small_disk(tmp_path / "disk", "2m" if full == "artifacts" else "100k") as disk:
        # Beside SQLite, artifacts lie below the current folder.
        cwd, state = (disk, None) if full == "artifacts" else (None, disk)
        process = start(
            tmp_path, "sweep", str(tmp_path / "faults.yaml"), "--workers", "2", uri=database, cwd=cwd, state=state
        )
        assert process.wait(300) == 1
        assert "No space left" in only_error(tmp_path)
        enlarge(disk)
        again = start(tmp_path, "sweep", "--resume", "last", "--workers", "2", uri=database, cwd=cwd, state=state)
        assert again.wait(300) == 0, (tmp_path / "log.txt").read_text()
        assert_whole(Sweep(tmp_path, database, ""), 42)
