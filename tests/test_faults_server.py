"""The tracking server goes away, hangs, and is fought over: nothing is lost, nothing is there twice, nobody waits."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults import EXPERIMENT, assert_whole, begin, kill, log_of, resume, wait_for
from running import Sweep
from servers import Server, mlflow_server, postgres

from digitsweep.trial import Kind

pytestmark = pytest.mark.faults
AWAY_SECONDS = 60
PAUSED_SECONDS = 30
OVERLAP = 500
"""Milliseconds: a training may begin a moment before the end of the previous one is recorded."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """An MLflow server with PostgreSQL behind it."""
    with postgres() as store, mlflow_server(tmp_path, store) as found:
        yield found


def begun(folder: Path, server: Server, text: str = EXPERIMENT, patience: int = 10) -> subprocess.Popen[str]:
    """A sweep that has finished its first trial, and whose server knows of a trial."""
    process = begin(folder, server.uri, text, patience=patience)
    wait_for(lambda: "COMPLETE" in log_of(folder) and Sweep(folder, server.uri, "").runs("trial"), process, folder)
    return process


def longest_wait(sweep: Sweep) -> float:
    """Seconds, at most, that a training took beside its epochs, or that passed between an end and the next beginning."""
    runs = sorted(
        (each for kind in Kind for each in sweep.runs(kind)),
        key=lambda each: each.info.start_time,
    )
    ends = [each.info.end_time for each in runs]
    waits = [
        start - max(before)
        for start in (each.info.start_time for each in runs)
        if (before := [end for end in ends if end <= start + OVERLAP])
    ]
    for run in runs:
        epochs = sweep.client.get_metric_history(run.info.run_id, "epoch_seconds")
        waits.append(run.info.end_time - run.info.start_time - 1000 * sum(each.value for each in epochs))
    return float(max(waits)) / 1000


def test_away_for_a_minute_and_paused(server: Server, tmp_path: Path) -> None:
    """The server is killed for a minute in the middle of a sweep, and stands still for half a minute later: the person is
    told, training goes on, and in the end everything is there once."""
    lasting = EXPERIMENT.replace("epochs: 3,", "epochs: 480,").replace("min_epochs: 1", "min_epochs: 120")
    # Minutes of training; on a machine that takes less than the pauses, the sweep's end has to wait for the server.
    process = begun(tmp_path, server, lasting, patience=2 * AWAY_SECONDS)
    server.kill()
    time.sleep(AWAY_SECONDS)
    before = log_of(tmp_path)
    assert before.count("COMPLETE") + before.count("PRUNED") >= 3, "training goes on"
    assert "wait on this machine" in before
    server.start()
    time.sleep(5)
    server.signal(signal.SIGSTOP)
    time.sleep(PAUSED_SECONDS)
    server.signal(signal.SIGCONT)
    assert process.wait(900) == 0, log_of(tmp_path)
    assert "accepts records again" in log_of(tmp_path)
    swept = Sweep(tmp_path, server.uri, log_of(tmp_path))
    assert_whole(swept, 42)
    assert swept.runs("attempt") == []
    assert longest_wait(swept) < PAUSED_SECONDS / 2, "no training, and no beginning of one, waited for the server"
    assert not list((tmp_path / "state").iterdir()), "nothing waits any more"


def test_away_at_the_end(server: Server, tmp_path: Path) -> None:
    """A sweep whose server does not come back ends with one line that says what waits and how to go on; once the server is
    there again, resuming sends what waited and compares."""
    process = begun(tmp_path, server, EXPERIMENT.replace("trials: 20", "trials: 3"))
    server.kill()
    assert process.wait(200) == 1
    last = log_of(tmp_path).splitlines()[-1]
    assert "wait on this machine" in last
    assert "digitsweep sweep --resume" in last
    assert "Traceback" not in log_of(tmp_path)
    server.start()
    assert resume(tmp_path, server.uri).wait(200) == 0, log_of(tmp_path)
    assert_whole(Sweep(tmp_path, server.uri, ""), 8)


def test_two_coordinators(server: Server, tmp_path: Path) -> None:
    """Who would go on with a sweep that is being run is refused, with the other one's host and process; once that one is
    dead, its lock is taken over."""
    process = begun(tmp_path, server, EXPERIMENT.replace("epochs: 3,", "epochs: 30,"))
    for folder in (tmp_path, tmp_path / "elsewhere"):  # with the same lock file, and as from another machine
        assert resume(folder, server.uri).wait(60) == 1
        assert f"is being run by process {process.pid}" in log_of(folder)
    kill(process)
    assert resume(tmp_path, server.uri).wait(200) == 0, log_of(tmp_path)
    assert_whole(Sweep(tmp_path, server.uri, ""), 42)


def test_ten_sweeps_at_once(tmp_path: Path) -> None:
    """Ten sweeps begin at once on a database that is not there yet: no lock error, no broken schema, each of them whole."""
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    text = EXPERIMENT.replace("trials: 20", "trials: 1").replace("top: 2", "top: 1")
    folders = [tmp_path / f"{number}" for number in range(10)]
    texts = [text.replace("seed: 3", f"seed: {number}") for number in range(10)]
    processes = [begin(folder, uri, each, workers=1) for folder, each in zip(folders, texts, strict=True)]
    for folder, process in zip(folders, processes, strict=True):
        assert process.wait(400) == 0, log_of(folder)
    swept = Sweep(tmp_path, uri, "")
    assert [each.info.status for each in swept.runs("sweep")] == ["FINISHED"] * 10
    assert len(swept.runs("trial")) == 10 * 4
