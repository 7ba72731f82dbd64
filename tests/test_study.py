"""A family's study: baselines first, each configuration once, never more than the budget. No worker is needed for that."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from running import EXPERIMENTS
from support import MINUTES_EXPERIMENT
from trials import Clock, Machine, complete, metrics, searched

from digitsweep.config.experiment import Budget, Experiment
from digitsweep.config.experiment_file import load_experiment
from digitsweep.search.promotion import PromotionStudy
from digitsweep.search.scheduler import HOPELESS, Failures, SchedulerDecision
from digitsweep.search.study import PRUNED, Study
from digitsweep.trial import INTERRUPTED, SPENT, Trial, TrialResult, TrialState, trial_seed


@pytest.fixture
def experiment() -> Experiment:
    return load_experiment(EXPERIMENTS / "smoke.yaml")


def run_to_the_end(study: Study, accuracies: dict[int, float] | None = None, seconds: float = 0.3) -> list[Trial]:
    """Trains nothing: every trial ends at once, complete."""
    trials = []
    while (trial := study.next_trial()) is not None:
        trials.append(trial)
        for each in range(trial.epoch_count):
            study.epoch_ended(trial, metrics(each + 1, 0.5))
        study.trial_ended(trial, complete(trial, (accuracies or {}).get(trial.number, 0.5), seconds))
    return trials


def test_baselines_come_first_and_cost_no_budget(experiment: Experiment) -> None:
    """Baselines are first, have their names, and the search has all of its trials besides."""
    trials = run_to_the_end(Study(experiment, "ann", (8, 8, 1)))
    assert [each.baseline for each in trials] == ["softmax", None, None, None]
    assert [each.number for each in trials] == [0, 1, 2, 3]


BROKEN = [f"ValueError: 3 and {number} do not go together" for number in range(HOPELESS)]


@pytest.mark.parametrize("in_minutes", [False, True])
def test_a_family_that_cannot_be_built_is_given_up(in_minutes: bool, experiment: Experiment, tmp_path: Path) -> None:
    """Where the first trials of a search all fail for the same reason, nothing more is drawn, and one line names the family
    and the reason."""
    study: Study | PromotionStudy = Study(experiment.changed(trials=50), "ann", (8, 8, 1))
    if in_minutes:
        (tmp_path / "minutes.yaml").write_text(MINUTES_EXPERIMENT)
        study = Machine().study(load_experiment(tmp_path / "minutes.yaml"))
    failed = 0
    while (trial := study.next_trial()) is not None:
        if trial.baseline is None:
            study.trial_ended(trial, TrialResult(TrialState.FAIL, reason=BROKEN[failed]))
            failed += 1
        else:
            study.trial_ended(trial, complete(trial))
    assert failed == HOPELESS
    assert study.is_over()
    assert study.notices() == [
        f"The search of the family ann ends early, because its first {HOPELESS} trials all failed: {BROKEN[-1]}"
    ]
    assert study.notices() == []


NOT_FINITE = TrialResult(TrialState.FAIL, weight_count=10, reason="the loss was not finite in epoch 1")
HOPEFUL = {
    "one failed otherwise": TrialResult(TrialState.FAIL, reason="TypeError: 3"),
    "one was pruned": TrialResult(TrialState.PRUNED, (metrics(),)),
    "one was trained": NOT_FINITE,
    "one was interrupted": TrialResult(TrialState.FAIL, reason=INTERRUPTED),
}


@pytest.mark.parametrize("name", HOPEFUL)
def test_other_failures_leave_hope(name: str) -> None:
    """A search goes on where a trial ended otherwise than the others, or too few have failed."""
    results = [HOPEFUL[name], *(TrialResult(TrialState.FAIL, reason=each) for each in BROKEN[1:])]
    for ended in (results, results[::-1]):
        failures = Failures("ann")
        assert not any(failures.end_search(each) for each in ended)
        assert failures.notices() == []


def test_no_configuration_twice(experiment: Experiment) -> None:
    """A space with few configurations is searched once through, and then the study is at its end."""
    small = experiment.changed(trials=100)
    study = Study(small, "ann", (8, 8, 1))
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
    study = Study(load_experiment(path).changed(trials=50), "ann", (8, 8, 1))
    assert len(run_to_the_end(study)) == 1 + 3
    assert study.progress() == 1.0


def test_seconds_are_never_more_than_allowed(experiment: Experiment) -> None:
    """No trial starts once a family's seconds are spent, and those that run are told to stop, once."""
    clock = Clock()
    study = Study(experiment.changed(seconds=10.0), "cnn", (8, 8, 1), clock)
    first, second = searched(study, 2)
    assert study.epoch_ended(first, metrics(1, 0.9)) is SchedulerDecision.CONTINUE
    assert study.out_of_time() == []
    clock.now = 4.5
    assert study.out_of_time() == [first]
    assert study.out_of_time() == [], "each is named once"
    assert study.epoch_ended(second, metrics(1, 0.9)) is SchedulerDecision.CONTINUE
    assert study.out_of_time() == [second], "a trial is not stopped before its first epoch"
    record = study.trial_ended(first, TrialResult(TrialState.PRUNED, (metrics(1, 0.9),), train_seconds=4.5))
    assert (record.result.state, record.result.reason) == (TrialState.PRUNED, SPENT)
    study.trial_ended(second, TrialResult(TrialState.PRUNED, (metrics(1, 0.9),), train_seconds=4.5))
    assert study.next_trial() is None, "the second that is left is too short for an epoch"


def test_a_trial_that_is_behind_is_pruned(experiment: Experiment) -> None:
    """Successive halving stops the worse of two, and its record says why."""
    study = Study(experiment, "ann", (8, 8, 1))
    good, bad = searched(study, 2)
    assert study.epoch_ended(good, metrics(1, 0.9)) is SchedulerDecision.CONTINUE
    assert study.epoch_ended(bad, metrics(1, 0.1)) is SchedulerDecision.STOP
    record = study.trial_ended(bad, TrialResult(TrialState.PRUNED, (metrics(1, 0.1),)))
    assert (record.result.state, record.result.reason) == (TrialState.PRUNED, PRUNED)


def test_a_trial_whose_weights_are_lost_is_trained_whole(experiment: Experiment) -> None:
    """A trial that had been complete goes to its end again, however good the others are and whatever of the seconds is
    left; what was cut may be pruned, as before."""
    clock = Clock()
    first = Study(experiment.changed(seconds=10.0), "ann", (8, 8, 1), clock)
    trials = run_to_the_end(first, {1: 0.9, 2: 0.5, 3: 0.5})
    study = Study(experiment.changed(seconds=10.0), "ann", (8, 8, 1), clock)
    ended = [each for each in first.records if each.trial.number not in (1, 3)]
    study.restore(ended, [trials[3]], [trials[1]])
    lost, cut = study.next_trial(), study.next_trial()
    assert (lost, cut) == (trials[1], trials[3])
    assert lost is not None and cut is not None  # noqa: PT018
    assert study.next_trial() is None
    assert study.epoch_ended(cut, metrics(1, 0.6)) is SchedulerDecision.CONTINUE
    assert study.epoch_ended(lost, metrics(1, 0.1)) is SchedulerDecision.CONTINUE
    clock.now = 100.0
    assert study.out_of_time() == [cut]
    study.trial_ended(cut, TrialResult(TrialState.PRUNED, (metrics(1, 0.6),), train_seconds=50.0))
    record = study.trial_ended(lost, complete(lost, 0.9))
    assert record.result.state is TrialState.COMPLETE
    assert record.result.weights is not None


def test_a_baseline_is_never_pruned(experiment: Experiment) -> None:
    """A baseline goes on, however bad it is."""
    study = Study(experiment, "ann", (8, 8, 1))
    baseline = study.next_trial()
    assert baseline is not None
    assert study.epoch_ended(baseline, metrics(1, 0.0)) is SchedulerDecision.CONTINUE


def test_stopped_without_the_studys_word_is_interrupted(experiment: Experiment) -> None:
    """A trial that was stopped for another reason than the study's has failed: it was interrupted."""
    study = Study(experiment, "ann", (8, 8, 1))
    trial = study.next_trial()
    assert trial is not None
    record = study.trial_ended(trial, TrialResult(TrialState.PRUNED, (metrics(1, 0.5),), reason="stopped"))
    assert (record.result.state, record.result.reason) == (TrialState.FAIL, INTERRUPTED)


@pytest.mark.parametrize(("accuracies", "best"), [((0.7, 0.9, 0.8), 2), ((0.7, 0.8, 0.9), 3)])
def test_weights_are_kept_of_the_best_only(accuracies: tuple[float, ...], best: int, experiment: Experiment) -> None:
    """Weights and predictions stay with the baselines and the best trial, epochs with all; whoever records a trial gets its
    predictions."""
    study = Study(experiment, "ann", (8, 8, 1))
    while (trial := study.next_trial()) is not None:
        result = complete(trial, (0.5, *accuracies)[trial.number])
        record = study.trial_ended(trial, dataclasses.replace(result, predictions=np.zeros(4, np.uint8)))
        assert record.result.predictions is not None
    assert [each.trial.number for each in study.records] == [0, 1, 2, 3]
    assert [each.trial.number for each in study.records if each.result.predictions is not None] == [0, best]
    assert [each.trial.number for each in study.records if each.result.weights is not None] == [0, best]
    assert all(each.result.epochs for each in study.records)


def test_what_is_left_follows_from_what_ended(experiment: Experiment) -> None:
    """The seconds that are left: what a trial took in the mean, for each that is still to come, within the budget."""
    clock = Clock()
    without = experiment.changed(trials=10, seconds=50.0).model_copy(update={"finalists": None})
    study = Study(without, "cnn", (8, 8, 1), clock)
    trials = searched(study, 3)
    assert study.seconds_left() == 42.5, "nothing is known yet: an even share for each that is to come"
    for trial, seconds in zip(trials, (1.0, 3.0), strict=False):
        clock.now += seconds
        study.trial_ended(trial, complete(trial, 0.9, seconds))
    assert study.seconds_left() == pytest.approx(2.0 * 7.5), "seven are to come, and half of the one that runs"
    clock.now += 40.0
    assert study.seconds_left() == pytest.approx(50.0 - 4.0 - 44.0)


def test_seeds_differ_and_repeat() -> None:
    """A trial's seed depends on the sweep's seed, the family and the number, and on nothing else."""
    seeds = {trial_seed(seed, family, number) for seed in (0, 1) for family in ("ann", "cnn") for number in range(50)}
    assert len(seeds) == 200
    assert trial_seed(0, "ann", 3) == trial_seed(0, "ann", 3)
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_the_same_seed_draws_the_same_configurations(experiment: Experiment) -> None:
    """With one worker a study is a function of the experiment."""
    first, second = (run_to_the_end(Study(experiment, "cnn", (8, 8, 1))) for _ in range(2))
    assert first == second
    other = run_to_the_end(Study(experiment.changed(seed=1), "cnn", (8, 8, 1)))
    assert [each.params for each in other[1:]] != [each.params for each in first[1:]]


@pytest.mark.parametrize("trials", [0, 24])
def test_the_order_of_baselines(trials: int) -> None:
    """Alone, the baseline that trains longest starts first, so that no worker is left with it in the end; where a search
    follows, the shortest one does, so that there is soon something to compare with. Both families' are one order."""
    experiment = load_experiment(EXPERIMENTS / "mnist.yaml")
    budget = Budget(trials=trials, epochs=6, seconds=100.0)
    study = Study(experiment.model_copy(update={"budget": budget}), "ann", (28, 28, 1))
    costs, priorities = [], []
    while priority := study.priority():
        priorities.append(priority)
        trial = study.next_trial()
        assert trial is not None
        assert trial.baseline is not None
        costs.append(trial.epochs * trial.params.operations((28, 28, 1)))
    assert len(costs) == 5
    assert costs == sorted(costs, reverse=trials == 0)
    assert priorities == sorted(priorities, reverse=True)


@pytest.mark.parametrize("pruner", ["median", "hyperband", "successive_halving"])
def test_no_trial_is_pruned_early(pruner: str, tmp_path: Path) -> None:
    """Whatever the pruner, a trial that is far behind is stopped, and never before `min_epochs`."""
    text = (EXPERIMENTS / "smoke.yaml").read_text()
    text = text.replace("successive_halving, min_epochs: 1", f"{pruner}, startup_trials: 2, min_epochs: 3")
    (tmp_path / "pruned.yaml").write_text(text.replace("trials: 3, epochs: 3", "trials: 60, epochs: 12"))
    study = Study(load_experiment(tmp_path / "pruned.yaml").changed(seconds=1e6), "cnn", (8, 8, 1))
    stopped = []
    while (trial := study.next_trial()) is not None:
        accuracy = 0.9 if trial.number < 8 else 0.1
        for number in range(1, trial.epoch_count + 1):
            if study.epoch_ended(trial, metrics(number, accuracy)) is SchedulerDecision.STOP:
                stopped.append(number)
                break
        study.trial_ended(trial, complete(trial, accuracy))
    assert stopped
    assert min(stopped) >= 3
