"""What a search in minutes tries next: each configuration once, known ones first, and the same after an interruption."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import MINUTES_EXPERIMENT, PROPERTY
from trials import complete

from digitsweep.config.experiment import Experiment, SamplerSpec
from digitsweep.config.experiment_file import load_experiment
from digitsweep.config.space import Distribution, IntegerRange, PerLayer
from digitsweep.families import Params
from digitsweep.families.hyperparameters import Scalar
from digitsweep.search.proposals import FEWEST_FOR_TPE, MIXTURE, Proposal, Proposer, from_priors, near, uniform
from digitsweep.trial import Trial, TrialRecord, TrialResult, TrialState

SMALL_SPACE = "    space: {hidden_layers: 1, units: {type: categorical, choices: [16, 32, 64]}, batch_size: 32}\n"


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    path = tmp_path_factory.mktemp("minutes") / "minutes.yaml"
    path.write_text(MINUTES_EXPERIMENT)
    return load_experiment(path)


def free(params: Params) -> float:
    return 0.0


def never(name: str, each: Distribution) -> Scalar:
    raise AssertionError(f"{name} is drawn anew")


def drawn(proposer: Proposer, number: int, records: list[TrialRecord]) -> Proposal:
    proposal = proposer.draw(number, records, free, 1.0)
    assert proposal is not None
    return proposal


def begun(proposer: Proposer, number: int, proposal: Proposal) -> Trial:
    """The trial that a proposal becomes."""
    trial = Trial(number, proposal.params, number, 2.0, drawn=proposal.drawn, proposed_by=proposal.proposed_by)
    proposer.began(trial)
    return trial


def searched(experiment: Experiment, count: int, family: str = "ann") -> tuple[Proposer, list[TrialRecord]]:
    """A proposer that has proposed so many configurations, all of which are complete; every fourth one at rung 1, too."""
    proposer, records = Proposer(experiment, family), list[TrialRecord]()
    for number in range(count):
        trial = begun(proposer, number, drawn(proposer, number, records))
        accuracy = 0.9 - abs(trial.params.learning_rate - 0.01)
        records.append(TrialRecord(trial, complete(trial, accuracy)))
        if number % 4 == 3:
            promoted = Trial(number, trial.params, number, 8.0, drawn=trial.drawn, rung=1)
            proposer.began(promoted)
            records.append(TrialRecord(promoted, complete(promoted, accuracy + 0.02)))
    return proposer, records


@pytest.fixture(scope="module")
def long(experiment: Experiment) -> tuple[Proposer, list[TrialRecord]]:
    return searched(experiment, 40)


def test_typical_configurations_fit_the_images(experiment: Experiment) -> None:
    """What a typical network costs is asked only of networks that can be built."""
    proposer = Proposer(experiment, "ann", lambda params: params.batch_size == 32)
    assert {each.batch_size for each in proposer.typical()} == {32}
    assert {each.batch_size for each in Proposer(experiment, "ann").typical()} == {32, 64}


@pytest.mark.parametrize("doubted", [(), ("first",)])
def test_the_known_ones_come_first(doubted: tuple[str, ...], experiment: Experiment) -> None:
    """The experiment's `first` configurations are proposed before any other, in their order; then those of digitsweep, of
    which one comes second, for comparison. What is in doubt comes last."""
    spec = experiment.families["ann"]
    assert spec.defaults
    named, own = [(each, "first") for each in spec.first], [(each, "default") for each in spec.defaults]
    groups = (own, named) if doubted else (named, own)
    known = [*(each[0] for each in groups), *groups[0][1:], *groups[1][1:]]
    proposer = Proposer(experiment, "ann")
    for number in range(len(known) + 1):
        proposal = proposer.draw(number, [], free, 1.0, doubted=doubted)
        assert proposal is not None
        begun(proposer, number, proposal)
        if number < len(known):
            assert (proposal.params, proposal.proposed_by) == known[number]
        else:
            assert proposal.proposed_by not in {"first", "default"}
    assert proposer.count == len(known) + 1


def test_in_doubt_less_is_drawn_near_what_was_known(experiment: Experiment) -> None:
    """Not near the configurations that the experiment names, though these are the best so far, and less near priors."""
    first = tuple(experiment.families["ann"].first[0].model_copy(update={"units": (units,)}) for units in (32, 48, 64, 96))
    family = experiment.families["ann"].model_copy(update={"first": first, "defaults": ()})
    proposer = Proposer(experiment.model_copy(update={"families": {"ann": family}}), "ann")
    records = []
    for number in range(len(first)):
        trial = begun(proposer, number, drawn(proposer, number, []))
        records.append(TrialRecord(trial, complete(trial, 0.9)))
    ways = {doubted: Counter[str]() for doubted in ("", "default", "first")}
    rates = {doubted: list[float]() for doubted in ways}
    for doubted in ways:
        for number in range(len(records), 200):
            proposal = proposer.draw(number, records, free, 1.0, doubted={doubted})
            assert proposal is not None
            ways[doubted][proposal.proposed_by] += 1
            rates[doubted].append(proposal.params.learning_rate)
    assert set(ways[""]) == {"neighbour", "prior"}
    assert set(ways["first"]) == {"prior"}
    assert np.std(np.log(rates["first"])) > 1.2 * np.std(np.log(rates[""]))
    assert rates["default"] == rates[""]


def test_each_configuration_once(long: tuple[Proposer, list[TrialRecord]]) -> None:
    """No configuration is proposed twice, whoever proposes it."""
    _, records = long
    keys = [each.trial.params.key() for each in records if each.trial.rung == 0]
    assert len(keys) == len(set(keys)) == 40


@pytest.mark.parametrize("sampler", ["mixture", "tpe", "random"])
def test_a_small_space_is_proposed_whole(sampler: Any, tmp_path: Path) -> None:
    """A space of few configurations is proposed once through, without what is a baseline anyway; then there is none left."""
    start, end = MINUTES_EXPERIMENT.index("    space:"), MINUTES_EXPERIMENT.index("  cnn:")
    path = tmp_path / "small.yaml"
    path.write_text(MINUTES_EXPERIMENT[:start] + SMALL_SPACE + MINUTES_EXPERIMENT[end:])
    experiment = load_experiment(path).model_copy(update={"sampler": SamplerSpec(type=sampler)})
    proposer, records = Proposer(experiment, "ann"), list[TrialRecord]()
    known = experiment.families["ann"].space.suggest(lambda _, each: each.samples()[0])
    proposer.seen(known)
    widths = []
    while (proposal := proposer.draw(len(records), records, free, 1.0)) is not None:
        trial = begun(proposer, len(records), proposal)
        records.append(TrialRecord(trial, complete(trial)))
        widths.append(trial.params.flat()["units_1"])
    assert sorted(widths) == [32, 64]


def test_what_the_images_do_not_allow_is_left_out(experiment: Experiment) -> None:
    """A configuration that the data cannot train is never proposed, not even a known one."""
    proposer = Proposer(experiment, "ann", lambda params: params.flat()["hidden_layers"] != 1)
    for number in range(10):
        proposal = drawn(proposer, number, [])
        begun(proposer, number, proposal)
        assert proposal.params.flat()["hidden_layers"] != 1


@PROPERTY
@given(number=st.integers(0, 10_000), ended=st.integers(0, 49), between=st.integers(0, 3))
def test_a_proposal_depends_on_its_number_and_the_records(
    number: int, ended: int, between: int, experiment: Experiment, long: tuple[Proposer, list[TrialRecord]]
) -> None:
    """The same seed, number and records give the same proposal, whatever was drawn in between, and also after the search was
    rebuilt from its records."""
    records = long[1][:ended]

    def rebuilt() -> Proposer:
        proposer = Proposer(experiment, "ann")
        for record in records:
            proposer.began(record.trial)
        return proposer

    one, other = rebuilt(), rebuilt()
    for each in range(between):
        drawn(other, number + 1 + each, records)
    first, second = drawn(one, number, records), drawn(other, number, records)
    assert (first.params, first.drawn, first.proposed_by) == (second.params, second.drawn, second.proposed_by)


def test_another_seed_proposes_others(experiment: Experiment) -> None:
    """After the known ones, which are the same, the seed decides."""
    other = experiment.model_copy(update={"seed": 1})
    of_one, of_other = (
        [each.trial.params for each in searched(seeded, 6)[1] if each.trial.rung == 0] for seeded in (experiment, other)
    )
    assert of_one[:2] == of_other[:2]
    assert of_one[2:] != of_other[2:]


def test_who_proposed_it_is_told(long: tuple[Proposer, list[TrialRecord]], experiment: Experiment) -> None:
    """Each proposal names its way: `first`, or one of the mixture; TPE has a say only once there is enough to learn from."""
    _, records = long
    for record in records:
        assert record.trial.proposed_by in {"first", "default", *MIXTURE, ""}
    proposer = Proposer(experiment.model_copy(update={"sampler": SamplerSpec(type="tpe")}), "ann")
    few = [each for each in records if each.trial.rung == 0]
    for record in few:
        proposer.began(record.trial)
    assert drawn(proposer, 100, few[: FEWEST_FOR_TPE - 1]).proposed_by != "tpe"
    assert drawn(proposer, 100, few).proposed_by == "tpe"


@pytest.mark.parametrize("family", ["ann", "cnn"])
def test_proposals_lie_within_the_space(family: str, experiment: Experiment) -> None:
    """Whoever proposes a configuration, it lies within the space, and its drawn values make it again."""
    space = experiment.families[family].space
    _, records = searched(experiment, 24, family)
    for record in records:
        assert space.outside(record.trial.params) == ""
        assert space.suggest(near(record.trial.drawn, np.random.default_rng(0), 0.0, never)) == record.trial.params


def test_only_what_can_be_paid_for(experiment: Experiment) -> None:
    """What costs too much is left out and counted, each once, until it is trained after all; also a known configuration."""
    proposer = Proposer(experiment, "ann")
    refused: dict[object, Params] = {}

    def cost(params: Params) -> float:
        if params.flat()["hidden_layers"] == 1:
            return 1.0
        refused[params.key()] = params
        return 2.0

    for number in range(12):
        proposal = proposer.draw(number, [], cost, 1.0)
        assert proposal is not None
        assert proposal.params.flat()["hidden_layers"] == 1
        begun(proposer, number, proposal)
    assert proposer.too_slow == len(refused) > 0
    proposer.seen(next(iter(refused.values())))
    assert proposer.too_slow == len(refused) - 1


def test_where_nothing_can_be_paid_for_the_cheapest_is_tried(experiment: Experiment) -> None:
    """A space that is too expensive still gives a proposal: the cheapest of many draws."""
    asked: dict[object, Params] = {}

    def cost(params: Params) -> float:
        asked[params.key()] = params
        return params.epoch_seconds((8, 8, 1), 1000)

    proposer = Proposer(experiment, "cnn")
    proposal = proposer.draw(0, [], cost, 0.0)
    assert proposal is not None
    assert cost(proposal.params) == min(map(cost, list(asked.values())))
    begun(proposer, 0, proposal)
    assert proposer.too_slow == len(asked) - 1


def test_what_failed_teaches_nothing(experiment: Experiment) -> None:
    """Trainings that failed are neither the base of a neighbour nor told to TPE; each configuration is told once, by its
    highest rung."""
    proposer, records = searched(experiment, 9)
    assert [len(each.intermediate_values) for each in proposer.told(records)] == [1] * 9
    rungs = {rung for each in proposer.told(records) for rung in each.intermediate_values}
    assert rungs == {0, 1}
    failed = [TrialRecord(each.trial, TrialResult(TrialState.FAIL, each.result.epochs)) for each in records]
    assert proposer.told(failed) == []
    assert drawn(proposer, 50, failed).proposed_by not in {"neighbour", "tpe"}


def test_importance_needs_some_trials(experiment: Experiment, long: tuple[Proposer, list[TrialRecord]]) -> None:
    """With enough configurations each hyperparameter that all have gets a share of the importance; they add up to one."""
    proposer, records = long
    found = proposer.importance(records)
    assert sum(found.values()) == pytest.approx(1.0)
    assert "learning_rate" in found
    assert "learning_rate" in proposer.log_scaled()
    assert Proposer(experiment, "ann").importance([]) == {}


@PROPERTY
@given(seed=st.integers(0, 2**31))
def test_choices_keep_to_the_distributions(seed: int, experiment: Experiment) -> None:
    """At random, from the priors, and near a configuration, every value lies within its distribution."""
    random = np.random.default_rng(seed)
    space = experiment.families["ann"].space
    base = space.drawn(experiment.families["ann"].first[0])
    for choose in (
        uniform(random),
        from_priors(random),
        near(base, random, 0.0, uniform(random)),
        near(base, random, 1.0, uniform(random)),
    ):
        for name, each in space.searched.items():
            assert not isinstance(each, PerLayer)
            assert each.contains(choose(name, each))


def test_a_neighbour_that_changes_nothing_is_the_same(experiment: Experiment) -> None:
    """With rate 0 a neighbour is its base; with rate 1 every value of several differs from it."""
    random = np.random.default_rng(0)
    family = experiment.families["ann"]
    base = family.space.drawn(family.first[0])
    assert family.space.suggest(near(base, random, 0.0, never)) == family.first[0]
    changed = family.space.drawn(family.space.suggest(near(base, random, 1.0, uniform(random))))
    assert not [name for name in changed.keys() & base.keys() if changed[name] == base[name]]


@pytest.mark.parametrize(
    ("ended", "ways"), [(3, {"prior"}), (4, {"prior", "neighbour"}), (8, {"prior", "neighbour", "tpe"})]
)
def test_what_must_have_ended_first(ended: int, ways: set[str], experiment: Experiment) -> None:
    """Neighbours of the best need some to choose from, and TPE more."""
    family = experiment.families["ann"].model_copy(update={"defaults": ()})
    experiment = experiment.model_copy(update={"families": {"ann": family}})
    _, records = searched(experiment, ended)
    proposer = Proposer(experiment, "ann")
    for record in records:
        proposer.began(record.trial)
    found = [drawn(proposer, number, records).proposed_by for number in range(100, 140)]
    assert set(found) - {"first"} == ways


@PROPERTY
@given(seed=st.integers(0, 2**31), high=st.integers(2, 5), data=st.data())
def test_a_changed_number_is_another(seed: int, high: int, data: st.DataObject) -> None:
    """Even in a range of few numbers, in which most normal steps lead nowhere."""
    few = IntegerRange(type="int", low=1, high=high)
    value = data.draw(st.integers(1, high))
    changed = near({"blocks": value}, np.random.default_rng(seed), 1.0, never)("blocks", few)
    assert few.contains(changed)
    assert changed != value


def test_priors_are_followed(experiment: Experiment) -> None:
    """Draws from the priors lie nearer to them than draws at random, without being bound to them."""
    space = experiment.families["ann"].space
    distances: dict[str, list[float]] = {}
    for name, draw in (("prior", from_priors), ("random", uniform)):
        random = np.random.default_rng(0)
        draws = [space.suggest(draw(random)).learning_rate for _ in range(200)]
        distances[name] = [abs(np.log10(each / 0.003)) for each in draws]
        assert len(set(draws)) == 200
    assert np.mean(distances["prior"]) < 0.7 * np.mean(distances["random"])
