"""The dense family: its hyperparameters, its cost and its network."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from digitsweep.families.hyperparameters import MOST_LAYERS, Activation, Normalization, Rate, TrainingParams, Width

if TYPE_CHECKING:
    import keras


class AnnParams(TrainingParams):
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

    def smallest_image(self) -> int:
        """The least side of an image, in pixels, that the network can take."""
        return 1

    def operations(self, side: int, classes: int = 10) -> int:
        """Multiplications for one image: what training costs, up to a factor."""
        widths = [side * side, *self.units, classes]
        return sum(before * after for before, after in itertools.pairwise(widths))

    def outputs(self, side: int) -> int:
        """The values for one image that activations and normalisations work on."""
        return sum(self.units)

    def kernels(self, side: int) -> int:
        """The weights of all kernels, without those of the last layer."""
        return sum(before * after for before, after in itertools.pairwise([side * side, *self.units]))

    def describe(self) -> str:
        """The network in a few characters: `dense 512-256`."""
        return "dense " + "-".join(map(str, self.units)) if self.units else "softmax"

    def features(self, image: keras.KerasTensor, precision: str) -> keras.KerasTensor:
        """Flatten, then for each hidden layer: dense, normalisation, activation, dropout."""
        import keras

        from digitsweep.families.build import dropped, normalized

        features = keras.layers.Flatten(dtype=precision, name="flatten")(image)
        for layer, (units, activation, normalization, dropout) in enumerate(
            zip(self.units, self.activation, self.normalization, self.dropout, strict=True), start=1
        ):
            name = f"hidden_{layer}"
            biased = normalization == "none"  # a normalisation has a bias of its own
            features = keras.layers.Dense(units, use_bias=biased, dtype=precision, name=name)(features)
            features = normalized(features, normalization, precision, name)
            features = keras.layers.Activation(activation, dtype=precision, name=f"{name}_{activation}")(features)
            features = dropped(features, dropout, precision, name)
        return features
