"""Hyperparameters of one configuration: what a network of either family is, beside how it is trained."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from digitsweep.training_params import MOST_LAYERS, Rate, TrainingParams

Activation = Literal["relu", "leaky_relu", "elu", "selu", "gelu", "silu", "tanh", "sigmoid"]
Normalization = Literal["none", "batch", "layer"]
Pooling = Literal["max", "average", "stride"]
Width = Annotated[int, Field(ge=1, le=65536)]


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
        """Multiplications of one image's way through the network: what training it costs, up to a factor."""
        widths = [side * side, *self.units, classes]
        return sum(before * after for before, after in itertools.pairwise(widths))

    def describe(self) -> str:
        """The network in a few characters: `dense 512-256`."""
        return "dense " + "-".join(map(str, self.units)) if self.units else "softmax"


class CnnParams(TrainingParams):
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
        **TrainingParams.conditional,
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
    """Of the dense layer between the last block and the softmax; 0 is none."""
    dense_dropout: Rate = 0.0
    """After the dense layer."""

    def smallest_image(self) -> int:
        """The least side of an image, in pixels, that the network can take: with valid padding a map shrinks."""
        return 1 if self.padding == "same" else self._needed(1)

    def used_side(self, side: int) -> int:
        """The side of the upper left part of an image that the network's answer depends on.

        With valid padding, pooling drops the last row and column of an odd map; what only these have seen need not be
        computed. Batch normalisation takes its mean over them too, so that with it everything is used."""
        if self.padding == "same" or "batch" in self.normalization:
            return side
        return self._needed(self._sides(side)[-1])

    def operations(self, side: int, classes: int = 10) -> int:
        """Multiplications of one image's way through the network: what training it costs, up to a factor."""
        total, channels = 0, 1
        sides = self._sides(self.used_side(side))
        for (kernel, filters), after in zip(self._each_convolution(), sides, strict=False):
            total += after * after * kernel * kernel * channels * filters
            channels = filters
        widths = [sides[-1] * sides[-1] * channels, *([self.dense_units] if self.dense_units else []), classes]
        return total + sum(before * after for before, after in itertools.pairwise(widths))

    def _each_convolution(self) -> Iterator[tuple[int, int]]:
        """Kernel size and filters."""
        for block in range(self.blocks):
            yield from [(self.kernel_size[block], self.filters[block])] * self.convolutions[block]

    def _sides(self, side: int) -> list[int]:
        """The sides of the maps that each convolution makes, and of the last block's pooled map."""
        sides = []
        for kernel, convolutions, pooling in zip(self.kernel_size, self.convolutions, self.pooling, strict=True):
            for index in range(convolutions):
                side = side if self.padding == "same" else side - kernel + 1
                if pooling == "stride" and index == convolutions - 1:
                    side = -(-side // 2)
                sides.append(side)
            if pooling != "stride":
                side = -(-side // 2) if self.padding == "same" else side // 2
        return [*sides, side]

    def _needed(self, side: int) -> int:
        """With valid padding: the side of an image whose last map is so large."""
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


Params = AnnParams | CnnParams

FAMILIES: dict[str, type[AnnParams] | type[CnnParams]] = {"ann": AnnParams, "cnn": CnnParams}


def parse_params(family: str, values: Mapping[str, Any]) -> Params:
    """Checked hyperparameters of a family, from their names and values (layered ones as one value or a list).

    Raises `pydantic.ValidationError`; `experiment` turns that into lines for a person."""
    return FAMILIES[family].model_validate(dict(values))
