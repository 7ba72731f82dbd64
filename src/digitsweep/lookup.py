"""What the model registry holds: a model that somebody names is found, and loaded."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode

from digitsweep.errors import InputError
from digitsweep.model_file import checked_model
from digitsweep.store import NOT_THERE, first_line, open_store, quiet_mlflow, server_errors, shown_uri, without_secrets

if TYPE_CHECKING:
    import keras

CHALLENGER = "challenger"

SHOWN = 10
"""Characters of a logged model's id in its label: `m-` and eight of 32."""


@dataclass(frozen=True)
class Found:
    """A model that somebody named, wherever it is."""

    uri: str
    """`models:/…`, with the version that an alias stood for."""
    label: str
    """For a person, and no other model's: `mnist-cnn 3`, or, where it is no version, `mnist-cnn m-3f2a9c0d`."""
    tags: Mapping[str, str]


def find(named: str) -> Found:
    """The model of `name@alias`, `name/version`, or a `models:/` URI.

    Raises InputError where there is none, or where the address leads past the registry, and DigitsweepError where the
    server does not answer."""
    quiet_mlflow()
    uri = named if ":" in named.split("/", 1)[0] else f"models:/{named}"
    name, at, alias = uri.removeprefix("models:/").partition("@")
    name, slash, version = (name, "", "") if at else name.partition("/")
    if not uri.startswith("models:/"):
        raise InputError(
            f"{without_secrets(named)}: models are loaded from the registry only; write NAME@ALIAS, NAME/VERSION "
            "or a models:/ URI"
        )
    with server_errors("could not be asked"):
        client = open_store()
        try:
            if at or slash:
                found = client.get_model_version_by_alias(name, alias) if at else client.get_model_version(name, version)
                return Found(f"models:/{name}/{found.version}", f"{name} {found.version}", dict(found.tags))
            logged = client.get_logged_model(name)
            return Found(uri, f"{logged.name} {name[:SHOWN]}" if logged.name else name, dict(logged.tags))
        except MlflowException as error:
            if error.error_code not in NOT_THERE:
                raise
            raise InputError(
                f"{without_secrets(named)}: no such model at {shown_uri()}: {first_line(error).rstrip('.')}; "
                f"{_instead(client, name)}"
            ) from None


def aliases_of(name: str) -> Mapping[str, str]:
    """Each alias of a registered model, and its version.

    Raises InputError where there is no such model, which says which ones there are."""
    quiet_mlflow()
    with server_errors("could not be asked"):
        client = open_store()
        try:
            return {alias: str(each) for alias, each in client.get_registered_model(name).aliases.items()}
        except MlflowException as error:
            if error.error_code != ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
                raise
        names = sorted(each.name for each in client.search_registered_models())
    raise InputError(
        f"{name}: there is no registered model of this name at {shown_uri()}; "
        + (f"there are {', '.join(names)}" if names else "`digitsweep sweep` registers two")
    )


def versions_of(name: str) -> list[ModelVersion]:
    """All versions of a registered model in the order of their numbers; none where there is no such model."""
    client = open_store()
    found: list[ModelVersion] = []
    token: str | None = None
    quote = '"' if "'" in name else "'"
    while True:
        page = client.search_model_versions(
            f"name={quote}{name}{quote}", max_results=1000, order_by=["version_number ASC"], page_token=token
        )
        found += page
        token = page.token
        if not token:
            return found


def load(uri: str) -> keras.Model:
    """A registered network, as whoever uses it gets it: a `.keras` file of stock layers, and nothing that is pickled.

    Raises InputError where it is anything else."""
    import keras
    from mlflow.artifacts import download_artifacts

    with tempfile.TemporaryDirectory(prefix="digitsweep-") as folder:
        with server_errors(f"did not give {uri}"):
            place = Path(download_artifacts(uri, dst_path=folder))
        path = checked_model(place, uri)
        try:
            return keras.saving.load_model(path, compile=False, safe_mode=True)
        except (ValueError, TypeError, KeyError, OSError, zipfile.BadZipFile) as error:
            raise InputError(f"{uri}: its network cannot be built: {first_line(error)}") from None


def _instead(client: MlflowClient, name: str) -> str:
    """What can be named in place of a model that is not there."""
    known = {each.name: each.aliases for each in client.search_registered_models()}
    if not known:
        return "`digitsweep sweep` registers two"
    if CHALLENGER in known.get(name, ()):
        return f"name {name}@{CHALLENGER}, or promote that with `digitsweep promote {name}`"
    models = (f"{each}@{alias}" for each, aliases in sorted(known.items()) for alias in sorted(aliases) or ["ALIAS"])
    return f"there are {', '.join(models)}"
