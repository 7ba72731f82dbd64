"""Hyperparameters: what is accepted, when two configurations are the same, and what a network needs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from support import PROPERTY

from digitsweep.config.yaml_file import readable
from digitsweep.families import FAMILIES, parse_params
from digitsweep.families.hyperparameters import MOST_LAYERS


def problems(family: str, **values: Any) -> dict[str, str]:
    """The messages for wrong hyperparameters, by the path of the parameter."""
    with pytest.raises(ValidationError) as error:
        parse_params(family, values)
    return {".".join(path): message for path, message in readable(error.value)}


@PROPERTY
@given(layers=st.integers(0, MOST_LAYERS), units=st.integers(1, 1000), dropout=st.floats(0, 1, exclude_max=True))
def test_one_value_stands_for_all_layers(layers: int, units: int, dropout: float) -> None:
    """A single value is the same as a list with it for each layer."""
    single = parse_params("ann", {"hidden_layers": layers, "units": units, "dropout": dropout})
    listed = parse_params("ann", {"hidden_layers": layers, "units": [units] * layers, "dropout": [dropout] * layers})
    assert single == listed
    assert single.key() == listed.key()


def test_lists_must_fit_the_count() -> None:
    """Three widths for two layers are refused, with both numbers."""
    said = problems("ann", hidden_layers=2, units=[1, 2, 3])
    assert said == {"": "`units` takes one value for all layers or one for each, but hidden_layers=2 and units has 3"}
    assert "blocks=2 and kernel_size has 1" in problems("cnn", blocks=2, filters=8, kernel_size=[3])[""]


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"units": 8}, ["hidden_layers"]),
        ({"hidden_layers": 1}, ["units"]),
        ({"hidden_layers": MOST_LAYERS + 1, "units": 8}, ["hidden_layers"]),
        ({"hidden_layers": "many", "units": 8}, ["hidden_layers"]),
        ({"hidden_layers": 1.5, "units": 8}, ["hidden_layers"]),
        ({"hidden_layers": True, "units": 8}, ["hidden_layers"]),
        ({"hidden_layers": 1, "units": 0}, ["units.0"]),
        ({"hidden_layers": 1, "units": [True]}, ["units.0"]),
        ({"hidden_layers": 1, "units": 8, "dropout": 1.0}, ["dropout.0"]),
        ({"hidden_layers": 1, "units": 8, "dropout": float("nan")}, ["dropout.0"]),
        ({"hidden_layers": 1, "units": 8, "learning_rate": float("nan")}, ["learning_rate"]),
        ({"hidden_layers": 1, "units": 8, "learning_rate": 0}, ["learning_rate"]),
        ({"hidden_layers": 1, "units": 8, "activation": "rleu", "lr": 1}, ["activation.0", "lr"]),
        ({"hidden_layers": 1, "units": 8, "optimizer": None}, ["optimizer"]),
    ],
)
def test_wrong_values_are_named(values: dict[str, Any], named: list[str]) -> None:
    """Only the wrong parameters are named."""
    assert sorted(problems("ann", **values)) == named


def test_flat_names_a_layer_by_its_number() -> None:
    """A layered parameter is `units_1`, `units_2`, ...; the others keep their names; all are scalars."""
    flat = parse_params("ann", {"hidden_layers": 2, "units": [128, 32]}).flat()
    assert flat == {
        "hidden_layers": 2,
        "units_1": 128,
        "units_2": 32,
        "activation_1": "relu",
        "activation_2": "relu",
        "normalization_1": "none",
        "normalization_2": "none",
        "dropout_1": 0.0,
        "dropout_2": 0.0,
        "optimizer": "adam",
        "learning_rate": 0.001,
        "schedule": "constant",
        "label_smoothing": 0.0,
        "batch_size": 32,
        "augmentation": "none",
    }


ANN = {"hidden_layers": 1, "units": 8}
CNN = {"blocks": 1, "filters": 8}


@pytest.mark.parametrize(
    ("family", "without", "with_it", "conditional"),
    [
        ("ann", {"optimizer": "adamw"}, {"optimizer": "sgd"}, {"momentum": 0.5}),
        ("cnn", {"optimizer": "adam"}, {"optimizer": "adamw"}, {"weight_decay": 0.5}),
        ("ann", {"schedule": "cosine"}, {"schedule": "one_cycle"}, {"warmup": 0.5}),
        ("cnn", {"dense_units": 0}, {"dense_units": 10}, {"dense_dropout": 0.5}),
    ],
)
def test_only_what_has_an_effect_tells_apart(
    family: str, without: dict[str, Any], with_it: dict[str, Any], conditional: dict[str, Any]
) -> None:
    """A parameter that has no effect beside the others is neither listed nor part of the key; one that has is both."""
    needed = ANN if family == "ann" else CNN
    for decider, has_effect in ((without, False), (with_it, True)):
        plain, beside = (parse_params(family, {**needed, **decider, **more}) for more in ({}, conditional))
        assert (plain.key() != beside.key()) == has_effect
        assert (conditional.keys() <= beside.flat().keys()) == has_effect


def test_smallest_image_in_figures() -> None:
    """A 3x3 convolution and a pooling need 4 pixels, with a stride 3; with `same` padding, or none, one is enough."""
    assert parse_params("cnn", CNN).smallest_image() == 4
    assert parse_params("cnn", {**CNN, "pooling": "stride"}).smallest_image() == 3
    assert parse_params("cnn", {**CNN, "padding": "same"}).smallest_image() == 1
    assert parse_params("ann", ANN).smallest_image() == 1


@pytest.mark.parametrize(
    ("family", "values", "text"),
    [
        ("ann", {"hidden_layers": 0}, "softmax"),
        ("ann", {"hidden_layers": 2, "units": [512, 256]}, "dense 512-256"),
        ("cnn", {"blocks": 1, "filters": 32}, "conv 32 k3"),
        ("cnn", {"blocks": 2, "filters": [32, 64], "convolutions": [1, 2], "kernel_size": [5, 3], "dense_units": 100},
         "conv 32-64x2 k3/5, dense 100"),
        ("resnet", {"stages": 2, "filters": [16, 32], "residual_blocks": [1, 2]}, "residual 16-32x2"),
    ],
)  # fmt: skip
def test_describe(family: str, values: dict[str, Any], text: str) -> None:
    """A configuration is described in a few characters."""
    assert parse_params(family, values).describe() == text


def test_params_are_values() -> None:
    """A configuration cannot be changed, and two with the same values are equal in either family."""
    for family, needed in (("ann", ANN), ("cnn", CNN)):
        params = parse_params(family, needed)
        assert params == parse_params(family, needed)
        assert isinstance(params, FAMILIES[family].params)
        with pytest.raises(ValidationError, match="frozen"):
            params.batch_size = 1


@pytest.mark.parametrize(
    ("family", "values", "expected"),
    [
        ("ann", {"hidden_layers": 0}, 784 * 10),
        ("ann", {"hidden_layers": 2, "units": [128, 32]}, 784 * 128 + 128 * 32 + 32 * 10),
        ("cnn", {"blocks": 1, "filters": 32, "dense_units": 100}, 26 * 26 * 9 * 32 + 13 * 13 * 32 * 100 + 100 * 10),
        (
            "cnn",
            {"blocks": 2, "filters": [8, 4], "convolutions": [2, 1], "pooling": ["max", "stride"], "padding": "same"},
            28 * 28 * 9 * 8 + 28 * 28 * 9 * 8 * 8 + 7 * 7 * 9 * 8 * 4 + 7 * 7 * 4 * 10,
        ),
        (
            "resnet",
            {"stages": 2, "filters": [8, 16]},
            28 * 28 * 9 * 8 * (1 + 8 + 8) + 14 * 14 * (9 * 8 * 16 + 9 * 16 * 16 + 8 * 16) + 16 * 10,
        ),
    ],
)
def test_operations(family: str, values: dict[str, object], expected: int) -> None:
    """The multiplications of one image's way through a network are those of pencil and paper."""
    assert parse_params(family, values).operations((28, 28, 1)) == expected


@pytest.mark.parametrize(
    ("family", "values", "expected"),
    [
        ("ann", {"hidden_layers": 2, "units": [128, 32]}, 128 + 32),
        ("cnn", {"blocks": 1, "filters": 32, "dense_units": 100}, 13 * 13 * 32),
        (
            "cnn",
            {"blocks": 2, "filters": [8, 4], "convolutions": [2, 1], "pooling": ["max", "stride"], "padding": "same"},
            28 * 28 * 8 + 14 * 14 * 8 + 7 * 7 * 4,
        ),
    ],
)
def test_activations(family: str, values: dict[str, object], expected: int) -> None:
    """A pooling or a stride leaves activations a quarter of the values."""
    assert parse_params(family, values).activations((28, 28, 1)) == expected
