"""A family's study: baselines first, each configuration once, never more than the budget. No worker is needed for that."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from running import EXPERIMENTS

from digitsweep.experiment import Experiment
from digitsweep.experiment_file import load_experiment
from digitsweep.results import Epoch, EpochMetrics, Trial, TrialResult, TrialState
from digitsweep.source import INTERRUPTED, SPENT, Verdict, trial_seed
from digitsweep.study import PRUNED, Study


@pytest.fixture
def experiment() -> Experiment:
    return load_experiment(EXPERIMENTS / "smoke.yaml")


def metrics(number: int, accuracy: float, seconds: float = 0.1) -> EpochMetrics:
    return EpochMetrics(number, 0.5, 0.8, 0.4, accuracy, 0.001, seconds)


def epoch(number: int, accuracy: float) -> Epoch:
    return Epoch(metrics(number, accuracy), np.full(4, number, np.uint8))


def finished(trial: Trial, accuracy: float, seconds: float = 0.3) -> TrialResult:
    epochs = tuple(metrics(each + 1, accuracy, seconds / trial.epochs) for each in range(trial.epochs))
    weights = (np.zeros(3, np.float32),)
    return TrialResult(TrialState.COMPLETE, epochs, None, weights, 3, seconds)


def run_to_the_end(study: Study, accuracies: dict[int, float] | None = None, seconds: float = 0.3) -> list[Trial]:
    """Trains nothing: every trial ends at once, complete."""
    trials = []
    while (trial := study.next_trial()) is not None:
        trials.append(trial)
        for each in range(trial.epochs):
            study.epoch(trial, epoch(each + 1, 0.5))
        study.ended(trial, finished(trial, (accuracies or {}).get(trial.number, 0.5), seconds))
    return trials


def test_baselines_come_first_and_cost_no_budget(experiment: Experiment) -> None:
    """Baselines are first, have their names, and the search has all of its trials besides."""
    trials = run_to_the_end(Study(experiment, "ann", 8))
    assert [each.baseline for each in trials] == ["softmax", None, None, None]
    assert [each.number for each in trials] == [0, 1, 2, 3]


def test_no_configuration_twice(experiment: Experiment) -> None:
    """A space with few configurations is searched once through, and then the study is at its end."""
    small = experiment.changed(trials=100)
    study = Study(small, "ann", 8)
    keys = [each.params.key() for each in run_to_the_end(study, seconds=0.001)]
    assert len(set(keys)) == len(keys)
    assert len(keys) == 101


def test_an_exhausted_space_ends_the_study(tmp_path: object, experiment: Experiment) -> None:
    """Where nothing is left to draw the study ends, although its budget is not spent."""
    text = (EXPERIMENTS / "smoke.yaml").read_text()
    begin, end = text.index("    space:"), text.index("  cnn:")
    space = "    space: {hidden_layers: 1, units: {type: categorical, choices: [8, 16, 32]}}\n"
    path = tmp_path / "few.yaml"  # type: ignore[operator]
    path.write_text(text[:begin] + space + text[end:])
    study = Study(load_experiment(path).changed(trials=50), "ann", 8)
    assert len(run_to_the_end(study)) == 1 + 3
    assert study.share() == 1.0


def test_seconds_are_never_more_than_allowed(experiment: Experiment) -> None:
    """No trial starts once a family's seconds are spent, and those that run are told to stop, once."""
    now = [0.0]
    study = Study(experiment.changed(seconds=10.0), "cnn", 8, lambda: now[0])
    baseline = study.next_trial()
    assert baseline is not None
    study.ended(baseline, finished(baseline, 0.9, seconds=100.0))
    first, second = study.next_trial(), study.next_trial()
    assert first is not None
    assert second is not None
    assert study.epoch(first, epoch(1, 0.9)) is Verdict.GO_ON
    assert study.overdrawn() == []
    now[0] = 4.5
    assert study.overdrawn() == [first]
    assert study.overdrawn() == [], "each is named once"
    assert study.epoch(second, epoch(1, 0.9)) is Verdict.GO_ON
    assert study.overdrawn() == [second], "a trial is not stopped before its first epoch"
    record = study.ended(first, TrialResult(TrialState.PRUNED, (metrics(1, 0.9),), train_seconds=4.5))
    assert (record.result.state, record.result.reason) == (TrialState.PRUNED, SPENT)
    study.ended(second, TrialResult(TrialState.PRUNED, (metrics(1, 0.9),), train_seconds=4.5))
    assert study.next_trial() is None, "the second that is left is too short for an epoch"


def test_a_trial_that_is_behind_is_pruned(experiment: Experiment) -> None:
    """Successive halving stops the worse of two, and its record says why."""
    study = Study(experiment, "ann", 8)
    baseline = study.next_trial()
    good, bad = study.next_trial(), study.next_trial()
    assert baseline is not None and good is not None and bad is not None  # noqa: PT018
    assert study.epoch(good, epoch(1, 0.9)) is Verdict.GO_ON
    assert study.epoch(bad, epoch(1, 0.1)) is Verdict.STOP
    record = study.ended(bad, TrialResult(TrialState.PRUNED, (metrics(1, 0.1),)))
    assert (record.result.state, record.result.reason) == (TrialState.PRUNED, PRUNED)


def test_what_comes_after_a_stop_does_not_count(experiment: Experiment) -> None:
    """A worker that hears of its stop late, or when it is through, leaves the same record as one that hears at once."""
    study = Study(experiment, "ann", 8)
    baseline = study.next_trial()
    good, bad = study.next_trial(), study.next_trial()
    assert baseline is not None and good is not None and bad is not None  # noqa: PT018
    study.epoch(good, epoch(1, 0.9))
    assert study.epoch(bad, epoch(1, 0.1)) is Verdict.STOP
    assert study.epoch(bad, epoch(2, 0.99)) is Verdict.TOO_LATE
    record = study.ended(bad, finished(bad, 0.99))
    assert record.result.state is TrialState.PRUNED
    assert [each.epoch for each in record.result.epochs] == [1]
    assert record.result.predictions is not None
    assert record.result.predictions.tolist() == [1, 1, 1, 1]
    assert record.result.weights is None


def test_a_trial_whose_weights_are_lost_is_trained_whole(experiment: Experiment) -> None:
    """A trial that had been complete goes to its end again, however good the others are and whatever of the seconds is
    left; what was cut may be pruned, as before."""
    now = [0.0]
    first = Study(experiment.changed(seconds=10.0), "ann", 8, lambda: now[0])
    trials = run_to_the_end(first, {1: 0.9, 2: 0.5, 3: 0.5})
    study = Study(experiment.changed(seconds=10.0), "ann", 8, lambda: now[0])
    ended = [each for each in first.records if each.trial.number not in (1, 3)]
    study.restore(ended, [trials[3]], [trials[1]])
    lost, cut = study.next_trial(), study.next_trial()
    assert (lost, cut) == (trials[1], trials[3])
    assert lost is not None and cut is not None  # noqa: PT018
    assert study.next_trial() is None
    assert study.epoch(cut, epoch(1, 0.6)) is Verdict.GO_ON
    assert study.epoch(lost, epoch(1, 0.1)) is Verdict.GO_ON
    now[0] = 100.0
    assert study.overdrawn() == [cut]
    study.ended(cut, TrialResult(TrialState.PRUNED, (metrics(1, 0.6),), train_seconds=50.0))
    record = study.ended(lost, finished(lost, 0.9))
    assert record.result.state is TrialState.COMPLETE
    assert record.result.weights is not None


def test_a_baseline_is_never_pruned(experiment: Experiment) -> None:
    """A baseline goes on, however bad it is."""
    study = Study(experiment, "ann", 8)
    baseline = study.next_trial()
    assert baseline is not None
    assert study.epoch(baseline, epoch(1, 0.0)) is Verdict.GO_ON


def test_stopped_without_the_studys_word_is_interrupted(experiment: Experiment) -> None:
    """A trial that was stopped for another reason than the study's has failed: it was interrupted."""
    study = Study(experiment, "ann", 8)
    trial = study.next_trial()
    assert trial is not None
    record = study.ended(trial, TrialResult(TrialState.PRUNED, (metrics(1, 0.5),), reason="stopped"))
    assert (record.result.state, record.result.reason) == (TrialState.FAIL, INTERRUPTED)


def test_weights_are_kept_of_the_best_only(experiment: Experiment) -> None:
    """The learned numbers of the best trial and of the baselines stay, the others' are let go."""
    study = Study(experiment, "ann", 8)
    run_to_the_end(study, {1: 0.7, 2: 0.9, 3: 0.8})
    kept = [each.trial.number for each in study.records if each.result.weights is not None]
    assert kept == [0, 2]


def test_a_better_trial_takes_the_weights_of_the_one_before(experiment: Experiment) -> None:
    """Records stay in the order in which trials ended, and of each its epochs; only the best has predictions too."""
    study = Study(experiment, "ann", 8)
    while (trial := study.next_trial()) is not None:
        result = finished(trial, 0.5 + trial.number / 10)
        record = study.ended(trial, dataclasses.replace(result, predictions=np.zeros(4, np.uint8)))
        assert record.result.predictions is not None, "who records it gets all of it"
    assert [each.trial.number for each in study.records] == [0, 1, 2, 3]
    assert [each.result.predictions is not None for each in study.records] == [True, False, False, True]
    assert [each.result.weights is not None for each in study.records] == [True, False, False, True]
    assert all(each.result.epochs for each in study.records)


def test_what_is_left_follows_from_what_ended(experiment: Experiment) -> None:
    """The seconds that are left: what a trial took in the mean, for each that is still to come, within the budget."""
    now = [100.0]
    study = Study(experiment.changed(trials=10, seconds=50.0), "cnn", 8, lambda: now[0])
    baseline = study.next_trial()
    assert baseline is not None
    study.ended(baseline, finished(baseline, 0.9, seconds=100.0))
    assert study.seconds_left() == 50.0, "nothing is known yet: all of the budget"
    trials = [study.next_trial() for _ in range(3)]
    for trial, seconds in zip(trials, (1.0, 3.0), strict=False):
        assert trial is not None
        now[0] += seconds
        study.ended(trial, finished(trial, 0.9, seconds))
    assert study.seconds_left() == pytest.approx(2.0 * 7.5), "seven are to come, and half of the one that runs"
    now[0] += 40.0
    assert study.seconds_left() == pytest.approx(50.0 - 4.0 - 44.0)


def test_seeds_differ_and_repeat() -> None:
    """A trial's seed depends on the sweep's seed, the family and the number, and on nothing else."""
    seeds = {trial_seed(seed, family, number) for seed in (0, 1) for family in ("ann", "cnn") for number in range(50)}
    assert len(seeds) == 200
    assert trial_seed(0, "ann", 3) == trial_seed(0, "ann", 3)
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_the_same_seed_draws_the_same_configurations(experiment: Experiment) -> None:
    """With one worker a study is a function of the experiment."""
    first, second = (run_to_the_end(Study(experiment, "cnn", 8)) for _ in range(2))
    assert first == second
    other = run_to_the_end(Study(experiment.changed(seed=1), "cnn", 8))
    assert [each.params for each in other[1:]] != [each.params for each in first[1:]]


@pytest.mark.parametrize("trials", [0, 24])
def test_the_order_of_baselines(trials: int) -> None:
    """Alone, the baseline that trains longest starts first, so that no worker is left with it in the end; where a search
    follows, the shortest one does, so that there is soon something to compare with. Both families' are one order."""
    experiment = load_experiment(EXPERIMENTS / "mnist.yaml")
    budget = experiment.budget.model_copy(update={"trials": trials})
    study = Study(experiment.model_copy(update={"budget": budget}), "ann", 28)
    costs, urgencies = [], []
    while urgency := study.urgency():
        urgencies.append(urgency)
        trial = study.next_trial()
        assert trial is not None
        assert trial.baseline is not None
        costs.append(trial.epochs * trial.params.operations(28))
    assert len(costs) == 5
    assert costs == sorted(costs, reverse=trials == 0)
    assert urgencies == sorted(urgencies, reverse=True)


@pytest.mark.parametrize("pruner", ["median", "hyperband", "successive_halving"])
def test_no_trial_is_pruned_early(pruner: str, tmp_path: Path) -> None:
    """Whatever the pruner, a trial that is far behind is stopped, and never before `min_epochs`."""
    text = (EXPERIMENTS / "smoke.yaml").read_text()
    text = text.replace("successive_halving, min_epochs: 1", f"{pruner}, startup_trials: 2, min_epochs: 3")
    (tmp_path / "pruned.yaml").write_text(text.replace("trials: 3, epochs: 3", "trials: 60, epochs: 12"))
    study = Study(load_experiment(tmp_path / "pruned.yaml").changed(seconds=1e6), "cnn", 8)
    stopped = []
    while (trial := study.next_trial()) is not None:
        accuracy = 0.9 if trial.number < 8 else 0.1
        for number in range(1, trial.epochs + 1):
            if study.epoch(trial, epoch(number, accuracy)) is Verdict.STOP:
                stopped.append(number)
                break
        study.ended(trial, finished(trial, accuracy))
    assert stopped
    assert min(stopped) >= 3


def test_a_pruned_trial_whose_worker_dies_is_pruned(experiment: Experiment) -> None:
    """What happens to a worker after the study has pruned its trial has no say in the record."""
    study = Study(experiment, "ann", 8)
    baseline = study.next_trial()
    good, bad = study.next_trial(), study.next_trial()
    assert baseline is not None and good is not None and bad is not None  # noqa: PT018
    study.epoch(good, epoch(1, 0.9))
    study.epoch(bad, epoch(1, 0.1))
    record = study.ended(bad, TrialResult(TrialState.FAIL, (metrics(1, 0.1), metrics(2, 0.1)), reason="its worker died"))
    assert (record.result.state, record.result.reason) == (TrialState.PRUNED, PRUNED)
