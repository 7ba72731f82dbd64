"""A registered model's files before they are loaded: one `.keras` file, whose layers bring no code of their own."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from digitsweep.errors import InputError

MOST_CONFIG = 10_000_000
"""Bytes that describe a network; ours take 20,000."""
MOST_WEIGHTS = 2**32
"""Bytes that its numbers unpack to."""
MODULES = frozenset(
    f"keras{each}"
    for each in (
        *("", ".layers", ".initializers", ".regularizers", ".constraints", ".activations"),
        *(".src.models.functional", ".src.models.sequential"),  # as Keras names what holds the layers
    )
)
"""Where a part of a network may be from."""
BRING_CODE = frozenset({"Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer", "__lambda__"})
"""Parts of these modules that run what lies in the file, or beside it."""


def checked_model(folder: Path, named: str) -> Path:
    """The `.keras` file in a model's folder.

    Raises InputError, under the name of the model, where there is none, or it is damaged, too large, or brings code."""
    found = [path for path in folder.rglob("*.keras") if path.is_file()]
    if len(found) != 1:
        raise InputError(f"{named}: a model is one .keras file, but this has {len(found)}; register it with mlflow.keras")
    for part in _parts(_config(found[0], named)):
        name, module = part["class_name"], part.get("module")
        known = (isinstance(module, str) and module in MODULES) or (module is None and str(name).startswith("__"))
        if name in BRING_CODE or not known:
            shown = f"{module}.{name}" if module else name
            raise InputError(f"{named}: a model is made of Keras' own layers, but this has {shown!r:.100}; it is not loaded")
    return found[0]


def _config(path: Path, named: str) -> Any:
    """What a `.keras` file says that it is."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = archive.getinfo("config.json").file_size
            unpacked = sum(each.file_size for each in archive.infolist())
            if size > MOST_CONFIG or unpacked > MOST_WEIGHTS:
                raise InputError(f"{named}: unpacks to {unpacked:,} bytes, more than a model has; it is not loaded")
            return json.loads(archive.read("config.json"))
    except (OSError, KeyError, ValueError, RecursionError, zipfile.BadZipFile, NotImplementedError, zlib.error):
        raise InputError(f"{named}: its .keras file is damaged") from None


def _parts(config: Any) -> Iterator[dict[str, Any]]:
    """Every part of a network that names a class, however deep."""
    waiting = [config]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            if "class_name" in each:
                yield each
            waiting += each.values()
        elif isinstance(each, list):
            waiting += each
