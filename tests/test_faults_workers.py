"""Workers die and hang: their trials begin again elsewhere, and all of them are accounted for."""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from faults import EXPERIMENT, assert_whole, start
from running import Sweep

pytestmark = pytest.mark.faults
KILLS = 30


def test_workers_killed_thirty_times(tmp_path: Path) -> None:
    """Every trial of a sweep whose workers are killed at random is there once; one that lost its worker three times says
    so, and whatever was broken off stands beside them as an attempt."""
    (tmp_path / "faults.yaml").write_text(
        EXPERIMENT.replace("epochs: 3,", "epochs: 72,").replace("min_epochs: 1", "min_epochs: 24")
    )
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    process = start(tmp_path, "sweep", "faults.yaml", "--workers", "2", uri=uri)
    chance, killed = random.Random(0), 0
    while process.poll() is None:
        time.sleep(chance.uniform(0.1, 0.6))
        workers = busy_workers(process.pid)
        if workers and killed < KILLS:
            with suppress(ProcessLookupError):
                os.kill(chance.choice(workers), signal.SIGKILL)
                killed += 1
    log = (tmp_path / "log.txt").read_text()
    assert process.returncode == 0, log
    assert killed == KILLS
    swept = Sweep(tmp_path, uri, log)
    assert_whole(swept, 42)
    given_up = [each for each in swept.runs("trial") if each.data.tags["trial.state"] == "FAIL"]
    for run in given_up:
        assert "signal SIGKILL" in run.data.tags["trial.reason"]
        assert "at attempt 3" in run.data.tags["trial.reason"]
    attempts = swept.runs("attempt")
    assert attempts
    assert {each.info.status for each in attempts} == {"FAILED"}
    assert len(attempts) + len(given_up) <= killed, "a worker between two trials loses none"


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
