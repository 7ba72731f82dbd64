"""Reading an experiment file.

    experiment = load_experiment(Path("experiments/mnist.yaml"))

Loading reports every mistake in the file at once, one per line, with its line number and key.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml
from pydantic import ValidationError

from digitsweep.config.experiment import Baseline, Experiment, FamilySpec, MinutesBudget, beside
from digitsweep.config.space import Space, parse_space, without_priors
from digitsweep.config.yaml_file import BUNDLED, GATE, UNKNOWN, Problem, read_yaml, readable, refused, shown
from digitsweep.errors import InputError
from digitsweep.families import FAMILIES, Params, parse_params
from digitsweep.families.outside import (
    BUILT_IN,
    FamilyFile,
    Origin,
    broken_method,
    installed_family,
    read_family,
    register,
)

FOLDER = Path("experiments")
"""The folder of experiments that are given by name, such as `mnist`; those that come with digitsweep are next."""
DEFAULTS = Path(__file__).with_name("defaults.yaml")
"""By family, configurations that did well on images of several kinds."""


def find_experiment(name: str) -> Path:
    """The experiment file with this path or name: `mnist` is experiments/mnist.yaml, or the one that comes with digitsweep.

    Raises InputError, which lists the experiments in the folder."""
    path = Path(name)
    if _is_file(path):
        return path
    if os.path.isdir(name):  # noqa: PTH112  as in _is_file
        raise InputError(f"{name}: an experiment must be a YAML file, but this is a folder; name a file in it")
    there = "there are " + ", ".join(sorted({each.stem for folder in (FOLDER, BUNDLED) for each in experiments_in(folder)}))
    file_name = name if name.endswith((".yaml", ".yml")) else f"{name}.yaml"
    for folder in (FOLDER, BUNDLED) if path.name == name else ():
        if _is_file(folder / file_name):
            if file_name == GATE.name:
                raise InputError(f"{name}: this is the gate of `digitsweep promote`, not an experiment; {there}")
            return folder / file_name
    raise InputError(f"{shown(name)[1:-1]}: no such experiment file; {there}")


def experiments_in(folder: Path) -> list[Path]:
    """The experiment files in a folder, sorted by name, without the gate's file."""
    return sorted(path for path in folder.glob("*.yaml") if path.name != GATE.name)


def load_experiment(path: Path, *, fallback: bool = True, copies: Mapping[str, str] = MappingProxyType({})) -> Experiment:
    """Reads and checks an experiment file, and runs the file of each family that it names with `build`.

    fallback: whether the fallback that it names must exist; copies: by family, the text to run instead of its file.

    Raises InputError with one line for each mistake, `file:line: key: rule, but values`."""
    raw, text, lines = read_yaml(path)
    problems: list[Problem] = [((given,), UNKNOWN) for given in ("path", "text", "images") if given in raw]
    if isinstance(raw.get("families"), Mapping):
        origins, missing = _load_families(path, raw["families"], copies)
        if missing:  # without them nothing can be said about their spaces
            raise refused(path, lines, problems + missing)
        budget = raw.get("budget")
        searched = not isinstance(budget, Mapping) or budget.get("trials") != 0
        in_minutes = isinstance(budget, Mapping) and "minutes" in budget
        families = {
            str(name): _parse_family(str(name), each, searched, in_minutes) for name, each in raw["families"].items()
        }
        for name, origin in origins.items():
            family, wrong = families[name]
            if not wrong:
                broken = {_broken(each) for each in family.space.corners()} - {""}
                wrong = [(("build",), each) for each in sorted(broken)[:1]]
            families[name] = family.model_copy(update={"build": origin}), wrong
        problems += [(("families", name, *where), said) for name, (_, wrong) in families.items() for where, said in wrong]
        raw["families"] = {name: family for name, (family, _) in families.items()}
    try:
        experiment = Experiment.model_validate({**raw, "path": path, "text": text})
    except ValidationError as error:
        raise refused(path, lines, problems + readable(error, Experiment)) from None
    if problems := problems or list(_contradictions(experiment)):
        raise refused(path, lines, problems)
    experiment.source()
    named = experiment.data.fallback if fallback else None
    if named is not None and not _is_file(experiment.beside(named, "data.fallback")):
        said = f"must be an experiment file, but {named} is not a file"
        raise refused(path, lines, [(("data", "fallback"), said)])
    return experiment


def _is_file(path: Path) -> bool:
    return os.path.isfile(path)  # noqa: PTH113  Path.is_file raises an error for a name that is too long


def _broken(params: Params) -> str:
    """What is wrong with the methods of a configuration. Its images are not known yet, so either grey ones or coloured ones
    must work."""
    found = [broken_method(params, (28, 28, channels)) for channels in (1, 3)]
    return found[0] if all(found) else ""


def _contradictions(experiment: Experiment) -> Iterator[Problem]:
    """Values that are valid by themselves but contradict others."""
    pruner, budget = experiment.pruner, experiment.budget
    if isinstance(budget, MinutesBudget):
        for planned in {"pruner", "finalists"} & experiment.model_fields_set:
            yield (planned,), "must be left out with budget.minutes, from which it is planned"
        if "startup_trials" in experiment.sampler.model_fields_set:
            yield ("sampler", "startup_trials"), "must be left out with budget.minutes"
    elif budget.trials and pruner.type != "none" and pruner.min_epochs >= budget.epochs:
        yield (
            ("pruner", "min_epochs"),
            f"must be below budget.epochs ({budget.epochs}), or no trial is ever pruned, but is {pruner.min_epochs}; "
            "to search without pruning, write type: none",
        )
    if experiment.finalists is not None and not (experiment.finalists.seeds or experiment.finalists.top == 1):
        yield ("finalists", "seeds"), f"may be 0 only with top: 1, but top is {experiment.finalists.top}"
    for family, each in experiment.families.items():
        if each.first and not isinstance(budget, MinutesBudget):
            yield ("families", family, "first"), "needs budget.minutes"
        if each.space.has_priors() and not isinstance(budget, MinutesBudget):
            yield ("families", family, "space"), "may have a `prior` only with budget.minutes"
        known: dict[object, str] = {}
        for name, baseline in each.baselines.items():
            same = known.setdefault((baseline.params.key(), experiment.baseline_epochs(baseline)), name)
            if same != name:
                yield ("families", family, "baselines", name), f"is the same configuration as {same}; remove one of them"
    if experiment.sampler.type == "mixture" and not isinstance(budget, MinutesBudget):
        yield ("sampler", "type"), "mixture needs budget.minutes; otherwise write tpe or random"


def _load_families(
    path: Path, families: Mapping[str, Any], copies: Mapping[str, str]
) -> tuple[dict[str, Origin], list[Problem]]:
    """Registers the families that are not built in; where each comes from, and what is wrong with any.

    copies: as of `load_experiment`."""
    origins: dict[str, Origin] = {}
    problems: list[Problem] = []
    for key, raw in families.items():
        name = str(key)
        build = raw.get("build") if isinstance(raw, Mapping) else None
        try:
            origin: Origin | None = None
            if build is not None:
                origin = _from_file(path, name, build, copies)
            elif name not in BUILT_IN:
                origin = installed_family(name)
            if origin is not None:
                register(origin, name)
                origins[name] = origin
        except InputError as error:
            problems += [
                (("families", name, *(["build"] if build is not None else [])), each) for each in str(error).splitlines()
            ]
    return origins, problems


def _from_file(path: Path, name: str, build: object, copies: Mapping[str, str]) -> FamilyFile:
    if name in BUILT_IN:
        raise InputError(f"must be left out: {name} is built in; give a family of your own another name")
    file, _, attribute = build.rpartition(":") if isinstance(build, str) else ("", "", "")
    if not (file.endswith(".py") and attribute.isidentifier()):
        raise InputError(f"must name a Python file and a family in it, as my_models.py:MIXER, but is {shown(build)}")
    if name in copies:
        return FamilyFile(file, attribute, copies[name])
    return read_family(beside(path, file), attribute)


def _parse_family(name: str, raw: Any, searched: bool, in_minutes: bool) -> tuple[FamilySpec, list[Problem]]:
    """A family, as far as it is valid, and every problem in it by its path below the family. Without `space` it has its
    default one, whose priors are used if the budget is in minutes."""
    space = Space(name, {}, {})
    if name not in FAMILIES:
        return FamilySpec(space=space), []  # Experiment refuses the name
    raw = {} if raw is None else raw
    if not isinstance(raw, Mapping):
        return FamilySpec(space=space), [((), "must be a mapping with `space`, `baselines` or both")]
    if searched and "space" not in raw and (default := FAMILIES[name].space):
        raw = {**raw, "space": default if in_minutes else without_priors(default)}
    problems: list[Problem] = [
        ((str(key),), UNKNOWN) for key in raw if key not in FamilySpec.model_fields or key == "defaults"
    ]
    wrong: list[Problem] = []
    if isinstance(raw.get("space"), Mapping):
        space, wrong = parse_space(name, raw["space"])
        problems += [(("space", *where), message) for where, message in wrong]
    elif searched or raw.get("space") is not None:
        problems.append((("space",), "must be given: a mapping of hyperparameters"))
    is_wrong = bool(wrong) or not isinstance(raw.get("space"), Mapping)
    baselines: dict[str, Baseline] = {}
    given = {} if raw.get("baselines") is None else raw["baselines"]
    if not isinstance(given, Mapping):
        return FamilySpec(space=space), [*problems, (("baselines",), "must be a mapping of names to configurations")]
    for key, each in given.items():
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{,59}", str(key)):
            rule = "a name must be up to 60 letters, digits, dots, dashes and underscores"
            problems.append((("baselines",), f"{rule}, but is {shown(key)}"))
        baseline, wrong = _parse_baseline(name, each)
        problems += [(("baselines", str(key), *where), message) for where, message in wrong]
        if baseline:
            baselines[str(key)] = baseline
    first, wrong = _parse_first(name, raw.get("first"), None if is_wrong else space)
    defaults: tuple[Params, ...] = ()
    if in_minutes and raw.get("first") != [] and not (is_wrong or wrong):
        defaults = _defaults(name, space, first)
    return FamilySpec(space=space, baselines=baselines, first=first, defaults=defaults), [*problems, *wrong]


@cache
def _all_defaults() -> Mapping[str, Sequence[Mapping[str, Any]]]:
    read: Mapping[str, Sequence[Mapping[str, Any]]] = yaml.safe_load(DEFAULTS.read_text())
    return read


def _defaults(family: str, space: Space, first: Sequence[Params]) -> tuple[Params, ...]:
    """The family's configurations in defaults.yaml, each moved to the nearest one in the space. Empty if `first` has one of
    them: such an experiment was learned from the same trainings."""
    known = [parse_params(family, each) for each in _all_defaults().get(family, ())]
    if {each.key() for each in known} & {each.key() for each in first}:
        return ()
    near = map(space.nearest, known)
    return tuple({each.key(): each for each in near if each is not None}.values())


def _parse_first(family: str, raw: Any, space: Space | None) -> tuple[tuple[Params, ...], list[Problem]]:
    """The configurations that a search tries first, and every problem in them by its path below the family.

    space: None if it has mistakes itself, so that nothing can be said about what lies within it."""
    if raw is None:
        return (), []
    if not isinstance(raw, list) or not all(isinstance(each, Mapping) for each in raw):
        return (), [(("first",), "must be a list of configurations, each a mapping of hyperparameters")]
    found: list[Params] = []
    problems: list[Problem] = []
    for index, each in enumerate(raw):
        where = ("first", str(index))
        try:
            params = parse_params(family, {**(space.fixed if space else {}), **each})
        except ValidationError as error:
            problems += [((*where, *path), message) for path, message in readable(error, FAMILIES[family].params)]
            continue
        outside = space.outside(params) if space else ""
        if outside:
            problems.append((where, f"must lie within the space, but {outside}"))
        found.append(params)
    return tuple(found), problems


def _parse_baseline(family: str, raw: Any) -> tuple[Baseline | None, list[Problem]]:
    """A baseline, and every problem in it by its path below the baseline."""
    if not isinstance(raw, Mapping) or not isinstance(raw.get("params"), Mapping):
        return None, [((), "must be a mapping with `params`, the hyperparameters")]
    try:
        params = parse_params(family, raw["params"])
    except ValidationError as error:
        return None, [(("params", *where), message) for where, message in readable(error, FAMILIES[family].params)]
    given = {name: [getattr(params, name)] for name in raw["params"]}
    problems: list[Problem] = [(("params", name), message) for name, message in params.without_effect(given)]
    try:
        return Baseline.model_validate({**raw, "params": params}), problems
    except ValidationError as error:
        return None, problems + readable(error, Baseline)
