"""Wrong search spaces: everything that is wrong is said, with the path of the parameter."""

from __future__ import annotations

from typing import Any

import pytest

from digitsweep.space import parse_space

UNITS = {"type": "int", "low": 8, "high": 64}


@pytest.mark.parametrize(
    ("wrong", "path", "said"),
    [
        ({"unitz": 3}, "unitz", "did you mean units?"),
        ({"units": {**UNITS, "low": 64}}, "units", "`low` must be below `high`, but low=64, high=64"),
        ({"units": {**UNITS, "step": 5}}, "units", "whole number of steps"),
        ({"units": {**UNITS, "step": 0}}, "units.step", "greater than or equal to 1"),
        ({"units": {**UNITS, "step": 2, "log": True}}, "units", "`step` cannot go with `log: true`"),
        ({"units": {**UNITS, "low": 0, "log": True}}, "units", "`low` must be above 0 with `log: true`"),
        ({"units": {**UNITS, "low": True}}, "units.low", "true"),
        ({"units": {**UNITS, "hihg": 3}}, "units.hihg", "not known"),
        ({"units": {"type": "int", "low": 8}}, "units.high", "must be given"),
        ({"units": {**UNITS, "per": "blocks"}}, "units", "`per` of an ann parameter is hidden_layers"),
        ({"batch_size": {**UNITS, "per": "hidden_layers"}}, "batch_size", "`per` goes with activation, dropout"),
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
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_path(wrong: dict[str, Any], path: str, said: str) -> None:
    """Each mistake is reported once or more under the path of its parameter, and nothing else is."""
    _, problems = parse_space("ann", {"hidden_layers": 2, "units": 8, **wrong})
    assert path in {".".join(where) for where, _ in problems}
    for where, message in problems:
        assert where[0] == path.split(".")[0]
        assert said in message


def test_what_has_an_effect_beside_some_values_is_right() -> None:
    """A parameter that counts with one of several values that another may take is not complained of."""
    optimizer = {"type": "categorical", "choices": ["adam", "sgd"]}
    _, problems = parse_space("ann", {"hidden_layers": 1, "units": 8, "optimizer": optimizer, "momentum": 0.5})
    assert problems == []
    dense = {"type": "int", "low": 0, "high": 64}
    for units, wrong in ((dense, []), (0, [("dense_dropout",)]), (64, [])):
        _, problems = parse_space("cnn", {"blocks": 1, "filters": 8, "dense_units": units, "dense_dropout": 0.5})
        assert [where for where, _ in problems] == wrong
        assert all("counts with dense_units above 0, but dense_units is 0;" in message for _, message in problems)


def test_every_problem_is_reported() -> None:
    """Several mistakes are all reported, each under its own path, and so is all that is missing."""
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
    """A parameter of the dense family is unknown to the convolutional one."""
    _, problems = parse_space("cnn", {"blocks": 1, "filters": 8, "hidden_layers": 2})
    assert [where for where, _ in problems] == [("hidden_layers",)]
