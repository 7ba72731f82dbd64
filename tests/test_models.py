"""The networks: shapes, layers, and what may be inside."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from digitsweep.families import Params, parse_params
from digitsweep.families.ann import AnnParams
from digitsweep.families.build import network
from digitsweep.families.cnn import CnnParams

ann = st.builds(
    lambda units, activation, normalization, dropout: parse_params(
        "ann",
        {"hidden_layers": len(units), "units": units, "activation": activation, "normalization": normalization,
         "dropout": dropout},
    ),
    st.lists(st.integers(1, 20), max_size=4),
    st.sampled_from(["relu", "gelu", "tanh", "leaky_relu"]),
    st.sampled_from(["none", "batch", "layer"]),
    st.sampled_from([0.0, 0.3]),
)  # fmt: skip


@st.composite
def cnn(draw: st.DrawFn) -> Params:
    blocks = draw(st.integers(1, 3))

    def each(values: list[object]) -> list[object]:
        return draw(st.lists(st.sampled_from(values), min_size=blocks, max_size=blocks))

    return parse_params(
        "cnn",
        {
            "blocks": blocks,
            "filters": each([1, 4, 6]),
            "kernel_size": each([1, 3, 5]),
            "convolutions": each([1, 2]),
            "pooling": each(["max", "average", "stride"]),
            "normalization": each(["none", "batch", "layer"]),
            "dropout": each([0.0, 0.2]),
            "padding": draw(st.sampled_from(["same", "valid"])),
            "dense_units": draw(st.sampled_from([0, 8])),
        },
    )


def test_weights_are_drawn_from_the_first_layer_to_the_last() -> None:
    """A seed gives the initial weights that Keras gives the same layers, made in the order in which images pass them."""
    keras.utils.set_random_seed(3)
    plain = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(5), keras.layers.Dense(3)])
    keras.utils.set_random_seed(3)
    found = network(parse_params("ann", {"hidden_layers": 1, "units": 5}), (4, 4, 1), 3)
    for mine, theirs in zip(found.get_weights(), plain.get_weights(), strict=True):
        assert np.array_equal(mine, theirs)


@st.composite
def resnet(draw: st.DrawFn) -> Params:
    filters = draw(st.lists(st.sampled_from([1, 4, 6]), min_size=1, max_size=4))
    blocks = draw(st.lists(st.integers(1, 2), min_size=len(filters), max_size=len(filters)))
    normalization, dropout = draw(st.sampled_from(["batch", "layer"])), draw(st.sampled_from([0.0, 0.2]))
    return parse_params(
        "resnet",
        {"stages": len(filters), "filters": filters, "residual_blocks": blocks, "normalization": normalization,
         "dropout": dropout},
    )  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(
    params=st.one_of(ann, cnn(), resnet()),
    extra=st.integers(0, 5),
    classes=st.integers(2, 12),
    channels=st.sampled_from([1, 3]),
)
def test_any_configuration_builds(params: Params, extra: int, classes: int, channels: int) -> None:
    """From its smallest image on, every configuration maps raw images to probabilities of as many classes. Its kernels,
    without the last layer's, have as many weights as it says."""
    side = params.smallest_image() + extra
    shape = (side, side, channels)
    model = network(params, shape, classes)
    images = np.random.default_rng(0).integers(0, 256, (2, *shape)).astype(np.uint8)
    kernels = [each.kernel for each in model.layers if isinstance(each, keras.layers.Dense | keras.layers.Conv2D)]
    assert params.kernels(shape) == sum(math.prod(each.shape) for each in kernels[:-1])
    found = np.asarray(model(images, training=False))
    assert found.shape == (2, classes)
    np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-5)


@settings(max_examples=15, deadline=None)
@given(params=cnn())
def test_the_smallest_image_is_the_smallest(params: CnnParams) -> None:
    """One pixel less than the smallest image, and the network cannot be built."""
    side = params.smallest_image()
    if side > 1:
        with pytest.raises(ValueError, match=r"negative|dimension"):
            network(params, (side - 1, side - 1, 1), 10)


def test_an_ann_without_hidden_layers_is_a_softmax() -> None:
    """784 inputs and 10 classes make 7,850 weights."""
    assert network(parse_params("ann", {"hidden_layers": 0}), (28, 28, 1), 10).count_params() == 784 * 10 + 10


def test_published_networks_have_their_weights() -> None:
    """The networks of the published projects have as many weights as pencil and paper give."""
    dense = parse_params("ann", {"hidden_layers": 2, "units": [128, 32]})
    assert network(dense, (28, 28, 1), 10).count_params() == 785 * 128 + 129 * 32 + 33 * 10
    conv = parse_params("cnn", {"blocks": 1, "filters": 32, "dense_units": 100})
    assert network(conv, (28, 28, 1), 10).count_params() == 10 * 32 + (13 * 13 * 32 + 1) * 100 + 101 * 10


def test_only_stock_layers() -> None:
    """Every layer is one of Keras' own, so that a saved model loads anywhere."""
    params = parse_params("cnn", {"blocks": 2, "filters": 4, "normalization": "layer", "dropout": 0.1, "dense_units": 5})
    for layer in network(params, (28, 28, 1), 10).layers:
        assert type(layer).__module__.startswith("keras.")
        assert not isinstance(layer, keras.layers.Lambda)


def test_the_image_is_scaled_inside() -> None:
    """The first layer after the input divides by 255, the last is the softmax."""
    model = network(AnnParams(hidden_layers=0, units=()), (28, 28, 1), 10)  # type: ignore[call-arg]
    assert model.layers[1].name == "scale"
    assert model.layers[1].scale == pytest.approx(1 / 255)
    assert isinstance(model.layers[-1], keras.layers.Softmax)
    assert model.input.dtype == "uint8"


def test_cutting_off_changes_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Conv 4-6 on 28 pixels uses 26 of them; the whole and the cropped network give the same output."""
    params = parse_params("cnn", {"blocks": 2, "filters": [4, 6], "pooling": ["max", "average"], "dense_units": 8})
    assert isinstance(params, CnnParams)
    assert [params.used_side(side) for side in (26, 27, 28, 29, 30)] == [26, 26, 26, 26, 30]
    cut = network(params, (28, 28, 1), 10)
    monkeypatch.setattr(CnnParams, "used_side", lambda self, side: side)
    whole = network(params, (28, 28, 1), 10)
    whole.set_weights(cut.get_weights())
    images = np.random.default_rng(1).integers(0, 256, (16, 28, 28, 1)).astype(np.uint8)
    np.testing.assert_allclose(np.asarray(whole(images)), np.asarray(cut(images)), rtol=1e-5, atol=1e-6)
    assert cut.count_params() == whole.count_params()
