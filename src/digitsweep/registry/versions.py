"""Versions in the model registry: a trained network becomes one, with its provenance, and is described further."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, ErrorCode
from mlflow.types import Schema, TensorSpec
from numpy.typing import NDArray

from digitsweep.families import Params, Shape
from digitsweep.registry.models import CHALLENGER
from digitsweep.registry.recipe import image_metadata
from digitsweep.tracking.client import open_store, server_errors

GATE_MARK = "\n\n---\nGate, "
"""In a description, before a gate's decision."""
MOST_DESCRIPTION = 5000
"""Characters; PostgreSQL refuses more."""
REQUIREMENTS = ("tensorflow", "keras", "numpy")
"""What loading a registered model requires, pinned to the versions that made it."""


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
    shape: Shape,
    classes: int,
    run_id: str,
    tags: Mapping[str, str],
    files: Mapping[str, bytes] | None = None,
) -> tuple[str, str]:
    """Packages a trained network and logs it on a run, with `files` by name beside it: the model's URI and id. A run has one
    model: one that an earlier try left unfinished is completed.

    The network is rebuilt in float32 from stock layers, without an optimizer; nothing in it is pickled."""
    import mlflow.keras

    from digitsweep.training.loop import trained_model

    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, *shape))]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, classes))]),
    )
    with server_errors(f"took no model {name}"), tempfile.TemporaryDirectory(prefix="digitsweep-") as folder:
        client = open_store()
        # Step by step, since `Model.log` makes another model on the run each time it is called.
        model = _model_of(client, run_id, name, tags)
        if model.status != LoggedModelStatus.READY:
            place = f"{folder}/model"
            about = Model(
                artifact_path=model.artifact_location,
                run_id=run_id,
                model_id=model.model_id,
                metadata=image_metadata(tags) or None,
            )
            network = trained_model(params, shape, classes, weights)
            pinned = [f"{each}=={metadata.version(each)}" for each in REQUIREMENTS]
            mlflow.keras.save_model(network, place, mlflow_model=about, signature=signature, pip_requirements=pinned)
            for file, content in (files or {}).items():
                Path(place, file).write_bytes(content)
            client.log_model_artifacts(model.model_id, place)
            client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    return f"models:/{model.model_id}", str(model.model_id)


def _model_of(client: MlflowClient, run_id: str, name: str, tags: Mapping[str, str]) -> LoggedModel:
    """The one model of a run; a new one if it has none."""
    run = client.get_run(run_id)
    experiment = run.info.experiment_id
    found = client.search_logged_models([experiment], f"source_run_id = '{run_id}'")
    if found:
        model = found[0]
    else:
        model = client.create_logged_model(experiment, name, source_run_id=run_id, tags=dict(tags), params=run.data.params)
    if not run.outputs or model.model_id not in [each.model_id for each in run.outputs.model_outputs]:
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    return model


def register(
    name: str, model_uri: str, model_id: str, *, run_id: str, tags: Mapping[str, str], description: str
) -> Registered:
    """Makes a logged model a version of `name`, unless its run has one already, with the alias challenger."""
    with server_errors(f"did not register {name}"):
        client = open_store()
        create_registered_model(client, name)
        made = client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'")
        if made:
            version = made[0]
        else:
            version = client.create_model_version(
                name, model_uri, run_id=run_id, tags=dict(tags), description=description, model_id=model_id
            )
        point_alias(client, name, CHALLENGER, version.version)
    return Registered(name, str(version.version))


def create_registered_model(client: MlflowClient, name: str, description: str | None = None) -> None:
    """Creates a registered model unless it exists."""
    try:
        client.create_registered_model(name, description=description)
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
            raise


def point_alias(client: MlflowClient, name: str, alias: str, version: str) -> None:
    """Points an alias to a version. If two processes create an alias at once, the store refuses the second, which then
    changes it."""
    try:
        client.set_registered_model_alias(name, alias, version)
    except MlflowException:
        if alias not in client.get_registered_model(name).aliases:
            raise
        client.set_registered_model_alias(name, alias, version)


def describe_version(registered: Registered, tags: Mapping[str, str], description: str | None = None) -> None:
    """Sets tags of a version, and its description if one is given; what is too long for the registry is cut off."""
    with server_errors(f"took no description of {registered.uri}"):
        client = open_store()
        for key, value in tags.items():
            client.set_model_version_tag(registered.name, registered.version, key, value)
        if description is not None:
            client.update_model_version(registered.name, registered.version, description[:MOST_DESCRIPTION])


def write_decision(registered: Registered, decision: str, text: str) -> None:
    """Writes a gate's decision to a version: as JSON to a tag, as text to its description, in place of the last one."""
    with server_errors(f"took no decision of {registered.uri}"):
        client = open_store()
        client.set_model_version_tag(registered.name, registered.version, "digitsweep.decision", decision)
        described = client.get_model_version(registered.name, registered.version).description or ""
        room = max(MOST_DESCRIPTION - len(GATE_MARK) - len(text), MOST_DESCRIPTION // 2)
        kept = described.partition(GATE_MARK)[0][:room]
        client.update_model_version(registered.name, registered.version, f"{kept}{GATE_MARK}{text}"[:MOST_DESCRIPTION])
