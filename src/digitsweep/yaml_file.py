"""A YAML file that a person wrote: read safely and with limits, the line of every key kept."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from digitsweep.errors import InputError

MOST_BYTES = 100_000
MOST_NODES = 10_000
MOST_DEPTH = 20
MOST_DIGITS = 100
"""Of a number: YAML reads `1:1:1` as one to the base of 60, which takes seconds where there are thousands."""
TOO_MUCH = f"a file has at most {MOST_NODES:,} values, {MOST_DEPTH} deep; this has more"

GATE = Path("experiments", "gate.yaml")
"""The gate's file where none is named. It lies among the experiments and is none."""

KeyPath = tuple[str, ...]


def line_of(path: Path, lines: Mapping[KeyPath, int], where: KeyPath, message: str) -> str:
    """A finding as a person reads it: `file:line: key: message`."""
    known = where
    while known and known not in lines:
        known = known[:-1]
    at = f"{path}:{lines[known]}" if known in lines else f"{path}"
    said = f"{'.'.join(where)}: {message}" if where else message
    return f"{at}: {' '.join(said.split())}"  # a key or a value may hold a line break


def read_yaml(
    path: Path, what: str = "an experiment", begins: str = "name"
) -> tuple[dict[str, Any], str, dict[KeyPath, int]]:
    """A file's mapping, its text, and the line of every key (from 1).

    `what` the file is, and the key that one of its kind `begins` with, are for messages."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{path}: {what} file is UTF-8 text, but this is not") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    if len(content) > MOST_BYTES:
        raise InputError(f"{path}: {what} file has at most {MOST_BYTES:,} bytes; this one has more")
    lines: dict[KeyPath, int] = {}
    raw = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is not None:
            _walk(path, node, (), lines, [0])
            raw = loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = f"{path}:{mark.line + 1}" if mark else f"{path}"
        raise InputError(f"{at}: not valid YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid YAML: {str(error).splitlines()[0]}") from None
    except (LookupError, AttributeError):  # `!!bool maybe`, `!!timestamp soon`
        raise InputError(f"{path}: not valid YAML: a value is not of the type that is written before it") from None
    if not isinstance(raw, dict):
        raise InputError(f"{path}: {what} is a mapping that begins with `{begins}:`, but this file has none")
    return {str(key): value for key, value in raw.items()}, text, lines


class _Loader(yaml.SafeLoader):
    """Stops at more values than a person would write, before it has them all; aliases are followed later, by `_walk`."""

    read = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self.read += 1
        if self.read > MOST_NODES:
            raise yaml.YAMLError(TOO_MUCH)
        return super().compose_node(parent, index)


def _walk(path: Path, node: Any, where: KeyPath, lines: dict[KeyPath, int], seen: list[int]) -> None:
    """Notes every key's line; refuses a key given twice, and a file that unfolds to more than a person would write."""
    seen[0] += 1
    if seen[0] > MOST_NODES or len(where) > MOST_DEPTH:
        raise InputError(f"{path}: {TOO_MUCH}")
    if isinstance(node, yaml.MappingNode):
        here: set[str] = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                at = f"{path}:{key.start_mark.line + 1}: {'.'.join((*where, '?'))}"
                raise InputError(f"{at}: a key is text, but this is a list or a mapping")
            name = str(key.value)
            _check_scalar(path, key, where)
            if name in here and name != "<<":
                raise InputError(f"{path}:{key.start_mark.line + 1}: {'.'.join((*where, name))}: is given twice")
            here.add(name)
            lines[(*where, name)] = key.start_mark.line + 1
            _walk(path, value, (*where, name), lines, seen)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines[(*where, str(index))] = value.start_mark.line + 1
            _walk(path, value, (*where, str(index)), lines, seen)
    else:
        _check_scalar(path, node, where)


def _check_scalar(path: Path, node: Any, where: KeyPath) -> None:
    """YAML can write any character as an escape; those that steer a terminal, end a path or fit into no file are refused."""
    text = str(node.value)
    strange = next((sign for sign in text if unicodedata.category(sign) in ("Cc", "Cs") and sign not in "\n\t"), None)
    if strange is not None:
        message = f"holds U+{ord(strange):04X}, which is no text; leave it out"
    elif not str(node.tag).endswith(":str") and len(text) > MOST_DIGITS:
        message = f"a number or date has at most {MOST_DIGITS} signs, but this has {len(text):,}"
    else:
        return
    raise InputError(line_of(path, {where: node.start_mark.line + 1}, where, message))
