"""Reading an experiment's file.

    experiment = load_experiment(Path("experiments/mnist.yaml"))

Everything that is wrong in the file is reported at load, one line each, with the line and the path of the key.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from digitsweep.errors import InputError
from digitsweep.experiment import Baseline, Experiment, Family
from digitsweep.explain import readable, shown
from digitsweep.params import FAMILIES, parse_params
from digitsweep.space import Space, parse_space
from digitsweep.yaml_file import GATE, KeyPath, line_of, read_yaml

FOLDER = Path("experiments")
"""Where a bare name (`mnist`) is looked for."""


def find_experiment(name: str) -> Path:
    """The file of a path or of a bare name (`mnist` is experiments/mnist.yaml).

    Raises InputError that lists the experiments there are."""
    path = Path(name)
    try:
        if path.is_file():
            return path
        if path.is_dir():
            raise InputError(f"{name}: an experiment is a YAML file, but this is a folder; name a file in it")
    except (OSError, ValueError) as error:
        raise InputError(f"{shown(name)}: no such experiment file: {error.args[-1]}") from None
    known = ", ".join(each.stem for each in experiments_in(FOLDER))
    there = f"there are {known} in {FOLDER}/" if known else f"there are none in {FOLDER.resolve()}"
    named = FOLDER / (name if name.endswith((".yaml", ".yml")) else f"{name}.yaml")
    if path.name == name and named.is_file():
        if named == GATE:
            raise InputError(f"{name}: this is the gate of `digitsweep promote`, not an experiment; {there}")
        return named
    raise InputError(f"{name}: no such experiment file; {there}")


def experiments_in(folder: Path) -> list[Path]:
    """The experiment files of a folder, by name; the gate lies beside them and is none."""
    return sorted(path for path in folder.glob("*.yaml") if path.name != GATE.name)


def load_experiment(path: Path, *, fallback: bool = True) -> Experiment:
    """Reads and checks an experiment file; `fallback`: whether the one that it names must be there.

    Raises InputError with a line for each thing that is wrong, `file:line: key: rule, but values`."""
    raw, text, lines = read_yaml(path)
    problems: list[tuple[KeyPath, str]] = []
    families: dict[str, Any] = {}
    raw_families = raw.get("families")
    if isinstance(raw_families, Mapping):
        budget = raw.get("budget")
        searched = not isinstance(budget, Mapping) or budget.get("trials") != 0
        for name, family in raw_families.items():
            families[name] = _parse_family(str(name), family, searched, problems)
        raw = {**raw, "families": {key: each for key, each in families.items() if each is not None}}
    problems += [((given,), "is not known here") for given in ("path", "text") if given in raw]
    try:
        experiment = Experiment.model_validate({**raw, "path": path, "text": text})
    except ValidationError as error:
        problems += [
            (found_path, message)
            for found_path, message in readable(error, Experiment)
            if found_path[:1] != ("families",) or not isinstance(raw_families, Mapping) or not raw_families
        ]
    else:
        problems += _contradictions(experiment)
    if problems:
        raise InputError("\n".join(line_of(path, lines, where, message) for where, message in dict.fromkeys(problems)))
    if experiment.data.source not in ("mnist", "digits"):
        experiment.beside(experiment.data.source, "data.source")
    named = experiment.data.fallback if fallback else None
    if named is not None and not _is_file(experiment.beside(named, "data.fallback")):
        raise InputError(line_of(path, lines, ("data", "fallback"), f"must be an experiment file, but {named} is none"))
    return experiment


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # such as a name that is too long for any
        return False


def _contradictions(experiment: Experiment) -> Iterator[tuple[KeyPath, str]]:
    """What is right by itself and wrong beside the rest."""
    pruner, budget = experiment.pruner, experiment.budget
    if budget.trials and pruner.type != "none" and pruner.min_epochs >= budget.epochs:
        yield (
            ("pruner", "min_epochs"),
            f"must be below budget.epochs, or nothing is ever pruned, but is {pruner.min_epochs} of {budget.epochs}; "
            "without pruning write type: none",
        )
    for family, each in experiment.families.items():
        known: dict[object, str] = {}
        for name, baseline in each.baselines.items():
            same = known.setdefault((baseline.typed().key(), baseline.epochs or budget.epochs), name)
            if same != name:
                yield ("families", family, "baselines", name), f"is the same configuration as {same}; name it once"


def _parse_family(name: str, raw: Any, searched: bool, problems: list[tuple[KeyPath, str]]) -> Family | None:
    """A family, or None with what is wrong in it added to `problems`."""
    here: KeyPath = ("families", name)
    before = len(problems)
    if name not in FAMILIES:
        problems.append((here, f"a family is {' or '.join(FAMILIES)}, but this is {name}"))
    elif not isinstance(raw, Mapping):
        problems.append((here, "must be a mapping with `space`, and `baselines` where there are some"))
    else:
        problems += [((*here, str(key)), "is not known here") for key in raw if key not in ("space", "baselines")]
        raw_space, raw_baselines = raw.get("space"), raw.get("baselines")
        if raw_baselines is None:
            raw_baselines = {}
        wrong: list[tuple[KeyPath, str]] = []
        if raw_space is None and not searched:
            space = Space(name, {}, {})
        elif isinstance(raw_space, Mapping):
            space, wrong = parse_space(name, raw_space)
        else:
            problems.append(((*here, "space"), "must be given: a mapping of hyperparameters"))
            return None
        problems += [((*here, "space", *where), message) for where, message in wrong]
        if not isinstance(raw_baselines, Mapping):
            problems.append(((*here, "baselines"), "must be a mapping of names to configurations"))
            return None
        problems += [
            ((*here, "baselines"), f"a name has up to 60 letters, digits, dots, dashes and underscores, but is {shown(key)}")
            for key in raw_baselines
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{,59}", str(key))
        ]
        baselines = {
            str(key): _parse_baseline(name, each, (*here, "baselines", str(key)), problems)
            for key, each in raw_baselines.items()
        }
        if len(problems) == before:
            return Family(space=space, baselines={key: each for key, each in baselines.items() if each})
    return None


def _parse_baseline(family: str, raw: Any, here: KeyPath, problems: list[tuple[KeyPath, str]]) -> Baseline | None:
    if not isinstance(raw, Mapping) or not isinstance(raw.get("params"), Mapping):
        problems.append((here, "must be a mapping with `params`, the hyperparameters"))
        return None
    try:
        params = parse_params(family, raw["params"])
    except ValidationError as error:
        problems += [((*here, "params", *where), message) for where, message in readable(error)]
        return None
    given = {str(key): [getattr(params, str(key))] for key in raw["params"]}
    problems += [((*here, "params", name), message) for name, message in params.without_effect(given)]
    try:
        return Baseline.model_validate({**raw, "params": params})
    except ValidationError as error:
        problems += [((*here, *where), message) for where, message in readable(error, Baseline)]
        return None
