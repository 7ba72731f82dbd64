"""A sweep changes hands: killed before MLflow knows of it, resumed elsewhere, claimed twice, taken from a sleeper. Nothing
is lost, nothing is there twice, and nobody writes over another one's records."""

from __future__ import annotations

import random
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faults import EXPERIMENT, assert_whole, begin, kill, log_of, resume, start, suspend_between_requests, wait_for
from running import Sweep
from servers import Server, mlflow_server

from digitsweep.tracking.lock import SILENT_SECONDS
from digitsweep.trial import Kind

pytestmark = pytest.mark.faults
SMALL = EXPERIMENT.replace("trials: 20", "trials: 6")
TRIALS = 2 * 7
MIDDLING = EXPERIMENT.replace("trials: 20", "trials: 12")
"""Long enough that a fast machine does not finish it before an early kill."""
LONG = EXPERIMENT.replace("epochs: 3,", "epochs: 10,")
LONG_TRAININGS = SMALL.replace("epochs: 3,", "epochs: 30,").replace("batch_size: 64", "batch_size: 1")
"""Two trainings of seconds at a time, so that a slow server has sent all records on many moments between them."""
EARLY_KILLS = 4


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with mlflow_server(tmp_path, f"sqlite:///{tmp_path}/mlflow.db") as found:
        yield found


def shown(folder: Path) -> set[str]:
    """The trainings that a person has seen complete."""
    return set(re.findall(r"^([^:]+): .*COMPLETE", log_of(folder), re.MULTILINE))


def records(sweep: Sweep) -> list[dict[str, Any]]:
    """All runs with their tags, params and metrics, and each metric's history."""
    client = sweep.client
    found = client.search_runs([each.experiment_id for each in client.search_experiments()], max_results=1000)
    histories = [
        {name: [vars(each) for each in client.get_metric_history(run.info.run_id, name)] for name in run.data.metrics}
        for run in found
    ]
    return [{**run.to_dictionary(), "history": history} for run, history in zip(found, histories, strict=True)]


def assert_kept(sweep: Sweep, complete: set[str]) -> None:
    """What a person had seen complete was not trained again."""
    runs = [each for kind in Kind for each in sweep.runs(kind)]
    assert complete <= {each.info.run_name for each in runs if each.data.tags["trial.attempt"] == "1"}
    assert len(sweep.runs("sweep")) == 1


def test_killed_at_early_moments(tmp_path: Path) -> None:
    """A first sweep in an empty store that is killed in its first seconds, wherever its store is by then, can be resumed at
    once. Each trial that was shown as complete a second before is kept."""
    moments = random.Random(1)
    for number in range(EARLY_KILLS):
        folder = tmp_path / f"{number}"
        uri = f"sqlite:///{folder}/mlflow.db"
        process = begin(folder, uri, MIDDLING)
        wait_for(lambda folder=folder: list(folder.glob("state/*/lock")), process, folder)
        time.sleep(moments.uniform(0, 6))
        complete = shown(folder)
        time.sleep(1)
        kill(process)
        if number % 2:
            assert start(folder, "reconcile", uri=uri).wait(120) == 0, log_of(folder)
            assert {each.info.status for each in Sweep(folder, uri, "").runs("sweep")} == {"KILLED"}
        assert resume(folder, uri).wait(300) == 0, log_of(folder)
        swept = Sweep(folder, uri, "")
        assert_whole(swept, 2 * 13)
        assert_kept(swept, complete)
        assert not list((folder / "state").iterdir())


def test_killed_before_the_store_answers(server: Server, tmp_path: Path) -> None:
    """While the server stands still from the beginning, the search goes on; killed then, and resumed once the server is
    back, the sweep has lost no trial."""
    folder = tmp_path / "sweep"
    server.signal(signal.SIGSTOP)
    process = begin(folder, server.uri, SMALL)
    wait_for(lambda: len(shown(folder)) >= 3, process, folder)
    complete = shown(folder)
    time.sleep(1)
    kill(process)
    server.signal(signal.SIGCONT)
    assert resume(folder, server.uri).wait(300) == 0, log_of(folder)
    swept = Sweep(folder, server.uri, "")
    assert_whole(swept, TRIALS)
    assert_kept(swept, complete)


def test_a_machine_that_comes_back(server: Server, tmp_path: Path) -> None:
    """A machine dies while the server is away, another one goes on and finishes. When the first one is repaired, none of the
    other's runs changes by a tag or a metric, and what it had kept is set aside."""
    here, there = tmp_path / "here", tmp_path / "there"
    process = begin(here, server.uri, LONG, patience=60)
    # A server that goes away while the sweep's run is made ends the sweep; the first trial's run shows that it is made.
    wait_for(lambda: shown(here) and Sweep(here, server.uri, "").runs("trial"), process, here)
    server.kill()
    count = len(shown(here))
    wait_for(lambda: len(shown(here)) >= count + 2, process, here)
    kill(process)
    assert list(here.glob("state/*/records/*.zip"))
    server.start()
    time.sleep(SILENT_SECONDS + 1)  # from another machine a dead coordinator is one that is silent
    assert resume(there, server.uri, cwd=here).wait(400) == 0, log_of(there)
    swept = Sweep(here, server.uri, "")
    assert_whole(swept, 42)
    before = records(swept)
    assert start(here, "reconcile", uri=server.uri).wait(120) == 0, log_of(here)
    assert "set aside as .stale" in log_of(here)
    assert records(swept) == before
    assert {path.suffix for path in here.glob("state/*/records/*")} == {".stale"}


@pytest.mark.parametrize("by", ["reconcile", "resume"])
def test_taken_from_a_sleeper(by: str, server: Server, tmp_path: Path) -> None:
    """A coordinator stands still, as on a machine that sleeps, until another one has repaired its sweep or gone on with it.
    When it wakes up it stops with one line, and every trial is there once."""
    here, there = tmp_path / "here", tmp_path / "there"
    there.mkdir()
    process = begin(here, server.uri, LONG_TRAININGS)
    wait_for(lambda: shown(here), process, here)
    suspend_between_requests(process, here)
    time.sleep(SILENT_SECONDS + 1)
    if by == "reconcile":
        assert start(there, "reconcile", uri=server.uri).wait(120) == 0, log_of(there)
        assert "is KILLED now" in log_of(there)
        before = records(Sweep(here, server.uri, ""))
    else:
        other = resume(there, server.uri, cwd=here)
        wait_for(lambda: shown(there), other, there)
    process.send_signal(signal.SIGCONT)
    assert process.wait(120) == 1
    assert "Traceback" not in log_of(here)
    assert ("was taken over by process" if by == "reconcile" else f"is being run by process {other.pid}") in log_of(here)
    if by == "reconcile":
        assert records(Sweep(here, server.uri, "")) == before
        other = resume(there, server.uri, cwd=here)
    assert other.wait(400) == 0, log_of(there)
    assert_whole(Sweep(here, server.uri, ""), TRIALS)


def test_two_resumes_in_the_same_second(server: Server, tmp_path: Path) -> None:
    """Of two machines that go on with an interrupted sweep at once, one does, and the other one says so in a line."""
    here, there = tmp_path / "here", tmp_path / "there"
    process = begin(here, server.uri, SMALL.replace("epochs: 3,", "epochs: 10,"))
    wait_for(lambda: shown(here), process, here)
    kill(process)
    assert start(here, "reconcile", uri=server.uri).wait(120) == 0, log_of(here)
    (parent,) = Sweep(here, server.uri, "").runs("sweep")
    logs = len(log_of(here))
    both = {folder: resume(folder, server.uri, parent.info.run_id, cwd=here) for folder in (here, there)}
    codes = {folder: each.wait(400) for folder, each in both.items()}
    (winner,) = [folder for folder, code in codes.items() if code == 0]
    loser = there if winner == here else here
    assert codes[loser] == 1
    line = (log_of(loser)[logs:] if loser == here else log_of(loser)).strip().splitlines()[-1]
    assert f"is being run by process {both[winner].pid}" in line
    assert_whole(Sweep(here, server.uri, ""), TRIALS)
