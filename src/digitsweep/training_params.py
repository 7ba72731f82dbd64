"""How a network is trained: the hyperparameters that both families share, as checked, frozen values.

Every field is named as it is in YAML, in Optuna and in MLflow. A parameter that belongs to a layer (or block) holds one
value for each of them; in YAML a single value stands for all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Rate = Annotated[float, Field(ge=0.0, lt=1.0)]

Scalar = int | float | str

MOST_LAYERS = 64


def refuse_truth(value: Any) -> Any:
    """The value, unless true or false is or stands in it: Python, and so pydantic, takes those for 1 and 0."""
    for each in value if isinstance(value, list | tuple) else (value,):
        if isinstance(each, bool):
            raise ValueError(f"takes no true or false, but has {str(each).lower()}")
    return value


class TrainingParams(BaseModel):
    """Abstract: the training hyperparameters that both families share. Defaults are those of Keras."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: ClassVar[str]
    layer_count: ClassVar[str]
    """The field that says how many layers (or blocks) there are."""
    layered: ClassVar[Mapping[str, Any]]
    """The fields that hold one value for each layer, with their defaults (None: there is none)."""
    conditional: ClassVar[Mapping[str, tuple[str, frozenset[Any]]]] = {
        "momentum": ("optimizer", frozenset({"sgd"})),
        "weight_decay": ("optimizer", frozenset({"sgd", "adamw"})),
        "warmup": ("schedule", frozenset({"one_cycle"})),
    }
    """Field: (the field that decides, the values of it with which this field has a meaning)."""

    optimizer: Literal["sgd", "adam", "adamw"] = "adam"
    learning_rate: Annotated[float, Field(gt=0.0, le=10.0)] = 0.001
    momentum: Rate = 0.9
    """Of sgd (0 is plain gradient descent)."""
    weight_decay: Rate = 0.0
    """Decoupled (Loshchilov and Hutter 2019), on kernels only; of sgd and adamw."""
    schedule: Literal["constant", "step", "exponential", "cosine", "one_cycle", "plateau"] = "constant"
    warmup: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.3
    """Of one_cycle: the share of all steps in which the rate rises."""
    label_smoothing: Rate = 0.0
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 32
    augmentation: Literal["none", "shift", "affine"] = "none"

    @model_validator(mode="before")
    @classmethod
    def _one_value_stands_for_all_layers(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        spread = dict(values)
        count = _whole(values.get(cls.layer_count))
        for name, default in cls.layered.items():
            value = spread.get(name, default)
            if isinstance(value, str | int | float):
                spread[name] = (value,) * count
            elif value is None and count == 0:
                spread[name] = ()
        return spread

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth(cls, value: Any) -> Any:
        return refuse_truth(value)

    @model_validator(mode="after")
    def _one_value_for_each_layer(self) -> TrainingParams:
        count = getattr(self, self.layer_count)
        for name in sorted(self.layered):
            given = len(getattr(self, name))
            if given != count:
                raise ValueError(
                    f"`{name}` takes one value for all layers or one for each, but {self.layer_count}={count} "
                    f"and {name} has {given}"
                )
        return self

    @classmethod
    def applies(cls, name: str, values: Mapping[str, Any]) -> bool:
        """Whether the field has a meaning beside `values`: `momentum` has none with adam."""
        if name not in cls.conditional:
            return True
        decider, meaningful = cls.conditional[name]
        return values.get(decider, cls.model_fields[decider].default) in meaningful

    @classmethod
    def without_effect(cls, possible: Mapping[str, Sequence[Any]]) -> Iterator[tuple[str, str]]:
        """(field, why) of the fields that never have a meaning; `possible`: each given field and the values it may take."""
        for name in possible:
            if name not in cls.conditional:
                continue
            decider, meaningful = cls.conditional[name]
            values = possible.get(decider, [cls.model_fields[decider].default])
            if not any(cls.applies(name, {decider: value}) for value in values):
                counts = "above 0" if 1 in meaningful else " or ".join(sorted(meaningful))
                given = " or ".join(map(str, values)) if decider in possible else f"{values[0]}, the default"
                yield name, f"has no effect: it counts with {decider} {counts}, but {decider} is {given}; leave it out"

    def flat(self) -> dict[str, Scalar]:
        """Every hyperparameter that has a meaning, one scalar a key: `units_1`, `units_2`, ... for layered ones."""
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


def _whole(value: Any) -> int:
    """How many layers are meant; where that is no such number, 1: then the count alone is reported."""
    try:
        return min(max(int(value), 0), MOST_LAYERS)
    except (TypeError, ValueError, OverflowError):
        return 1
