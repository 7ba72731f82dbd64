"""Finalists: who is trained again, on which seeds, who wins, and what is refitted. No worker is needed for that."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, cast

import numpy as np
import pytest
from running import EXPERIMENTS
from support import made_split

from digitsweep.data import make_dataset
from digitsweep.experiment import Experiment, FinalistsSpec
from digitsweep.experiment_file import load_experiment
from digitsweep.finalists import Finals, planned_seconds, winner_of
from digitsweep.judging import _Court
from digitsweep.params import parse_params
from digitsweep.results import EpochMetrics, Kind, Trial, TrialRecord, TrialResult, TrialState
from digitsweep.source import SPENT
from digitsweep.study import PRUNED

SPLITS = (made_split(30, seed=1), made_split(9, seed=2))


@pytest.fixture
def experiment() -> Experiment:
    loaded = load_experiment(EXPERIMENTS / "smoke.yaml")
    return loaded.model_copy(update={"finalists": FinalistsSpec(top=2, seeds=2, epochs={"ann": 5})})


def result(accuracy: float, weights: int = 10, state: TrialState = TrialState.COMPLETE) -> TrialResult:
    learned = (np.zeros(1, np.float32),) if state is TrialState.COMPLETE else None
    return TrialResult(state, (EpochMetrics(1, 0.1, 0.9, 0.2, accuracy, 0.001, 1.0),), None, learned, weights, 1.0)


def searched(number: int, accuracy: float, units: int = 0, weights: int = 10) -> TrialRecord:
    params = parse_params("ann", {"hidden_layers": 1, "units": units or 10 + number})
    return TrialRecord(Trial(number, params, seed=number, epochs=3), result(accuracy, weights))


def run(finals: Finals, accuracies: dict[str, float]) -> list[Trial]:
    """Trains nothing: every training ends at once with the accuracy given for its name, or fails."""
    trials = []
    while (trial := finals.next_trial()) is not None:
        trials.append(trial)
        accuracy = accuracies.get(trial.name, 0.5)
        state = TrialState.FAIL if math.isnan(accuracy) else TrialState.COMPLETE
        finals.ended(trial, result(accuracy, state=state))
    return trials


RECORDS = [searched(0, 0.90), searched(1, 0.95), searched(2, 0.93), searched(3, 0.99, units=11)]


def test_the_best_are_trained_on_the_same_fresh_seeds(experiment: Experiment) -> None:
    """The two best configurations, each on two seeds that no trial had, for the finalists' epochs; then one refit."""
    trials = run(Finals(experiment, "ann", RECORDS, 8), {})
    finalists = [each for each in trials if each.kind is Kind.FINALIST]
    assert sorted((each.number, each.repetition) for each in finalists) == [(2, 1), (2, 2), (3, 1), (3, 2)]
    assert {each.epochs for each in trials} == {5}
    seeds = {number: {each.seed for each in finalists if each.number == number} for number in (2, 3)}
    assert seeds[2] == seeds[3]
    assert len(seeds[2]) == 2
    assert not seeds[2] & {each.trial.seed for each in RECORDS}
    assert [each.name for each in trials if each.kind is Kind.REFIT] == [trials[-1].name]
    assert trials[-1].seed not in seeds[2]


def test_the_best_mean_wins_whatever_the_search_said(experiment: Experiment) -> None:
    """The search's first is second on fresh seeds; the other one is refitted, and is what counts."""
    finals = Finals(experiment, "ann", RECORDS, 8)
    accuracies = {"ann-003 finalist 1": 0.91, "ann-003 finalist 2": 0.93}
    accuracies |= {"ann-002 finalist 1": 0.90, "ann-002 finalist 2": 0.95}
    trials = run(finals, accuracies)
    winner = finals.winner()
    assert winner is not None
    assert winner.search.trial.number == 2
    assert winner.mean("val_accuracy", 2) == pytest.approx(0.925)
    assert trials[-1].name == "ann-002 refit"
    refit = finals.refit()
    assert refit is not None
    assert refit.trial is trials[-1]
    assert [each.search.trial.number for each in finals.candidates()] == [2, 3]


def test_equal_means_go_to_fewer_weights(experiment: Experiment) -> None:
    """Of two with the same mean the smaller one wins, though it comes from a later trial."""
    records = [searched(0, 0.95, weights=100), searched(1, 0.94, weights=50)]
    finals = Finals(experiment, "ann", records, 8)
    run(finals, {})
    winner = finals.winner()
    assert winner is not None
    assert winner.search.trial.number == 1


def test_a_configuration_that_lacks_a_seed_does_not_win(experiment: Experiment) -> None:
    """A failed seed would leave a mean of the lucky ones."""
    finals = Finals(experiment, "ann", RECORDS, 8)
    run(finals, {"ann-003 finalist 1": 0.99, "ann-003 finalist 2": math.nan, "ann-002 finalist 1": 0.2})
    winner = finals.winner()
    assert winner is not None
    assert winner.search.trial.number == 2


def test_no_refit_where_none_is_wanted_or_nobody_won(experiment: Experiment) -> None:
    """`refit: false` trains finalists only; where all fail there is neither a winner nor a refit."""
    without = experiment.model_copy(update={"finalists": FinalistsSpec(top=1, seeds=2, refit=False)})
    assert [each.kind for each in run(Finals(without, "ann", RECORDS, 8), {})] == [Kind.FINALIST] * 2
    finals = Finals(experiment, "ann", RECORDS, 8)
    failing = {f"ann-{number:03d} finalist {seed}": math.nan for number in (2, 3) for seed in (1, 2)}
    assert all(each.kind is Kind.FINALIST for each in run(finals, failing))
    assert finals.winner() is None
    assert finals.refit() is None


@pytest.mark.parametrize("ended", [0, 1, 2])
def test_who_wins_has_finished_its_seeds(experiment: Experiment, ended: int) -> None:
    """Where of two configurations on two seeds each only one or none has finished both, that one has won, or nobody: the
    search's best is what counts then, and did not win on fresh seeds."""
    finals = Finals(experiment, "ann", RECORDS, 8)
    second_seeds = ["ann-002 finalist 2", "ann-003 finalist 2"][ended:]
    run(finals, dict.fromkeys(second_seeds, math.nan))
    winner = winner_of(RECORDS, finals, "val_accuracy")
    assert winner is not None
    court = _Court(experiment, make_dataset("x", "", *SPLITS, validation=3), "ann", winner, None, finals, cast("Any", None))
    shown = court.finalists()
    assert len(shown) == 2
    assert sum(each.won for each in shown) == min(ended, 1)
    assert shown[0].won is bool(ended)
    assert [len(each.seeds) for each in shown if each.won] == [2] * min(ended, 1)


def test_a_refit_waits_for_the_running_finalists(experiment: Experiment) -> None:
    """As long as a finalist runs, who wins is not known: nothing is handed out."""
    finals = Finals(experiment, "ann", RECORDS, 8)
    trials = [finals.next_trial() for _ in range(4)]
    assert finals.next_trial() is None
    for each in trials:
        assert each is not None
        finals.ended(each, result(0.5))
    refit = finals.next_trial()
    assert refit is not None
    assert refit.kind is Kind.REFIT


def test_the_time_of_the_finalists_is_foreseen(experiment: Experiment) -> None:
    """Where an epoch takes a second, five epochs of two configurations on two seeds and of a refit take 25."""
    assert planned_seconds(experiment, "ann", 1.0) == pytest.approx(25.0)
    assert planned_seconds(experiment.model_copy(update={"finalists": None}), "ann", 1.0) == 0.0


def test_each_family_may_have_epochs_of_its_own(experiment: Experiment) -> None:
    """The finalists and the refit train for their family's epochs; a family that is not named for the search's."""
    finalists = FinalistsSpec.model_validate({"top": 1, "seeds": 1, "epochs": {"ann": 7}})
    changed = experiment.model_copy(update={"finalists": finalists})
    assert {each.epochs for each in run(Finals(changed, "ann", [searched(1, 0.9)], 8), {})} == {7}
    assert finalists.epochs_of("cnn", 3) == 3
    assert planned_seconds(changed, "ann", 1.0) == pytest.approx(14.0)
    assert FinalistsSpec.model_validate({"epochs": 4}).epochs == {"ann": 4, "cnn": 4}


def test_what_the_clock_cut_off_may_win(experiment: Experiment) -> None:
    """A trial that only the family's seconds stopped is a candidate by its last epoch; one that was behind the others is
    not."""
    cut, behind = searched(4, 0.98), searched(5, 0.999)
    cut = TrialRecord(cut.trial, dataclasses.replace(cut.result, state=TrialState.PRUNED, reason=SPENT))
    behind = TrialRecord(behind.trial, dataclasses.replace(behind.result, state=TrialState.PRUNED, reason=PRUNED))
    begun = TrialRecord(searched(6, 0.0).trial, TrialResult(TrialState.PRUNED, reason=SPENT))
    trials = run(Finals(experiment, "ann", [*RECORDS, cut, behind, begun], 8), {})
    assert {each.number for each in trials} == {3, 4}
