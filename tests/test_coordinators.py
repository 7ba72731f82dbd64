"""Who may write a sweep: every record is on disk from the first event on, and only the last coordinator's are sent."""

from __future__ import annotations

import dataclasses
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from running import EXPERIMENTS
from servers import free_port, mlflow_server

from digitsweep.config.experiment_file import load_experiment
from digitsweep.data import Dataset
from digitsweep.data.sources import load_dataset
from digitsweep.errors import DigitsweepError
from digitsweep.families import parse_params
from digitsweep.tracking.lock import TAG, Claim, latest_claim, locked, next_claim, sweep_id_of
from digitsweep.tracking.mlflow_tracker import MlflowTracker
from digitsweep.tracking.provenance import Commit
from digitsweep.tracking.reconcile import reconcile
from digitsweep.tracking.records import TRIAL_STATUS, compact, planned, recorded
from digitsweep.tracking.resume import Resumed, find_unfinished, next_coordinator, take_over, unfinished_like
from digitsweep.tracking.spool import RunUpdate, Spool, records_folder, state_folder
from digitsweep.tracking.sweep_run import PendingRun, SweepRun, pending_run
from digitsweep.trial import CUT_OFF, EpochMetrics, Trial, TrialRecord, TrialResult, TrialState, failed

EXPERIMENT = load_experiment(EXPERIMENTS / "smoke.yaml")
COMMIT = Commit("0" * 40, dirty=False)
OPTIONS = {"experiment": str(EXPERIMENTS / "smoke.yaml"), "trials": "auto", "workers": "2"}


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return load_dataset("digits", validation=0.25, seed=0)


@pytest.fixture
def client(made_store: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """Of an empty store. This process is machine `here`."""
    monkeypatch.setenv("DIGITSWEEP_STATE", str(made_store / "here"))
    return MlflowClient(f"sqlite:///{made_store}/mlflow.db")


def trial(number: int = 0) -> Trial:
    return Trial(number, parse_params("ann", {"hidden_layers": 0}), seed=1, epochs=2)


def ended(dataset: Dataset, number: int = 0, state: TrialState = TrialState.COMPLETE) -> TrialRecord:
    epochs = tuple(EpochMetrics(each, 1.0, 0.5, 1.0, 0.5, 0.01, 0.1) for each in (1, 2))
    weights = (np.zeros(3, np.float32),)
    predictions = dataset.training.validation.labels
    return TrialRecord(trial(number), TrialResult(state, epochs, predictions, weights, 3, 0.2))


def updates(record: TrialRecord) -> list[RunUpdate]:
    """What the tracker keeps of a trial, but for its report and its pictures."""
    name, predictions = record.trial.name, record.result.predictions
    assert predictions is not None
    tags = {"digitsweep.kind": "trial", "digitsweep.trial": planned(record.trial), "trial.number": "0"}
    told = {"digitsweep.trial": compact(record, "val_accuracy"), "trial.state": record.result.state.value}
    metrics = [("val_accuracy", 0.5, 1_000, each.epoch) for each in record.result.epochs]
    return [
        RunUpdate(name, started=1_000, tags=tags),
        RunUpdate(
            name,
            tags=told,
            metrics=metrics,
            files=recorded(record, predictions, "0123456789")[1],
            status=TRIAL_STATUS[record.result.state],
            ended=2_000,
        ),
    ]


def kept(start: PendingRun, *records: RunUpdate, generation: int = 1) -> None:
    """Leaves records of a sweep on this machine, as a process that was killed does."""
    spool = Spool(records_folder(start.sweep_id), generation)
    for each in records:
        spool.put(each)


def begun(dataset: Dataset, *records: RunUpdate) -> PendingRun:
    """A sweep that was killed before its run was open."""
    start = PendingRun.new(EXPERIMENT, dataset, COMMIT, OPTIONS)
    with locked(start.sweep_id):
        start.save()
        kept(start, *records)
    return start


def opened(client: MlflowClient, dataset: Dataset, *records: RunUpdate) -> tuple[PendingRun, str]:
    """A sweep that was killed when its run was open; with its run's id."""
    start = begun(dataset, *records)
    with locked(start.sweep_id):
        return start, start.open(client, Claim.here(start.sweep_id)).run_id


def silence(client: MlflowClient, run_id: str) -> None:
    """Makes a sweep's coordinator one of which nothing has been heard for long."""
    holder = latest_claim(client.get_run(run_id))
    assert holder is not None
    client.set_tag(run_id, TAG, dataclasses.replace(holder, at="2026-01-01T00:00:00+00:00").tag())


def taken_over(run_id: str) -> Resumed:
    """Goes on with a sweep, and dies before anything else."""
    with ExitStack() as held:
        return take_over(EXPERIMENT, run_id, held)


def claimed(client: MlflowClient, run_id: str) -> Claim:
    """Claims a sweep, and dies before anything else."""
    with next_coordinator(client, run_id) as (run, _):
        run.claim()
    return run.mine


def everything(client: MlflowClient) -> list[dict[str, Any]]:
    """All runs with their tags, params and metrics, and each metric's history."""
    found = client.search_runs([each.experiment_id for each in client.search_experiments()])
    histories = [
        {name: [vars(each) for each in client.get_metric_history(run.info.run_id, name)] for name in run.data.metrics}
        for run in found
    ]
    return [{**run.to_dictionary(), "history": history} for run, history in zip(found, histories, strict=True)]


def names(client: MlflowClient, kind: str = "trial") -> list[tuple[str, str]]:
    found = client.search_runs(
        [each.experiment_id for each in client.search_experiments()], f"tags.`digitsweep.kind` = '{kind}'"
    )
    return sorted((each.info.run_name, each.info.status) for each in found)


# A sweep whose run is not open yet.


@pytest.fixture
def silent_server() -> Iterator[str]:
    """The address of a server that takes requests and never answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def test_events_are_on_disk_before_the_store_answers(
    silent_server: str, tmp_path: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the store has not answered its first request, what a trial came to is on disk, with all that the sweep's run is
    to be opened with, and no password; a sweep that is interrupted then says how to go on with it."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", silent_server.replace("http://", "http://me:s3cret@"))
    monkeypatch.setenv("DIGITSWEEP_STATE", str(tmp_path))
    monkeypatch.setattr("digitsweep.tracking.mlflow_tracker.LAST_SECONDS", 0.1)
    tracker = MlflowTracker(EXPERIMENT, dataset, COMMIT, OPTIONS)
    (folder,) = tmp_path.iterdir()
    assert "s3cret" not in (folder / "sweep.json").read_text()
    record = ended(dataset)
    tracker.trial_started(record.trial)
    tracker.trial_ended(record)
    with pytest.raises(DigitsweepError, match=f"has not answered yet; .* wait on this machine; .*--resume {folder.name}"):
        tracker.ended("INTERRUPTED")
    spool = Spool(folder / "records")
    told = []
    while (update := spool.first()) is not None:
        told.append(update)
        spool.taken()
    assert {each.run for each in told} == {record.trial.name}
    assert "weights.npz" in told[1].files
    assert json.loads(told[1].tags["digitsweep.trial"])["state"] == "COMPLETE"
    assert told[-1].status == "FINISHED"
    found = pending_run(folder.name)
    assert found is not None
    assert found.experiment == EXPERIMENT.text


def test_a_server_that_stays_silent_keeps_nothing_that_is_empty(
    silent_server: str, tmp_path: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sweep that is interrupted before a trial has come to its end, and before the store has answered, leaves nothing."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", silent_server)
    monkeypatch.setenv("DIGITSWEEP_STATE", str(tmp_path))
    monkeypatch.setattr("digitsweep.tracking.mlflow_tracker.LAST_SECONDS", 0.1)
    tracker = MlflowTracker(EXPERIMENT, dataset, COMMIT, OPTIONS)
    tracker.trial_started(trial())
    tracker.ended("INTERRUPTED")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("has_results", [False, True])
def test_an_unusable_store(has_results: bool, tmp_path: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep whose store cannot be used ends with one line. What had been trained by then waits on disk, and the line says
    how to go on; where nothing was, nothing is kept."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("DIGITSWEEP_STATE", str(tmp_path))
    tracker = MlflowTracker(EXPERIMENT, dataset, COMMIT, OPTIONS)
    (folder,) = tmp_path.iterdir()
    tracker.trial_started(trial())
    cut = TrialRecord(trial(), failed((), CUT_OFF))
    tracker.trial_ended(ended(dataset) if has_results else cut)
    with pytest.raises(DigitsweepError, match="cannot be used: nothing answers there") as error:
        tracker.ended("FAILED")
    (line,) = str(error.value).splitlines()
    assert line.endswith(f"digitsweep sweep --resume {folder.name}") == has_results
    assert [each.name for each in tmp_path.iterdir()] == ([folder.name] if has_results else [])


@pytest.mark.parametrize("named", ["last", "its id"])
def test_a_sweep_that_was_killed_before_its_run_was_open(named: str, client: MlflowClient, dataset: Dataset) -> None:
    """It is advertised before a new sweep of the same experiment, can be resumed, and nothing that it kept is lost."""
    start = begun(dataset, *updates(ended(dataset)), *updates(ended(dataset, 1, TrialState.PRUNED)))
    unfinished = find_unfinished("last" if named == "last" else start.sweep_id)
    assert unfinished_like(client, EXPERIMENT).endswith(unfinished.run_id)
    assert unfinished.experiment.digest() == EXPERIMENT.digest()
    assert (unfinished.options.workers, unfinished.data_digest) == (2, dataset.digest())
    run = client.get_run(unfinished.run_id)
    assert (run.info.start_time, sweep_id_of(run)) == (start.begun, start.sweep_id)
    taken_over(unfinished.run_id)
    assert names(client) == [("ann-000", "FINISHED"), ("ann-001", "KILLED")]
    assert names(client, "sweep") == [("sweep smoke", "RUNNING")]
    assert pending_run(start.sweep_id) is None


def test_reconcile_opens_the_run_of_a_sweep_that_was_killed_before(client: MlflowClient, dataset: Dataset) -> None:
    """The run is made, gets what was kept, and is closed as an interrupted sweep that can be resumed. One that lives is left
    alone, and so is one of another store."""
    start = begun(dataset, *updates(ended(dataset)), updates(ended(dataset, 1))[0])
    other = dataclasses.replace(PendingRun.new(EXPERIMENT, dataset, COMMIT, OPTIONS), store="another")
    alive = PendingRun.new(EXPERIMENT, dataset, COMMIT, OPTIONS)
    with locked(other.sweep_id):
        other.save()
    with locked(alive.sweep_id):
        alive.save()
        lines = list(reconcile())
        assert "was killed before its run was open" in lines[0]
        assert names(client, "sweep") == [("sweep smoke", "KILLED")]
        assert find_unfinished("last").run_id in lines[0]
    assert names(client) == [("ann-000", "FINISHED")]
    assert names(client, "attempt") == [("ann-001", "FAILED")]
    assert not state_folder(start.sweep_id).joinpath("sweep.json").exists()


def test_a_sweep_that_cannot_be_opened_holds_up_no_other(client: MlflowClient, dataset: Dataset) -> None:
    """One whose run, which `mlflow run` had opened, was deleted since is left alone, and said; the rest is repaired."""
    _, run_id = opened(client, dataset)
    gone = dataclasses.replace(PendingRun.new(EXPERIMENT, dataset, COMMIT, OPTIONS), adopted="0" * 32)
    with locked(gone.sweep_id):
        gone.save()
    lines = list(reconcile())
    assert f"sweep {gone.sweep_id}: left alone" in lines[0]
    assert client.get_run(run_id).info.status == "KILLED"


def test_a_sweep_that_was_killed_while_its_run_was_opened(client: MlflowClient, dataset: Dataset) -> None:
    """The run that an earlier try has made is found by its tag, completed and gone on with: there is no second one."""
    start, run_id = opened(client, dataset)
    client.delete_tag(run_id, "digitsweep.digest")
    with locked(start.sweep_id):
        start.save()
    for named in (run_id, "last"):
        assert find_unfinished(named).run_id == run_id
        with locked(start.sweep_id):
            start.save()
    assert len(names(client, "sweep")) == 1
    assert client.get_run(run_id).data.tags["digitsweep.digest"] == EXPERIMENT.digest()


def test_what_a_kill_left_underived_is_derived(client: MlflowClient, dataset: Dataset) -> None:
    """A trial whose record was kept and whose report and pictures were not is not trained again: they are made when its
    sweep goes on."""
    first, last = updates(ended(dataset))
    _, run_id = opened(client, dataset, first, dataclasses.replace(last, status=None, ended=None))
    past = taken_over(run_id).past
    assert [each.trial for each in past.ended] == [trial()]
    run = client.get_run(past.runs["ann-000", 1])
    assert run.info.status == "FINISHED"
    assert {each.path for each in client.list_artifacts(run.info.run_id)} == {
        "weights.npz",
        "confusion_matrix.json",
        "classification_report.json",
        "classification_report.txt",
        "confusion_matrix.png",
        "learning_curves.png",
    }


# Records of coordinators that have lost their sweep.


def test_stale_records_do_not_touch_a_finished_sweep(
    client: MlflowClient, dataset: Dataset, made_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine dies with records that it has not sent, another one goes on, trains the same trials again and finishes. What
    the first one sends later changes no tag and no metric: its records are set aside, and that is said once."""
    first, last = updates(ended(dataset))
    start, run_id = opened(client, dataset, first)
    taken_over(run_id)
    kept(start, dataclasses.replace(last, status="KILLED"), generation=2)
    silence(client, run_id)
    monkeypatch.setenv("DIGITSWEEP_STATE", str(made_store / "there"))
    tracker = MlflowTracker(EXPERIMENT, dataset, COMMIT, OPTIONS, run_id)
    assert list(tracker.notices()) == []
    tracker.trial_started(trial())
    tracker.trial_ended(ended(dataset))
    tracker.ended("COMPLETE")
    before = everything(client)
    monkeypatch.setenv("DIGITSWEEP_STATE", str(made_store / "here"))
    records = records_folder(start.sweep_id)
    (line,) = list(reconcile())
    assert f"1 records in {records} were set aside as .stale: another coordinator" in line
    assert [path.suffix for path in records.iterdir()] == [".stale"]
    assert everything(client) == before
    assert list(reconcile()) == []
    assert [path.suffix for path in records.iterdir()] == [".stale"]


def test_a_machine_that_dies_again_keeps_its_records(client: MlflowClient, dataset: Dataset) -> None:
    """Records that the first and the second coordinator of one folder have left are all sent by the third."""
    start, run_id = opened(client, dataset)
    for generation in (2, 3):
        claimed(client, run_id)
        kept(start, *updates(ended(dataset, generation)), generation=generation - 1)
    assert taken_over(run_id).spool.notices == []
    assert [name for name, _ in names(client)] == ["ann-002", "ann-003"]
    holder = latest_claim(client.get_run(run_id))
    assert holder is not None
    assert (holder.generation, holder.since) == (4, 0)


# Claims.


@pytest.mark.parametrize("over", ["sqlite", "http"])
def test_of_many_claims_one_wins(
    over: str, client: MlflowClient, dataset: Dataset, made_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight machines that go on with a sweep in the same moment: one becomes its coordinator, and each of the others is told
    who did."""
    start, run_id = opened(client, dataset)
    silence(client, run_id)
    machines = []
    for number in range(8):
        monkeypatch.setenv("DIGITSWEEP_STATE", str(made_store / f"machine {number}"))
        machines.append(dataclasses.replace(next_claim(client.get_run(run_id)), host=f"machine-{number}"))
    with ExitStack() as held:
        uri = f"sqlite:///{made_store}/mlflow.db"
        if over == "http":
            uri = held.enter_context(mlflow_server(made_store, uri)).uri
        together, said = threading.Barrier(len(machines)), {}

        def race(claim: Claim) -> None:
            run = SweepRun(MlflowClient(uri), "0", run_id, start.sweep_id, claim)
            run.client.get_run(run_id)
            together.wait()
            try:
                run.claim()
            except DigitsweepError as error:
                said[claim.host] = str(error)

        threads = [threading.Thread(target=race, args=(each,)) for each in machines]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    (winner,) = {each.host for each in machines} - said.keys()
    assert all(f"is being run by process {machines[0].process} on {winner};" in each for each in said.values()), said
    holder = latest_claim(client.get_run(run_id))
    assert holder is not None
    assert (holder.host, holder.generation) == (winner, 2)


def test_a_deleted_run_is_not_called_taken(client: MlflowClient, dataset: Dataset) -> None:
    """Where the store refuses a claim for another reason, that is what is said."""
    _, run_id = opened(client, dataset)
    client.delete_run(run_id)
    with pytest.raises(Exception, match="active"):
        claimed(client, run_id)


def test_who_was_reconciled_stops(
    client: MlflowClient, dataset: Dataset, made_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A coordinator whose machine slept while `reconcile` closed its sweep elsewhere finds that out before it sends
    anything. The trial that it trained stays an attempt, and the sweep can be resumed at once and trains it again."""
    tracker = MlflowTracker(EXPERIMENT, dataset, COMMIT, OPTIONS)
    tracker.trial_started(trial())
    tracker.settle()
    silence(client, tracker.run_id)
    monkeypatch.setenv("DIGITSWEEP_STATE", str(made_store / "there"))
    assert any("was RUNNING without a process" in line for line in list(reconcile()))
    before, awake = everything(client), time.time
    monkeypatch.setattr(time, "time", lambda: awake() + 100)
    tracker.trial_ended(ended(dataset))
    with pytest.raises(DigitsweepError, match=f"was taken over by process .*--resume {tracker.run_id}"):
        tracker.ended("COMPLETE")
    assert everything(client) == before
    monkeypatch.setenv("DIGITSWEEP_STATE", str(made_store / "here"))
    resumed = taken_over(tracker.run_id)
    assert [each.name for each in resumed.past.cut] == ["ann-000"]
    assert len(resumed.spool.notices) == 1
    assert names(client) == []


def test_who_sleeps_between_two_requests_stops(
    client: MlflowClient, dataset: Dataset, made_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A coordinator that was stopped when it had made a trial's run, and not described it yet, leaves the run as the attempt
    that `reconcile` has made of it meanwhile."""
    tracker = MlflowTracker(EXPERIMENT, dataset, COMMIT, OPTIONS)
    tracker.settle()
    create, awake, before = MlflowClient.create_run, time.time, []

    def create_and_sleep(self: MlflowClient, *arguments: Any, **named: Any) -> Any:
        made = create(self, *arguments, **named)
        silence(client, tracker.run_id)
        monkeypatch.setenv("DIGITSWEEP_STATE", str(made_store / "there"))
        assert any("was RUNNING without a process" in line for line in list(reconcile()))
        before.extend(everything(client))
        monkeypatch.setattr(time, "time", lambda: awake() + 100)
        return made

    monkeypatch.setattr(MlflowClient, "create_run", create_and_sleep)
    tracker.trial_started(trial())
    with pytest.raises(DigitsweepError, match="was taken over by process"):
        tracker.settle()
    with pytest.raises(DigitsweepError, match="was taken over by process"):
        tracker.ended("FAILED")
    assert everything(client) == before
    assert names(client, "attempt") == [("ann-000", "FAILED")]


def test_a_sleeper_that_overwrites_the_tag(client: MlflowClient, dataset: Dataset) -> None:
    """The claim of the one that came later stands, whatever the tag says, until the sweep is claimed again."""
    _, run_id = opened(client, dataset)
    sleeper = client.get_run(run_id).data.tags[TAG]
    claim = claimed(client, run_id)
    client.set_tag(run_id, TAG, sleeper)
    assert latest_claim(client.get_run(run_id)) == claim


def test_runs_are_known_by_their_tags(client: MlflowClient, dataset: Dataset) -> None:
    """A run that a person has renamed is still its trial's: it gets the records that waited, and no second one is made."""
    start, run_id = opened(client, dataset, *updates(ended(dataset)))
    taken_over(run_id)
    (run,) = client.search_runs([client.get_run(run_id).info.experiment_id], "tags.`trial.number` = '0'")
    client.update_run(run.info.run_id, name="my favourite")
    kept(start, RunUpdate("ann-000", metrics=[("test_accuracy", 0.5, 3_000, 0)]), generation=2)
    past = taken_over(run_id).past
    assert [each.trial.name for each in past.ended] == ["ann-000"]
    assert past.runs == {("ann-000", 1): run.info.run_id}
    assert names(client) == [("my favourite", "FINISHED")]
    assert client.get_run(run.info.run_id).data.metrics["test_accuracy"] == 0.5
