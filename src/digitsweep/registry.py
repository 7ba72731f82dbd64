"""The model registry: a trained network becomes a version that anybody can load, with where it came from."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, RESOURCE_ALREADY_EXISTS, RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.types import Schema, TensorSpec
from numpy.typing import NDArray
from sqlalchemy.exc import SQLAlchemyError

from digitsweep.comparison import Opening
from digitsweep.errors import InputError
from digitsweep.model_file import checked_model
from digitsweep.params import Params
from digitsweep.store import first_line, open_store, quiet_mlflow, server_errors, shown_uri, without_secrets

if TYPE_CHECKING:
    import keras

CHALLENGER = "challenger"
GATE_MARK = "\n\n---\nGate, "
"""In a description, before what a gate said."""
MOST_DESCRIPTION = 5000
"""Characters; PostgreSQL refuses more."""
NOT_THERE = [ErrorCode.Name(each) for each in (RESOURCE_DOES_NOT_EXIST, INVALID_PARAMETER_VALUE)]
"""How MLflow says that there is no such model, version or alias."""
REQUIREMENTS = ("tensorflow", "keras", "numpy")
"""What a registered model needs to be loaded, pinned to what it was made with."""


@dataclass(frozen=True)
class Registered:
    """A version in the registry."""

    name: str
    version: str

    @property
    def uri(self) -> str:
        return f"models:/{self.name}/{self.version}"


def log_model(
    name: str,
    params: Params,
    weights: Sequence[NDArray[Any]],
    *,
    side: int,
    classes: int,
    run_id: str,
    tags: Mapping[str, str],
) -> tuple[str, str]:
    """Packages a trained network and logs it on a run: the model's URI and id.

    The network is rebuilt in float32 from stock layers with no optimizer inside; nothing in it is pickled."""
    import mlflow.keras

    from digitsweep.training import trained_model

    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, side, side, 1))]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, classes))]),
    )
    with server_errors(f"took no model {name}"):
        logged = Model.log(
            artifact_path=None,
            name=name,
            flavor=mlflow.keras,
            model=trained_model(params, side, classes, weights),
            run_id=run_id,
            signature=signature,
            pip_requirements=[f"{each}=={version(each)}" for each in REQUIREMENTS],
            tags=dict(tags),
        )
    return logged.model_uri, logged.model_id


def register(
    name: str, model_uri: str, model_id: str, *, run_id: str, tags: Mapping[str, str], description: str
) -> Registered:
    """Makes a logged model a version of `name`, a new one unless its run has one, and gives that the alias challenger."""
    with server_errors(f"did not register {name}"):
        client = open_store()
        create_registered_model(client, name)
        made = client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'")
        created = (
            made[0]
            if made
            else client.create_model_version(
                name,
                model_uri,
                run_id=run_id,
                tags=dict(tags),
                description=description,
                model_id=model_id,
            )
        )
        client.set_registered_model_alias(name, CHALLENGER, created.version)
    return Registered(name, str(created.version))


def create_registered_model(client: MlflowClient, name: str, description: str | None = None) -> None:
    """Makes a name known, where it is not yet."""
    try:
        client.create_registered_model(name, description=description)
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
            raise


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


def describe_version(registered: Registered, tags: Mapping[str, str], description: str) -> None:
    """Adds to a version what was learned about it after it was registered."""
    with server_errors(f"took no description of {registered.uri}"):
        client = open_store()
        for key, value in tags.items():
            client.set_model_version_tag(registered.name, registered.version, key, value)
        client.update_model_version(registered.name, registered.version, description)


def write_opening(registered: Registered, attempt: str, opening: Opening) -> None:
    """Notes on a version that the test set was opened for it; each attempt has a tag of its own, so that none is
    overwritten."""
    with server_errors(f"took no tag of {registered.uri}"):
        said = f"{opening.at} for {opening.by}, sha256 {opening.digest}"
        client = open_store()
        client.set_model_version_tag(registered.name, registered.version, f"digitsweep.test.opened.{attempt[:8]}", said)


def write_decision(registered: Registered, decision: str, text: str) -> None:
    """Writes what a gate has decided of a version: as JSON to a tag, readable to its description, in place of the last
    one."""
    with server_errors(f"took no decision of {registered.uri}"):
        client = open_store()
        client.set_model_version_tag(registered.name, registered.version, "digitsweep.decision", decision)
        described = client.get_model_version(registered.name, registered.version).description or ""
        kept = described.partition(GATE_MARK)[0][: MOST_DESCRIPTION // 2]
        client.update_model_version(registered.name, registered.version, f"{kept}{GATE_MARK}{text}"[:MOST_DESCRIPTION])


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
        except (ValueError, TypeError, KeyError, OSError) as error:
            raise InputError(f"{uri}: its network cannot be built: {first_line(error)}") from None


@dataclass(frozen=True)
class Found:
    """A model that somebody named, wherever it is."""

    uri: str
    """`models:/…`, with the version that an alias stood for."""
    label: str
    """For a person: `mnist-cnn 3`."""
    tags: Mapping[str, str]


def find(named: str) -> Found:
    """The model of `name@alias`, `name/version`, or a `models:/` URI.

    Raises InputError where there is none, or where the address leads past the registry."""
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
        return Found(uri, logged.name or name, dict(logged.tags))
    except (MlflowException, SQLAlchemyError, OSError) as error:
        answered = isinstance(error, MlflowException) and error.error_code in NOT_THERE
        way_out = _instead(client, name) if answered else "write NAME@ALIAS, NAME/VERSION or a model URI"
        raise InputError(
            f"{without_secrets(named)}: no such model at {shown_uri()}: {first_line(error).rstrip('.')}; {way_out}"
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


def _instead(client: MlflowClient, name: str) -> str:
    """What can be named in place of a model that is not there."""
    known = {each.name: each.aliases for each in client.search_registered_models()}
    if not known:
        return "`digitsweep sweep` registers two"
    if CHALLENGER in known.get(name, ()):
        return f"name {name}@{CHALLENGER}, or promote that with `digitsweep promote {name}`"
    models = (f"{each}@{alias}" for each, aliases in sorted(known.items()) for alias in sorted(aliases) or ["ALIAS"])
    return f"there are {', '.join(models)}"
