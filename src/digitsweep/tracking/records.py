"""What MLflow's runs are written with: parameters, datasets, files, and the comparison on a run of its own or a sweep's."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mlflow import MlflowClient
from mlflow.entities import Dataset as MlflowDataset
from mlflow.entities import DatasetInput, InputTag, Metric, Param
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME, MLFLOW_SOURCE_NAME, MLFLOW_USER

from digitsweep.comparison import Comparison
from digitsweep.data import Dataset
from digitsweep.store import open_store, run_tags, server_errors
from digitsweep.tracking.spool import Figure

EXPERIMENT_NAME = "digitsweep"


def record_comparison(
    comparison: Comparison, files: Callable[[Comparison], Mapping[str, bytes]], models: Sequence[str]
) -> Comparison:
    """Writes a comparison of models to the run that `mlflow run` opened, or to a new one, which it then names."""
    tags = {
        "digitsweep.kind": "comparison",
        "digitsweep.models": " ".join(models),
        "digitsweep.data": str(comparison.data["name"]),
        "digitsweep.test.opened": "; ".join(
            f"{each.at} for {each.by}, sha256 {each.digest}" for each in comparison.openings
        ),
        MLFLOW_RUN_NAME: comparison.openings[0].by if comparison.openings else "compare",
    }
    with server_errors("took no comparison"):
        client = open_store()
        adopted = os.environ.get("MLFLOW_RUN_ID")
        named = {**tags, MLFLOW_SOURCE_NAME: "digitsweep compare", MLFLOW_USER: user()}
        run_id = adopted or client.create_run(experiment_id(client), tags=named).info.run_id
        status = "FAILED"
        try:
            client.log_batch(run_id, tags=run_tags(tags))
            written = dataclasses.replace(comparison, run_id=run_id)
            metrics, described, everything = comparison_records(written, files(written))
            client.log_batch(run_id, metrics=[Metric(*each) for each in metrics], tags=run_tags(described))
            log_files(client, run_id, everything)
            status = "FINISHED"
        finally:
            client.set_terminated(run_id, status)
    return written


def comparison_records(
    comparison: Comparison, files: Mapping[str, bytes]
) -> tuple[list[Figure], dict[str, str], dict[str, bytes]]:
    """What a comparison puts on a run: figures as metrics, the verdict as description, itself and `files` as artifacts."""
    metrics: list[Figure] = []
    for each in comparison.best():
        figures = {"weights": float(each.weights)}
        if each.validation:
            figures["val_accuracy"] = each.validation.accuracy
        if each.test:
            figures["test_accuracy"] = each.test.accuracy
        # A sweep has one best of each family; models that somebody named may be of one family.
        of = each.family if comparison.spent else re.sub(r"[^\w.-]+", "_", each.trial)
        metrics += [(f"{of}_{name}", value, milliseconds(), 0) for name, value in figures.items()]
    table = comparison.table().to_csv(index=False).encode()
    everything = {"comparison.json": as_json(comparison.values()), "comparison.csv": table, **files}
    tags = {"mlflow.note.content": description(comparison)}
    return metrics, tags, {f"comparison/{name}": content for name, content in everything.items()}


def experiment_id(client: MlflowClient) -> str:
    """Of the experiment that MLflow's variables name, or of digitsweep's own; made where there is none yet."""
    if given := os.environ.get("MLFLOW_EXPERIMENT_ID"):
        return given
    return experiment_named(client, os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT_NAME))


def experiment_named(client: MlflowClient, name: str) -> str:
    """The id of an experiment; made where there is none yet."""
    if found := client.get_experiment_by_name(name):
        return str(found.experiment_id)
    try:
        return str(client.create_experiment(name))
    except MlflowException:  # another sweep was first
        found = client.get_experiment_by_name(name)
        if found is None:
            raise
        return str(found.experiment_id)


def log_files(client: MlflowClient, run_id: str, files: Mapping[str, bytes]) -> None:
    """Writes files to a run's artifacts by their paths, in one go."""
    if not files:
        return
    with tempfile.TemporaryDirectory(prefix="digitsweep-") as folder:
        for name, content in files.items():
            path = Path(folder, name)
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        client.log_artifacts(run_id, folder)


def description(comparison: Comparison) -> str:
    """What the UI shows above a run."""
    lines = [f"**{comparison.question}**", ""]
    lines += [comparison.verdict, ""] if comparison.verdict else []
    lines += [
        f"Data {comparison.data['name']}, {comparison.state.lower()}. All of it: Artifacts, `comparison/report.html`.",
        "",
    ]
    lines += ["| | network | validation | test | weights |", "| --- | --- | --- | --- | --- |"]
    for each in comparison.entries:
        name = f"**{comparison.name_of(each)}**" if each.role == "best" else comparison.name_of(each)
        validation, test = (f"{share.accuracy:.2%}" if share else "" for share in (each.validation, each.test))
        lines.append(f"| {name} | {each.network} | {validation} | {test} | {each.weights:,} |")
    return "\n".join(lines)


def dataset_input(dataset: Dataset) -> DatasetInput:
    """What the UI shows as a run's dataset; the digest is of all its bytes, MLflow's own of the first images only."""
    training = dataset.training
    profile = {
        "train": len(training.train),
        "validation": len(training.validation),
        "test": len(dataset.test),
        "classes": training.classes,
    }
    return DatasetInput(
        MlflowDataset(
            name=dataset.name,
            digest=dataset.digest()[:16],
            source_type="local",
            source=json.dumps({"source": dataset.source, **dataset.digests()}),
            profile=json.dumps(profile),
        ),
        tags=[InputTag("mlflow.data.context", "training")],
    )


def params(values: Mapping[str, Any]) -> list[Param]:
    return [Param(key, str(value)) for key, value in values.items()]


def as_json(values: Any) -> bytes:
    return json.dumps(values, indent=2, default=_plain).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def user() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"


def milliseconds() -> int:
    return time.time_ns() // 1_000_000
