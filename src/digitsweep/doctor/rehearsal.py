"""What a sweep asks of MLflow, done once: a file written to a run and read back, and the registry looked into."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mlflow import MlflowClient, get_registry_uri
from mlflow.entities import Run
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME

from digitsweep.doctor.finding import Finding, ok, wrong
from digitsweep.store import first_line, open_store, quiet_mlflow, without_secrets
from digitsweep.tracking.records import EXPERIMENT_NAME, log_files

FILE, CONTENT = "doctor.txt", b"Written by `digitsweep doctor`, to be read back.\n"
DEFAULT_EXPERIMENT = "0"


def artifact() -> Finding:
    """Whether a file comes back from a run's artifacts as it was written; the run is deleted again."""
    name = "artifacts"
    try:
        client = open_store()
        with _throw_away_run(client) as run, tempfile.TemporaryDirectory(prefix="digitsweep-") as folder:
            log_files(client, run.info.run_id, {FILE: CONTENT})
            read = Path(client.download_artifacts(run.info.run_id, FILE, folder)).read_bytes()
            where = without_secrets(run.info.artifact_uri.partition(run.info.run_id)[0])
    except Exception as error:  # each kind of store has exceptions of its own, and none may end the other checks
        return wrong(name, first_line(error), _mend(error))
    if read != CONTENT:
        return wrong(name, f"what was written to {where} is not what is read back", "look into that store")
    return ok(name, f"written to {where} and read back")


def registry() -> Finding:
    """Whether the model registry can be asked."""
    name = "registry"
    try:
        address = without_secrets(get_registry_uri())
        open_store().search_registered_models(max_results=1)
    except Exception as error:  # as above
        return wrong(name, first_line(error), "mend MLFLOW_REGISTRY_URI, or unset it to use the tracking server's")
    return ok(name, f"{address} answers")


@contextmanager
def _throw_away_run(client: MlflowClient) -> Iterator[Run]:
    """A run in a sweep's experiment, or in MLflow's own where there is none yet; ended, deleted and emptied afterwards."""
    quiet_mlflow()
    found = client.get_experiment_by_name(os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT_NAME))
    experiment_id = os.environ.get("MLFLOW_EXPERIMENT_ID") or (found.experiment_id if found else DEFAULT_EXPERIMENT)
    run = client.create_run(experiment_id, tags={"digitsweep.kind": "doctor", MLFLOW_RUN_NAME: "digitsweep doctor"})
    try:
        yield run
    finally:
        client.set_terminated(run.info.run_id, "FINISHED")
        client.delete_run(run.info.run_id)
        with suppress(Exception):  # not every store can delete; a deleted run is not shown, and `mlflow gc` empties it
            get_artifact_repository(run.info.artifact_uri).delete_artifacts()  # type: ignore[no-untyped-call]


def _mend(error: Exception) -> str:
    if isinstance(error, ImportError):
        return "install what the artifact store needs, or let the server hold the files (`--artifacts-destination`)"
    return "look whether the artifact store is there, can be written, and has room"
