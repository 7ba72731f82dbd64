"""The coordinator is killed at any moment and the sweep resumed: nothing is lost, nothing is there twice."""

from __future__ import annotations

import random
import subprocess
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
    process = start(tmp_path, "sweep", "faults.yaml", "--workers", "1", uri=uri)
    kills = 0
    while True:
        try:
            code = process.wait(moments.uniform(2, 9) if kills < KILLS else 300)
        except subprocess.TimeoutExpired:
            kill(process)
            kills += 1
        else:
            log = (tmp_path / "log.txt").read_text()
            assert code == 0 or "waits to be resumed" in log.splitlines()[-1], log
            if code == 0:
                break
        swept = Sweep(tmp_path, uri, "")
        again = ["--resume", "last"] if swept.runs("sweep") else ["faults.yaml"]
        process = start(tmp_path, "sweep", *again, "--workers", "1", uri=uri)
    assert kills >= 5
    swept = Sweep(tmp_path, uri, (tmp_path / "log.txt").read_text())
    assert_whole(swept, 42)
    assert comparison(swept) == comparison(unbroken)
