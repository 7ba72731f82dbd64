"""A sweep's own run: opened, described, and closed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from mlflow import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME, MLFLOW_SOURCE_NAME, MLFLOW_USER

from digitsweep.data import Dataset
from digitsweep.experiment import Experiment
from digitsweep.provenance import Commit
from digitsweep.store import children, run_tags
from digitsweep.tracking.records import dataset_input, experiment_id, log_files, params, user
from digitsweep.tracking.recovery import closed

STATUS = {"COMPLETE": "FINISHED", "INTERRUPTED": "KILLED", "FAILED": "FAILED"}


def open_run(client: MlflowClient, experiment: Experiment, options: Mapping[str, Any], begun: int) -> tuple[str, str]:
    """Experiment and id of the run that `mlflow run` opened, or of a new one, which began then (ms since 1970)."""
    tags = {"digitsweep.kind": "sweep", "digitsweep.state": "RUNNING", MLFLOW_RUN_NAME: f"sweep {experiment.name}"}
    adopted = os.environ.get("MLFLOW_RUN_ID")
    if adopted:
        client.log_batch(adopted, tags=run_tags(tags))
        return client.get_run(adopted).info.experiment_id, adopted
    tags |= {MLFLOW_SOURCE_NAME: "digitsweep sweep", MLFLOW_USER: user()}
    run = client.create_run(experiment_id(client), start_time=begun, tags=tags)
    client.log_batch(run.info.run_id, params=params(options))
    return run.info.experiment_id, run.info.run_id


def describe_run(client: MlflowClient, run_id: str, experiment: Experiment, dataset: Dataset, commit: Commit) -> None:
    """What the sweep is of: the experiment file, tags, data, and a first description.

    The file comes before the tags: a run with the digest's tag can be resumed, whenever its sweep was killed."""
    log_files(client, run_id, {"experiment.yaml": experiment.text.encode()})
    tags = {
        **data_tags(experiment, dataset),
        **commit.tags(),
        "digitsweep.experiment": experiment.name,
        "digitsweep.data.source": dataset.source,
        "digitsweep.data.digest": dataset.digest(),
        **{f"digitsweep.data.digest.{split}": digest for split, digest in dataset.digests().items()},
        "mlflow.note.content": note(experiment, "is running"),
    }
    client.log_batch(run_id, tags=run_tags(tags))
    # What the UI asks of an experiment: training runs, not conversations of a language model.
    client.set_experiment_tag(client.get_run(run_id).info.experiment_id, "mlflow.experimentKind", "custom_model_development")
    client.log_inputs(run_id, [dataset_input(dataset)])


def reopen_run(client: MlflowClient, run_id: str, experiment: Experiment) -> None:
    """The run of a sweep that somebody goes on with."""
    tags = {"digitsweep.state": "RUNNING", "mlflow.note.content": note(experiment, "is running again")}
    client.log_batch(run_id, tags=run_tags(tags))
    client.update_run(run_id, status="RUNNING")


def close_run(client: MlflowClient, run_id: str, state: str, described: str) -> None:
    """Ends a sweep's run, and whatever below it still says that it runs; `described`: what it is described with, if anew."""
    run = client.get_run(run_id)
    if state != "COMPLETE":
        for child in children(client, run.info.experiment_id, run_id):
            if child.info.status == "RUNNING":
                closed(client, child)
    tags = {"digitsweep.state": state, **({"mlflow.note.content": described} if described else {})}
    client.log_batch(run_id, tags=run_tags(tags))
    client.set_terminated(run_id, STATUS[state])


def note(experiment: Experiment, state: str) -> str:
    """What the UI shows above a sweep's run that has no comparison."""
    return f"**{experiment.question}**\n\nThe sweep {state}."


def data_tags(experiment: Experiment, dataset: Dataset) -> dict[str, str]:
    """What every run of a sweep is tagged with."""
    return {"digitsweep.data": dataset.name, "digitsweep.digest": experiment.digest()}
