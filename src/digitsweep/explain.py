"""What is wrong in something that a person wrote, in words: the rule, then the value."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

STRANGE = "is not known here"
MISSING = "must be given"


def readable(error: ValidationError, model: type[BaseModel] | None = None) -> list[tuple[tuple[str, ...], str]]:
    """Pydantic's findings as (path, message); a message states the rule, then the value. Of a key that a given model does
    not know, the message says which one it looks like."""
    findings: list[tuple[tuple[str, ...], str]] = []
    for each in error.errors(include_url=False):
        path = tuple(str(part) for part in each["loc"] if part not in ("int", "float", "categorical", "[key]"))
        message = each["msg"].removeprefix("Value error, ")
        match each["type"]:
            case "extra_forbidden":
                close = difflib.get_close_matches(path[-1], _keys(model, path[:-1]), n=1) if model else []
                message = f"{STRANGE}; did you mean {close[0]}?" if close else STRANGE
            case "missing":
                message = MISSING
            case "union_tag_invalid":
                message = f"`type` is int, float or categorical, but is {each['ctx']['tag']}"
            case "union_tag_not_found":
                message = "`type` must be given: int, float or categorical"
            case "value_error":
                pass
            case _:
                message = f"{message[0].lower()}{message[1:]}, but is {shown(each['input'])}"
        findings.append((path, message))
    return _misspelt(list(dict.fromkeys(findings)))


def _keys(model: type[BaseModel], path: tuple[str, ...]) -> list[str]:
    """The keys of what stands in a model at a path, where that is a model itself."""
    for part in path:
        annotation = model.model_fields[part].annotation if part in model.model_fields else None
        inner = [
            each for each in (annotation, *get_args(annotation)) if isinstance(each, type) and issubclass(each, BaseModel)
        ]
        if not inner:
            return []
        model = inner[0]
    return list(model.model_fields)


def _misspelt(findings: list[tuple[tuple[str, ...], str]]) -> list[tuple[tuple[str, ...], str]]:
    """A key that is missing and a strange one that looks like it are one finding."""
    missing = {path for path, message in findings if message == MISSING}
    for index, (path, message) in enumerate(findings):
        beside = {each[-1]: each for each in missing if path and each[:-1] == path[:-1]}
        close = difflib.get_close_matches(path[-1], beside, n=1) if message.startswith(STRANGE) and path else []
        if close:
            findings[index] = (path, f"{STRANGE}; did you mean {close[0]}?")
            missing.discard(beside[close[0]])
    return [(path, message) for path, message in findings if message != MISSING or path in missing]


def shown(value: Any) -> str:
    """A value as a message shows it: on one line, and not pages of it."""
    try:
        text = repr(value)
    except ValueError:  # Python does not write an integer of more than 4,300 digits
        return "a number of thousands of digits"
    return text if len(text) <= 200 else f"{text[:200]}..."


def unknown(name: str, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]}?" if close else "known are " + ", ".join(sorted(known))
    return f"is not a hyperparameter; {hint}"
