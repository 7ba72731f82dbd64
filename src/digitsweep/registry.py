"""The model registry: a trained network becomes a version that anybody can load, with where it came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, ErrorCode
from mlflow.types import Schema, TensorSpec
from numpy.typing import NDArray

from digitsweep.comparison import Opening
from digitsweep.lookup import CHALLENGER
from digitsweep.params import Params
from digitsweep.store import open_store, server_errors

GATE_MARK = "\n\n---\nGate, "
"""In a description, before what a gate said."""
MOST_DESCRIPTION = 5000
"""Characters; PostgreSQL refuses more."""
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
        point_alias(client, name, CHALLENGER, created.version)
    return Registered(name, str(created.version))


def create_registered_model(client: MlflowClient, name: str, description: str | None = None) -> None:
    """Makes a name known, where it is not yet."""
    try:
        client.create_registered_model(name, description=description)
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
            raise


def point_alias(client: MlflowClient, name: str, alias: str, version: str) -> None:
    """Makes an alias mean a version, whatever it meant before.

    Where two set one that is not there yet, the store refuses the second of them, who then finds it and changes it."""
    try:
        client.set_registered_model_alias(name, alias, version)
    except MlflowException:
        if alias not in client.get_registered_model(name).aliases:
            raise
        client.set_registered_model_alias(name, alias, version)


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
