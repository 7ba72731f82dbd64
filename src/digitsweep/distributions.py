"""What a searched hyperparameter may be, and how Optuna draws it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, field_validator, model_validator

from digitsweep.training_params import Scalar, refuse_truth

if TYPE_CHECKING:
    import optuna


class _Searched(BaseModel):
    """Abstract: a parameter that is searched."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    per: str | None = None
    """Draw once for each unit of this integer parameter."""

    @field_validator("low", "high", "choices", mode="before", check_fields=False)
    @classmethod
    def _no_truth(cls, value: Any) -> Any:
        return refuse_truth(value)


class IntegerRange(_Searched):
    """Integers from `low` to `high`, both included, every `step`."""

    type: Literal["int"]
    low: Annotated[int, Field(strict=True)]
    high: Annotated[int, Field(strict=True)]
    step: Annotated[int, Field(strict=True, ge=1)] = 1
    log: bool = False

    @model_validator(mode="after")
    def _check(self) -> IntegerRange:
        _check_bounds(self.low, self.high, self.log)
        if self.log and self.step != 1:
            raise ValueError(f"`step` cannot go with `log: true`, but step={self.step}")
        if (self.high - self.low) % self.step:
            raise ValueError(
                f"`high` must be `low` plus a whole number of steps, but low={self.low}, high={self.high}, step={self.step}"
            )
        return self

    def draw(self, trial: optuna.trial.BaseTrial, name: str) -> Scalar:
        return trial.suggest_int(name, self.low, self.high, step=self.step, log=self.log)

    def samples(self) -> list[Scalar]:
        return [self.low, self.high]

    def __str__(self) -> str:
        step = f", every {self.step}" if self.step != 1 else ""
        return f"{self.low} to {self.high}{step}{', log' if self.log else ''}"


class FloatRange(_Searched):
    """Numbers from `low` to `high`, both included."""

    type: Literal["float"]
    low: float
    high: float
    log: bool = False

    @model_validator(mode="after")
    def _check(self) -> FloatRange:
        _check_bounds(self.low, self.high, self.log)
        return self

    def draw(self, trial: optuna.trial.BaseTrial, name: str) -> Scalar:
        return trial.suggest_float(name, self.low, self.high, log=self.log)

    def samples(self) -> list[Scalar]:
        between = self.low + (self.high - self.low) * 0.6180339887  # hardly ever a whole number, which bounds often are
        return [self.low, between, self.high]

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}{', log' if self.log else ''}"


class Categorical(_Searched):
    """One of `choices`."""

    type: Literal["categorical"]
    choices: Annotated[list[Scalar], Field(min_length=1)]

    @field_validator("choices", mode="before")
    @classmethod
    def _as_meant(cls, value: Any) -> Any:
        return as_meant(value)

    @model_validator(mode="after")
    def _check(self) -> Categorical:
        if len(set(self.choices)) != len(self.choices):
            raise ValueError(f"`choices` must differ from each other, but are {self.choices}")
        return self

    def draw(self, trial: optuna.trial.BaseTrial, name: str) -> Scalar:
        return cast("Scalar", trial.suggest_categorical(name, self.choices))

    def samples(self) -> list[Scalar]:
        return list(self.choices)

    def __str__(self) -> str:
        return "one of " + ", ".join(map(str, self.choices))


Searched = Annotated[IntegerRange | FloatRange | Categorical, Field(discriminator="type")]
SEARCHED: TypeAdapter[IntegerRange | FloatRange | Categorical] = TypeAdapter(Searched)


@dataclass(frozen=True)
class PerLayer:
    """A parameter with a range, or a fixed value, of its own for each layer: as many as there can be layers."""

    parts: tuple[IntegerRange | FloatRange | Categorical | Scalar, ...]

    def draw(self, trial: optuna.trial.BaseTrial, name: str, count: int) -> list[Scalar]:
        return [
            part if isinstance(part, int | float | str) else part.draw(trial, f"{name}_{layer}")
            for layer, part in enumerate(self.parts[:count], start=1)
        ]

    def samples(self) -> list[list[Scalar]]:
        """Every part's bounds and choices, each beside the last ones of the others."""
        each = [[part] if isinstance(part, int | float | str) else part.samples() for part in self.parts]
        last = [samples[-1] for samples in each]
        return [[*last[:i], value, *last[i + 1 :]] for i, samples in enumerate(each) for value in samples]

    def __str__(self) -> str:
        return "; ".join(map(str, self.parts))


Search = IntegerRange | FloatRange | Categorical | PerLayer


def _check_bounds(low: float, high: float, log: bool) -> None:
    if not low < high:
        raise ValueError(f"`low` must be below `high`, but low={low}, high={high}")
    if log and low <= 0:
        raise ValueError(f"`low` must be above 0 with `log: true`, but low={low}")


def as_meant(value: Any) -> Any:
    """The number that a text like `1e-4` means, which YAML 1.1 does not take for one; all else as it is."""
    if isinstance(value, list):
        return [as_meant(each) for each in value]
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value
