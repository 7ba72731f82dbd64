"""The convolutional family: its hyperparameters, its cost and its network."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from digitsweep.families.family import Family
from digitsweep.families.hyperparameters import TRAINING_SPACE, Activation, Normalization, Params, Rate, Shape, Width

if TYPE_CHECKING:
    import keras

Pooling = Literal["max", "average", "stride"]


class CnnParams(Params):
    """A convolutional network: one to three blocks, each of one or two convolutions and a pooling, then a dense head."""

    family: ClassVar[str] = "cnn"
    layer_count: ClassVar[str] = "blocks"
    layered: ClassVar[Mapping[str, Any]] = {
        "filters": None,
        "kernel_size": 3,
        "convolutions": 1,
        "pooling": "max",
        "normalization": "none",
        "dropout": 0.0,
    }
    conditional: ClassVar[Mapping[str, tuple[str, frozenset[Any]]]] = {
        **Params.conditional,
        "dense_dropout": ("dense_units", frozenset(range(1, 65537))),
    }

    blocks: Annotated[int, Field(ge=1, le=3)]
    convolutions: tuple[Annotated[int, Field(ge=1, le=2)], ...]
    filters: tuple[Width, ...]
    kernel_size: tuple[Annotated[int, Field(ge=1, le=11)], ...]
    pooling: tuple[Pooling, ...]
    """2x2 maximum or average, or a stride of 2 in the block's last convolution."""
    normalization: tuple[Normalization, ...]
    dropout: tuple[Rate, ...]
    """After each block's pooling."""
    padding: Literal["valid", "same"] = "valid"
    activation: Activation = "relu"
    dense_units: Annotated[int, Field(ge=0, le=65536)] = 0
    """Width of a dense layer between the last block and the softmax; 0 is none."""
    dense_dropout: Rate = 0.0
    """After the dense layer."""

    def smallest_image(self) -> int:
        """The least side of an image, in pixels, that the network can take: with valid padding a map shrinks."""
        return 1 if self.padding == "same" else self._needed(1)

    def used_side(self, side: int) -> int:
        """The side of the upper left part of an image that the network's answer depends on.

        With valid padding, pooling drops the last row and column of an odd map, so that what only they depend on need not be
        computed. Batch normalisation averages over them too, so that with it the whole image is used."""
        if self.padding == "same" or "batch" in self.normalization:
            return side
        return self._needed(self._sides(side)[-1][1])

    def operations(self, shape: Shape, classes: int = 10) -> int:
        """Multiplications for one image: what training costs, up to a factor."""
        total, channels = 0, shape[2]
        for (made, _), (kernel, filters) in self._maps(shape):
            total += made * made * kernel * kernel * channels * filters
            channels = filters
        widths = [
            self._last_side(shape) ** 2 * channels,
            *([self.dense_units] if self.dense_units else []),
            classes,
        ]
        return total + sum(before * after for before, after in itertools.pairwise(widths))

    def outputs(self, shape: Shape) -> int:
        """The values for one image that the convolutions compute, which take memory."""
        return sum(made * made * filters for (made, _), (_, filters) in self._maps(shape))

    def activations(self, shape: Shape) -> int:
        """The values for one image that activations and normalisations work on: of a pooled map, what the pooling leaves."""
        return sum(left * left * filters for (_, left), (_, filters) in self._maps(shape))

    def kernels(self, shape: Shape) -> int:
        """The weights of all kernels, without those of the last layer."""
        total, channels = 0, shape[2]
        for kernel, filters in self._each_convolution():
            total += kernel * kernel * channels * filters
            channels = filters
        return total + self._last_side(shape) ** 2 * channels * self.dense_units

    def _each_convolution(self) -> Iterator[tuple[int, int]]:
        """Kernel size and filters."""
        for block in range(self.blocks):
            yield from [(self.kernel_size[block], self.filters[block])] * self.convolutions[block]

    def _maps(self, shape: Shape) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
        """Of each convolution: the sides, and kernel size and filters."""
        return zip(self._sides(self.used_side(shape[0])), self._each_convolution(), strict=True)

    def _last_side(self, shape: Shape) -> int:
        """Of the map that is flattened."""
        return self._sides(self.used_side(shape[0]))[-1][1]

    def _sides(self, side: int) -> list[tuple[int, int]]:
        """For each convolution the side of the map that it makes, and what a pooling that follows leaves of it."""
        sides = []
        for kernel, convolutions, pooling in zip(self.kernel_size, self.convolutions, self.pooling, strict=True):
            for index in range(convolutions):
                made = left = side if self.padding == "same" else side - kernel + 1
                if index == convolutions - 1:
                    left = -(-made // 2) if self.padding == "same" or pooling == "stride" else made // 2
                    made = left if pooling == "stride" else made
                sides.append((made, left))
                side = left
        return sides

    def _needed(self, side: int) -> int:
        """With valid padding: the side of an image whose last map has this side."""
        for kernel, convolutions, pooling in zip(
            reversed(self.kernel_size), reversed(self.convolutions), reversed(self.pooling), strict=True
        ):
            side = 2 * (side - 1) + kernel if pooling == "stride" else 2 * side + kernel - 1
            side += (convolutions - 1) * (kernel - 1)
        return side

    def describe(self) -> str:
        """The network in a few characters: `conv 32-64x2 k3, dense 100`."""
        blocks = "-".join(
            f"{filters}x{convolutions}" if convolutions > 1 else f"{filters}"
            for filters, convolutions in zip(self.filters, self.convolutions, strict=True)
        )
        kernels = sorted(set(self.kernel_size))
        text = f"conv {blocks} k{'/'.join(map(str, kernels))}"
        return f"{text}, dense {self.dense_units}" if self.dense_units else text


def build(params: CnnParams, shape: Shape, classes: int) -> keras.Model:
    """For each block its convolutions and a pooling; then flatten and, if there is one, the dense layer.

    Unused rows and columns are cropped first: conv 32-64 uses 26 of 28 pixels, which saves a sixth of the work."""
    import keras

    from digitsweep.families.build import classifier, dropped

    def features(image: keras.KerasTensor) -> keras.KerasTensor:
        features, unused = image, shape[0] - params.used_side(shape[0])
        if unused:
            features = keras.layers.Cropping2D(((0, unused), (0, unused)), name="used")(image)
        for block in range(params.blocks):
            features = _block(params, block, features)
        features = keras.layers.Flatten(name="flatten")(features)
        if params.dense_units:
            features = keras.layers.Dense(params.dense_units, name="dense")(features)
            features = keras.layers.Activation(params.activation, name="dense_activation")(features)
            features = dropped(features, params.dense_dropout, "dense")
        return features

    return classifier(params.family, shape, classes, features)


def _block(params: CnnParams, block: int, features: keras.KerasTensor) -> keras.KerasTensor:
    """Convolution, normalisation, activation, once or twice; pooling directly follows the last convolution.

    Pooling first leaves a quarter of the values to normalise and activate. For maximum pooling and a monotonic
    activation without normalisation the function is the same in either order."""
    import keras

    from digitsweep.families.build import dropped, normalized

    normalization, pooling = params.normalization[block], params.pooling[block]
    last = params.convolutions[block] - 1
    for index in range(params.convolutions[block]):
        name = f"block_{block + 1}_conv_{index + 1}"
        features = keras.layers.Conv2D(
            params.filters[block],
            params.kernel_size[block],
            strides=2 if pooling == "stride" and index == last else 1,
            padding=params.padding,
            use_bias=normalization == "none",
            name=name,
        )(features)
        if index == last and pooling != "stride":
            layer = keras.layers.MaxPooling2D if pooling == "max" else keras.layers.AveragePooling2D
            features = layer(2, padding=params.padding, name=f"block_{block + 1}_pool")(features)
        features = normalized(features, normalization, name)
        features = keras.layers.Activation(params.activation, name=f"{name}_activation")(features)
    return dropped(features, params.dropout[block], f"block_{block + 1}")


CNN = Family(
    CnnParams,
    build,
    title="CNN",
    space={
        "blocks": {"type": "int", "low": 1, "high": 3, "prior": {"value": 3, "sure": "low"}},
        "convolutions": {"type": "int", "low": 1, "high": 2, "per": "blocks"},
        "filters": {"type": "int", "low": 8, "high": 96, "step": 8, "per": "blocks"},
        "kernel_size": {"type": "categorical", "choices": [3, 5], "prior": 3},
        "pooling": {
            "type": "categorical",
            "choices": ["max", "average", "stride"],
            "prior": {"value": "max", "sure": "low"},
        },
        "padding": {"type": "categorical", "choices": ["valid", "same"], "prior": "same"},
        "activation": {"type": "categorical", "choices": ["relu", "gelu", "silu"], "prior": "relu"},
        "normalization": {"type": "categorical", "choices": ["none", "batch", "layer"], "prior": "batch"},
        "dropout": {"type": "float", "low": 0.0, "high": 0.3, "prior": 0.02},
        "dense_units": {"type": "categorical", "choices": [0, 64, 128, 256], "prior": 128},
        "dense_dropout": {"type": "float", "low": 0.0, "high": 0.5, "prior": {"value": 0.1, "sure": "low"}},
        **TRAINING_SPACE,
    },
)
