"""The coordinator and its workers are killed at any moment, and disks are full: nothing is lost, nothing is there twice."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from faults import EXPERIMENT, assert_whole, begin, comparison, kill, log_of, resume, start, wait_for
from running import Sweep
from support import MINUTES_EXPERIMENT

pytestmark = pytest.mark.faults
COORDINATOR_KILLS, WORKER_KILLS = 12, 30
LASTING = EXPERIMENT.replace("trials: 20", "trials: 30")
"""So long that a fast machine does not finish it before it has been killed so often."""


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """The sweep that nobody disturbs, with one worker."""
    folder = tmp_path_factory.mktemp("unbroken")
    uri = f"sqlite:///{folder}/mlflow.db"
    assert begin(folder, uri, LASTING, workers=1).wait(300) == 0, log_of(folder)
    return Sweep(folder, uri, log_of(folder))


def test_killed_at_twelve_moments(unbroken: Sweep, tmp_path: Path) -> None:
    """Killed twelve times wherever it is, and resumed each time, a sweep ends with the trials and the comparison of one that
    nobody disturbed."""
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    moments = random.Random(0)
    for number in range(COORDINATOR_KILLS):
        process = again(tmp_path, uri)
        if number % 3:  # most of them once it trains; the others wherever it is by then, importing perhaps
            lines = log_of(tmp_path).count("COMPLETE")
            while log_of(tmp_path).count("COMPLETE") == lines and process.poll() is None:
                time.sleep(0.05)
        try:
            code = process.wait(moments.uniform(0, 1 if number % 3 else 4))
        except subprocess.TimeoutExpired:
            kill(process)
        else:
            pytest.fail(f"it ended with {code} after {number} kills: {log_of(tmp_path)}")
    assert again(tmp_path, uri).wait(300) == 0, log_of(tmp_path)
    swept = Sweep(tmp_path, uri, log_of(tmp_path))
    assert_whole(swept, 62)
    assert comparison(swept) == comparison(unbroken)


def again(folder: Path, uri: str) -> subprocess.Popen[str]:
    """Begins the sweep, or resumes it where it has begun, whether MLflow knows of it or not."""
    begun = any(folder.glob("state/*/sweep.json")) or Sweep(folder, uri, "").runs("sweep")
    return resume(folder, uri, workers=1) if begun else begin(folder, uri, LASTING, workers=1)


@pytest.mark.parametrize("number", range(2))
def test_a_sweep_in_minutes_is_killed(number: int, tmp_path: Path) -> None:
    """Killed at any moment once it trains, and resumed, a sweep in minutes ends with each training once, the refits among
    them."""
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    process = begin(tmp_path, uri, MINUTES_EXPERIMENT)
    wait_for(lambda: "COMPLETE" in log_of(tmp_path), process, tmp_path)
    time.sleep(random.Random(number).uniform(0, 8))
    kill(process)
    assert resume(tmp_path, uri).wait(300) == 0, log_of(tmp_path)
    swept = Sweep(tmp_path, uri, log_of(tmp_path))
    assert_whole(swept, len(swept.runs("trial")))
    assert sorted(each.info.run_name.split("-")[0] for each in swept.runs("refit")) == ["ann", "cnn"]
    assert swept.parent().data.tags["digitsweep.state"] == "COMPLETE"


def test_workers_killed_thirty_times(tmp_path: Path) -> None:
    """Every trial of a sweep whose workers are killed at random is there once; one that lost its worker three times says
    so, and whatever was broken off stands beside them as an attempt."""
    lasting = EXPERIMENT.replace("epochs: 3,", "epochs: 72,").replace("min_epochs: 1", "min_epochs: 24")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    process = begin(tmp_path, uri, lasting)
    chance, killed = random.Random(0), 0
    while process.poll() is None:
        time.sleep(chance.uniform(0.1, 0.6))
        workers = busy_workers(process.pid)
        if workers and killed < WORKER_KILLS:
            with suppress(ProcessLookupError):
                os.kill(chance.choice(workers), signal.SIGKILL)
                killed += 1
    assert process.returncode == 0, log_of(tmp_path)
    assert killed == WORKER_KILLS
    swept = Sweep(tmp_path, uri, "")
    assert_whole(swept, 42)
    given_up = [each for each in swept.runs("trial") if each.data.tags["trial.state"] == "FAIL"]
    for run in given_up:
        assert "signal SIGKILL" in run.data.tags["trial.reason"]
        assert "at attempt 3" in run.data.tags["trial.reason"]
    attempts = swept.runs("attempt")
    assert attempts
    assert {each.info.status for each in attempts} == {"FAILED"}
    assert len(attempts) + len(given_up) <= killed, "a worker between two trials loses none"
    spent = json.loads(swept.artifact(swept.parent(), "comparison/comparison.json"))["spent"]
    for family, found in spent.items():
        lost = [each.data for each in attempts if each.data.tags["family"] == family and "baseline" not in each.data.tags]
        searched = [each for each in lost if json.loads(each.tags["digitsweep.trial"])["kind"] == "trial"]
        assert found["attempt_seconds"] == pytest.approx(sum(each.metrics["train_seconds"] for each in searched))


def busy_workers(coordinator: int) -> list[int]:
    """Processes that train: children of the one that workers are forked from."""
    with suppress(psutil.Error):
        return [
            each.pid
            for child in psutil.Process(coordinator).children()
            for each in child.children()
            if each.cpu_times().user > 0.05
        ]
    return []


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
        assert "Traceback" not in log_of(tmp_path)
        (line, *_) = (each for each in reversed(log_of(tmp_path).splitlines()) if each.startswith("digitsweep: "))
        assert "No space left" in line
        enlarge(disk)
        again = start(tmp_path, "sweep", "--resume", "last", "--workers", "2", uri=database, cwd=cwd, state=state)
        assert again.wait(300) == 0, log_of(tmp_path)
        assert_whole(Sweep(tmp_path, database, ""), 42)
