"""The space of a family's configurations: what is searched, what is fixed, and how Optuna draws one.

A mapping in the experiment file is searched, a scalar is fixed. `per:` draws a parameter once for each layer or block.
A parameter without a meaning beside the ones already drawn (`momentum` with adam) is not drawn at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator, model_validator

from digitsweep.params import FAMILIES, Scalar, refuse_truth

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
_SEARCHED: TypeAdapter[IntegerRange | FloatRange | Categorical] = TypeAdapter(Searched)


def as_meant(value: Any) -> Any:
    """The number that a text like `1e-4` means, which YAML 1.1 does not take for one; all else as it is."""
    if isinstance(value, list):
        return [as_meant(each) for each in value]
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _check_bounds(low: float, high: float, log: bool) -> None:
    if not low < high:
        raise ValueError(f"`low` must be below `high`, but low={low}, high={high}")
    if log and low <= 0:
        raise ValueError(f"`low` must be above 0 with `log: true`, but low={low}")


@dataclass(frozen=True)
class Space:
    """A family's searched parameters and fixed values."""

    family: str
    searched: Mapping[str, IntegerRange | FloatRange | Categorical]
    fixed: Mapping[str, Any]

    def suggest(self, trial: optuna.trial.BaseTrial) -> dict[str, Any]:
        """Draws a configuration: a value for each parameter that has a meaning beside the others."""
        params_type = FAMILIES[self.family]
        values: dict[str, Any] = dict(self.fixed)
        for name, searched in self._deciders_first():
            if not params_type.applies(name, values):
                continue
            if searched.per is None:
                values[name] = searched.draw(trial, name)
            else:
                count = int(values[searched.per])
                values[name] = [searched.draw(trial, f"{name}_{layer}") for layer in range(1, count + 1)]
        return values

    def _deciders_first(self) -> Iterator[tuple[str, IntegerRange | FloatRange | Categorical]]:
        params_type = FAMILIES[self.family]
        deciders = {params_type.layer_count, *(decider for decider, _ in params_type.conditional.values())}
        yield from ((name, each) for name, each in self.searched.items() if name in deciders)
        yield from ((name, each) for name, each in self.searched.items() if name not in deciders)

    def describe(self) -> list[tuple[str, str]]:
        """(parameter, what it may be) in the order of the file: searched ones first."""
        rows = [
            (name, f"{searched}{f', for each of {searched.per}' if searched.per else ''}")
            for name, searched in self.searched.items()
        ]
        return rows + [(name, f"{value}") for name, value in self.fixed.items()]


def parse_space(family: str, raw: Mapping[str, Any]) -> tuple[Space, list[tuple[tuple[str, ...], str]]]:
    """A family's space from its YAML mapping, and all that is wrong in it as (path below `space`, message)."""
    params_type = FAMILIES[family]
    searched: dict[str, IntegerRange | FloatRange | Categorical] = {}
    fixed: dict[str, Any] = {}
    problems: list[tuple[tuple[str, ...], str]] = []
    for name, value in raw.items():
        if name not in params_type.model_fields:
            problems.append(((str(name),), _unknown(str(name), params_type.model_fields)))
        elif not isinstance(value, Mapping):
            fixed[name] = as_meant(value)
        else:
            try:
                searched[name] = _SEARCHED.validate_python(dict(value))
            except ValidationError as error:
                problems += [((name, *path), message) for path, message in readable(error)]
            else:
                problems += [((name,), message) for message in _wrong_in(family, name, searched[name], raw)]
    for name, field in params_type.model_fields.items():
        needed = params_type.layered[name] is None if name in params_type.layered else field.is_required()
        if needed and name not in raw:
            problems.append(((), f"`{name}` must be given: a mapping to search it, or a value to fix it"))
    if not problems:
        problems += _wrong_values(family, searched, fixed)
    return Space(family, searched, fixed), problems


def _wrong_in(
    family: str, name: str, searched: IntegerRange | FloatRange | Categorical, raw: Mapping[str, Any]
) -> Iterator[str]:
    params_type = FAMILIES[family]
    if searched.per is None:
        return
    if name not in params_type.layered:
        yield f"`per` goes with {', '.join(sorted(params_type.layered))}, but {name} has per={searched.per}"
    elif searched.per != params_type.layer_count:
        yield f"`per` of an {family} parameter is {params_type.layer_count}, but is {searched.per}"
    elif isinstance(raw.get(params_type.layer_count), Mapping) and "per" in raw[params_type.layer_count]:
        yield f"`{params_type.layer_count}` cannot have a `per` of its own"


def _wrong_values(
    family: str, searched: Mapping[str, IntegerRange | FloatRange | Categorical], fixed: Mapping[str, Any]
) -> list[tuple[tuple[str, ...], str]]:
    """Tries every bound and choice on the family's checks, each beside one value of all the others."""
    params_type = FAMILIES[family]
    first = {**fixed, **{name: each.samples()[-1] for name, each in searched.items()}}
    if params_type.layer_count in searched:  # with no layers nothing that is per layer would be checked
        counts = searched[params_type.layer_count].samples()
        first[params_type.layer_count] = max(counts, key=lambda count: 0 if isinstance(count, str) else count)
    problems: dict[tuple[tuple[str, ...], str], None] = {}
    trials = [(None, first)] + [(name, first | {name: v}) for name, each in searched.items() for v in each.samples()]
    for tried, values in trials:
        try:
            params_type.model_validate(values)
        except ValidationError as error:
            for path, message in readable(error):
                culprit = path[:1] or ((tried,) if tried else ())
                problems[(culprit, message)] = None
    return list(problems)


def readable(error: ValidationError) -> list[tuple[tuple[str, ...], str]]:
    """Pydantic's findings as (path, message); a message states the rule, then the value."""
    findings: list[tuple[tuple[str, ...], str]] = []
    for each in error.errors(include_url=False):
        path = tuple(str(part) for part in each["loc"] if part not in ("int", "float", "categorical"))
        message = each["msg"].removeprefix("Value error, ")
        match each["type"]:
            case "extra_forbidden":
                message = "is not known here"
            case "missing":
                message = "must be given"
            case "union_tag_invalid":
                message = f"`type` is int, float or categorical, but is {each['ctx']['tag']}"
            case "union_tag_not_found":
                message = "`type` must be given: int, float or categorical"
            case "value_error":
                pass
            case _:
                message = f"{message[0].lower()}{message[1:]}, but is {shown(each['input'])}"
        findings.append((path, message))
    return list(dict.fromkeys(findings))


def shown(value: Any) -> str:
    """A value as a message shows it: on one line, and not pages of it."""
    try:
        text = repr(value)
    except ValueError:  # Python does not write an integer of more than 4,300 digits
        return "a number of thousands of digits"
    return text if len(text) <= 200 else f"{text[:200]}..."


def _unknown(name: str, known: Mapping[str, Any]) -> str:
    import difflib

    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]}?" if close else "known are " + ", ".join(sorted(known))
    return f"is not a hyperparameter; {hint}"
