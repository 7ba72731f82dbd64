"""Seconds are spent once: while a trial runs, after its worker has died, and after its sweep was resumed."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow import MlflowClient
from mlflow.entities import Metric
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID
from running import EXPERIMENTS
from support import PROPERTY

from digitsweep.config.experiment import Experiment
from digitsweep.config.experiment_file import load_experiment
from digitsweep.data.sources import load_dataset
from digitsweep.evaluation.comparison import spent
from digitsweep.families import parse_params
from digitsweep.search.budget import START_SECONDS, Speed, SweepTime
from digitsweep.search.study import Study
from digitsweep.tracking.mlflow_tracker import MlflowTracker
from digitsweep.tracking.provenance import current_commit
from digitsweep.tracking.records import planned, restored_trial
from digitsweep.tracking.resume import _covered, recover, take_over
from digitsweep.trial import INTERRUPTED, EpochMetrics, Kind, Trial, TrialResult, TrialState, failed


class Clock:
    """Shows what it is set to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def experiment() -> Experiment:
    """Ten trials, a hundred seconds, no baselines to begin with."""
    return load_experiment(EXPERIMENTS / "smoke.yaml").changed(trials=10, seconds=100.0)


def started(study: Study) -> Trial:
    """The next searched trial."""
    while True:
        trial = study.next_trial()
        assert trial is not None
        if trial.baseline is None:
            return trial
        study.trial_ended(trial, TrialResult(TrialState.FAIL, train_seconds=1000.0))


def metrics(epoch: int, seconds: float) -> EpochMetrics:
    return EpochMetrics(epoch, 0.5, 0.8, 0.4, 0.9, 0.001, seconds)


def complete(trial: Trial, seconds: float) -> TrialResult:
    epochs = tuple(metrics(each, seconds / trial.epochs) for each in range(1, trial.epoch_count + 1))
    return TrialResult(TrialState.COMPLETE, epochs, weights=(np.zeros(3, np.float32),), train_seconds=seconds)


def test_a_trial_is_drawn_where_all_of_the_seconds_were_used(experiment: Experiment) -> None:
    """What trials have used that still run counts: a family of long trials is not flattered. Later ends are never drawn
    before earlier ones."""
    clock = Clock()
    study = Study(experiment, "cnn", (8, 8, 1), clock)
    long, short = started(study), started(study)
    clock.now = 30.0
    assert study.trial_ended(short, complete(short, 29.0)).used == 29.0 + 30.0
    clock.now = 30.5
    assert study.trial_ended(long, complete(long, 29.5)).used == 59.0, "the worker's clock, which began a little later"
    assert [each.ended for each in study.history().trials] == [59.0, 59.0]


def test_seconds_of_a_worker_that_died_stay_spent(experiment: Experiment) -> None:
    """They count while the trial runs, while it waits for another worker, when it runs again and when it has ended, and not
    twice; the time in which it waits does not."""
    clock = Clock()
    study = Study(experiment, "cnn", (8, 8, 1), clock)
    trial = started(study)
    clock.now = 40.0
    assert study.progress() == 0.4
    study.attempt_ended(trial, 40.0)
    clock.now = 55.0
    assert study.progress() == 0.4
    assert study.next_trial() == trial
    clock.now = 65.0
    assert study.progress() == 0.5
    study.trial_ended(trial, complete(trial, 10.0))
    assert study.progress() == 0.5
    assert study.attempt_seconds() == 40.0
    assert study.history().trials[0].ended == 50.0


def test_attempts_use_the_budget_up(experiment: Experiment) -> None:
    """A family whose workers keep dying comes to the end of its seconds: the trial that lost its worker is stopped after its
    first epoch."""
    clock = Clock()
    study = Study(experiment, "cnn", (8, 8, 1), clock)
    trial = started(study)
    study.epoch_ended(trial, metrics(1, 1.0))
    clock.now = 98.0
    assert study.out_of_time() == []
    clock.now = 101.0
    study.attempt_ended(trial, 101.0)
    assert study.out_of_time() == []
    assert study.next_trial() == trial
    assert study.out_of_time() == []
    study.epoch_ended(trial, metrics(1, 1.0))
    assert study.out_of_time() == [trial]
    study.trial_ended(trial, TrialResult(TrialState.PRUNED, (metrics(1, 1.0),)))
    assert study.next_trial() is None


def test_baselines_cost_no_budget(experiment: Experiment) -> None:
    """Whatever becomes of their workers."""
    study = Study(experiment, "cnn", (8, 8, 1), Clock())
    baseline = study.next_trial()
    assert baseline is not None
    assert baseline.baseline is not None
    study.attempt_ended(baseline, 50.0)
    assert study.next_trial() == baseline
    study.trial_ended(baseline, complete(baseline, 50.0))
    assert (study.progress(), study.attempt_seconds()) == (0.0, 0.0)


def test_a_resumed_sweep_has_spent_what_it_had_spent(made_store: Path, experiment: Experiment) -> None:
    """Through real records: an attempt whose worker died, a trial that ended while another one ran, and one that was
    interrupted. Then a study knows what the first one knew, and the runs show the same seconds."""
    dataset = load_dataset("digits", validation=0.25, seed=0)
    tracker = MlflowTracker(experiment, dataset, current_commit(), {})
    clock = Clock()
    study = Study(experiment, "cnn", (8, 8, 1), clock)
    dying, cut = started(study), started(study)
    tracker.trial_started(dying)
    tracker.trial_started(cut)
    clock.now = 12.5
    study.attempt_ended(dying, 12.5)
    tracker.attempt_ended(dying, "its worker died", 12.5)
    assert study.next_trial() == dying
    tracker.trial_started(dying)
    clock.now = 20.0
    record = study.trial_ended(dying, complete(dying, 7.5))
    assert record.used == 12.5 + 7.5 + 20.0
    for each in record.result.epochs:
        tracker.epoch_ended(dying, each)
    tracker.trial_ended(record)
    spent_before = study.progress()
    tracker.trial_ended(study.trial_ended(cut, failed([], INTERRUPTED, 20.0)))
    tracker.ended("INTERRUPTED")

    for _ in range(2):  # what a coordinator has found is there for the next one
        with ExitStack() as held:
            past = take_over(experiment, tracker.run_id, held).past
        assert past.attempt_seconds == {"cnn": pytest.approx(12.5 + 20.0)}
        again = Study(experiment, "cnn", (8, 8, 1), Clock())
        again.restore(*past.of("cnn", Kind.TRIAL), past.attempt_seconds["cnn"])
        assert again.progress() == pytest.approx(spent_before)
        assert again.history().trials == study.history().trials[-2:-1]
        assert spent(again.records, (), again.attempt_seconds()).attempt_seconds == pytest.approx(32.5)
    client = MlflowClient(f"sqlite:///{made_store}/mlflow.db")
    runs = [
        run
        for run in client.search_runs([each.experiment_id for each in client.search_experiments()])
        if run.data.tags.get("digitsweep.kind") == "attempt"
    ]
    assert sorted(run.data.metrics["train_seconds"] for run in runs) == [12.5, pytest.approx(20.0)]


def test_a_killed_coordinators_trial_took_until_its_last_epoch(made_store: Path) -> None:
    """Of a run that was left RUNNING the seconds from its start to its last epoch are spent; of a baseline's none."""
    client = MlflowClient(f"sqlite:///{made_store}/mlflow.db")
    experiment = client.create_experiment("killed")
    sweep = client.create_run(experiment).info.run_id
    loaded = load_experiment(EXPERIMENTS / "smoke.yaml")
    params = loaded.families["ann"].baselines["softmax"].params
    searched, baseline = Trial(1, params, 1, 3), Trial(0, params, 1, 3, "softmax")
    for trial in (searched, baseline):
        tags = {MLFLOW_PARENT_RUN_ID: sweep, "digitsweep.kind": "trial", "digitsweep.trial": planned(trial)}
        run_id = client.create_run(experiment, start_time=1_000_000, tags=tags, run_name=trial.name).info.run_id
        figures = [Metric("epoch_seconds", 10.0, 1_000_000 + 15_000 * epoch, epoch) for epoch in (1, 2)]
        client.log_batch(run_id, figures)
    past = recover(client, experiment, sweep, "val_accuracy")
    assert past.attempt_seconds == {"ann": 30.0}
    assert past.elapsed == 30.0  # both were trained side by side


@PROPERTY
@given(spans=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20))))
def test_what_is_trained_side_by_side_takes_time_once(spans: list[tuple[int, int]]) -> None:
    """However many workers there were: the seconds of a sweep in which anything was trained."""
    assert _covered(spans) == len({second for begun, seconds in spans for second in range(begun, begun + seconds)})


def test_a_promoted_trial_comes_back_as_it_was() -> None:
    """A trial's rung, its ladder, who proposed it and epochs that are not whole go through MLflow's tag and back."""
    params = load_experiment(EXPERIMENTS / "smoke.yaml").families["ann"].baselines["softmax"].params
    trial = Trial(3, params, 7, 2.4, drawn={"units": 32}, rung=2, proposed_by="neighbour", ladder=(1.0, 4.0, 16.0))
    assert restored_trial(json.loads(planned(trial))) == trial
    whole = Trial(0, params, 7, 3, "softmax")
    assert restored_trial(json.loads(planned(whole))) == whole


def test_the_minutes_of_a_sweep() -> None:
    """Families share what is left of the minutes, with what they have used, equally; baselines, those that wait and those
    that run, come off before."""
    clock = Clock()
    params = load_experiment(EXPERIMENTS / "smoke.yaml").families["ann"].baselines["softmax"].params
    time = SweepTime(2.0, lambda: 2, ["ann", "cnn"], after=20.0, elapsed=10.0, clock=clock)
    assert time.left() == 90.0
    assert time.share("ann") == time.share("cnn") == 90.0
    time.waiting["ann"] = 30.0
    assert time.share("cnn") == 75.0
    baseline, searched = Trial(0, params, 1, 3, "softmax"), Trial(1, params, 1, 3)
    time.waiting["ann"] = 0.0
    time.begin(baseline, 30.0)
    assert time.share("cnn") == 75.0
    time.begin(searched, 40.0)
    clock.now += 30.0
    assert time.used("ann") == 30.0
    time.end(baseline, 30.0)
    time.end(searched, 30.0)
    assert (time.used("ann"), time.used("cnn")) == (30.0, 0.0)
    assert time.share("ann") == (2 * 60.0 + 30.0) / 2
    assert not time.is_overdue()
    clock.now += 60.0 + 0.2 * 120.0
    assert time.left() < 0.0
    assert time.is_overdue()


@pytest.mark.parametrize(
    ("minutes", "slowness", "after"),
    [
        (15.0, {}, 10.0),
        (15.0, {"ann": 0.5, "cnn": 0.4}, 10.0),
        (15.0, {"ann": 3.0, "cnn": 2.0}, 20.0),
        (15.0, {"ann": 30.0, "cnn": 20.0}, 40.0),
        (1.0, {"ann": 3.0, "cnn": 2.0}, 15.0),
        (0.5, {"ann": 3.0, "cnn": 2.0}, 10.0),
    ],
)
def test_evaluation_takes_longer_on_a_slow_machine(minutes: float, slowness: dict[str, float], after: float) -> None:
    """As long as the faster family shows, at most four times, and, beyond the usual, at most a quarter of the minutes."""
    time = SweepTime(minutes, lambda: 2, ["ann", "cnn"], after=10.0, clock=lambda: 0.0)
    time.slowness |= slowness
    assert time.after() == pytest.approx(after)
    assert time.left() == pytest.approx(60.0 * minutes - after)


@PROPERTY
@given(st.floats(0.1, 20), st.lists(st.floats(0.5, 100), min_size=1, max_size=20))
def test_a_machines_speed_is_learned(slowness: float, works: list[float]) -> None:
    """However slow a machine is, its factor lies between what is believed at first and what was measured, and comes nearer
    with each training; every training takes a moment besides."""
    speed, trial = Speed(), Trial(0, parse_params("ann", {"hidden_layers": 0}), 0, 1.0)
    factors = [speed.factor()]
    assert factors[0] == 1.0
    for work in works:
        speed.add(trial, work, START_SECONDS + slowness * work)
        factors.append(speed.factor())
    distances = [abs(each - slowness) for each in factors]
    assert distances == pytest.approx(sorted(distances, reverse=True))
    assert speed.seconds(10.0) == pytest.approx(START_SECONDS + 10.0 * factors[-1])


def test_baselines_tell_a_machines_speed_only_at_first() -> None:
    """Once a training of the search has ended, the baselines no longer count: their networks are smaller."""
    speed, trial = Speed(), Trial(0, parse_params("ann", {"hidden_layers": 0}), 0, 1.0)
    speed.add(replace(trial, baseline="softmax"), 100.0, START_SECONDS + 50.0)
    assert speed.factor() == pytest.approx(0.5, rel=0.02)
    speed.add(trial, 100.0, START_SECONDS + 200.0)
    assert speed.factor() == pytest.approx(2.0, rel=0.02)
