"""How a network is trained: the hyperparameters that all families share, as checked, frozen values.

Every field has the same name in YAML, in Optuna and in MLflow. A parameter of layers (or blocks) holds one value for each
of them; in YAML one value may be given for all.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Rate = Annotated[float, Field(ge=0.0, lt=1.0)]

Width = Annotated[int, Field(ge=1, le=65536)]
Activation = Literal["relu", "leaky_relu", "elu", "selu", "gelu", "silu", "tanh", "sigmoid"]
Normalization = Literal["none", "batch", "layer"]

Scalar = int | float | str
Shape = tuple[int, int, int]
"""Of an image: height and width, which are equal, in pixels, and channels, 1 for grey or 3 for colour."""

MOST_LAYERS = 64

SECONDS: Mapping[str, float] = {
    "multiplication": 3.0e-11,
    "image": 1.3e-6,
    "step": 1.5e-4,
    "weight, sgd": 1.0e-9,
    "weight, adam": 1.7e-9,
    "weight, adamw": 1.9e-9,
    "value": 3.2e-9,
    "value, gelu": 1.2e-8,
    "value, silu": 6.3e-9,
    "value, elu": 6e-9,
    "value, selu": 6e-9,
    "value, sigmoid": 6e-9,
    "value, batch": 6.8e-9,
    "value, layer": 9.1e-9,
    "value, dropout": 3.8e-9,
    "pixel, shift": 9.9e-9,
    "pixel, affine": 1.4e-8,
    "pixel, flip": 7e-9,
    "pixel, crop": 2e-8,
}
"""Of training on the reference machine, for each item of `Params.work`: a multiplication of one image, an image, a step, a
weight in each step, a value that is activated (more with some activations, with normalisation and with dropout), and a
value of an image that is augmented. What is not here costs nothing. `make bench-prediction` fits them, and says how good
predictions are. For what its trainings lack (elu, selu, sigmoid, flip, crop), these are guesses."""

TRAINING_SPACE: Mapping[str, Any] = {
    "optimizer": {"type": "categorical", "choices": ["sgd", "adam", "adamw"], "prior": {"value": "adamw", "sure": "high"}},
    "learning_rate": {"type": "float", "low": 1e-4, "high": 3e-2, "log": True, "prior": {"value": 0.005, "sure": "high"}},
    "momentum": {"type": "float", "low": 0.5, "high": 0.99},
    "weight_decay": {"type": "float", "low": 1e-4, "high": 0.3, "log": True, "prior": {"value": 0.05, "sure": "high"}},
    "schedule": {
        "type": "categorical",
        "choices": ["constant", "step", "exponential", "cosine", "one_cycle", "plateau"],
        "prior": "one_cycle",
    },
    "warmup": {"type": "float", "low": 0.05, "high": 0.5, "prior": {"value": 0.3, "sure": "high"}},
    "label_smoothing": {"type": "float", "low": 0.0, "high": 0.2, "prior": 0.05},
    "batch_size": {"type": "categorical", "choices": [32, 64, 128, 256], "prior": 128},
    "augmentation": {"type": "categorical", "choices": ["none", "shift", "affine", "flip", "crop"], "prior": "affine"},
}
"""The part of a default search space that all families share. Its priors are what the portfolios of `images.yaml` have in
common (`make portfolio`)."""


class Params(BaseModel):
    """Abstract: a configuration of a family, with the training hyperparameters that all families share.

    Their defaults are those of Keras."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    family: ClassVar[str]
    """In experiment files and in MLflow: lower-case letters, digits and underscores."""
    layer_count: ClassVar[str] = ""
    """The field that says how many layers (or blocks) there are; empty if no field holds a value for each of them."""
    layered: ClassVar[Mapping[str, Any]] = {}
    """The fields that hold one value for each layer, with their defaults (None: there is none)."""
    conditional: ClassVar[Mapping[str, tuple[str, frozenset[Any]]]] = {
        "momentum": ("optimizer", frozenset({"sgd"})),
        "weight_decay": ("optimizer", frozenset({"sgd", "adamw"})),
        "warmup": ("schedule", frozenset({"one_cycle"})),
    }
    """Field: (the field that decides, its values with which this field has an effect)."""

    optimizer: Literal["sgd", "adam", "adamw"] = "adam"
    learning_rate: Annotated[float, Field(gt=0.0, le=10.0)] = 0.001
    momentum: Rate = 0.9
    """For sgd; 0 is plain gradient descent."""
    weight_decay: Rate = 0.0
    """For sgd and adamw; decoupled (Loshchilov and Hutter 2019), on kernels only."""
    schedule: Literal["constant", "step", "exponential", "cosine", "one_cycle", "plateau"] = "constant"
    warmup: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.3
    """For one_cycle: the share of all steps in which the rate rises."""
    label_smoothing: Rate = 0.0
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 32
    augmentation: Literal["none", "shift", "affine", "flip", "crop"] = "none"

    @model_validator(mode="before")
    @classmethod
    def _one_value_stands_for_all_layers(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        spread = dict(values)
        count = values.get(cls.layer_count)
        count = min(count, MOST_LAYERS) if isinstance(count, int) else 1  # otherwise the count alone is reported
        for name, default in cls.layered.items():
            value = spread.get(name, default)
            if isinstance(value, str | int | float):
                spread[name] = (value,) * count
            elif isinstance(value, list) or (value is None and count == 0):
                spread[name] = tuple(value or ())
        return spread

    @model_validator(mode="after")
    def _one_value_for_each_layer(self) -> Params:
        for name in sorted(self.layered):
            count, given = getattr(self, self.layer_count), len(getattr(self, name))
            if given != count:
                raise ValueError(
                    f"`{name}` takes one value for all layers or one for each, but {self.layer_count}={count} "
                    f"and {name} has {given}"
                )
        return self

    @classmethod
    def applies(cls, name: str, values: Mapping[str, Any]) -> bool:
        """Whether the field has an effect with these values: `momentum` has none with adam."""
        if name not in cls.conditional:
            return True
        decider, meaningful = cls.conditional[name]
        return values.get(decider, cls.model_fields[decider].default) in meaningful

    @classmethod
    def without_effect(cls, possible: Mapping[str, Sequence[Any]]) -> Iterator[tuple[str, str]]:
        """(field, reason) of the fields that never have an effect; `possible` has the values of each given field."""
        for name in possible:
            if name not in cls.conditional:
                continue
            decider, meaningful = cls.conditional[name]
            values = possible.get(decider, [cls.model_fields[decider].default])
            if not any(cls.applies(name, {decider: value}) for value in values):
                counts = "above 0" if 1 in meaningful else " or ".join(sorted(meaningful))
                given = " or ".join(map(str, values)) if decider in possible else f"{values[0]}, the default"
                yield name, f"has no effect: it counts with {decider} {counts}, but {decider} is {given}; leave it out"

    def operations(self, shape: Shape, classes: int = 10) -> int:
        """Abstract: multiplications for one image of this shape in a forward pass. What training costs, up to a factor."""
        raise NotImplementedError

    def smallest_image(self) -> int:
        """The least side of an image, in pixels, that the network can take."""
        return 1

    def outputs(self, shape: Shape) -> int:
        """The values for one image that the layers compute, which take memory; 0 if they are not worth counting."""
        return 0

    def activations(self, shape: Shape) -> int:
        """The values for one image that activations and normalisations work on."""
        return self.outputs(shape)

    def kernels(self, shape: Shape) -> int:
        """The weights of all kernels, without those of the last layer; 0 if they are not worth counting."""
        return 0

    def describe(self) -> str:
        """The network in a few characters, such as `mixer, depth 4, width 64`: the family's own hyperparameters."""
        own = [name for name in type(self).model_fields if name not in Params.model_fields]
        return ", ".join([self.family, *(f"{name.replace('_', ' ')} {_plain(getattr(self, name))}" for name in own)])

    def epoch_seconds(self, shape: Shape, images: int) -> float:
        """Predicted seconds of an epoch of so many training images on the reference machine: one core of an AMD EPYC that
        computes in bfloat16. Rungs and plans count in these; how fast a machine is, is measured beside them."""
        return images * sum(SECONDS.get(name, 0.0) * count for name, count in self.work(shape).items())

    def work(self, shape: Shape) -> dict[str, float]:
        """What the training on one image consists of: how many there are of each item of SECONDS."""

        def dearest(name: str) -> str:
            value = getattr(self, name, ())
            names = value if isinstance(value, tuple) else (value,)
            return max(names, key=lambda each: SECONDS.get(f"value, {each}", 0.0), default="none")

        dropout, values = getattr(self, "dropout", 0.0), self.activations(shape)
        return {
            "multiplication": self.operations(shape),
            "image": 1.0,
            "step": 1.0 / self.batch_size,
            f"weight, {self.optimizer}": self.kernels(shape) / self.batch_size,
            "value": values,
            f"value, {dearest('activation')}": values,
            f"value, {dearest('normalization')}": values,
            "value, dropout": values * any(dropout if isinstance(dropout, tuple) else (dropout,)),
            f"pixel, {self.augmentation}": math.prod(shape),
        }

    def __reduce__(self) -> tuple[Any, ...]:
        """By name and values, so that only the family must be known where a configuration is unpickled."""
        from digitsweep.families import parse_params

        return parse_params, (self.family, self.model_dump())

    def flat(self) -> dict[str, Scalar]:
        """Every hyperparameter that has an effect, one scalar a key: `units_1`, `units_2`, ... for layered ones."""
        values = self.model_dump()
        flat: dict[str, Scalar] = {}
        for name, value in values.items():
            if name in self.layered:
                flat |= {f"{name}_{layer}": each for layer, each in enumerate(value, start=1)}
            elif self.applies(name, values):
                flat[name] = value
        return flat

    def key(self) -> tuple[tuple[str, Scalar], ...]:
        """Equal for two configurations that train the same network the same way."""
        return tuple(sorted(self.flat().items()))


def _plain(value: Any) -> str:
    """`64`, or `64-128` of a layered hyperparameter."""
    return "-".join(map(str, value)) if isinstance(value, tuple) else str(value)
