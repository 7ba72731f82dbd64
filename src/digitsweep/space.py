"""The space of a family's configurations: what is searched, what is fixed, and how Optuna draws one.

A mapping in the experiment file is searched, a scalar is fixed. `per:` draws a parameter once for each layer or block; a
list holds a mapping or a scalar for each of them, where they differ. A parameter without a meaning beside the ones already
drawn (`momentum` with adam) is not drawn at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from digitsweep.distributions import SEARCHED, Categorical, FloatRange, IntegerRange, PerLayer, Search, as_meant
from digitsweep.explain import readable, unknown
from digitsweep.params import FAMILIES
from digitsweep.training_params import Scalar

if TYPE_CHECKING:
    import optuna


@dataclass(frozen=True)
class Space:
    """A family's searched parameters and fixed values."""

    family: str
    searched: Mapping[str, Search]
    fixed: Mapping[str, Any]

    def suggest(self, trial: optuna.trial.BaseTrial) -> dict[str, Any]:
        """Draws a configuration: a value for each parameter that has a meaning beside the others."""
        params_type = FAMILIES[self.family]
        values: dict[str, Any] = dict(self.fixed)
        for name, searched in self._deciders_first():
            if not params_type.applies(name, values):
                continue
            if isinstance(searched, PerLayer):
                values[name] = searched.draw(trial, name, int(values[params_type.layer_count]))
            elif searched.per is None:
                values[name] = searched.draw(trial, name)
            else:
                count = int(values[searched.per])
                values[name] = [searched.draw(trial, f"{name}_{layer}") for layer in range(1, count + 1)]
        return values

    def _deciders_first(self) -> list[tuple[str, Search]]:
        """In an order that the file's has no say in, so that equal experiments draw equal configurations."""
        params_type = FAMILIES[self.family]
        deciders = {params_type.layer_count, *(decider for decider, _ in params_type.conditional.values())}
        return sorted(self.searched.items(), key=lambda item: (item[0] not in deciders, item[0]))

    def values(self) -> dict[str, Any]:
        """For JSON: all that decides what is drawn."""

        def plain(each: IntegerRange | FloatRange | Categorical | Scalar) -> Any:
            return each if isinstance(each, int | float | str) else each.model_dump(mode="json")

        return {
            "searched": {
                name: list(map(plain, each.parts)) if isinstance(each, PerLayer) else plain(each)
                for name, each in self.searched.items()
            },
            "fixed": dict(self.fixed),
        }

    def describe(self) -> list[tuple[str, str]]:
        """(parameter, what it may be) in the order of the file: searched ones first."""
        layers = FAMILIES[self.family].layer_count
        rows = []
        for name, searched in self.searched.items():
            each = isinstance(searched, PerLayer) or searched.per
            rows.append((name, f"{searched}{f', for each of {layers}' if each else ''}"))
        return rows + [(name, f"{value}") for name, value in self.fixed.items()]


def parse_space(family: str, raw: Mapping[str, Any]) -> tuple[Space, list[tuple[tuple[str, ...], str]]]:
    """A family's space from its YAML mapping, and all that is wrong in it as (path below `space`, message)."""
    params_type = FAMILIES[family]
    searched: dict[str, Search] = {}
    fixed: dict[str, Any] = {}
    problems: list[tuple[tuple[str, ...], str]] = []
    for name, value in raw.items():
        if name not in params_type.model_fields:
            problems.append(((str(name),), unknown(str(name), params_type.model_fields)))
        elif isinstance(value, list) and any(isinstance(each, Mapping) for each in value):
            parts, wrong = _parse_parts(value)
            searched[name] = PerLayer(parts)
            wrong += [((), message) for message in _wrong_parts(family, name, value, raw)]
            problems += [((name, *path), message) for path, message in wrong]
        elif not isinstance(value, Mapping):
            fixed[name] = as_meant(value)
        else:
            try:
                searched[name] = found = SEARCHED.validate_python(dict(value))
            except ValidationError as error:
                problems += [((name, *path), message) for path, message in readable(error)]
            else:
                problems += [((name,), message) for message in _wrong_in(family, name, found, raw)]
    for name, field in params_type.model_fields.items():
        needed = params_type.layered[name] is None if name in params_type.layered else field.is_required()
        if needed and name not in raw:
            problems.append(((), f"`{name}` must be given: a mapping to search it, or a value to fix it"))
    if not problems:
        problems += _wrong_values(family, searched, fixed)
    if not problems:
        possible = {name: [value] for name, value in fixed.items()}
        possible |= {name: each.samples() for name, each in searched.items()}
        problems += [((name,), message) for name, message in params_type.without_effect(possible)]
    return Space(family, searched, fixed), problems


def _parse_parts(
    raw: Sequence[Any],
) -> tuple[tuple[IntegerRange | FloatRange | Categorical | Scalar, ...], list[tuple[tuple[str, ...], str]]]:
    parts: list[IntegerRange | FloatRange | Categorical | Scalar] = []
    problems: list[tuple[tuple[str, ...], str]] = []
    for index, value in enumerate(raw):
        try:
            parts.append(SEARCHED.validate_python(dict(value)) if isinstance(value, Mapping) else as_meant(value))
        except ValidationError as error:
            problems += [((str(index), *path), message) for path, message in readable(error)]
        else:
            if isinstance(value, Mapping) and "per" in value:
                problems.append(((str(index), "per"), "is not known here: the list has an entry for each layer already"))
    return tuple(parts), problems


def _wrong_parts(family: str, name: str, value: Sequence[Any], raw: Mapping[str, Any]) -> Iterator[str]:
    params_type = FAMILIES[family]
    if name not in params_type.layered:
        yield f"a list goes with {', '.join(sorted(params_type.layered))}, but not with {name}"
        return
    most = _most_layers(raw.get(params_type.layer_count))
    if most is not None and len(value) != most:
        yield f"a list has an entry for each of at most {most} {params_type.layer_count}, but has {len(value)}"


def _most_layers(count: Any) -> int | None:
    candidates = [count]
    if isinstance(count, Mapping):
        choices = count.get("choices")
        candidates = [count.get("high"), *(choices if isinstance(choices, list) else [])]
    return max((each for each in candidates if isinstance(each, int)), default=None)


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
    family: str, searched: Mapping[str, Search], fixed: Mapping[str, Any]
) -> list[tuple[tuple[str, ...], str]]:
    """Tries every bound and choice on the family's checks, each beside one value of all the others."""
    params_type = FAMILIES[family]
    first = {**fixed, **{name: each.samples()[-1] for name, each in searched.items()}}
    if params_type.layer_count in searched:  # with no layers nothing that is per layer would be checked
        counts = searched[params_type.layer_count].samples()
        first[params_type.layer_count] = max(counts, key=lambda count: count if isinstance(count, int | float) else 0)
    problems: dict[tuple[tuple[str, ...], str], None] = {}
    trials = [(None, first)] + [(name, first | {name: v}) for name, each in searched.items() for v in each.samples()]
    for tried, values in trials:
        count = values.get(params_type.layer_count)
        for name, each in searched.items():
            if isinstance(each, PerLayer) and isinstance(count, int):
                values = {**values, name: values[name][:count]}
        try:
            params_type.model_validate(values)
        except ValidationError as error:
            for path, message in readable(error):
                culprit = path[:1] or ((tried,) if tried else ())
                problems[(culprit, message)] = None
    return list(problems)
