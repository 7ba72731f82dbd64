"""What a family is: one object, made in one file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from digitsweep.families.hyperparameters import Params, Shape

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Family:
    """Networks of one kind, for example dense networks. Its file imports Keras only inside functions."""

    params: type[Params]
    """The hyperparameters, what a configuration costs (`Params.operations`), and the name in experiments and in MLflow
    (`Params.family`)."""
    build: Callable[[Any, Shape, int], keras.Model]
    """(configuration, shape, classes): its untrained network. It maps uint8 (n, height, width, channels), 0 to 255, to
    float32 (n, classes) that add up to 1.

    It consists of stock Keras layers, so that a saved model loads where digitsweep is not installed, and its last one is a
    `Softmax`. `families.build.classifier` adds the first and the last layers to what a family makes of the image."""
    title: str
    """What people read: `CNN`, or `ResNet`."""
    space: Mapping[str, Any] = field(default_factory=dict)
    """The default search space with its priors, as in an experiment file; empty if there is none."""

    @property
    def name(self) -> str:
        return self.params.family
