"""The dense family: its hyperparameters, its cost and its network."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from digitsweep.families.family import Family
from digitsweep.families.hyperparameters import (
    MOST_LAYERS,
    TRAINING_SPACE,
    Activation,
    Normalization,
    Params,
    Rate,
    Shape,
    Width,
)

if TYPE_CHECKING:
    import keras


class AnnParams(Params):
    """A dense network: the flattened image, any number of hidden layers, a softmax."""

    family: ClassVar[str] = "ann"
    layer_count: ClassVar[str] = "hidden_layers"
    layered: ClassVar[Mapping[str, Any]] = {
        "units": None,
        "activation": "relu",
        "normalization": "none",
        "dropout": 0.0,
    }

    hidden_layers: Annotated[int, Field(ge=0, le=MOST_LAYERS)]
    units: tuple[Width, ...]
    activation: tuple[Activation, ...]
    normalization: tuple[Normalization, ...]
    dropout: tuple[Rate, ...]

    def operations(self, shape: Shape, classes: int = 10) -> int:
        """Multiplications for one image: what training costs, up to a factor."""
        widths = [math.prod(shape), *self.units, classes]
        return sum(before * after for before, after in itertools.pairwise(widths))

    def outputs(self, shape: Shape) -> int:
        """The values for one image that the layers compute, which activations and normalisations work on."""
        return sum(self.units)

    def kernels(self, shape: Shape) -> int:
        """The weights of all kernels, without those of the last layer."""
        return sum(before * after for before, after in itertools.pairwise([math.prod(shape), *self.units]))

    def describe(self) -> str:
        """The network in a few characters: `dense 512-256`."""
        return "dense " + "-".join(map(str, self.units)) if self.units else "softmax"


def build(params: AnnParams, shape: Shape, classes: int) -> keras.Model:
    """Flatten, then for each hidden layer: dense, normalisation, activation, dropout."""
    import keras

    from digitsweep.families.build import classifier, dropped, normalized

    def features(image: keras.KerasTensor) -> keras.KerasTensor:
        features = keras.layers.Flatten(name="flatten")(image)
        for layer, (units, activation, normalization, dropout) in enumerate(
            zip(params.units, params.activation, params.normalization, params.dropout, strict=True), start=1
        ):
            name = f"hidden_{layer}"
            biased = normalization == "none"  # a normalisation has a bias of its own
            features = keras.layers.Dense(units, use_bias=biased, name=name)(features)
            features = normalized(features, normalization, name)
            features = keras.layers.Activation(activation, name=f"{name}_{activation}")(features)
            features = dropped(features, dropout, name)
        return features

    return classifier(params.family, shape, classes, features)


ANN = Family(
    AnnParams,
    build,
    title="ANN",
    space={
        "hidden_layers": {"type": "int", "low": 1, "high": 4, "prior": {"value": 2, "sure": "high"}},
        "units": {"type": "int", "low": 64, "high": 1024, "step": 64, "per": "hidden_layers"},
        "activation": {"type": "categorical", "choices": ["relu", "gelu", "silu", "tanh"], "prior": "relu"},
        "normalization": {"type": "categorical", "choices": ["none", "batch", "layer"], "prior": "batch"},
        "dropout": {"type": "float", "low": 0.0, "high": 0.5, "prior": 0.1},
        **TRAINING_SPACE,
    },
)
