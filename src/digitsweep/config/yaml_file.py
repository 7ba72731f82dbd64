"""Reading a YAML file that a person wrote: safely, within limits, and with one clear line for each mistake in it."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from digitsweep.errors import InputError

MOST_BYTES = 100_000
MOST_NODES = 10_000
MOST_DEPTH = 20
MOST_CHARACTERS = 100
"""Of a number or date: YAML 1.1 reads `1:1:1` in base 60, which takes seconds with thousands of digits."""

GATE = Path("experiments", "gate.yaml")
"""The gate's default file. It is in the folder of the experiments, but is not one."""

_PACKAGE = Path(__file__).parents[1]

BUNDLED = _PACKAGE / "experiments" if (_PACKAGE / "experiments").is_dir() else _PACKAGE.parents[1] / "experiments"
"""The experiments and the gate that digitsweep brings: a wheel's copy of them, or the checkout's folder."""

KeyPath = tuple[str, ...]
Problem = tuple[KeyPath, str]
"""The path of a key in a file, and what is wrong with it."""

UNKNOWN, MISSING = "unknown key", "must be given"


class _Loader(yaml.SafeLoader):
    """Also reads `1e-4` as a number, as YAML 1.2 does; to YAML 1.1 it is text."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def refused(path: Path, lines: Mapping[KeyPath, int], problems: Iterable[Problem]) -> InputError:
    """The error for a file, with one line for each problem: `file:line: key: rule, but value`."""
    return InputError("\n".join(_line(path, lines, where, message) for where, message in dict.fromkeys(problems)))


def _line(path: Path, lines: Mapping[KeyPath, int], where: KeyPath, message: str) -> str:
    known = where
    while known and known not in lines:
        known = known[:-1]
    at = f"{path}:{lines[known]}" if known in lines else f"{path}"
    text = f"{'.'.join(where)}: {message}" if where else message
    return f"{at}: {' '.join(text.split())}"  # a key or a value may contain a line break


def read_yaml(
    path: Path, what: str = "an experiment", begins: str = "name"
) -> tuple[dict[str, Any], str, dict[KeyPath, int]]:
    """A file's mapping, its text, and the line of every key, counted from 1.

    Error messages call the file `what`, and say that such a file begins with the key `begins`.
    Raises InputError."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{path}: {what} file must be UTF-8 text") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    if len(content) > MOST_BYTES:
        raise InputError(f"{path}: {what} file may have at most {MOST_BYTES:,} bytes, but this one has more")
    lines: dict[KeyPath, int] = {}
    raw = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is not None:
            _check(path, node, (), lines, [0])
            raw = loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = f"{path}:{mark.line + 1}" if mark else f"{path}"
        raise InputError(f"{at}: not valid YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid YAML: {str(error).splitlines()[0]}") from None
    except (LookupError, AttributeError):  # `!!bool maybe`, `!!timestamp soon`
        raise InputError(f"{path}: not valid YAML: a value does not match the type tag before it") from None
    if not isinstance(raw, dict):
        raise InputError(f"{path}: {what} must be a mapping that begins with `{begins}:`")
    return {str(key): value for key, value in raw.items()}, text, lines


def _check(path: Path, node: Any, where: KeyPath, lines: dict[KeyPath, int], seen: list[int]) -> None:
    """Records the line of every key below a node; refuses duplicate keys, and files that unfold beyond the limits.

    PyYAML represents an alias by the node that it refers to, so values are counted as often as they are referred to."""
    seen[0] += 1
    if seen[0] > MOST_NODES or len(where) > MOST_DEPTH:
        raise InputError(f"{path}: a file may have at most {MOST_NODES:,} values, nested at most {MOST_DEPTH} deep")
    lines.setdefault(where, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        keys: set[KeyPath] = set()
        for key, value in node.value:
            here = (*where, str(key.value) if isinstance(key, yaml.ScalarNode) else "?")
            lines[here] = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise refused(path, lines, [(here, "a key must be text, but this is a list or a mapping")])
            _check_scalar(path, key, where)
            if here in keys and key.value != "<<":
                raise refused(path, lines, [(here, "is given twice")])
            keys.add(here)
            _check(path, value, here, lines, seen)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _check(path, value, (*where, str(index)), lines, seen)
    else:
        _check_scalar(path, node, where)


def _check_scalar(path: Path, node: Any, where: KeyPath) -> None:
    """Refuses what a terminal or a file system would stumble over: escapes can write any character."""
    text = str(node.value)
    control = next((sign for sign in text if unicodedata.category(sign) in ("Cc", "Cs") and sign not in "\n\t"), None)
    if control is not None:
        message = f"contains the character U+{ord(control):04X}, which is not allowed; remove it"
    elif not str(node.tag).endswith(":str") and len(text) > MOST_CHARACTERS:
        message = f"a number or date may have at most {MOST_CHARACTERS} characters, but this has {len(text):,}"
    else:
        return
    raise refused(path, {where: node.start_mark.line + 1}, [(where, message)])


def readable(error: ValidationError, model: type[BaseModel] | None = None) -> list[Problem]:
    """Pydantic's errors as problems. For an unknown key, `model` provides the name that may have been meant."""
    problems: list[Problem] = []
    meant: set[Problem] = set()
    for each in error.errors(include_url=False):
        path = tuple(
            str(part)
            for part in each["loc"]
            if part not in ("int", "float", "categorical", "[key]", "[minutes]", "[seconds]")
        )
        message = each["msg"].removeprefix("Value error, ")
        match each["type"]:
            case "extra_forbidden":
                known = _keys(model, path[:-1])
                if path[-1] in known:  # of another form of the same part
                    problems.append((path, "does not go with the other keys here"))
                    continue
                close = difflib.get_close_matches(path[-1], known, n=1)
                meant |= {((*path[:-1], name), MISSING) for name in close}
                message = f"{UNKNOWN}; did you mean {close[0]}?" if close else UNKNOWN
            case "missing":
                message = MISSING
            case "union_tag_invalid":
                message = f"`type` must be int, float or categorical, but is {each['ctx']['tag']}"
            case "union_tag_not_found":
                message = "`type` must be given: int, float or categorical"
            case "value_error":
                pass
            case _:
                message = f"{message[0].lower()}{message[1:]}, but is {shown(each['input'])}"
        problems.append((path, message))
    return [each for each in problems if each not in meant]  # a misspelt key is one mistake, not two


def _keys(model: type[BaseModel] | None, path: KeyPath) -> list[str]:
    """The keys of the models that there may be at a path within a model; none if there is no model."""
    models = [] if model is None else [model]
    for part in path:
        annotations = [each.model_fields[part].annotation for each in models if part in each.model_fields]
        models = [found for each in annotations for found in _models_in(each)]
    return [name for each in models for name in each.model_fields]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if get_args(annotation):
        return [found for each in get_args(annotation) for found in _models_in(each)]
    return [annotation] if isinstance(annotation, type) and issubclass(annotation, BaseModel) else []


def shown(value: Any) -> str:
    """A value for a message: on one line, and cut off after 200 characters."""
    try:
        text = repr(value)
    except ValueError:  # Python does not print integers of more than 4,300 digits
        return "a number of thousands of digits"
    return text if len(text) <= 200 else f"{text[:200]}..."
