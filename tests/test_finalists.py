"""Finalists: who is trained again, on which seeds, who wins, and what is refitted. No worker is needed for that."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from running import EXPERIMENTS
from support import made_split
from trials import complete

from digitsweep.config.experiment import Experiment, FinalistsSpec
from digitsweep.config.experiment_file import load_experiment
from digitsweep.families import FAMILIES, parse_params
from digitsweep.search.finalists import Finalists, Succession, Unhurried, planned_seconds, winner_of
from digitsweep.search.study import PRUNED, Study
from digitsweep.sweeping.judge import finalists_of
from digitsweep.trial import SPENT, EpochMetrics, Kind, Trial, TrialRecord, TrialResult, TrialState

SPLITS = (made_split(30, seed=1), made_split(9, seed=2))


@pytest.fixture
def experiment() -> Experiment:
    loaded = load_experiment(EXPERIMENTS / "smoke.yaml")
    return loaded.model_copy(update={"finalists": FinalistsSpec(top=2, seeds=2, confirm=2, epochs={"ann": 5})})


def result(accuracy: float, weights: int = 10, state: TrialState = TrialState.COMPLETE) -> TrialResult:
    learned = (np.zeros(1, np.float32),) if state is TrialState.COMPLETE else None
    return TrialResult(state, (EpochMetrics(1, 0.1, 0.9, 0.2, accuracy, 0.001, 1.0),), None, learned, weights, 1.0)


def searched(number: int, accuracy: float, units: int = 0, weights: int = 10) -> TrialRecord:
    params = parse_params("ann", {"hidden_layers": 1, "units": units or 10 + number})
    return TrialRecord(Trial(number, params, seed=number, epochs=3), result(accuracy, weights))


def finals_of(experiment: Experiment, records: list[TrialRecord]) -> Finalists:
    """The finalists that the experiment asks for."""
    assert experiment.finalists is not None
    return Finalists(experiment, "ann", experiment.finalists, records, Unhurried((8, 8, 1)))


def run(finals: Finalists, accuracies: dict[str, float]) -> list[Trial]:
    """Trains nothing: every training ends at once with the accuracy given for its name, or fails."""
    trials = []
    while (trial := finals.next_trial()) is not None:
        trials.append(trial)
        accuracy = accuracies.get(trial.name, 0.5)
        state = TrialState.FAIL if math.isnan(accuracy) else TrialState.COMPLETE
        finals.trial_ended(trial, result(accuracy, state=state))
    return trials


RECORDS = [searched(0, 0.90), searched(1, 0.95), searched(2, 0.93), searched(3, 0.99, units=11)]


def test_the_best_are_trained_on_the_same_fresh_seeds(experiment: Experiment) -> None:
    """The two best configurations, each on two seeds that no trial had, for the finalists' epochs; then the winner's refit,
    and the winner on two seeds more."""
    trials = run(finals_of(experiment, RECORDS), {})
    finalists = [each for each in trials if each.kind is Kind.FINALIST]
    assert sorted((each.number, each.repetition) for each in finalists) == [(2, 1), (2, 2), (3, 1), (3, 2)]
    assert {each.epochs for each in trials} == {5}
    seeds = {number: {each.seed for each in finalists if each.number == number} for number in (2, 3)}
    assert seeds[2] == seeds[3]
    assert len(seeds[2]) == 2
    assert not seeds[2] & {each.trial.seed for each in RECORDS}
    assert [each.name for each in trials[4:]] == ["ann-002 refit", "ann-002 confirmation 1", "ann-002 confirmation 2"]
    assert len({each.seed for each in trials[4:]} - seeds[2]) == 3


def test_a_refit_has_the_losses_that_plateau_follows(experiment: Experiment) -> None:
    """They are those of the winner's first fresh seed, if it was whole; the refit has no validation images of its own."""
    params = RECORDS[1].trial.params.model_copy(update={"schedule": "plateau"})
    record = dataclasses.replace(RECORDS[1], trial=dataclasses.replace(RECORDS[1].trial, params=params))
    for count, followed in ((5, (0.2,) * 5), (4, ())):
        finals, trials = finals_of(experiment, [record]), []
        epochs = tuple(EpochMetrics(number, 0.1, 0.9, 0.2, 0.5, 0.001, 1.0) for number in range(1, count + 1))
        while (trial := finals.next_trial()) is not None:
            trials.append(trial)
            finals.trial_ended(trial, dataclasses.replace(result(0.5), epochs=epochs))
        assert {each.val_losses for each in trials if each.kind is Kind.REFIT} == {followed}
        assert {each.val_losses for each in trials if each.kind is not Kind.REFIT} == {()}


def test_the_best_mean_wins_whatever_the_search_said(experiment: Experiment) -> None:
    """The search's first is second on fresh seeds; the other one is refitted, and is what counts."""
    finals = finals_of(experiment, RECORDS)
    accuracies = {"ann-003 finalist 1": 0.91, "ann-003 finalist 2": 0.93}
    accuracies |= {"ann-002 finalist 1": 0.90, "ann-002 finalist 2": 0.95}
    trials = run(finals, accuracies)
    winner = finals.winner()
    assert winner is not None
    assert winner.search.trial.number == 2
    assert winner.mean("val_accuracy", 2) == pytest.approx(0.925)
    assert [each.trial for each in finals.complete(Kind.REFIT, winner.search)] == [trials[4]]
    assert trials[4].name == "ann-002 refit"
    assert [each.trial for each in finals.complete(Kind.CONFIRMATION, winner.search)] == trials[5:]
    assert [each.search.trial.number for each in finals.candidates()] == [2, 3]


def test_equal_means_go_to_fewer_weights(experiment: Experiment) -> None:
    """Of two with the same mean the smaller one wins, though it comes from a later trial."""
    records = [searched(0, 0.95, weights=100), searched(1, 0.94, weights=50)]
    finals = finals_of(experiment, records)
    run(finals, {})
    winner = finals.winner()
    assert winner is not None
    assert winner.search.trial.number == 1


def test_a_configuration_that_lacks_a_seed_does_not_win(experiment: Experiment) -> None:
    """A failed seed would leave a mean of the lucky ones."""
    finals = finals_of(experiment, RECORDS)
    run(finals, {"ann-003 finalist 1": 0.99, "ann-003 finalist 2": math.nan, "ann-002 finalist 1": 0.2})
    winner = finals.winner()
    assert winner is not None
    assert winner.search.trial.number == 2


def test_nothing_follows_where_none_is_wanted_or_nobody_won(experiment: Experiment) -> None:
    """`confirm: 0` and `refit: false` train finalists only; where all fail there is neither a winner nor what follows."""
    without = experiment.model_copy(update={"finalists": FinalistsSpec(top=1, seeds=2, confirm=0, refit=False)})
    assert [each.kind for each in run(finals_of(without, RECORDS), {})] == [Kind.FINALIST] * 2
    finals = finals_of(experiment, RECORDS)
    failing = {f"ann-{number:03d} finalist {seed}": math.nan for number in (2, 3) for seed in (1, 2)}
    assert all(each.kind is Kind.FINALIST for each in run(finals, failing))
    assert finals.winner() is None


@pytest.mark.parametrize("ended", [0, 1, 2])
def test_who_wins_has_finished_its_seeds(experiment: Experiment, ended: int) -> None:
    """Where of two configurations on two seeds each only one or none has finished both, that one has won, or nobody: the
    search's best is what counts then, and did not win on fresh seeds."""
    finals = finals_of(experiment, RECORDS)
    second_seeds = ["ann-002 finalist 2", "ann-003 finalist 2"][ended:]
    run(finals, dict.fromkeys(second_seeds, math.nan))
    winner = winner_of(RECORDS, finals, "val_accuracy")
    assert winner is not None
    shown = finalists_of(winner, finals, ())
    assert len(shown) == 2
    assert sum(each.won for each in shown) == min(ended, 1)
    assert shown[0].won is bool(ended)
    assert [len(each.selection_seeds) for each in shown if each.won] == [2] * min(ended, 1)


def test_what_follows_waits_for_the_running_finalists(experiment: Experiment) -> None:
    """As long as a finalist runs, who wins is not known: nothing is handed out. Then refit and confirmations are, at once,
    the refit first, since it trains on more images."""
    finals = finals_of(experiment, RECORDS)
    trials = [finals.next_trial() for _ in range(4)]
    assert finals.next_trial() is None
    assert finals.priority() == 0.0
    for each in trials:
        assert each is not None
        finals.trial_ended(each, result(0.5))
    assert finals.priority() > 0.0
    following = [finals.next_trial() for _ in range(4)]
    assert [each and each.kind for each in following] == [Kind.REFIT, Kind.CONFIRMATION, Kind.CONFIRMATION, None]


@pytest.mark.parametrize("ended", range(8))
def test_finals_go_on_wherever_they_were_broken_off(ended: int, experiment: Experiment) -> None:
    """With so many of the seven trainings ended, the others are handed out and nothing twice, and the same one wins."""
    accuracies = {"ann-002 finalist 1": 0.91, "ann-002 finalist 2": 0.93}
    whole = finals_of(experiment, RECORDS)
    run(whole, accuracies)
    rest = finals_of(experiment, RECORDS)
    rest.restore(whole.records[:ended])
    run(rest, accuracies)
    assert sorted(each.trial.name for each in rest.records) == sorted(each.trial.name for each in whole.records)
    assert len(rest.records) == 7
    winner = rest.winner()
    assert winner is not None
    assert winner.search.trial.number == 2
    assert (rest.progress(), rest.seconds_left()) == (1.0, 0.0)


def test_only_the_winners_confirmations_count(experiment: Experiment) -> None:
    """A sweep that goes on may choose another winner, where a finalist's weights were lost: what followed the first choice
    says nothing of it."""
    first = finals_of(experiment, RECORDS)
    run(first, {"ann-003 finalist 1": 0.9, "ann-003 finalist 2": 0.9})
    kept = [each for each in first.records if not each.trial.name.startswith("ann-002")]
    second = finals_of(experiment, RECORDS)
    second.restore(kept)
    run(second, {"ann-002 finalist 1": 0.99, "ann-002 finalist 2": 0.99})
    winner = winner_of(RECORDS, second, "val_accuracy")
    assert winner is not None
    assert [each.trial.name for each in winner.confirmations] == ["ann-002 confirmation 1", "ann-002 confirmation 2"]
    assert winner.trained.trial.name == "ann-002 refit"
    assert "ann-003 confirmation 1" in {each.trial.name for each in second.records}


@pytest.mark.parametrize(
    ("failing", "registered", "confirmed"),
    [
        ((), "ann-002 refit", 2),
        (("refit",), "ann-002 confirmation 1", 2),
        (("refit", "confirmation 1"), "ann-002 confirmation 2", 1),
        (("refit", "confirmation 1", "confirmation 2"), "ann-002 finalist 1", 0),
    ],
)
def test_what_is_registered(failing: tuple[str, ...], registered: str, confirmed: int, experiment: Experiment) -> None:
    """The refit; where it failed, the first network that chose nothing; where there is none, the first selection seed's."""
    finals = finals_of(experiment, RECORDS)
    run(finals, {f"ann-002 {name}": math.nan for name in failing})
    winner = winner_of(RECORDS, finals, "val_accuracy")
    assert winner is not None
    assert (winner.trained.trial.name, len(winner.confirmations)) == (registered, confirmed)


def test_the_time_of_the_finalists_is_foreseen(experiment: Experiment) -> None:
    """Where an epoch takes a second, five epochs of two configurations on two seeds, of two confirmations and of a refit
    take 35."""
    assert planned_seconds(experiment, "ann", 1.0) == pytest.approx(35.0)
    assert planned_seconds(experiment.model_copy(update={"finalists": None}), "ann", 1.0) == 0.0


def test_each_family_may_have_epochs_of_its_own(experiment: Experiment) -> None:
    """The finalists and the refit train for their family's epochs; a family that is not named for the search's."""
    finalists = FinalistsSpec.model_validate({"top": 1, "seeds": 1, "confirm": 0, "epochs": {"ann": 7}})
    changed = experiment.model_copy(update={"finalists": finalists})
    assert {each.epochs for each in run(finals_of(changed, [searched(1, 0.9)]), {})} == {7}
    assert finalists.epochs_of("cnn", 3) == 3
    assert planned_seconds(changed, "ann", 1.0) == pytest.approx(14.0)
    assert FinalistsSpec.model_validate({"epochs": 4}).epochs == dict.fromkeys(FAMILIES, 4)


def test_what_the_clock_cut_off_may_win(experiment: Experiment) -> None:
    """A trial that only the family's seconds stopped is a candidate by its last epoch; one that was behind the others is
    not."""
    cut, behind = searched(4, 0.98), searched(5, 0.999)
    cut = TrialRecord(cut.trial, dataclasses.replace(cut.result, state=TrialState.PRUNED, reason=SPENT))
    behind = TrialRecord(behind.trial, dataclasses.replace(behind.result, state=TrialState.PRUNED, reason=PRUNED))
    begun = TrialRecord(searched(6, 0.0).trial, TrialResult(TrialState.PRUNED, reason=SPENT))
    trials = run(finals_of(experiment, [*RECORDS, cut, behind, begun]), {})
    assert {each.number for each in trials} == {3, 4}


def test_without_selection_seeds_the_search_decides(experiment: Experiment) -> None:
    """With `seeds: 0` the best of the search is the winner at once: it is refitted and confirmed, and nothing is trained to
    choose it."""
    spec = FinalistsSpec(top=1, seeds=0, confirm=2)
    finals = finals_of(experiment.model_copy(update={"finalists": spec}), RECORDS)
    names = [each.name for each in run(finals, {"ann-003 confirmation 1": 0.1})]
    assert names == ["ann-003 refit", "ann-003 confirmation 1", "ann-003 confirmation 2"]
    winner = winner_of(RECORDS, finals, "val_accuracy")
    assert winner is not None
    assert (winner.search.trial.number, winner.trained.trial.name, winner.finalist) == (3, "ann-003 refit", True)
    (shown,) = finalists_of(winner, finals, (0.5, 0.5))
    assert (shown.selection, shown.won) == (None, True)


def test_a_winner_without_weights_leaves_it_to_the_search(experiment: Experiment) -> None:
    """Where only the clock cut the best trial off, so that it has no weights, and all that followed has failed, the best
    complete trial of the search is what counts."""
    cut = searched(4, 0.999)
    cut = TrialRecord(cut.trial, dataclasses.replace(cut.result, state=TrialState.PRUNED, reason=SPENT, weights=None))
    spec = FinalistsSpec(top=1, seeds=0, confirm=1)
    finals = finals_of(experiment.model_copy(update={"finalists": spec}), [*RECORDS, cut])
    run(finals, {"ann-004 refit": math.nan, "ann-004 confirmation 1": math.nan})
    winner = winner_of([*RECORDS, cut], finals, "val_accuracy")
    assert winner is not None
    assert (winner.search.trial.number, winner.finalist) == (3, False)


def test_finalists_begin_when_the_search_is_over(experiment: Experiment) -> None:
    """A family's search is followed by its finalists as soon as its last trial has ended, and not before."""
    study = Study(experiment, "ann", (8, 8, 1))
    both = Succession(study, lambda: finals_of(experiment, study.records))
    trials: list[Trial] = []
    while not trials or trials[-1].kind is Kind.TRIAL:
        trial = both.next_trial()
        assert trial is not None
        assert (both.finalists is None) == (trial.kind is Kind.TRIAL)
        trials.append(trial)
        both.trial_ended(trial, complete(trial, 0.9))
    assert [each.kind for each in trials[:-1]] == [Kind.TRIAL] * 4
    assert trials[-1].kind is Kind.FINALIST
    assert [each.trial for each in both.followed] == trials[-1:]


def test_a_search_without_finalists(experiment: Experiment) -> None:
    """Where no finalists are wanted, nothing follows the search."""
    study = Study(experiment, "ann", (8, 8, 1))
    both = Succession(study, None)
    while (trial := both.next_trial()) is not None:
        both.trial_ended(trial, complete(trial, 0.9))
    both.end_search()
    assert (both.finalists, both.followed) == (None, [])
    assert len(study.records) == 4


def test_finalists_count_though_the_search_is_not_over(experiment: Experiment) -> None:
    """A sweep that is interrupted again, before it has retrained what it had lost, keeps the finalists that it had."""
    study = Study(experiment, "ann", (8, 8, 1))

    def begin() -> Finalists:
        finals = finals_of(experiment, RECORDS)
        whole = finals_of(experiment, RECORDS)
        run(whole, {})
        finals.restore(whole.records)
        return finals

    both = Succession(study, begin)
    assert both.next_trial() is not None
    both.end_search()
    assert len(both.followed) == 7
