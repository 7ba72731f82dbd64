"""The gate: the rules that a challenger must pass to become champion, as a person writes them in YAML.

gate = load_gate(Path("experiments/gate.yaml"))
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from digitsweep.distributions import as_meant
from digitsweep.errors import InputError
from digitsweep.explain import readable
from digitsweep.training_params import refuse_truth
from digitsweep.yaml_file import GATE, line_of, read_yaml

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class _Part(BaseModel):
    """Abstract: a part of a gate."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @field_validator("*", mode="before")
    @classmethod
    def _as_meant(cls, value: Any, info: ValidationInfo) -> Any:
        takes_truth = info.field_name is not None and cls.model_fields[info.field_name].annotation is bool
        return value if takes_truth else as_meant(refuse_truth(value))


class Better(_Part):
    """How a challenger must compare with the champion, on the same test images."""

    rule: Literal["better", "not_worse"] = "better"
    """`better`: more images right, and McNemar's exact test says that it is no luck. `not_worse`: for a model that is
    smaller or faster; the whole 95 % score interval (Tango 1998) of its accuracy minus the champion's lies above minus
    `margin`."""
    level: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.05
    """Of `better`: the p-value must be below."""
    margin: Share = 0.0
    """Of `not_worse`: how much worse is as good, as a fraction of the images: 0.002 is 0.2 points."""

    @model_validator(mode="after")
    def _check(self) -> Better:
        for name, rule in (("level", "better"), ("margin", "not_worse")):
            if name in self.model_fields_set and self.rule != rule:
                raise ValueError(f"`{name}` belongs to the rule {rule}, but the rule is {self.rule}")
        if self.rule == "not_worse" and self.margin == 0.0:
            raise ValueError(
                "`margin` of not_worse must be above 0, or nothing but a better model is not worse, but is 0.0; write 0.002 "
                "for 0.2 points"
            )
        return self


class Limits(_Part):
    """What one kind of data asks for instead."""

    min_accuracy: Share | None = None
    min_class_recall: Share | None = None
    max_latency_p95: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] | None = None
    max_weights: Annotated[int, Field(ge=1)] | None = None


class Gate(_Part):
    """All rules; a limit that is `null` is no rule."""

    min_accuracy: Share | None = 0.95
    """The least accuracy on the test images, as a fraction."""
    min_class_recall: Share | None = 0.85
    """The least accuracy on the images of each single digit, as a fraction: no digit may be given up."""
    better: Better | None = Better()
    """How it must compare with the champion; the first champion has nobody to compare with. `null`: it need not compare."""
    max_latency_p95: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] | None = 50.0
    """Milliseconds for one image that 95 of 100 calls stay below, on the machine that promotes."""
    max_weights: Annotated[int, Field(ge=1)] | None = 5_000_000
    """Learned numbers, four bytes each."""
    same_data: bool = True
    """Challenger and champion must have been made for the same test images, by their digest."""
    clean_commit: bool = True
    """The challenger must have been trained by code of a known commit with nothing changed since."""
    data: Mapping[str, Limits] = {}
    """By the data's name, the limits that differ there."""

    def on(self, data: str) -> Gate:
        """The gate with the limits of some data in place."""
        limits = self.data.get(data)
        return self if limits is None else self.model_copy(update=limits.model_dump(exclude_unset=True))


DEFAULT = Gate(data={"mnist": Limits(min_accuracy=0.98, min_class_recall=0.95)})
"""The gate where there is no file; it says what experiments/gate.yaml says."""


def find_gate(path: Path | None) -> Gate:
    """The gate of a file; where none is named, that of experiments/gate.yaml, or DEFAULT where that is not there."""
    if path is not None:
        return load_gate(path)
    return load_gate(GATE) if GATE.is_file() else DEFAULT


def load_gate(path: Path) -> Gate:
    """Reads and checks a gate file. A rule that the file leaves out is as in Gate.

    Raises InputError with a line for each thing that is wrong, `file:line: key: rule, but values`."""
    raw, _, lines = read_yaml(path, "a gate", "min_accuracy")
    try:
        return Gate.model_validate(raw)
    except ValidationError as error:
        found = readable(error, Gate)
    raise InputError("\n".join(line_of(path, lines, where, message) for where, message in dict.fromkeys(found)))
