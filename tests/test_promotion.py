"""A search within minutes, on a clock that the test moves: rungs, promotions, and time that is never exceeded."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import MINUTES_EXPERIMENT, PROPERTY
from trials import Machine, complete, metrics

from digitsweep.config.experiment import Baseline, Experiment, MinutesBudget, SamplerSpec
from digitsweep.config.experiment_file import load_experiment
from digitsweep.config.space import Space
from digitsweep.families import parse_params
from digitsweep.search import promotion
from digitsweep.search.budget import START_SECONDS
from digitsweep.search.finalists import MOST_CONFIRMATIONS, Finalists, Succession
from digitsweep.search.knowledge import ON_TOP
from digitsweep.search.promotion import (
    BASELINE_SHARE,
    CONFIRM,
    FINALISTS,
    MOST_EPOCHS,
    MOST_LONGER,
    FinalPace,
    Ladder,
    PromotionStudy,
)
from digitsweep.search.scheduler import HOPELESS
from digitsweep.tracking.records import planned, restored_trial
from digitsweep.trial import (
    INTERRUPTED,
    OUT_OF_TIME,
    Kind,
    Trial,
    TrialRecord,
    TrialResult,
    TrialState,
    failed,
    in_order,
)

WITHIN = 1.1
"""How late a sweep may be, as a part of its minutes."""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """Draws at random, since that is quick; only test_proposals.py is about what is drawn."""
    path = tmp_path_factory.mktemp("minutes") / "minutes.yaml"
    path.write_text(MINUTES_EXPERIMENT.replace("seed: 0", "seed: 0\nsampler: {type: random}", 1))
    return load_experiment(path)


@pytest.fixture
def experiment(written: Experiment) -> Experiment:
    return budgeted(written, minutes=8)


def budgeted(experiment: Experiment, **budget: float | None) -> Experiment:
    return experiment.model_copy(update={"budget": MinutesBudget.model_validate(budget)})


def searched(machine: Machine) -> list[TrialRecord]:
    """What has ended of the search, without baselines."""
    return [each for each in machine.ended if each.trial.kind is Kind.TRIAL and each.trial.baseline is None]


def succession(machine: Machine, experiment: Experiment, study: PromotionStudy) -> Succession:
    """A search and its finalists."""
    return Succession(study, lambda: Finalists(experiment, study.family, FINALISTS, study.records, FinalPace(study)))


def swept(machine: Machine, experiment: Experiment, after: float = 0.0) -> dict[str, Succession]:
    """A whole sweep of both families on a machine."""
    shared = machine.time(experiment, after=after)
    studies = {family: machine.study(experiment, family, shared) for family in map(str, experiment.families)}
    families = {family: succession(machine, experiment, study) for family, study in studies.items()}
    machine.run(families)
    return families


# Rungs.


@PROPERTY
@given(top=st.floats(0.01, 10_000))
def test_a_ladder_ends_at_its_top(top: float) -> None:
    """Each rung has more work than the one below it, the highest one has what was asked for."""
    ladder = Ladder.under(top)
    assert ladder.works[-1] == top
    assert list(ladder.works) == sorted(set(ladder.works))
    assert len(ladder.works) == ladder.top + 1


def test_baselines_come_first(experiment: Experiment) -> None:
    """The baselines are trained before anything is drawn, and carry no rung's plan."""
    machine = Machine()
    study = machine.study(experiment)
    for _ in range(4):
        machine.train(study)
    assert [each.baseline for each in machine.begun] == ["softmax", None, None, None]
    assert [bool(each.ladder) for each in machine.begun] == [False, True, True, True]


@pytest.mark.parametrize("workers", [2, 4])
def test_the_first_baseline_times_the_machine(workers: int, written: Experiment) -> None:
    """On a slow machine, only the shortest baseline takes as long as its epochs ask for. The others wait for its end, and
    share what is left for baselines; meanwhile other families train."""
    baselines = {
        f"dense-{units}": Baseline(params=parse_params("ann", {"hidden_layers": 1, "units": units}), epochs=10)
        for units in (64, 128, 256)
    }
    ann = written.families["ann"].model_copy(update={"baselines": baselines})
    experiment = budgeted(written.model_copy(update={"families": {**written.families, "ann": ann}}), minutes=1)
    machine = Machine(workers=workers, slowness=15.0)
    swept(machine, experiment)
    first, *others = [each for each in machine.ended if each.trial.baseline in baselines]
    assert first.trial.baseline == "dense-64"
    share = BASELINE_SHARE * 60.0 * workers / len(experiment.families)
    assert sum(each.result.train_seconds for each in others) < 1.5 * share
    assert {each.family for each in machine.begun[:2]} == {"ann", "cnn"}


@pytest.mark.parametrize("trials", [None, 0])
@pytest.mark.parametrize("workers", [1, 4, 16])
def test_one_large_baseline_is_shortened(workers: int, trials: int | None, written: Experiment) -> None:
    """A sweep cannot wait for a baseline that takes longer than its minutes, however many workers have nothing to do."""
    params = parse_params("ann", {"hidden_layers": 2, "units": 1024})
    machine = Machine(workers=workers)
    epochs = 300.0 / params.epoch_seconds(machine.shape, machine.images)
    baselines = {"large": Baseline(params=params, epochs=math.ceil(epochs))}
    ann = written.families["ann"].model_copy(update={"baselines": baselines})
    experiment = budgeted(written.model_copy(update={"families": {"ann": ann}}), minutes=5, trials=trials)
    swept(machine, experiment)
    assert machine.clock.now < 1.1 * 300.0
    (baseline,) = [each for each in machine.ended if each.trial.baseline == "large" and each.trial.kind is Kind.TRIAL]
    assert baseline.result.state is TrialState.COMPLETE
    assert bool(searched(machine)) == (trials is None)


def test_a_family_that_only_fails_comes_to_an_end(written: Experiment) -> None:
    """If no training is complete when the minutes are over, nothing more is drawn."""

    class Diverging(Machine):
        def result(self, trial: Trial) -> TrialResult:
            return dataclasses.replace(failed([], "the loss is not finite", self.seconds(trial)), weight_count=10)

    ann = written.families["ann"].model_copy(update={"baselines": {}})
    experiment = budgeted(written.model_copy(update={"families": {"ann": ann}}), minutes=1)
    machine = Diverging()
    study = machine.study(experiment)
    for _ in range(1000):
        if machine.train(study) is None:
            break
    assert study.is_over()
    assert machine.clock.now < 120.0
    assert len(searched(machine)) >= HOPELESS


def test_a_slow_machine_is_slow_for_all_families(written: Experiment) -> None:
    """Until a first training of a family has ended, the other families show how long it will take."""
    machine = Machine(slowness=5.0)
    experiment = budgeted(written, minutes=8)
    shared = machine.time(experiment)
    ann, cnn = (machine.study(experiment, family, shared) for family in ("ann", "cnn"))
    baseline = Trial(0, experiment.families["cnn"].baselines["conv"].params, 0, 20.0, "conv")
    before = cnn.predicted(baseline)
    for _ in range(3):
        machine.train(ann)
    assert cnn.predicted(baseline) - START_SECONDS == pytest.approx(5.0 * (before - START_SECONDS), rel=0.2)


@pytest.fixture
def three_rungs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans a third rung however short its trainings are."""
    monkeypatch.setattr(promotion, "WORTH_A_RUNG", 1.0)


@pytest.mark.usefixtures("three_rungs")
def test_a_rung_promotes_the_best_of_the_rung_below(experiment: Experiment) -> None:
    """A promotion is the best configuration of the rung below that was not promoted yet, with another seed and for longer;
    none is trained at a rung twice. As long as new ones are tried, it is among the best quarter there, if the rung trains
    four times as long."""
    machine = Machine()
    study = machine.study(experiment)
    known: list[TrialRecord] = []
    places: list[float] = []
    """Of each promotion: its place on the rung below, as a part of those that are promoted."""
    new = 0
    """Promotions before the last new configuration."""
    while (record := machine.train(study)) is not None:
        trial = record.trial
        if trial.number in {each.trial.number for each in known} and trial.proposed_by != "first":
            below = [each for each in known if each.trial.rung == trial.rung - 1 and each.trial.baseline is None]
            promoted = {each.trial.number for each in known if each.trial.rung >= trial.rung}
            best = in_order([each for each in below if each.trial.number not in promoted], "val_accuracy")[0].trial
            assert (best.number, best.params) == (trial.number, trial.params)
            assert best.seed != trial.seed, "a lucky seed must not decide twice"
            assert best.epochs < trial.epochs
            order = [each.trial.number for each in in_order(below, "val_accuracy")]
            factor = trial.ladder[trial.rung] / trial.ladder[trial.rung - 1]
            places.append((order.index(trial.number) + 1) * factor / len(order))
        elif trial.rung == 0 and trial.baseline is None:
            new = len(places)
        known = list(study.records)
    names = [each.trial.name for each in known]
    assert len(names) == len(set(names))
    assert max(each.trial.rung for each in known) == 2
    assert new > 2
    assert all(each <= 1.0 for each in places[:new])


@pytest.mark.usefixtures("three_rungs")
def test_known_configurations_get_to_the_top_rung(experiment: Experiment) -> None:
    """The first few that the experiment names are trained on the top rung before anything is drawn. The very first has
    a training on the lowest rung before that; any beyond these few start on the lowest."""
    known, *_ = experiment.families["ann"].first
    params = {**known.model_dump(exclude_unset=True), "hidden_layers": 1}
    first = tuple(parse_params("ann", {**params, "units": [units]}) for units in range(20, 26))
    family = experiment.families["ann"].model_copy(update={"first": first})
    machine = Machine()
    machine.run({"ann": machine.study(experiment.model_copy(update={"families": {"ann": family}}))})
    begun = [each for each in machine.begun if each.kind is Kind.TRIAL and each.baseline is None]
    top = len(begun[-1].ladder) - 1
    assert top == 2
    on_top = [(place, top) for place in range(ON_TOP)]
    others = [(place, 0) for place in range(ON_TOP, len(first))]
    expected = [(0, 0), *on_top, *others]
    assert [(first.index(each.params), each.rung) for each in begun[: len(expected)]] == expected


@pytest.mark.usefixtures("three_rungs")
@pytest.mark.parametrize(
    ("learning_rate", "expected"),
    [(0.01, [(0, 0), (0, 2), (1, 2), (2, 2), (3, 2)]), (1e-4, [(0, 0), (0, 1), (1, 0), (2, 0), (3, 0)])],
)
def test_known_configurations_that_disappoint(
    learning_rate: float, expected: list[tuple[int, int]], experiment: Experiment
) -> None:
    """Once one has done worse than a baseline, and not on the lowest rung, those that are left compete like all others."""
    known, *_ = experiment.families["ann"].first
    params = {**known.model_dump(exclude_unset=True), "hidden_layers": 1, "learning_rate": learning_rate}
    first = tuple(parse_params("ann", {**params, "units": [units]}) for units in range(20, 20 + ON_TOP))
    family = experiment.families["ann"].model_copy(update={"first": first})
    machine = Machine()
    machine.run({"ann": machine.study(experiment.model_copy(update={"families": {"ann": family}}))})
    begun = [each for each in machine.begun if each.kind is Kind.TRIAL and each.baseline is None]
    rungs = [(first.index(each.params), each.rung) for each in begun if each.params in first]
    assert rungs[: len(expected)] == expected


@pytest.mark.usefixtures("three_rungs")
def test_digitsweeps_own_take_the_place_of_what_is_in_doubt(experiment: Experiment) -> None:
    """They compete on the lowest rung while nothing speaks against what the experiment names. Once that is in doubt, they
    are trained on the top rung without competing, and what the experiment names is not."""
    experiment = experiment.model_copy(update={"sampler": SamplerSpec(type="mixture")})
    known, *_ = experiment.families["ann"].first
    params = {**known.model_dump(exclude_unset=True), "hidden_layers": 1}
    good, bad = (
        tuple(parse_params("ann", {**params, "units": [units], "learning_rate": rate}) for units in range(20, 23))
        for rate in (0.01, 1e-4)
    )
    for first, rungs in ((good, {"first": {0, 2}, "default": {0}}), (bad, {"first": {0, 1}, "default": {0, 2}})):
        defaults = bad if first is good else good
        family = experiment.families["ann"].model_copy(update={"first": first, "defaults": defaults})
        machine = Machine()
        machine.run({"ann": machine.study(experiment.model_copy(update={"families": {"ann": family}}))})
        begun = [each for each in machine.begun if each.kind is Kind.TRIAL and each.baseline is None]
        for by, expected in rungs.items():
            assert {each.rung for each in begun[:12] if each.proposed_by == by} == expected


@pytest.mark.parametrize(
    ("other", "accuracy", "seconds", "doubts"),
    [
        ({"baseline": "softmax"}, 0.81, 3.0, True),
        ({"baseline": "softmax"}, 0.79, 3.0, False),
        ({"baseline": "softmax"}, 0.81, 5.0, False),
        ({"ladder": (1.0, 4.0), "proposed_by": "tpe"}, 0.81, 3.0, True),
        ({"ladder": (1.0, 4.0), "proposed_by": "default"}, 0.81, 3.0, True),
        ({"ladder": (1.0, 4.0), "proposed_by": "tpe", "rung": 1}, 0.81, 3.0, False),
        ({"ladder": (1.0, 4.0), "proposed_by": "neighbour"}, 0.81, 3.0, False),
        ({"ladder": (1.0, 4.0), "proposed_by": "first"}, 0.81, 3.0, False),
    ],
)
def test_what_is_known_is_doubted(
    other: dict[str, Any], accuracy: float, seconds: float, doubts: bool, experiment: Experiment
) -> None:
    """If a baseline, or a configuration on a lower rung that owes nothing to what was known, took no longer than the known
    ones on the top rung and was better."""
    params = experiment.families["ann"].first[0]
    known = Trial(1, params, 0, 8.0, rung=1, ladder=(1.0, 4.0), proposed_by="first")
    compared = Trial(2, params, 1, 2.0, **other)
    study = Machine().study(experiment)
    study.restore([TrialRecord(known, complete(known, 0.8, 4.0))], [])
    assert "first" not in study.knowledge.doubted
    study = Machine().study(experiment)
    both = (TrialRecord(known, complete(known, 0.8, 4.0)), TrialRecord(compared, complete(compared, accuracy, seconds)))
    study.restore(both, [])
    assert ("first" in study.knowledge.doubted) == doubts


def test_a_rung_says_nothing_of_longer_trainings(experiment: Experiment) -> None:
    """That a known configuration is worse than a baseline on the lowest rung raises no doubts: what is good after a long
    training need not be good after a short one. But it has to show more on the next rung."""
    params = experiment.families["ann"].first[0]
    known = Trial(1, params, 0, 2.0, rung=0, ladder=(1.0, 4.0, 16.0), proposed_by="first")
    baseline = Trial(2, params, 1, 2.0, "softmax")
    machine = Machine()
    time = machine.time(experiment, families=["ann"])
    study = PromotionStudy(
        experiment, "ann", machine.shape, machine.images, machine.images, time, ladder=Ladder(known.ladder)
    )
    study.restore([TrialRecord(baseline, complete(baseline, 0.9, 1.0)), TrialRecord(known, complete(known, 0.8, 1.0))], [])
    assert "first" not in study.knowledge.doubted
    study._planned.clear()
    promoted = study.next_trial()
    assert promoted is not None
    assert (promoted.number, promoted.rung) == (1, 1)
    study.trial_ended(promoted, complete(promoted, 0.91, 4.0))
    promoted = study.next_trial()
    assert promoted is not None
    assert (promoted.number, promoted.rung) == (1, 2)


def test_doubts_stay(experiment: Experiment) -> None:
    """A long training of a known configuration that does well does not make up for what it showed before."""
    params = experiment.families["ann"].first[0]
    known = [Trial(1, params, 0, 2.0 * 4**rung, rung=rung, ladder=(1.0, 4.0, 16.0), proposed_by="first") for rung in (1, 2)]
    baseline = Trial(2, params, 1, 2.0, "softmax")
    study = Machine().study(experiment)
    trials = [(baseline, 0.9, 1.0), (known[0], 0.8, 4.0), (known[1], 0.95, 16.0)]
    study.restore([TrialRecord(trial, complete(trial, value, seconds)) for trial, value, seconds in trials], [])
    assert "first" in study.knowledge.doubted
    (notice,) = study.notices()
    assert "ANN" in notice
    assert study.notices() == []


@pytest.mark.parametrize(("reason", "doubts"), [("the loss is not finite", True), (INTERRUPTED, False)])
def test_known_configurations_that_fail(reason: str, doubts: bool, experiment: Experiment) -> None:
    """They raise doubts, unless it was the sweep that ended them."""
    params = experiment.families["ann"].first[0]
    known = Trial(1, params, 0, 8.0, rung=1, ladder=(1.0, 4.0), proposed_by="first")
    other = Trial(2, params, 1, 2.0, rung=0, ladder=(1.0, 4.0), proposed_by="tpe")
    study = Machine().study(experiment)
    records = [TrialRecord(known, failed([], reason, 4.0)), TrialRecord(other, complete(other, 0.6, 2.0))]
    study.restore(records, [])
    assert ("first" in study.knowledge.doubted) == doubts


def test_a_quick_failure_hides_no_doubts(experiment: Experiment) -> None:
    """What is known is compared with all that took no longer than one of its complete trainings."""
    params = experiment.families["ann"].first[0]
    known = [Trial(number, params, number, 8.0, rung=1, ladder=(1.0, 4.0), proposed_by="first") for number in (1, 2)]
    baseline = Trial(3, params, 1, 2.0, "softmax")
    study = Machine().study(experiment)
    done = [TrialRecord(baseline, complete(baseline, 0.98, 20.0)), TrialRecord(known[0], complete(known[0], 0.9, 40.0))]
    study.restore([*done, TrialRecord(known[1], failed([], "the loss is not finite", 3.0))], [])
    assert "first" in study.knowledge.doubted


def test_extra_seeds_are_trained_after_a_resume(experiment: Experiment) -> None:
    """If all that was planned had been trained when a sweep was interrupted, seeds beyond the plan follow."""
    families = swept(Machine(), experiment)
    again = Machine()
    shared = again.time(experiment, elapsed=240.0)
    followers = {}
    for family, before in families.items():
        study = again.study(experiment, family, shared)
        study.restore(before.search.records, [])
        study.end_search()
        followers[family] = succession(again, experiment, study)
        followers[family].end_search()
        finalists = followers[family].finalists
        assert finalists is not None
        finalists.restore([each for each in before.followed if each.trial.repetition <= CONFIRM])
    again.run(followers)
    assert {each.repetition for each in again.begun} == set(range(CONFIRM + 1, MOST_CONFIRMATIONS + 1))


def test_rungs_count_in_work(experiment: Experiment) -> None:
    """All trainings of a rung are predicted to take equally long, whatever the network: a small one gets more epochs."""
    machine = Machine()
    machine.run({"ann": machine.study(experiment)})
    for record in searched(machine)[1:]:  # after the first one the rungs may be planned again
        trial = record.trial
        work = trial.epochs * trial.params.epoch_seconds(machine.shape, machine.images)
        assert work == pytest.approx(trial.ladder[trial.rung], rel=0.06)  # epochs have two digits


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("slowness", [0.5, 1.0, 2.5])
@pytest.mark.parametrize("minutes", [1, 3, 8, 30])
def test_any_budget_gives_an_answer(minutes: float, slowness: float, workers: int, written: Experiment) -> None:
    """In few minutes and in many, on a fast machine and on a slow one, the best of a family's highest rung is refitted for
    at least as long as it was trained there, and the sweep ends in time. On a machine that is not slower than predicted,
    that is the top rung, and the winners are confirmed with trainings as long as the refit."""
    machine = Machine(workers, slowness)
    families = swept(machine, budgeted(written, minutes=minutes), after=8.0)
    assert machine.clock.now + 8.0 <= WITHIN * 60 * minutes
    for family in families.values():
        whole = [each for each in family.search.records if each.result.state is TrialState.COMPLETE]
        best = in_order([each for each in whole if each.trial.baseline is None], "val_accuracy")[0].trial
        (refit,) = [each for each in family.followed if each.trial.kind is Kind.REFIT]
        assert refit.result.state is TrialState.COMPLETE
        assert refit.trial.number == best.number
        assert best.epochs <= refit.trial.epochs <= MOST_LONGER * best.epochs
        assert {each.trial.epochs for each in family.followed} == {refit.trial.epochs}
        if slowness <= 1.0:
            assert best.rung == len(best.ladder) - 1
            assert any(each.trial.kind is Kind.CONFIRMATION for each in family.followed)


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("minutes", [2, 3, 4, 6, 8])
def test_no_family_gets_more_seeds_before_the_others_have_theirs(minutes: float, workers: int, written: Experiment) -> None:
    """A confirmation beyond the plan begins only after all that the plan has of every family."""
    machine = Machine(workers)
    swept(machine, budgeted(written, minutes=minutes), after=8.0)
    is_extra = [each.kind is Kind.CONFIRMATION and each.repetition > CONFIRM for each in machine.begun]
    assert is_extra == sorted(is_extra)
    assert sum(each.kind is Kind.REFIT for each in machine.begun) == 2


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("slowness", [0.5, 2.0])
@pytest.mark.parametrize("minutes", [3, 8])
def test_the_time_left_is_right(minutes: float, slowness: float, workers: int, written: Experiment) -> None:
    """From the first third on, the estimate is right within a fifth, or within the length of a training."""
    machine = Machine(workers, slowness)
    begin = machine.clock.now
    swept(machine, budgeted(written, minutes=minutes), after=8.0)
    end, longest = machine.clock.now, max(map(machine.seconds, machine.begun))
    later = [(now, left) for now, left in machine.estimates if now - begin >= (end - begin) / 3]
    assert len(later) > 5
    assert not [(now, left) for now, left in later if abs(now + left - end) > max((end - now) / 5, longest)]


@PROPERTY
@given(minutes=st.floats(1, 20), slowness=st.floats(0.3, 4), workers=st.integers(1, 4))
def test_nothing_begins_that_cannot_end(minutes: float, slowness: float, workers: int, written: Experiment) -> None:
    """A training of the search begins only where it, and the final ones after it, are predicted to end in time."""
    machine = Machine(workers, slowness)
    study = machine.study(budgeted(written, minutes=minutes))
    begun = 0
    while (trial := study.next_trial()) is not None:
        if trial.baseline is None and begun:
            assert study.sweep_time.left() >= study.predicted(trial)
        begun += trial.baseline is None
        machine.clock.now += machine.seconds(trial)
        study.trial_ended(trial, machine.result(trial))
    assert begun
    assert study.is_over()


def test_equal_shares(experiment: Experiment) -> None:
    """Two families, one of which has far larger networks, get the same training seconds, up to one training."""
    machine = Machine(workers=2, images=20_000)
    families = swept(machine, experiment)
    used = {family: sum(each.result.train_seconds for each in searched(machine) if each.trial.family == family)
            for family in families}  # fmt: skip
    longest = max(each.result.train_seconds for each in machine.ended)
    assert abs(used["ann"] - used["cnn"]) <= 2 * longest


@PROPERTY
@given(drawn=st.lists(st.tuples(st.integers(0, 3), st.floats(0, 1), st.booleans()), min_size=1, max_size=12))
def test_a_higher_rung_is_better(drawn: list[tuple[int, float, bool]], written: Experiment) -> None:
    """Of two trainings the one at the higher rung comes first, whatever its accuracy; baselines count as of the highest."""
    params = written.families["ann"].first[0]
    records = []
    for number, (rung, accuracy, is_baseline) in enumerate(drawn):
        name = f"baseline-{number}" if is_baseline else None
        trial = Trial(number, params, 0, 1.0, name, rung=0 if is_baseline else rung)
        records.append(TrialRecord(trial, complete(trial, accuracy)))
    top = max(record.trial.rung for record in records)
    order = in_order(records, "val_accuracy")
    keys = [(top if record.trial.baseline else record.trial.rung, record.result.last("val_accuracy")) for record in order]
    assert keys == sorted(keys, reverse=True)


# Ends.


@pytest.mark.parametrize("patience", [1, 3, 10])
def test_patience_ends_the_search(patience: int, experiment: Experiment) -> None:
    """Where nothing gets better, the search is over after so many trainings, long before its minutes are."""

    class Flat(Machine):
        def accuracy(self, trial: Trial) -> float:
            return 0.5

    machine = Flat()
    study = machine.study(budgeted(experiment, minutes=60, patience=patience))
    machine.run({"ann": study})
    rungs = [each.trial.rung for each in searched(machine)]
    last_gain = max(rungs.index(rung) for rung in set(rungs))  # the first at a rung is the best there
    assert len(rungs) - 1 - last_gain == patience
    assert study.is_over()
    assert study.sweep_time.left() > 0.8 * 60 * 60


def test_patience_lasts_while_a_rung_gets_better(experiment: Experiment) -> None:
    """A configuration that is the best at the lowest rung so far is a gain, though longer trainings are better."""

    class Rising(Machine):
        def accuracy(self, trial: Trial) -> float:
            return 0.5 + 0.1 * trial.rung + 0.0001 * trial.number

    patient, unhurried = Rising(), Rising()
    patient.run({"ann": patient.study(budgeted(experiment, minutes=8, patience=2))})
    unhurried.run({"ann": unhurried.study(budgeted(experiment, minutes=8))})
    assert len(patient.ended) == len(unhurried.ended)


def test_patience_survives_an_interruption(experiment: Experiment) -> None:
    """Records that come back from MLflow have lost their weights, except the best: they are gains all the same."""

    class Rising(Machine):
        def accuracy(self, trial: Trial) -> float:
            return 0.5 + 0.1 * trial.rung + 0.0001 * trial.number

    experiment = budgeted(experiment, minutes=8, patience=2)
    machine = Rising()
    study = machine.study(experiment)
    for _ in range(8):
        machine.train(study)
    again = machine.study(experiment)
    again.restore(study.records, [])
    again.all_restored()
    assert not again.is_over()
    assert again.next_trial() is not None


@pytest.mark.parametrize("trials", [0, 1, 4])
def test_so_many_configurations(trials: int, experiment: Experiment) -> None:
    """`trials` limits how many configurations are drawn, not how often they are promoted."""
    machine = Machine()
    study = machine.study(budgeted(experiment, minutes=8, trials=trials))
    machine.run({"ann": study})
    assert len({each.trial.number for each in searched(machine)}) == trials
    assert study.is_over()
    assert study.next_trial() is None
    if trials:
        ladder = searched(machine)[-1].trial.ladder
        assert max(each.trial.rung for each in searched(machine)) == len(ladder) - 1


def test_a_small_space_is_promoted_to_the_top(tmp_path: Path) -> None:
    """Where no new configuration is left, those that there are go on to the top."""
    start, end = MINUTES_EXPERIMENT.index("    space:"), MINUTES_EXPERIMENT.index("  cnn:")
    space = "    space: {hidden_layers: 1, units: {type: categorical, choices: [16, 32, 64]}}\n"
    (tmp_path / "small.yaml").write_text(MINUTES_EXPERIMENT[:start] + space + MINUTES_EXPERIMENT[end:])
    machine = Machine()
    machine.run({"ann": machine.study(budgeted(load_experiment(tmp_path / "small.yaml"), minutes=30))})
    found = {(each.trial.number, each.trial.rung) for each in searched(machine)}
    rungs = range(len(searched(machine)[-1].trial.ladder))
    assert found == {(number, rung) for number in (1, 2, 3) for rung in rungs}


def test_what_is_late_is_stopped(experiment: Experiment) -> None:
    """A training of the search that the final ones can no longer wait for is stopped, once, and is out of time."""
    machine = Machine(workers=2)
    study = machine.study(experiment)
    machine.train(study)
    trial = study.next_trial()
    assert trial is not None
    assert study.out_of_time() == []
    machine.clock.now += 60 * 8
    assert study.out_of_time() == [trial]
    assert study.out_of_time() == []
    record = study.trial_ended(trial, TrialResult(TrialState.PRUNED, (metrics(),), train_seconds=60 * 8, reason="stopped"))
    assert (record.result.state, record.result.outcome) == (TrialState.PRUNED, OUT_OF_TIME)
    assert study.is_over()


def test_what_must_be_trained_again_is_not_stopped(experiment: Experiment) -> None:
    """A complete training whose weights are lost is trained again, however late it is; one that was cut is not."""
    machine = Machine(workers=2)
    study = machine.study(experiment)
    for _ in range(8):
        machine.train(study)
    (*ended, cut, lost) = study.records
    again = machine.study(experiment)
    again.restore(ended, [cut.trial], [lost.trial])
    again.all_restored()
    running = [again.next_trial(), again.next_trial()]
    assert sorted(each.name for each in running if each) == sorted([cut.trial.name, lost.trial.name])
    machine.clock.now += 60 * 8
    assert again.out_of_time() == [cut.trial]


@pytest.mark.parametrize("outcome", [TrialState.COMPLETE, TrialState.FAIL])
def test_a_first_training_has_all_the_time_it_takes(outcome: TrialState, written: Experiment) -> None:
    """As long as nothing is complete, nothing is stopped, and after a failure another configuration is tried."""
    family = written.families["ann"].model_copy(update={"baselines": {}})
    machine = Machine()
    study = machine.study(budgeted(written.model_copy(update={"families": {"ann": family}}), minutes=1))
    trial = study.next_trial()
    assert trial is not None
    machine.clock.now += 60 * 2
    assert study.out_of_time() == []
    result = complete(trial) if outcome is TrialState.COMPLETE else failed([], "the loss is not finite", 120.0)
    study.trial_ended(trial, result)
    assert (study.next_trial() is None) == (outcome is TrialState.COMPLETE)


def test_final_trainings_are_planned_for_the_workers_there_are(written: Experiment) -> None:
    """On a cluster, workers come and go: with more of them, the same time left pays for longer final trainings."""
    machine = Machine(images=200_000)
    study = machine.study(budgeted(written, minutes=3))
    while machine.train(study) is not None:
        pass
    winner = in_order([each for each in study.records if each.trial.baseline is None], "val_accuracy")[0]
    epochs = []
    for workers in (1, 4):
        machine.workers = workers
        epochs.append(FinalPace(study).epochs(winner))
    assert epochs[1] > 1.5 * epochs[0]


def test_a_refit_is_planned_by_its_images(written: Experiment) -> None:
    """A refit has the validation images, too; if there are many, the final trainings are shorter."""
    machine = Machine()
    studies = [
        PromotionStudy(written, "ann", machine.shape, 1000, validation, machine.time(written, families=["ann"]))
        for validation in (100, 4000)
    ]
    trials = [dataclasses.replace(Trial(1, written.families["ann"].first[0], 0, 8.0), kind=kind) for kind in Kind]
    for study, longer in zip(studies, (1.1, 5.0), strict=True):
        seconds = {trial.kind: study.predicted(trial) for trial in trials}
        assert seconds[Kind.REFIT] == pytest.approx(longer * seconds[Kind.CONFIRMATION])
    few, many = (study._planned_final() for study in studies)
    assert many < few


def test_without_first_configurations_trainings_are_limited(written: Experiment) -> None:
    """Small networks on few images are not trained for thousands of epochs, whoever proposed them."""
    family = written.families["ann"].model_copy(update={"first": ()})
    experiment = budgeted(written.model_copy(update={"families": {"ann": family}}), minutes=60, trials=12)
    machine = Machine(images=100)
    machine.run({"ann": succession(machine, experiment, machine.study(experiment))})
    for kind in (Kind.TRIAL, Kind.CONFIRMATION):
        epochs = [each.epochs for each in machine.begun if each.kind is kind and each.baseline is None]
        assert MOST_EPOCHS / 20 < max(epochs) < MOST_EPOCHS * 20


def test_the_sweeps_time_runs_out_for_nobody_twice(written: Experiment) -> None:
    """Time that has passed before, in a sweep that was interrupted, is gone: nothing of the search begins any more."""
    machine = Machine()
    experiment = budgeted(written, minutes=3)
    study = machine.study(experiment, sweep_time=machine.time(experiment, elapsed=60 * 3.0, families=["ann"]))
    machine.run({"ann": study})
    assert searched(machine) == []
    assert study.is_over()


# A search that goes on after an interruption.


@pytest.mark.parametrize("slowness", [1.0, 4.0])
@pytest.mark.parametrize("ended", [0, 1, 2, 3, 5, 9, 14, 20])
def test_a_restored_search_goes_on_as_if_nothing_had_been(ended: int, slowness: float, written: Experiment) -> None:
    """With one worker, the next trial after so many is the same whether the search was interrupted there or not."""
    machine = Machine(slowness=slowness)
    experiment = budgeted(written, minutes=8)
    study = machine.study(experiment)
    for _ in range(ended):
        machine.train(study)
    again = machine.study(experiment, sweep_time=machine.time(experiment, elapsed=machine.clock.now, families=["ann"]))
    again.restore(study.records, [])
    again.all_restored()
    assert same(again.next_trial(), study.next_trial())


@pytest.mark.parametrize("ended", range(2, 7))
def test_families_that_are_restored_share_the_time(ended: int, written: Experiment) -> None:
    """Each plans its rungs with the time that is left once the others are restored, too."""
    experiment = budgeted(written, minutes=1)
    machine = Machine(slowness=4.0)
    families, shared = list(map(str, experiment.families)), machine.time(experiment)
    studies = {family: machine.study(experiment, family, shared) for family in families}
    for _ in range(ended):
        for study in studies.values():
            machine.train(study)
    shared = machine.time(experiment, elapsed=machine.clock.now)
    restored = {family: machine.study(experiment, family, shared) for family in families}
    for family, again in restored.items():
        again.restore(studies[family].records, [])
    for again in restored.values():
        again.all_restored()
    for family in families:
        assert same(restored[family].next_trial(), studies[family].next_trial())


@pytest.mark.parametrize("slowness", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("minutes", [0.5, 1.0, 8.0])
def test_a_restored_search_has_the_same_doubts(minutes: float, slowness: float, written: Experiment) -> None:
    """Also where what is known does badly, and the number of rungs is planned again."""
    known, *_ = written.families["ann"].first
    params = {**known.model_dump(exclude_unset=True), "hidden_layers": 1, "learning_rate": 1e-4}
    first = tuple(parse_params("ann", {**params, "units": [units]}) for units in range(20, 23))
    family = written.families["ann"].model_copy(update={"first": first})
    misled = written.model_copy(update={"families": {"ann": family}, "sampler": SamplerSpec(type="mixture")})
    experiment = budgeted(misled, minutes=minutes)
    machine = Machine(slowness=slowness)
    study = machine.study(experiment)
    doubted = set[str]()
    for _ in range(12):
        again = machine.study(experiment, sweep_time=machine.time(experiment, elapsed=machine.clock.now, families=["ann"]))
        again.restore(study.records, [])
        again.all_restored()
        assert again.knowledge.doubted == study.knowledge.doubted
        trial = study.next_trial()
        assert same(again.next_trial(), trial)
        if trial is None:
            break
        machine.clock.now += machine.seconds(trial)
        study.trial_ended(trial, machine.result(trial))
        doubted |= study.knowledge.doubted
    assert "first" in doubted


def test_a_dear_known_configuration_is_not_too_slow(written: Experiment) -> None:
    """If what the experiment names is far dearer than what comes with digitsweep, it is trained, though for less than an
    epoch."""
    values = {"hidden_layers": 8, "units": 1024}
    dear, spec = parse_params("ann", values), written.families["ann"]
    family = spec.model_copy(update={"first": (dear,), "space": Space("ann", {}, values)})
    experiment = written.model_copy(update={"families": {"ann": family}, "sampler": SamplerSpec(type="mixture")})
    machine = Machine(images=1_000_000)
    study = machine.study(budgeted(experiment, minutes=3))
    machine.train(study)
    found = machine.train(study)
    assert found is not None
    assert found.trial.params == dear
    assert found.trial.epochs < 1.0


def test_a_restored_search_keeps_the_rungs_of_what_was_cut(experiment: Experiment) -> None:
    """If the first training on the top rung was cut, its rungs stay, though another number of workers would plan others."""
    experiment = budgeted(experiment, minutes=1)
    machine = Machine()
    study = machine.study(experiment)
    while (ended := machine.train(study)) is not None and not ended.trial.ladder:
        pass
    cut = study.next_trial()
    assert cut is not None
    assert cut.rung > 0
    machine.workers = 4
    again = machine.study(experiment, sweep_time=machine.time(experiment, elapsed=machine.clock.now, families=["ann"]))
    again.restore(study.records, [cut])
    again.all_restored()
    assert again.next_trial() == cut
    after = again.next_trial()
    assert after is not None
    assert after.ladder == cut.ladder


def same(one: Trial | None, other: Trial | None) -> bool:
    """Whether two trials are alike, up to the last digits of what was planned by a clock."""
    if one is None or other is None:
        return one is other
    assert one.ladder == pytest.approx(other.ladder)
    return dataclasses.replace(one, ladder=()) == dataclasses.replace(other, ladder=())


def test_a_restored_search_counts_as_before(experiment: Experiment) -> None:
    """What a search has used, its history and its records are the same after an interruption."""
    machine = Machine()
    study = machine.study(experiment)
    for _ in range(12):
        machine.train(study)
    again = machine.study(experiment, sweep_time=machine.time(experiment, elapsed=machine.clock.now, families=["ann"]))
    again.restore(study.records, [], attempt_seconds=7.0)
    again.all_restored()
    assert again.sweep_time.used("ann") == pytest.approx(study.sweep_time.used("ann") + 7.0)
    assert again.attempt_seconds() == 7.0
    assert again.history() == study.history()
    assert again.records == study.records


def test_a_restored_search_remembers_what_was_too_slow(experiment: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Configurations that were left out as too slow still count after an interruption, each once."""
    machine = Machine()
    sizes = [parse_params("ann", {"hidden_layers": 2, "units": 64, "batch_size": size}) for size in (32, 64)]
    limit = fmean(each.epoch_seconds(machine.shape, machine.images) for each in sizes)
    monkeypatch.setattr(PromotionStudy, "_least_epochs", lambda study: study._ladder.works[-1] / limit)
    study = machine.study(experiment)
    for _ in range(12):
        machine.train(study)
    assert study.history().too_slow > 1
    time = machine.time(experiment, elapsed=machine.clock.now, families=["ann"])
    again = machine.study(experiment, sweep_time=time)
    records = [dataclasses.replace(each, trial=restored_trial(json.loads(planned(each.trial)))) for each in study.records]
    again.restore(records, [])
    again.all_restored()
    for _ in range(6):
        assert again.history().too_slow == study.history().too_slow
        for each in (study, again):
            trial = each.next_trial()
            assert trial is not None
            each.trial_ended(trial, machine.result(trial))


def test_cut_and_lost_trials_come_first(experiment: Experiment) -> None:
    """What had begun and not ended, and what has lost its weights, is trained before anything else of the search, in order;
    each once."""
    machine = Machine(workers=3)
    study = machine.study(experiment)
    for _ in range(8):
        machine.train(study)
    cut = [each for each in (study.next_trial(), study.next_trial()) if each is not None]
    lost = study.records[3].trial
    kept = [each for each in study.records if each.trial is not lost]
    again = machine.study(experiment)
    again.restore(kept, cut, [lost])
    again.all_restored()
    waiting = sorted([*cut, lost], key=lambda each: (each.number, each.rung))
    assert [again.next_trial() for _ in waiting] == waiting
    for trial in waiting:
        again.trial_ended(trial, machine.result(trial))
    machine.run({"ann": again})
    names = [each.trial.name for each in again.records]
    assert len(names) == len(set(names))


def test_a_baseline_that_was_cut_comes_first(experiment: Experiment) -> None:
    """A baseline that had begun is trained before the search goes on, once, and no longer counts as waiting."""
    machine = Machine(workers=2)
    study = machine.study(experiment)
    cut = study.next_trial()
    assert cut is not None
    again = machine.study(experiment)
    again.restore([], [cut])
    again.all_restored()
    assert again.next_trial() == cut
    assert sum(again.sweep_time.waiting.values()) == 0.0
    again.trial_ended(cut, machine.result(cut))
    after = again.next_trial()
    assert after is not None
    assert after.baseline is None


def test_a_worker_that_dies_takes_no_time_twice(experiment: Experiment) -> None:
    """A trial that has lost its worker is the next one again; the seconds stay used."""
    machine = Machine(workers=2)
    study = machine.study(experiment)
    machine.train(study)
    trial = study.next_trial()
    assert trial is not None
    machine.clock.now += 5.0
    study.attempt_ended(trial, 5.0)
    assert (study.attempt_seconds(), study.sweep_time.used("ann")) == (5.0, 5.0)
    assert study.next_trial() == trial


def test_a_machine_that_is_slower_than_predicted_is_planned_for(written: Experiment) -> None:
    """Once the first training has shown how slow the machine is, later ones have less work; the promoted ones know of the
    new plan."""
    experiment = budgeted(written, minutes=3)
    fast, slow = Machine(), Machine(slowness=4.0)
    for machine in (fast, slow):
        machine.run({"ann": machine.study(experiment)})
    assert searched(slow)[-1].trial.ladder[-1] < searched(fast)[-1].trial.ladder[-1]
    assert len({each.trial.ladder for each in searched(slow)[1:]}) == 1


# What follows the search.


def test_finalists_follow_a_search_that_is_over(experiment: Experiment) -> None:
    """As soon as the search is over, the winner is refitted and confirmed, without waiting for another family."""
    machine = Machine()
    study = machine.study(budgeted(experiment, minutes=8, trials=2))
    both = succession(machine, experiment, study)
    machine.run({"ann": both})
    assert study.is_over()
    kinds = [each.kind for each in machine.begun]
    first = kinds.index(Kind.REFIT)
    assert set(kinds[:first]) == {Kind.TRIAL}
    assert set(kinds[first + 1 :]) == {Kind.CONFIRMATION}
    assert both.followed == machine.ended[first:]


def finalists_after(left: float, written: Experiment) -> tuple[Machine, Finalists, float]:
    """The finalists of a search whose sweep has time for so many trainings left, and how long one takes."""
    experiment = budgeted(written, minutes=60)
    machine = Machine()
    study = machine.study(budgeted(written, minutes=60, trials=1))
    machine.run({"ann": study})
    each = study.predicted(max(study.records, key=lambda record: record.trial.rung).trial)
    machine.clock.now = 60 * 60 - left * each
    return machine, Finalists(experiment, "ann", FINALISTS, study.records, FinalPace(study)), each


@pytest.mark.parametrize(("left", "confirmed"), [(-3.0, 0), (2.6, 1), (1000.0, MOST_CONFIRMATIONS)])
def test_confirmations_follow_the_time(left: float, confirmed: int, written: Experiment) -> None:
    """Confirmations that would end late are dropped; more than planned are trained where there is time; the refit is trained
    in any case."""
    machine, finalists, each = finalists_after(left, written)
    late = 0.04 * 3600 / each  # what a sweep of an hour may be late, in trainings
    machine.run({"ann": finalists})
    kinds = [record.trial.kind for record in finalists.records]
    assert kinds[0] is Kind.REFIT
    if left < 100:
        assert confirmed <= kinds.count(Kind.CONFIRMATION) <= min(CONFIRM, confirmed + late + 1)
    else:
        assert kinds.count(Kind.CONFIRMATION) == max(confirmed, CONFIRM)


def test_final_trainings_take_the_time_that_is_left(written: Experiment) -> None:
    """A slow winner gets fewer epochs than a fast one, but no fewer than in the search, and no more than eight times as
    many. After a resume, the winner keeps the epochs that it had."""
    study = (machine := Machine()).study(budgeted(written, minutes=15, trials=1))
    machine.run({"ann": study})
    best = max(study.records, key=lambda record: record.trial.rung)
    at = study.records.index(best)
    machine.clock.now = 15 * 60 - 15 * study.predicted(best.trial)
    epochs = []
    for slowness in (100.0, 2.0, 0.01):
        result = dataclasses.replace(best.result, train_seconds=slowness * best.result.train_seconds)
        study.records[at] = dataclasses.replace(best, result=result)
        epochs.append(FinalPace(study).epochs(study.records[at]))
    study.records[at] = best
    assert epochs[0] == best.trial.epochs < epochs[1] < epochs[2] == min(MOST_EPOCHS, MOST_LONGER * best.trial.epochs)
    begun = Finalists(written, "ann", FINALISTS, study.records, FinalPace(study))
    first = machine.train(begun)
    machine.clock.now = 15 * 60
    resumed = Finalists(written, "ann", FINALISTS, study.records, FinalPace(study))
    resumed.restore([first] if first else [])
    following = resumed.next_trial()
    assert first is not None
    assert following is not None
    assert following.epochs == first.trial.epochs > best.trial.epochs


def test_a_longer_refit_follows_stretched_losses(written: Experiment) -> None:
    """With the schedule plateau, a refit that is longer than the search's training follows its losses, stretched."""
    study = (machine := Machine()).study(budgeted(written, minutes=15, trials=1))
    machine.run({"ann": study})
    best = max(study.records, key=lambda record: record.trial.rung)
    params = best.trial.params.model_copy(update={"schedule": "plateau"})
    trial = dataclasses.replace(best.trial, params=params)
    falling = [dataclasses.replace(each, val_loss=1.0 / each.epoch) for each in complete(trial).epochs]
    record = TrialRecord(trial, dataclasses.replace(best.result, epochs=tuple(falling)))
    refit = Finalists(written, "ann", FINALISTS, [record], FinalPace(study)).next_trial()
    assert refit is not None
    assert refit.kind is Kind.REFIT
    assert len(refit.val_losses) == refit.epoch_count > trial.epoch_count
    assert (refit.val_losses[0], refit.val_losses[-1]) == (1.0, falling[-1].val_loss)
    assert sorted(refit.val_losses, reverse=True) == list(refit.val_losses)


def test_confirmations_that_are_late_are_stopped(written: Experiment) -> None:
    """A confirmation that would make the sweep noticeably late is stopped, once, and has failed; the refit goes on."""
    machine, finalists, _ = finalists_after(4.0, written)
    refit, confirmation = finalists.next_trial(), finalists.next_trial()
    assert refit is not None
    assert confirmation is not None
    assert (refit.kind, confirmation.kind) == (Kind.REFIT, Kind.CONFIRMATION)
    assert finalists.out_of_time() == []
    machine.clock.now += 3600
    assert finalists.out_of_time() == [confirmation]
    assert finalists.out_of_time() == []
    record = finalists.trial_ended(confirmation, TrialResult(TrialState.PRUNED, (metrics(),), train_seconds=9.0))
    assert (record.result.state, record.result.outcome) == (TrialState.FAIL, OUT_OF_TIME)
