"""Registered models by name: find one, check its file, load it."""

from __future__ import annotations

import json
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode

from digitsweep.errors import InputError
from digitsweep.tracking.client import (
    NOT_THERE,
    first_line,
    open_store,
    quiet_mlflow,
    server_errors,
    shown_uri,
    without_secrets,
)

if TYPE_CHECKING:
    import keras

CHALLENGER, CHAMPION = "challenger", "champion"
DATA = "digitsweep.data"
"""Tag of a version: the name of the data that it was made from."""
DEFAULT_DATA = "mnist"
"""That of the experiment that `sweep` runs by default."""
MOST_FILE = 10_000_000
"""Bytes of a file beside a network; ours take 200,000."""
MOST_CONFIG = 10_000_000
"""Bytes of a network's description; ours take 20,000."""
MOST_WEIGHTS = 2**32
"""Bytes that a network may unpack to."""
MODULES = frozenset(
    f"keras{each}"
    for each in (
        *("", ".layers", ".initializers", ".regularizers", ".constraints", ".activations"),
        *(".src.models.functional", ".src.models.sequential"),  # Keras' names of what holds the layers
    )
)
"""Where the parts of a network may be from."""
BRING_CODE = frozenset({"Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer", "__lambda__"})
"""Parts of these modules that run code from the file, or from beside it."""
LABEL = 10
"""Characters of a logged model's id in its label: `m-` and eight of 32."""


@dataclass(frozen=True)
class NamedModel:
    """A model that somebody named, wherever it is."""

    uri: str
    """`models:/…`, with the version that an alias stood for."""
    label: str
    """Unique, for a person: `NAME 3`, or `NAME m-3f2a9c0d` for a logged model that is no version."""
    tags: Mapping[str, str]


def find(named: str) -> NamedModel:
    """The model of `name@alias`, `name/version`, or a `models:/` URI.

    Raises InputError if there is none, or for a URI of anything else, and DigitsweepError if the server does not answer."""
    quiet_mlflow()
    uri = named if ":" in named.split("/", 1)[0] else f"models:/{named}"
    name, at, alias = uri.removeprefix("models:/").partition("@")
    name, slash, version = (name, "", "") if at else name.partition("/")
    if not uri.startswith("models:/"):
        raise InputError(
            f"{without_secrets(named)}: models are loaded from the registry only; write NAME@ALIAS, NAME/VERSION or a "
            "models:/ URI"
        )
    with server_errors("could not be asked"):
        client = open_store()
        try:
            if at or slash:
                found = client.get_model_version_by_alias(name, alias) if at else client.get_model_version(name, version)
                return NamedModel(f"models:/{name}/{found.version}", f"{name} {found.version}", dict(found.tags))
            logged = client.get_logged_model(name)
            return NamedModel(uri, f"{logged.name} {name[:LABEL]}" if logged.name else name, dict(logged.tags))
        except MlflowException as error:
            if error.error_code not in NOT_THERE:
                raise
            why = first_line(error).rstrip(".")
            raise InputError(
                f"{without_secrets(named)}: no such model at {shown_uri()}: {why}; {_instead(client, name)}"
            ) from None


def champions() -> dict[str, NamedModel]:
    """The champions that are meant if nobody names a model, by NAME@ALIAS: those of one data set. If there are champions of
    several, those of DEFAULT_DATA.

    Raises InputError if there is none, or several data sets without that one."""
    quiet_mlflow()
    with server_errors("could not be asked"):
        client = open_store()
        names = sorted(each.name for each in mlflow.search_registered_models() if CHAMPION in each.aliases)
        instead = _instead(client, "")
    if not names:
        raise InputError(f"there is no champion at {shown_uri()}; name a model with --model, or promote one: {instead}")
    found = {named: find(named) for named in (f"{name}@{CHAMPION}" for name in names)}
    data = {each.tags.get(DATA, "") for each in found.values()}
    if len(data) > 1 and DEFAULT_DATA not in data:
        raise InputError(f"there are champions of several data sets, {', '.join(found)}; name one with --model")
    wanted = DEFAULT_DATA if len(data) > 1 else data.pop()
    return {named: each for named, each in found.items() if each.tags.get(DATA, "") == wanted}


def aliases_of(name: str) -> Mapping[str, str]:
    """Each alias of a registered model, and its version. Raises InputError if there is no such model."""
    quiet_mlflow()
    with server_errors("could not be asked"):
        client = open_store()
        try:
            return {alias: str(each) for alias, each in client.get_registered_model(name).aliases.items()}
        except MlflowException as error:
            if error.error_code != ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
                raise
        raise InputError(f"{name}: there is no registered model of this name at {shown_uri()}; {_instead(client, name)}")


def _instead(client: MlflowClient, name: str) -> str:
    """What can be named instead of a model that does not exist."""
    known = {each.name: each.aliases for each in client.search_registered_models()}
    if not known:
        return "`digitsweep sweep` registers one for each family"
    if CHALLENGER in known.get(name, ()):
        return f"name {name}@{CHALLENGER}, or promote that with `digitsweep promote {name}`"
    models = (f"{each}@{alias}" for each, aliases in sorted(known.items()) for alias in sorted(aliases) or ["ALIAS"])
    return f"there are {', '.join(models)}"


def versions_of(name: str) -> list[ModelVersion]:
    """All versions of a registered model in the order of their numbers; none if there is no such model."""
    quote = '"' if "'" in name else "'"
    return versions_where(f"name={quote}{name}{quote}", ["version_number ASC"])


def versions_where(condition: str, order: list[str] | None = None) -> list[ModelVersion]:
    """All registered versions that meet a condition."""
    open_store()  # makes the tables of an empty database
    return list(mlflow.search_model_versions(filter_string=condition, order_by=order))


def load(uri: str) -> keras.Model:
    """A registered network: a `.keras` file of stock layers, nothing pickled, not compiled.

    Raises InputError if it is anything else."""
    return load_with_file(uri)[0]


def load_with_file(uri: str, name: str | None = None) -> tuple[keras.Model, bytes | None]:
    """Like `load`, with the contents of the file `name` that was logged beside the network, None if there is none."""
    import keras
    from mlflow.artifacts import download_artifacts

    with tempfile.TemporaryDirectory(prefix="digitsweep-") as folder:
        with server_errors(f"did not give {uri}"):
            place = Path(download_artifacts(uri, dst_path=folder))
        path = checked_model(place, uri)
        beside = None
        if name is not None and (place / name).is_file():
            if (place / name).stat().st_size > MOST_FILE:
                raise InputError(f"{uri}: {name} has more than {MOST_FILE:,} bytes; it is not loaded")
            beside = (place / name).read_bytes()
        try:
            return keras.saving.load_model(path, compile=False, safe_mode=True), beside
        except (ValueError, TypeError, KeyError, OSError, zipfile.BadZipFile) as error:
            raise InputError(f"{uri}: its network cannot be built: {first_line(error)}") from None


def checked_model(folder: Path, named: str) -> Path:
    """The `.keras` file in a model's folder.

    Raises InputError, with the model's name, if there is none, or if it is damaged, too large, or brings code."""
    found = [path for path in folder.rglob("*.keras") if path.is_file()]
    if len(found) != 1:
        raise InputError(f"{named}: a model is one .keras file, but this has {len(found)}; register it with mlflow.keras")
    for part in _foreign_parts(found[0], named):
        raise InputError(f"{named}: a model consists of Keras' own layers, but this has {part!r:.100}; it is not loaded")
    return found[0]


def foreign_parts(config: str | bytes) -> list[str]:
    """The classes in a network's description, as JSON, at any depth, that are not Keras' own, or that bring code.

    Raises ValueError or RecursionError if it is no JSON."""
    found: list[str] = []

    def note(each: dict[str, Any]) -> dict[str, Any]:
        if "class_name" in each:
            name, module = each["class_name"], each.get("module")
            known = (isinstance(module, str) and module in MODULES) or (module is None and str(name).startswith("__"))
            if name in BRING_CODE or not known:
                found.append(f"{module}.{name}" if module else name)
        return each

    json.loads(config, object_hook=note)
    return found


def _foreign_parts(path: Path, named: str) -> list[str]:
    """Those of a `.keras` file."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = archive.getinfo("config.json").file_size
            unpacked = sum(each.file_size for each in archive.infolist())
            if size > MOST_CONFIG or unpacked > MOST_WEIGHTS:
                raise InputError(f"{named}: unpacks to {unpacked:,} bytes, more than a model has; it is not loaded")
            return foreign_parts(archive.read("config.json"))
    except (OSError, KeyError, ValueError, RecursionError, zipfile.BadZipFile, NotImplementedError, zlib.error):
        raise InputError(f"{named}: its .keras file is damaged") from None
