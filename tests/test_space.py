"""Search spaces: whatever a valid one draws is a valid configuration, and every mistake is reported with its path."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import PROPERTY

from digitsweep.config.space import FloatRange, IntegerRange, Space, drawn_by, parse_space
from digitsweep.families import FAMILIES, parse_params
from digitsweep.families.ann import AnnParams

Raw = dict[str, Any]


@pytest.fixture(autouse=True, scope="module")
def _quiet_optuna() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
    optuna.logging.set_verbosity(before)


@st.composite
def integers(draw: st.DrawFn, least: int, most: int) -> Any:
    """A fixed integer, or a range with steps or on a log scale."""
    low = draw(st.integers(least, most - 1))
    if draw(st.booleans()):
        return low
    if low > 0 and draw(st.booleans()):
        return {"type": "int", "low": low, "high": draw(st.integers(low + 1, most)), "log": True}
    step = draw(st.integers(1, most - low))
    return {"type": "int", "low": low, "high": low + step * draw(st.integers(1, (most - low) // step)), "step": step}


@st.composite
def numbers(draw: st.DrawFn, least: float, most: float) -> Any:
    """A fixed number or a range."""
    low, high = sorted(draw(st.lists(st.floats(least, most), min_size=2, max_size=2, unique=True)))
    if draw(st.booleans()):
        return low
    return {"type": "float", "low": low, "high": high, "log": low > 0 and draw(st.booleans())}


def choices(*words: Any) -> st.SearchStrategy[Any]:
    """One of the words, or a choice of some of them."""
    several = st.lists(st.sampled_from(words), min_size=1, unique=True)
    return st.sampled_from(words) | several.map(lambda some: {"type": "categorical", "choices": some})


SHARED = {
    "optimizer": choices("sgd", "adam", "adamw"),
    "learning_rate": numbers(1e-6, 10),
    "momentum": numbers(0, 0.99),
    "weight_decay": numbers(0, 0.99),
    "schedule": choices("constant", "step", "exponential", "cosine", "one_cycle", "plateau"),
    "warmup": numbers(0.01, 0.99),
    "batch_size": integers(1, 512),
}
DROPOUT = {"dropout": numbers(0, 0.99), "normalization": choices("none", "batch", "layer")}
NEEDED: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "ann": {"hidden_layers": integers(0, 5) | choices(0, 1, 2), "units": integers(1, 512)},
    "cnn": {"blocks": integers(1, 3) | choices(1, 2, 3), "filters": integers(1, 64)},
    "resnet": {"stages": integers(1, 4) | choices(1, 2), "filters": integers(1, 64)},
}
OPTIONAL: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "ann": {**SHARED, **DROPOUT, "activation": choices("relu", "gelu", "tanh")},
    "cnn": {
        **SHARED,
        **DROPOUT,
        "kernel_size": integers(1, 11),
        "convolutions": choices(1, 2),
        "pooling": choices("max", "average", "stride"),
        "padding": choices("valid", "same"),
        "dense_units": integers(0, 128) | choices(0, 100),
        "dense_dropout": numbers(0, 0.99),
    },
    "resnet": {
        **SHARED,
        "residual_blocks": integers(1, 8),
        "normalization": choices("batch", "layer"),
        "activation": choices("relu", "gelu", "tanh"),
        "dropout": numbers(0, 0.99),
    },
}


@st.composite
def spaces(draw: st.DrawFn, family: str) -> Raw:
    """A valid space, as in a file, in any order."""
    raw: Raw = draw(st.fixed_dictionaries(NEEDED[family], optional=OPTIONAL[family]))
    for name in FAMILIES[family].params.layered:
        if isinstance(raw.get(name), dict) and draw(st.booleans()):
            raw[name] = {**raw[name], "per": FAMILIES[family].params.layer_count}
    for name, (decider, meaningful) in FAMILIES[family].params.conditional.items():
        decided = raw.get(decider)
        may_be = (decided.get("choices") or [decided["high"]]) if isinstance(decided, dict) else [decided]
        if not any(each in meaningful for each in may_be):
            raw.pop(name, None)
    return dict(draw(st.permutations(list(raw.items()))))


def right(family: str, raw: Raw) -> Space:
    """The space, which must have no mistakes."""
    space, problems = parse_space(family, raw)
    assert problems == []
    return space


def trials(count: int) -> Iterator[optuna.Trial]:
    """Trials of an in-memory study with random sampling."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    return (study.ask() for _ in range(count))


@pytest.mark.parametrize("family", FAMILIES)
@PROPERTY
@given(data=st.data())
def test_every_draw_is_a_configuration(family: str, data: st.DataObject) -> None:
    """What a valid space draws is a valid configuration: a value for each layer, and none without an effect."""
    raw = data.draw(spaces(family))
    space = right(family, raw)
    for trial in trials(3):
        params = space.suggest(drawn_by(trial))
        for name, written in raw.items():
            if not isinstance(written, Mapping):
                continue
            if "per" in written:
                count = getattr(params, params.layer_count)
                assert {f"{name}_{layer}" for layer in range(1, count + 1)} <= set(trial.params)
            else:
                assert (name in trial.params) == params.applies(name, params.model_dump())


@pytest.mark.parametrize("family", FAMILIES)
@PROPERTY
@given(data=st.data())
def test_what_was_drawn_can_be_read_back(family: str, data: st.DataObject) -> None:
    """A configuration that a space draws lies within it, and the searched values that are read from it make it again."""
    space = right(family, data.draw(spaces(family)))
    params = space.suggest(drawn_by(next(trials(1))))
    assert space.outside(params) == ""
    found = space.drawn(params)
    assert space.suggest(lambda name, _: found[name]) == params


@pytest.mark.parametrize("family", FAMILIES)
@PROPERTY
@given(data=st.data())
def test_the_nearest_configuration_lies_within_the_space(family: str, data: st.DataObject) -> None:
    """Whatever another space draws; and what the space draws itself is the nearest to itself."""
    space, other = (right(family, data.draw(spaces(family))) for _ in range(2))
    own, foreign = (each.suggest(drawn_by(next(trials(1)))) for each in (space, other))
    assert space.nearest(own) == own
    found = space.nearest(foreign)
    assert found is None or space.outside(found) == ""


@pytest.mark.parametrize(
    ("searched", "expected"),
    [
        ({"hidden_layers": {"type": "int", "low": 1, "high": 4}, "units": 64}, {"hidden_layers": 2, "units": (64, 64)}),
        (
            {"hidden_layers": 3, "units": {"type": "int", "low": 16, "high": 256, "step": 16, "per": "hidden_layers"}},
            {"units": (256, 96, 96)},
        ),
        (
            {"hidden_layers": 2, "units": 64, "learning_rate": {"type": "float", "low": 0.1, "high": 1.0, "log": True}},
            {"learning_rate": 0.1},
        ),
        (
            {"hidden_layers": 2, "units": 64, "batch_size": {"type": "categorical", "choices": [8, 32, 64]}},
            {"batch_size": 64},
        ),
        ({"hidden_layers": 2, "units": 64, "optimizer": {"type": "categorical", "choices": ["sgd", "adam"]}}, None),
        (
            {
                "hidden_layers": 2,
                "units": 64,
                "optimizer": "sgd",
                "momentum": {"type": "float", "low": 0.0, "high": 0.99},
            },
            {"optimizer": "sgd", "momentum": 0.9},
        ),
    ],
)
def test_the_nearest_configuration(searched: Raw, expected: dict[str, Any] | None) -> None:
    """Numbers move to the nearest that the space has, layers that are missing are like the last one, what is fixed stays;
    a word has nothing near to it."""
    known = parse_params(
        "ann", {"hidden_layers": 2, "units": [512, 100], "learning_rate": 0.004, "optimizer": "adamw", "batch_size": 128}
    )
    found = right("ann", searched).nearest(known)
    assert (found is None) == (expected is None)
    if found is not None and expected is not None:
        assert found.model_dump(include=set(expected)) == expected


@st.composite
def ranges(draw: st.DrawFn) -> IntegerRange | FloatRange:
    """A range of whole numbers or of any numbers, some on a log scale."""
    if draw(st.booleans()):
        raw = draw(integers(0, 5000).filter(lambda each: isinstance(each, dict)))
        return IntegerRange.model_validate(raw)
    raw = draw(numbers(1e-9, 1e6).filter(lambda each: isinstance(each, dict) and each["high"] > each["low"] * 1.001))
    return FloatRange.model_validate(raw)


@PROPERTY
@given(ranges(), st.floats(-3, 3))
def test_every_share_is_a_value(each: IntegerRange | FloatRange, share: float) -> None:
    """Any share gives a value of the range; the value's own share is between 0 and 1, and gives the value again."""
    value = each.at_share(share)
    assert each.contains(value)
    assert -1e-9 <= each.share_of(value) <= 1 + 1e-9
    again = each.at_share(each.share_of(value))
    assert again == (pytest.approx(value) if isinstance(each, FloatRange) else value)


@PROPERTY
@given(ranges(), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_share_is_a_larger_value(each: IntegerRange | FloatRange, one: float, other: float) -> None:
    """Shares and values have the same order, and both bounds can be reached."""
    low, high = (each.at_share(share) for share in sorted((one, other)))
    assert isinstance(low, int | float)
    assert isinstance(high, int | float)
    assert low <= high
    assert each.at_share(0.0) == pytest.approx(each.low)
    assert each.at_share(1.0) == pytest.approx(each.high)


def test_shares_of_a_log_scale_are_those_of_the_logarithm() -> None:
    """The middle of 0.0001 to 1 is 0.01; half a step beyond its bounds makes a range of integers even."""
    rate = FloatRange(type="float", low=1e-4, high=1.0, log=True)
    assert rate.at_share(0.5) == pytest.approx(0.01)
    assert rate.share_of(0.01) == pytest.approx(0.5)
    assert rate.at_share(1.25) == rate.at_share(0.75), "reflected at the end"
    width = IntegerRange(type="int", low=64, high=256, step=64)
    assert [width.at_share((each + 0.5) / 4) for each in range(4)] == [64, 128, 192, 256]


@pytest.mark.parametrize("sure", ["low", "medium", "high"])
def test_a_prior_has_a_value_and_how_sure_it_is(sure: str) -> None:
    """A prior is a value, or a value and how sure it is; alone it is of medium sureness. It does not count as fixed."""
    rate = {"type": "float", "low": 1e-4, "high": 0.1, "log": True}
    for prior, meant in ((0.01, "medium"), ({"value": 0.01, "sure": sure}, sure)):
        space = right("ann", {"hidden_layers": 1, "units": 8, "learning_rate": {**rate, "prior": prior}})
        assert space.has_priors()
        found = space.searched["learning_rate"]
        assert isinstance(found, FloatRange)
        assert found.prior is not None
        assert (found.prior.value, found.prior.sure) == (0.01, meant)
    assert not right("ann", {"hidden_layers": 1, "units": 8, "learning_rate": rate}).has_priors()


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"hidden_layers": 4, "units": 8}, "hidden_layers is 4"),
        ({"units": [8, 65]}, "units_2 is 65"),
        ({"units": [8, 9]}, "units_2 is 9"),
        ({"learning_rate": 1.0}, "learning_rate is 1.0"),
        ({"schedule": "step"}, "schedule is step"),
        ({"batch_size": 64}, "batch_size is 64, not 32"),
        ({"optimizer": "sgd"}, "optimizer is sgd, not adam"),
    ],
)
def test_where_a_configuration_leaves_the_space(changed: dict[str, Any], told: str) -> None:
    """A value that is not in its distribution, or not the fixed one, is named."""
    raw = {
        "hidden_layers": {"type": "int", "low": 1, "high": 3},
        "units": {"type": "int", "low": 8, "high": 64, "step": 8, "per": "hidden_layers"},
        "learning_rate": {"type": "float", "low": 1e-4, "high": 0.1, "log": True},
        "schedule": {"type": "categorical", "choices": ["constant", "cosine"]},
        "batch_size": 32,
    }
    within = {"hidden_layers": 2, "units": [8, 64], "learning_rate": 0.01, "schedule": "cosine", "batch_size": 32}
    assert right("ann", raw).outside(parse_params("ann", within)) == ""
    assert right("ann", raw).outside(parse_params("ann", {**within, **changed})) == told


def test_each_layer_has_its_own_draw() -> None:
    """With `per` the layers of one network differ; without it they are equal."""
    per_layer = {"type": "int", "low": 1, "high": 1000, "per": "hidden_layers"}
    alike = {"type": "int", "low": 1, "high": 1000}
    for written, different in ((per_layer, 5), (alike, 1)):
        params = right("ann", {"hidden_layers": 5, "units": written}).suggest(drawn_by(next(trials(1))))
        assert len({width for name, width in params.flat().items() if name.startswith("units")}) == different


def test_a_space_describes_itself() -> None:
    """Each hyperparameter has a line: searched ones with their distribution, then fixed ones with their value."""
    raw = {
        "batch_size": 32,
        "hidden_layers": {"type": "int", "low": 2, "high": 6, "step": 2},
        "units": {"type": "int", "low": 8, "high": 64, "log": True, "per": "hidden_layers"},
        "dropout": {"type": "float", "low": 0.0, "high": 0.5},
        "optimizer": {"type": "categorical", "choices": ["sgd", "adam"]},
    }
    assert right("ann", raw).describe() == [
        ("hidden_layers", "2 to 6, every 2"),
        ("units", "8 to 64, log, for each of hidden_layers"),
        ("dropout", "0 to 0.5"),
        ("optimizer", "one of sgd, adam"),
        ("batch_size", "32"),
    ]


def test_a_list_has_a_range_for_each_layer() -> None:
    """A list gives each layer its own range or value; a shallower network uses the first of them."""
    raw = {
        "hidden_layers": {"type": "int", "low": 0, "high": 3},
        "units": [{"type": "int", "low": 100, "high": 200}, 64, {"type": "categorical", "choices": [8, 16]}],
    }
    space, problems = parse_space("ann", raw)
    assert problems == []
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(40):
        params = space.suggest(drawn_by(study.ask()))
        assert isinstance(params, AnnParams)
        ranges = (range(100, 201), {64}, {8, 16})
        assert all(units in allowed for units, allowed in zip(params.units, ranges, strict=False))
        assert len(params.units) == params.hidden_layers


@pytest.mark.parametrize(
    ("units", "said"),
    [
        ([{"type": "int", "low": 1, "high": 2}, 64], "one entry for each of up to 3 hidden_layers, but has 2"),
        ([{"type": "int", "low": 2, "high": 1}, 64, 64], "`low` must be below `high`"),
        ([{"type": "int", "low": 1, "high": 2}, 0, 64], "greater than or equal to 1"),
        ([{"type": "int", "low": 1, "high": 2, "per": "hidden_layers"}, 1, 1], "already has an entry for each layer"),
    ],
)
def test_a_wrong_list_is_refused(units: list[object], said: str) -> None:
    """A list that does not fit the layers, or has an invalid range or value, is refused."""
    _, problems = parse_space("ann", {"hidden_layers": {"type": "int", "low": 0, "high": 3}, "units": units})
    assert [message for path, message in problems if path[0] == "units" and said in message], problems


UNITS = {"type": "int", "low": 8, "high": 64}


@pytest.mark.parametrize(
    ("wrong", "path", "said"),
    [
        ({"unitz": 3}, "unitz", "did you mean units?"),
        ({"units": {**UNITS, "low": 64}}, "units", "`low` must be below `high`, but low=64, high=64"),
        ({"units": {**UNITS, "step": 5}}, "units", "whole number of steps"),
        ({"units": {**UNITS, "step": 0}}, "units.step", "greater than or equal to 1"),
        ({"units": {**UNITS, "step": 2, "log": True}}, "units", "`step` must be 1 with `log: true`"),
        ({"units": {**UNITS, "low": 0, "log": True}}, "units", "`low` must be above 0 with `log: true`"),
        ({"units": {**UNITS, "low": True}}, "units.low", "valid integer, but is True"),
        ({"units": {**UNITS, "hihg": 3}}, "units.hihg", "unknown key"),
        ({"units": {"type": "int", "low": 8}}, "units.high", "must be given"),
        ({"units": {**UNITS, "per": "blocks"}}, "units", "`per` must be hidden_layers in family ann"),
        ({"batch_size": {**UNITS, "per": "hidden_layers"}}, "batch_size", "only activation, dropout, normalization, units"),
        ({"batch_size": {"type": "float", "low": 8, "high": 64}}, "batch_size", "valid integer"),
        ({"hidden_layers": {"type": "float", "low": 1, "high": 3}}, "hidden_layers", "valid integer"),
        ({"hidden_layers": {"type": "int", "low": 1, "high": 65}}, "hidden_layers", "less than or equal to 64"),
        ({"hidden_layers": {"type": "int", "low": 1, "high": 2}, "units": [8, 8]}, "hidden_layers", "units has 2"),
        ({"dropout": {"type": "float", "low": 0.5, "high": 1.0}}, "dropout", "less than 1"),
        ({"activation": {"type": "categorical", "choices": ["rleu", "relu"]},
          "hidden_layers": {"type": "categorical", "choices": [2, 0]}}, "activation", "but is 'rleu'"),
        ({"schedule": {"type": "categorical", "choices": []}}, "schedule.choices", "at least 1"),
        ({"schedule": {"type": "categorical", "choices": ["step", "stp"]}}, "schedule", "but is 'stp'"),
        ({"schedule": {"type": "categorical", "choices": ["step", "step"]}}, "schedule", "must differ"),
        ({"schedule": "stp"}, "schedule", "but is 'stp'"),
        ({"schedule": {"type": "choice", "choices": ["step"]}}, "schedule", "but is choice"),
        ({"schedule": {"choices": ["step"]}}, "schedule", "`type` must be given"),
        ({"weight_decay": 0.1}, "weight_decay", "counts with optimizer adamw or sgd, but optimizer is adam, the default"),
        ({"momentum": {"type": "float", "low": 0.1, "high": 0.9}, "optimizer": "adamw"}, "momentum", "optimizer is adamw;"),
        ({"warmup": 0.1, "schedule": {"type": "categorical", "choices": ["step", "cosine"]}}, "warmup", "step or cosine;"),
        ({"units": {**UNITS, "prior": 65}}, "units", "`prior` must lie between low=8 and high=64, but is 65"),
        ({"units": {**UNITS, "prior": 8.5}}, "units", "`prior` must lie between low=8 and high=64, but is 8.5"),
        ({"units": {**UNITS, "prior": True}}, "units", "`prior` must lie between low=8 and high=64, but is True"),
        ({"dropout": {"type": "float", "low": 0.0, "high": 0.5, "prior": "much"}}, "dropout", "but is much"),
        ({"dropout": {"type": "float", "low": 0.0, "high": 0.5, "prior": float("nan")}}, "dropout", "but is nan"),
        ({"schedule": {"type": "categorical", "choices": ["step"], "prior": "cosine"}}, "schedule", "one of the choices"),
        ({"units": {**UNITS, "prior": {"value": 8, "sure": "very"}}}, "units.prior.sure", "'low', 'medium' or 'high'"),
        ({"units": {**UNITS, "prior": {"sure": "low"}}}, "units.prior.value", "must be given"),
    ],
)  # fmt: skip
def test_each_mistake_has_its_path(wrong: dict[str, Any], path: str, said: str) -> None:
    """Each mistake is reported under the path of its hyperparameter, and nothing else is."""
    _, problems = parse_space("ann", {"hidden_layers": 2, "units": 8, **wrong})
    assert path in {".".join(where) for where, _ in problems}
    for where, message in problems:
        assert where[0] == path.split(".")[0]
        assert said in message


def test_an_effect_with_some_values_is_enough() -> None:
    """A hyperparameter may be searched if it has an effect with at least one value of the one that decides."""
    optimizer = {"type": "categorical", "choices": ["adam", "sgd"]}
    _, problems = parse_space("ann", {"hidden_layers": 1, "units": 8, "optimizer": optimizer, "momentum": 0.5})
    assert problems == []
    dense = {"type": "int", "low": 0, "high": 64}
    for units, wrong in ((dense, []), (0, [("dense_dropout",)]), (64, [])):
        _, problems = parse_space("cnn", {"blocks": 1, "filters": 8, "dense_units": units, "dense_dropout": 0.5})
        assert [where for where, _ in problems] == wrong
        assert all("counts with dense_units above 0, but dense_units is 0;" in message for _, message in problems)


def test_every_problem_is_reported() -> None:
    """Several mistakes are all reported, each under its own path, and so are missing hyperparameters."""
    raw = {"unitz": 3, "dropout": {"type": "float", "low": 1, "high": 0}, "schedule": {"type": "categorical"}}
    _, problems = parse_space("ann", raw)
    assert sorted((".".join(where), message.split()[0]) for where, message in problems) == [
        ("", "`hidden_layers`"),
        ("", "`units`"),
        ("dropout", "`low`"),
        ("schedule.choices", "must"),
        ("unitz", "is"),
    ]


def test_a_family_knows_its_own_parameters_only() -> None:
    """A hyperparameter of the dense family is unknown to the convolutional one."""
    _, problems = parse_space("cnn", {"blocks": 1, "filters": 8, "hidden_layers": 2})
    assert [where for where, _ in problems] == [("hidden_layers",)]
