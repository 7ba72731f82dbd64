"""The coordinator is killed at any moment and the sweep resumed: nothing is lost, nothing is there twice."""

from __future__ import annotations

import random
import subprocess
import time
from pathlib import Path

import pytest
from faults import EXPERIMENT, assert_whole, comparison, kill, start
from running import Sweep

pytestmark = pytest.mark.faults
KILLS = 30


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """The sweep that nobody disturbs, with one worker."""
    folder = tmp_path_factory.mktemp("unbroken")
    (folder / "faults.yaml").write_text(EXPERIMENT)
    uri = f"sqlite:///{folder}/mlflow.db"
    process = start(folder, "sweep", "faults.yaml", "--workers", "1", uri=uri)
    assert process.wait(300) == 0, (folder / "log.txt").read_text()
    return Sweep(folder, uri, (folder / "log.txt").read_text())


def test_killed_at_thirty_moments(unbroken: Sweep, tmp_path: Path) -> None:
    """Killed thirty times wherever it is, and resumed each time, a sweep ends with the trials and the comparison of one that
    nobody disturbed."""
    (tmp_path / "faults.yaml").write_text(EXPERIMENT)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    moments = random.Random(0)
    for number in range(KILLS):
        process = again(tmp_path, uri)
        if number % 3:  # most of them once it trains; the others wherever it is by then, importing perhaps
            wait_for_training(process, tmp_path)
        try:
            code = process.wait(moments.uniform(0, 2 if number % 3 else 8))
        except subprocess.TimeoutExpired:
            kill(process)
        else:
            pytest.fail(f"it ended with {code} after {number} kills: {said(tmp_path)}")
    assert again(tmp_path, uri).wait(300) == 0, said(tmp_path)
    swept = Sweep(tmp_path, uri, said(tmp_path))
    assert_whole(swept, 42)
    assert comparison(swept) == comparison(unbroken)


def again(folder: Path, uri: str) -> subprocess.Popen[str]:
    """Begins the sweep, or goes on with it where it has been recorded."""
    begun = any("digitsweep.digest" in each.data.tags for each in Sweep(folder, uri, "").runs("sweep"))
    arguments = ["--resume", "last"] if begun else ["faults.yaml"]
    return start(folder, "sweep", *arguments, "--workers", "1", uri=uri)


def wait_for_training(process: subprocess.Popen[str], folder: Path) -> None:
    lines = said(folder).count("COMPLETE")
    while said(folder).count("COMPLETE") == lines and process.poll() is None:
        time.sleep(0.05)


def said(folder: Path) -> str:
    log = folder / "log.txt"
    return log.read_text() if log.is_file() else ""
