"""The residual family: its hyperparameters, its cost and its network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from digitsweep.families.family import Family
from digitsweep.families.hyperparameters import TRAINING_SPACE, Activation, Params, Rate, Shape, Width

if TYPE_CHECKING:
    import keras


class ResnetParams(Params):
    """A small residual network: a convolution, one to four stages of residual blocks, the mean over each map.

    A block is the basic one of He et al. 2016 (arXiv 1512.03385, figure 2): two convolutions of 3x3, whose result is added
    to what went in. Each stage after the first halves the maps."""

    family: ClassVar[str] = "resnet"
    layer_count: ClassVar[str] = "stages"
    layered: ClassVar[Mapping[str, Any]] = {"filters": None, "residual_blocks": 1}

    stages: Annotated[int, Field(ge=1, le=4)]
    filters: tuple[Width, ...]
    residual_blocks: tuple[Annotated[int, Field(ge=1, le=8)], ...]
    activation: Activation = "relu"
    normalization: Literal["batch", "layer"] = "batch"
    dropout: Rate = 0.0
    """Before the last layer."""

    def operations(self, shape: Shape, classes: int = 10) -> int:
        """Multiplications for one image in a forward pass."""
        convolutions = sum(
            side * side * kernel * kernel * channels * filters
            for side, kernel, channels, filters in self._convolutions(shape)
        )
        return convolutions + self.filters[-1] * classes

    def outputs(self, shape: Shape) -> int:
        """The values for one image that the layers compute, which activations and normalisations work on."""
        return sum(side * side * filters for side, _, _, filters in self._convolutions(shape))

    def kernels(self, shape: Shape) -> int:
        """The weights of all kernels, without those of the last layer."""
        return sum(kernel * kernel * channels * filters for _, kernel, channels, filters in self._convolutions(shape))

    def _convolutions(self, shape: Shape) -> Iterator[tuple[int, int, int, int]]:
        """The side of its output, its kernel size, input channels and filters, of each convolution."""
        side, channels = shape[0], self.filters[0]
        yield side, 3, shape[2], channels
        for stage, (filters, blocks) in enumerate(zip(self.filters, self.residual_blocks, strict=True)):
            before, side = side, -(-side // 2) if stage else side
            for _ in range(blocks):
                yield side, 3, channels, filters
                yield side, 3, filters, filters
                if (before, channels) != (side, filters):
                    yield side, 1, channels, filters
                before, channels = side, filters

    def describe(self) -> str:
        """The network in a few characters: `residual 16-32x2`."""
        stages = zip(self.filters, self.residual_blocks, strict=True)
        return "residual " + "-".join(f"{filters}x{blocks}" if blocks > 1 else f"{filters}" for filters, blocks in stages)


def build(params: ResnetParams, shape: Shape, classes: int) -> keras.Model:
    """The first convolution, all blocks, the mean over each map, dropout."""
    import keras

    from digitsweep.families.build import classifier, dropped, normalized

    def convolved(
        features: keras.KerasTensor, filters: int, name: str, kernel: int = 3, stride: int = 1
    ) -> keras.KerasTensor:
        features = keras.layers.Conv2D(filters, kernel, stride, padding="same", use_bias=False, name=name)(features)
        return normalized(features, params.normalization, name)

    def activated(features: keras.KerasTensor, name: str) -> keras.KerasTensor:
        return keras.layers.Activation(params.activation, name=f"{name}_activation")(features)

    def features(image: keras.KerasTensor) -> keras.KerasTensor:
        features = activated(convolved(image, params.filters[0], "first"), "first")
        for stage, (filters, blocks) in enumerate(zip(params.filters, params.residual_blocks, strict=True), start=1):
            for block in range(1, blocks + 1):
                name = f"stage_{stage}_block_{block}"
                stride = 2 if stage > 1 and block == 1 else 1
                before = features
                features = activated(convolved(before, filters, f"{name}_conv_1", stride=stride), f"{name}_conv_1")
                features = convolved(features, filters, f"{name}_conv_2")
                if before.shape != features.shape:
                    before = convolved(before, filters, f"{name}_shortcut", kernel=1, stride=stride)
                features = activated(keras.layers.Add(name=f"{name}_sum")([before, features]), name)
        features = keras.layers.GlobalAveragePooling2D(name="mean")(features)
        return dropped(features, params.dropout, "mean")

    return classifier(params.family, shape, classes, features)


RESNET = Family(
    ResnetParams,
    build,
    title="ResNet",
    space={
        "stages": {"type": "int", "low": 1, "high": 3, "prior": {"value": 3, "sure": "low"}},
        "filters": {"type": "int", "low": 8, "high": 64, "step": 8, "per": "stages"},
        "residual_blocks": {"type": "int", "low": 1, "high": 2, "per": "stages"},
        "activation": {"type": "categorical", "choices": ["relu", "gelu", "silu"], "prior": "relu"},
        "normalization": {"type": "categorical", "choices": ["batch", "layer"], "prior": "batch"},
        "dropout": {"type": "float", "low": 0.0, "high": 0.3, "prior": 0.05},
        **TRAINING_SPACE,
    },
)
