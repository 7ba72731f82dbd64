"""The model registry: a trained network becomes a version that anybody can load, with where it came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, RESOURCE_ALREADY_EXISTS, RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.types import Schema, TensorSpec
from numpy.typing import NDArray
from sqlalchemy.exc import SQLAlchemyError

from digitsweep.errors import InputError
from digitsweep.params import Params
from digitsweep.store import first_line, quiet_mlflow, server_errors, shown_uri, without_secrets

if TYPE_CHECKING:
    import keras

CHALLENGER = "challenger"
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
    """Makes a logged model a new version of `name` and gives that the alias challenger."""
    with server_errors(f"did not register {name}"):
        client = MlflowClient()
        try:
            client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
                raise
        created = client.create_model_version(
            name,
            model_uri,
            run_id=run_id,
            tags=dict(tags),
            description=description,
            model_id=model_id,
        )
        client.set_registered_model_alias(name, CHALLENGER, created.version)
    return Registered(name, str(created.version))


def describe_version(registered: Registered, tags: Mapping[str, str], description: str) -> None:
    """Adds to a version what was learned about it after it was registered."""
    with server_errors(f"took no description of {registered.uri}"):
        client = MlflowClient()
        for key, value in tags.items():
            client.set_model_version_tag(registered.name, registered.version, key, value)
        client.update_model_version(registered.name, registered.version, description)


def load(uri: str) -> keras.Model:
    """A registered network, as whoever uses it gets it."""
    import mlflow.keras

    with server_errors(f"did not give {uri}"):
        return mlflow.keras.load_model(uri)


@dataclass(frozen=True)
class Found:
    """A model that somebody named, wherever it is."""

    uri: str
    """`models:/…` or `runs:/…`, with the version that an alias stood for."""
    label: str
    """For a person: `mnist-cnn 3`."""
    tags: Mapping[str, str]


def find(named: str) -> Found:
    """The model of `name@alias`, `name/version`, or one of MLflow's model URIs.

    Raises InputError where there is none."""
    quiet_mlflow()
    uri = named if ":" in named.split("/", 1)[0] else f"models:/{named}"
    name, at, alias = uri.removeprefix("models:/").partition("@")
    name, slash, version = (name, "", "") if at else name.partition("/")
    client = MlflowClient()
    try:
        if not uri.startswith("models:/"):
            return Found(uri, uri, {})
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


def _instead(client: MlflowClient, name: str) -> str:
    """What can be named in place of a model that is not there."""
    known = {each.name: each.aliases for each in client.search_registered_models()}
    if not known:
        return "`digitsweep sweep` registers two"
    if CHALLENGER in known.get(name, ()):
        return f"name {name}@{CHALLENGER}, or promote that with `digitsweep promote {name}`"
    models = (f"{each}@{alias}" for each, aliases in sorted(known.items()) for alias in sorted(aliases) or ["ALIAS"])
    return f"there are {', '.join(models)}"
