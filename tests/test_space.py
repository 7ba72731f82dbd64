"""Search spaces: whatever a right one draws is a right configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import PROPERTY

from digitsweep.params import FAMILIES, AnnParams, parse_params
from digitsweep.space import Space, parse_space

Raw = dict[str, Any]


@pytest.fixture(autouse=True, scope="module")
def _quiet_optuna() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
    optuna.logging.set_verbosity(before)


@st.composite
def integers(draw: st.DrawFn, least: int, most: int) -> Any:
    """A fixed integer, or a range of them with steps or on a log scale."""
    low = draw(st.integers(least, most - 1))
    if draw(st.booleans()):
        return low
    if low > 0 and draw(st.booleans()):
        return {"type": "int", "low": low, "high": draw(st.integers(low + 1, most)), "log": True}
    step = draw(st.integers(1, most - low))
    return {"type": "int", "low": low, "high": low + step * draw(st.integers(1, (most - low) // step)), "step": step}


@st.composite
def numbers(draw: st.DrawFn, least: float, most: float) -> Any:
    """A fixed number, also as text (which is what YAML makes of `1e-4`), or a range of them."""
    low, high = sorted(draw(st.lists(st.floats(least, most), min_size=2, max_size=2, unique=True)))
    if draw(st.booleans()):
        return draw(st.sampled_from([low, f"{low:.17e}"]))
    return {"type": "float", "low": low, "high": high, "log": low > 0 and draw(st.booleans())}


def choices(*words: Any) -> st.SearchStrategy[Any]:
    """One of the words, or some of them to choose from."""
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
}


@st.composite
def spaces(draw: st.DrawFn, family: str) -> Raw:
    """A right space, as it stands in a file, in any order."""
    raw: Raw = draw(st.fixed_dictionaries(NEEDED[family], optional=OPTIONAL[family]))
    for name in FAMILIES[family].layered:
        if isinstance(raw.get(name), dict) and draw(st.booleans()):
            raw[name] = {**raw[name], "per": FAMILIES[family].layer_count}
    for name, (decider, meaningful) in FAMILIES[family].conditional.items():
        decided = raw.get(decider)
        may_be = (decided.get("choices") or [decided["high"]]) if isinstance(decided, dict) else [decided]
        if not any(each in meaningful for each in may_be):
            raw.pop(name, None)
    return dict(draw(st.permutations(list(raw.items()))))


def right(family: str, raw: Raw) -> Space:
    """A space in which nothing is wrong."""
    space, problems = parse_space(family, raw)
    assert problems == []
    return space


def trials(count: int) -> Iterator[optuna.Trial]:
    """Trials of a study in memory, drawn at random."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    return (study.ask() for _ in range(count))


@pytest.mark.parametrize("family", FAMILIES)
@PROPERTY
@given(data=st.data())
def test_every_draw_is_a_configuration(family: str, data: st.DataObject) -> None:
    """What a right space draws parses, has one value for each layer, and none without a meaning."""
    raw = data.draw(spaces(family))
    space = right(family, raw)
    for trial in trials(3):
        values = space.suggest(trial)
        params = parse_params(family, values)
        for name, written in raw.items():
            if not isinstance(written, Mapping):
                continue
            if "per" in written:
                count = getattr(params, params.layer_count)
                assert len(values[name]) == count
                assert {f"{name}_{layer}" for layer in range(1, count + 1)} <= set(trial.params)
            else:
                assert (name in values) == (name in trial.params) == params.applies(name, params.model_dump())


def test_each_layer_is_drawn_by_itself() -> None:
    """With `per` the layers of one network differ; without it they are all alike."""
    per_layer = {"type": "int", "low": 1, "high": 1000, "per": "hidden_layers"}
    alike = {"type": "int", "low": 1, "high": 1000}
    for written, different in ((per_layer, 5), (alike, 1)):
        values = right("ann", {"hidden_layers": 5, "units": written}).suggest(next(trials(1)))
        params = parse_params("ann", values)
        assert len({width for name, width in params.flat().items() if name.startswith("units")}) == different


def test_a_number_that_yaml_reads_as_text_is_a_number() -> None:
    """`1e-4` is the number that it means, whether fixed, a bound or a choice."""
    needed = {"hidden_layers": 0, "units": 8, "optimizer": "sgd"}
    written = {
        "learning_rate": "1e-4",
        "weight_decay": {"type": "categorical", "choices": ["1e-4", "1e-2"]},
        "momentum": {"type": "float", "low": "1e-1", "high": 0.5},
    }
    meant = {
        "learning_rate": 0.0001,
        "weight_decay": {"type": "categorical", "choices": [0.0001, 0.01]},
        "momentum": {"type": "float", "low": 0.1, "high": 0.5},
    }
    assert right("ann", needed | written) == right("ann", needed | meant)


def test_a_space_describes_itself() -> None:
    """Each parameter has a line: what is searched, over what and for each of which, then what is fixed."""
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
    """Where layers differ, a list gives each its own range or value, and a shallower network uses the first of them."""
    raw = {
        "hidden_layers": {"type": "int", "low": 0, "high": 3},
        "units": [{"type": "int", "low": 100, "high": 200}, 64, {"type": "categorical", "choices": [8, 16]}],
    }
    space, problems = parse_space("ann", raw)
    assert problems == []
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(40):
        params = parse_params("ann", space.suggest(study.ask()))
        assert isinstance(params, AnnParams)
        ranges = (range(100, 201), {64}, {8, 16})
        assert all(units in allowed for units, allowed in zip(params.units, ranges, strict=False))
        assert len(params.units) == params.hidden_layers


@pytest.mark.parametrize(
    ("units", "said"),
    [
        ([{"type": "int", "low": 1, "high": 2}, 64], "an entry for each of at most 3 hidden_layers, but has 2"),
        ([{"type": "int", "low": 2, "high": 1}, 64, 64], "`low` must be below `high`"),
        ([{"type": "int", "low": 1, "high": 2}, 0, 64], "greater than or equal to 1"),
        ([{"type": "int", "low": 1, "high": 2, "per": "hidden_layers"}, 1, 1], "an entry for each layer already"),
    ],
)
def test_a_wrong_list_is_told(units: list[object], said: str) -> None:
    """A list that does not fit the layers, or holds a wrong range or value, is told."""
    _, problems = parse_space("ann", {"hidden_layers": {"type": "int", "low": 0, "high": 3}, "units": units})
    assert [message for path, message in problems if path[0] == "units" and said in message], problems
