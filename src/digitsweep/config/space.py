"""The search space of a family: which hyperparameters are searched, which are fixed, and how Optuna draws a configuration.

In the experiment file a mapping is searched and a scalar is fixed. With `per:` a hyperparameter is drawn once for each layer
or block; a list has a mapping or a scalar for each of them. A hyperparameter that has no effect with the values already
drawn (`momentum` with adam) is not drawn.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from digitsweep.config.yaml_file import Problem, readable
from digitsweep.families import FAMILIES, Params, parse_params
from digitsweep.families.hyperparameters import MOST_LAYERS, Scalar

if TYPE_CHECKING:
    import optuna


class Prior(BaseModel):
    """A value that tends to do well. The search tries it and values near it early, and leaves it by what it measures."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    value: Any
    sure: Literal["low", "medium", "high"] = "medium"
    """How narrow the prior is; of a range, half, a quarter or an eighth is its standard deviation (PriorBand's choices,
    Mallik et al. 2023, arXiv 2306.12370)."""

    @model_validator(mode="before")
    @classmethod
    def _value_alone(cls, given: Any) -> Any:
        return given if isinstance(given, Mapping | Prior) else {"value": given}


class _Distribution(BaseModel):
    """Abstract: the distribution of one searched hyperparameter."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    per: str | None = None
    """The integer hyperparameter, such as `hidden_layers`, that says how many values to draw."""
    prior: Prior | None = None
    """What is known to do well; with `budget.minutes` only."""


class IntegerRange(_Distribution):
    """Integers from `low` to `high`, both included, in steps of `step`."""

    type: Literal["int"]
    low: int
    high: int
    step: Annotated[int, Field(ge=1)] = 1
    log: bool = False

    @model_validator(mode="after")
    def _check(self) -> IntegerRange:
        _check_bounds(self.low, self.high, self.log)
        if self.log and self.step != 1:
            raise ValueError(f"`step` must be 1 with `log: true`, but step={self.step}")
        _check_prior(self.prior, self.low, self.high, int)
        if (self.high - self.low) % self.step:
            raise ValueError(
                f"`high` must be `low` plus a whole number of steps, but low={self.low}, high={self.high}, step={self.step}"
            )
        return self

    def draw(self, trial: optuna.trial.BaseTrial, name: str) -> Scalar:
        return trial.suggest_int(name, self.low, self.high, step=self.step, log=self.log)

    def contains(self, value: Scalar) -> bool:
        return isinstance(value, int) and value in range(self.low, self.high + 1, self.step)

    def share_of(self, value: Scalar) -> float:
        """Where a value lies in the range, 0 to 1; in its logarithm, if that is how it is drawn."""
        low, high = self._ends()
        return float((_scaled(float(value), self.log) - low) / (high - low))

    def at_share(self, share: float) -> Scalar:
        """The value at a share of the range; one outside of 0 to 1 is reflected at the ends."""
        low, high = self._ends()
        at = low + _reflected(share) * (high - low)
        steps = round(((math.exp(at) if self.log else at) - self.low) / self.step)
        return min(max(self.low + steps * self.step, self.low), self.high)

    def _ends(self) -> tuple[float, float]:
        """Half a step beyond the bounds, so that these are as likely as what lies between."""
        return _scaled(self.low - self.step / 2, self.log), _scaled(self.high + self.step / 2, self.log)

    def nearest(self, value: Scalar) -> Scalar:
        """The value of the distribution that is nearest to this one; raises ValueError if there is none."""
        steps = round((float(value) - self.low) / self.step)
        return min(max(self.low + steps * self.step, self.low), self.high)

    def samples(self) -> list[Scalar]:
        return [self.low, self.high]

    def __str__(self) -> str:
        step = f", every {self.step}" if self.step != 1 else ""
        return f"{self.low} to {self.high}{step}{', log' if self.log else ''}"


class FloatRange(_Distribution):
    """Numbers from `low` to `high`, both included."""

    type: Literal["float"]
    low: float
    high: float
    log: bool = False

    @model_validator(mode="after")
    def _check(self) -> FloatRange:
        _check_bounds(self.low, self.high, self.log)
        _check_prior(self.prior, self.low, self.high, (int, float))
        return self

    def draw(self, trial: optuna.trial.BaseTrial, name: str) -> Scalar:
        return trial.suggest_float(name, self.low, self.high, log=self.log)

    def contains(self, value: Scalar) -> bool:
        return isinstance(value, float | int) and bool(self.low <= value <= self.high)

    def share_of(self, value: Scalar) -> float:
        """As of an IntegerRange."""
        low, high = _scaled(self.low, self.log), _scaled(self.high, self.log)
        return (_scaled(float(value), self.log) - low) / (high - low)

    def at_share(self, share: float) -> Scalar:
        """As of an IntegerRange."""
        low, high = _scaled(self.low, self.log), _scaled(self.high, self.log)
        at = low + _reflected(share) * (high - low)
        return min(max(math.exp(at) if self.log else at, self.low), self.high)

    def nearest(self, value: Scalar) -> Scalar:
        """As of an IntegerRange."""
        return min(max(float(value), self.low), self.high)

    def samples(self) -> list[Scalar]:
        between = self.low + (self.high - self.low) * 0.6180339887  # rarely a whole number, unlike many bounds
        return [self.low, between, self.high]

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}{', log' if self.log else ''}"


def _scaled(value: float, log: bool) -> float:
    return math.log(value) if log else value


def _reflected(share: float) -> float:
    return 1.0 - abs(1.0 - abs(share) % 2.0)


def _check_bounds(low: float, high: float, log: bool) -> None:
    if not low < high:
        raise ValueError(f"`low` must be below `high`, but low={low}, high={high}")
    if log and low <= 0:
        raise ValueError(f"`low` must be above 0 with `log: true`, but low={low}")


def _check_prior(prior: Prior | None, low: float, high: float, kind: type | tuple[type, ...]) -> None:
    if prior is None:
        return
    value: Any = prior.value
    if isinstance(value, bool) or not isinstance(value, kind) or not low <= float(value) <= high:  # type: ignore[arg-type]
        raise ValueError(f"`prior` must lie between low={low} and high={high}, but is {prior.value}")


class Categorical(_Distribution):
    """One of `choices`."""

    type: Literal["categorical"]
    choices: Annotated[list[Any], Field(min_length=1)]

    @model_validator(mode="after")
    def _check(self) -> Categorical:
        if not all(isinstance(each, int | float | str) for each in self.choices):
            raise ValueError(f"`choices` must be numbers or words, but are {self.choices}")
        if len(set(self.choices)) != len(self.choices):
            raise ValueError(f"`choices` must differ from each other, but are {self.choices}")
        if self.prior is not None and self.prior.value not in self.choices:
            raise ValueError(f"`prior` must be one of the choices {self.choices}, but is {self.prior.value}")
        return self

    def draw(self, trial: optuna.trial.BaseTrial, name: str) -> Scalar:
        return cast("Scalar", trial.suggest_categorical(name, self.choices))

    def contains(self, value: Scalar) -> bool:
        return value in self.choices

    def nearest(self, value: Scalar) -> Scalar:
        """As of an IntegerRange. Words are never near each other."""
        if value in self.choices:
            return value
        numbers = [each for each in self.choices if not isinstance(each, str)]
        return cast("Scalar", min(numbers, key=lambda each: abs(each - float(value))))

    def samples(self) -> list[Scalar]:
        return list(self.choices)

    def __str__(self) -> str:
        return "one of " + ", ".join(map(str, self.choices))


Distribution = IntegerRange | FloatRange | Categorical
Choice = Callable[[str, Distribution], Scalar]
"""Chooses the value of a searched hyperparameter, by Optuna's name, such as `units_2`."""
_DISTRIBUTION: TypeAdapter[Distribution] = TypeAdapter(Annotated[Distribution, Field(discriminator="type")])


def drawn_by(trial: optuna.trial.BaseTrial) -> Choice:
    """Lets an Optuna trial choose."""
    return lambda name, each: each.draw(trial, name)


@dataclass(frozen=True)
class PerLayer:
    """A hyperparameter with its own distribution, or fixed value, for each possible layer."""

    parts: tuple[Distribution | Scalar, ...]

    def draw(self, choose: Choice, name: str, count: int) -> list[Scalar]:
        return [
            choose(f"{name}_{layer}", each) if isinstance(each, _Distribution) else each
            for layer, each in enumerate(self.parts[:count], start=1)
        ]

    def samples(self) -> list[list[Scalar]]:
        """For each layer its bounds or choices, each combined with the last ones of the other layers."""
        each = [part.samples() if isinstance(part, _Distribution) else [part] for part in self.parts]
        last = [samples[-1] for samples in each]
        return [[*last[:i], value, *last[i + 1 :]] for i, samples in enumerate(each) for value in samples]

    def __str__(self) -> str:
        return "; ".join(map(str, self.parts))


Searched = Distribution | PerLayer


def _parts(searched: Searched) -> list[Distribution]:
    parts = searched.parts if isinstance(searched, PerLayer) else (searched,)
    return [each for each in parts if isinstance(each, _Distribution)]


def _value_of(flat: Mapping[str, Scalar], name: str, distribution: Distribution) -> Scalar:
    """A searched value of a configuration, by Optuna's name; any where it has none, since it has no layer."""
    return flat.get(name, flat.get(f"{name}_1", distribution.samples()[0]))


@dataclass(frozen=True)
class Space:
    """A family's searched hyperparameters and fixed values."""

    family: str
    searched: Mapping[str, Searched]
    fixed: Mapping[str, Any]

    def suggest(self, choose: Choice) -> Params:
        """Draws a configuration: a value for each hyperparameter that has an effect.

        Raises `pydantic.ValidationError` for values that are valid one by one but not together."""
        params_type = FAMILIES[self.family].params
        values: dict[str, Any] = dict(self.fixed)
        # In an order independent of the file's, so that equal experiments draw equal configurations; what others depend on
        # comes first.
        deciders = {params_type.layer_count, *(decider for decider, _ in params_type.conditional.values())}
        for name, searched in sorted(self.searched.items(), key=lambda item: (item[0] not in deciders, item[0])):
            if not params_type.applies(name, values):
                continue
            if isinstance(searched, PerLayer):
                values[name] = searched.draw(choose, name, int(values[params_type.layer_count]))
            elif searched.per is None:
                values[name] = choose(name, searched)
            else:
                count = int(values[searched.per])
                values[name] = [choose(f"{name}_{layer}", searched) for layer in range(1, count + 1)]
        return parse_params(self.family, values)

    def corners(self) -> list[Params]:
        """Configurations at the bounds: all distributions at their first value, all at their last, and each of their bounds
        and choices beside the first or the last of the others. Without those whose values do not go together."""
        found: dict[object, Params] = {}

        def corner(end: int, varied: str = "", value: Scalar = "") -> dict[str, Distribution]:
            drawn: dict[str, Distribution] = {}

            def choose(name: str, distribution: Distribution) -> Scalar:
                drawn[name] = distribution
                return value if name == varied else distribution.samples()[end]

            with suppress(ValidationError):
                params = self.suggest(choose)
                found.setdefault(params.key(), params)
            return drawn

        each_end = {end: corner(end) for end in (0, -1)}
        for end, drawn in each_end.items():
            for name, distribution in drawn.items():
                for value in distribution.samples():
                    corner(end, name, value)
        return list(found.values())

    def has_priors(self) -> bool:
        """Whether a distribution has one."""
        return any(each.prior for searched in self.searched.values() for each in _parts(searched))

    def outside(self, params: Params) -> str:
        """Where a configuration leaves the space, such as `units_1 is 2048`; empty if it does not."""
        flat, missed = params.flat(), list[str]()

        def choose(name: str, distribution: Distribution) -> Scalar:
            value = _value_of(flat, name, distribution)
            if not distribution.contains(value):
                missed.append(f"{name} is {value}")
            return value

        try:
            drawn = self.suggest(choose).flat()
        except ValidationError:
            return missed[0] if missed else "its values do not go together"
        missed += [
            f"{name} is {value}, not {drawn[name]}" for name, value in flat.items() if value != drawn.get(name, value)
        ]
        return missed[0] if missed else ""

    def drawn(self, params: Params) -> dict[str, Scalar]:
        """The searched values of a configuration, by Optuna's names; it must lie within the space."""
        flat, found = params.flat(), dict[str, Scalar]()

        def choose(name: str, distribution: Distribution) -> Scalar:
            found[name] = _value_of(flat, name, distribution)
            return found[name]

        self.suggest(choose)
        return found

    def nearest(self, params: Params) -> Params | None:
        """The configuration of the space that is most like `params`: it has the space's fixed values, and the nearest number
        of each range; layers that `params` lacks are like its last. None if a word is not among the choices, or the values
        do not go together."""
        flat: dict[str, Scalar] = {}
        for name, value in params.model_dump().items():
            if name not in params.layered:
                flat[name] = value  # also of one that has no effect there
            elif value:
                flat |= {f"{name}_{layer + 1}": value[-1] for layer in range(MOST_LAYERS)}
        flat |= params.flat()
        try:
            return self.suggest(lambda name, distribution: distribution.nearest(_value_of(flat, name, distribution)))
        except ValueError:  # pydantic's is one
            return None

    def values(self) -> dict[str, Any]:
        """Everything that determines what is drawn, for JSON."""

        def plain(each: Any) -> Any:
            if isinstance(each, PerLayer):
                return list(map(plain, each.parts))
            return each.model_dump(mode="json", exclude_none=True) if isinstance(each, _Distribution) else each

        return {"searched": {name: plain(each) for name, each in self.searched.items()}, "fixed": dict(self.fixed)}

    def describe(self) -> list[tuple[str, str]]:
        """(hyperparameter, its distribution or value) in the order of the file, searched ones first."""
        layers = FAMILIES[self.family].params.layer_count
        rows = []
        for name, searched in self.searched.items():
            each = isinstance(searched, PerLayer) or searched.per
            rows.append((name, f"{searched}{f', for each of {layers}' if each else ''}"))
        return rows + [(name, f"{value}") for name, value in self.fixed.items()]


def parse_space(family: str, raw: Mapping[str, Any]) -> tuple[Space, list[Problem]]:
    """A family's space from its YAML mapping, and every problem in it by its path below `space`."""
    params_type = FAMILIES[family].params
    searched: dict[str, Searched] = {}
    fixed: dict[str, Any] = {}
    problems: list[Problem] = []

    def parse(value: Mapping[str, Any], where: tuple[str, ...]) -> Distribution | None:
        try:
            return _DISTRIBUTION.validate_python(dict(value))
        except ValidationError as error:
            problems.extend((where + path, message) for path, message in readable(error))
            return None

    for name, value in raw.items():
        if name not in params_type.model_fields:
            known = sorted(params_type.model_fields)
            close = difflib.get_close_matches(str(name), known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
            problems.append(((str(name),), f"is not a hyperparameter; {hint}"))
        elif isinstance(value, Mapping):
            if distribution := parse(value, (name,)):
                searched[name] = distribution
        elif isinstance(value, list) and any(isinstance(each, Mapping) for each in value):
            parts: list[Any] = [
                parse(each, (name, str(index))) if isinstance(each, Mapping) else each for index, each in enumerate(value)
            ]
            searched[name] = PerLayer(tuple(parts))
        else:
            fixed[name] = value
    for name, field in params_type.model_fields.items():
        needed = params_type.layered[name] is None if name in params_type.layered else field.is_required()
        if needed and name not in raw:
            problems.append(((), f"`{name}` must be given: a mapping to search it, or a value to fix it"))
    possible: dict[str, list[Any]] = {name: [value] for name, value in fixed.items()}
    problems += _wrong_layers(family, searched, possible)
    if not problems:
        possible |= {name: each.samples() for name, each in searched.items()}
        problems += _wrong_values(family, searched, possible)
    if not problems:
        problems += [((name,), message) for name, message in params_type.without_effect(possible)]
    return Space(family, searched, fixed), problems


def without_priors(raw: Mapping[str, Any]) -> dict[str, Any]:
    """A space's mapping without the priors of its hyperparameters."""

    def plain(value: Any) -> Any:
        if isinstance(value, list):
            return list(map(plain, value))
        return {key: each for key, each in value.items() if key != "prior"} if isinstance(value, Mapping) else value

    return {name: plain(value) for name, value in raw.items()}


def _wrong_layers(family: str, searched: Mapping[str, Searched], possible: Mapping[str, list[Any]]) -> Iterator[Problem]:
    """Wrong uses of `per` and of lists."""
    layered, layer_count = FAMILIES[family].params.layered, FAMILIES[family].params.layer_count
    counts = searched[layer_count].samples() if layer_count in searched else possible.get(layer_count, [])
    most = max((each for each in counts if isinstance(each, int)), default=None)
    for name, each in searched.items():
        parts = each.parts if isinstance(each, PerLayer) else ()
        per = None if isinstance(each, PerLayer) else each.per
        if (parts or per) and name not in layered:
            has = f"per={per}" if per else "a list"
            yield (name,), f"only {', '.join(sorted(layered))} may have a value for each layer, but {name} has {has}"
        elif per and per != layer_count:
            yield (name,), f"`per` must be {layer_count} in family {family}, but is {per}"
        elif parts and most is not None and len(parts) != most:
            yield (name,), f"a list must have one entry for each of up to {most} {layer_count}, but has {len(parts)}"
        for index, part in enumerate(parts):
            if isinstance(part, _Distribution) and part.per:
                yield (name, str(index), "per"), "unknown key: the list already has an entry for each layer"


def _wrong_values(family: str, searched: Mapping[str, Searched], possible: Mapping[str, list[Any]]) -> list[Problem]:
    """Checks each bound and choice with the family's own rules, together with one value of every other hyperparameter."""
    params_type = FAMILIES[family].params
    first = {name: values[-1] for name, values in possible.items()}
    # With as many layers as there can be: otherwise some layer's values would not be checked.
    layers = params_type.layer_count
    if layers:
        first[layers] = max(possible[layers], key=lambda count: count if isinstance(count, int | float) else 0)
    problems: dict[Problem, None] = {}
    for tried, values in [("", first), *((name, first | {name: v}) for name in searched for v in possible[name])]:
        count = values.get(layers)
        for name, each in searched.items():
            if isinstance(each, PerLayer) and isinstance(count, int):
                values = {**values, name: values[name][:count]}
        try:
            params_type.model_validate(values)
        except ValidationError as error:
            for path, message in readable(error):
                problems[path[:1] or ((tried,) if tried else ()), message] = None
    return list(problems)
