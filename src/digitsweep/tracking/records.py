"""What MLflow's runs hold of trials and comparisons: metrics, tags and files, and how a trial is read back from them.

An artifact that follows from a trial's confusion matrix or from its curves is one entry in `FROM_MATRIX` or `FROM_CURVES`: a
sweep records it, and a resume or `digitsweep reconcile` makes it where it is missing.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from mlflow.entities import Metric, Run
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME, MLFLOW_SOURCE_NAME, MLFLOW_USER
from numpy.typing import NDArray

from digitsweep.data.splits import default_names, has_names
from digitsweep.evaluation.comparison import Comparison
from digitsweep.evaluation.metrics import ClassificationMetrics, classification_metrics
from digitsweep.families import FAMILIES, parse_params
from digitsweep.families.hyperparameters import Scalar
from digitsweep.report.format import percent
from digitsweep.tracking.client import (
    TEST_DIGEST,
    children,
    experiment_id,
    log_files,
    milliseconds,
    open_store,
    run_tags,
    server_errors,
    user,
)
from digitsweep.tracking.spool import Figure
from digitsweep.trial import LATE, OUT_OF_TIME, SPENT, EpochMetrics, Kind, Trial, TrialRecord, TrialState, trial_name

TRIAL = "digitsweep.trial"
"""Tag of a trial's run: the trial, and how it ended, as JSON."""
NOTE = "mlflow.note.content"
"""Tag with what the UI shows above a run."""
MOST_TAG = 7500
"""Characters in a tag's value; MLflow takes 8,000."""
SECONDS = "train_seconds"
BY_EPOCH = ("epoch", "epoch_seconds", "learning_rate")
"""The fields of EpochMetrics that do not describe a training as a whole."""
WEIGHTS = "weights.npz"
MATRIX = "confusion_matrix.json"
"""The confusion matrix on validation: (classes, classes), or, if the classes have names, `classes` and `matrix`."""
TRIAL_STATUS = {TrialState.COMPLETE: "FINISHED", TrialState.PRUNED: "KILLED", TrialState.FAIL: "FAILED"}


def _matrix_picture(evaluation: ClassificationMetrics, title: str) -> bytes:
    from digitsweep.report import plots  # here and not above: a sweep starts sooner, and draws when its first trial ends

    told = f"{title} · validation, {percent(evaluation.accuracy)}"
    return plots.png(plots.confusion_matrix(evaluation.confusion, told, evaluation.class_names))


def _curves_picture(epochs: Sequence[EpochMetrics], title: str) -> bytes:
    from digitsweep.report import plots

    return plots.png(plots.learning_curves(epochs, title))


FROM_MATRIX: Mapping[str, Callable[[ClassificationMetrics, str], bytes]] = {
    "classification_report.json": lambda evaluation, _: as_json(evaluation.report),
    "classification_report.txt": lambda evaluation, _: evaluation.text.encode(),
    "confusion_matrix.png": _matrix_picture,
}
"""A trial's files that follow from its confusion matrix, by name; each is made from the evaluation and a title."""
FROM_CURVES: Mapping[str, Callable[[Sequence[EpochMetrics], str], bytes]] = {"learning_curves.png": _curves_picture}
"""Those that follow from its metrics after each epoch."""


def recorded(
    record: TrialRecord, labels: NDArray[np.uint8], class_names: Sequence[str]
) -> tuple[dict[str, float], dict[str, bytes]]:
    """Metrics and files, by name, that only the trial's end gives; `labels` are those of validation, (n,).

    Takes milliseconds, so that it is on disk at once. What can be derived from it comes later."""
    result = record.result
    metrics = {SECONDS: result.train_seconds}
    if result.weight_count:
        metrics["weights"] = float(result.weight_count)
    files: dict[str, bytes] = {}
    if result.predictions is not None:
        matrix = np.zeros((len(class_names), len(class_names)), np.int64)
        np.add.at(matrix, (labels, result.predictions), 1)
        named = {"classes": list(class_names), "matrix": matrix.tolist()}
        files[MATRIX] = as_json(named if has_names(class_names) else matrix.tolist())
    if result.weights is not None:
        buffer = io.BytesIO()
        np.savez(buffer, *result.weights)
        files[WEIGHTS] = buffer.getvalue()
    return metrics, files


def derived(title: str, epochs: Sequence[EpochMetrics], matrix: bytes | None) -> dict[str, bytes]:
    """Files, by name, that follow from a run's metrics after each epoch and its `confusion_matrix.json`.

    title: of the trial, for pictures."""
    files: dict[str, bytes] = {}
    if matrix is not None:
        read = json.loads(matrix)
        counts = np.array(read["matrix"] if isinstance(read, dict) else read)  # (classes, classes)
        names = read["classes"] if isinstance(read, dict) else default_names(len(counts))
        pairs = np.indices(counts.shape, np.uint8).reshape(2, -1)
        labels, predictions = (np.repeat(each, counts.ravel()) for each in pairs)
        evaluation = classification_metrics(labels, predictions, names)
        files = {name: make(evaluation, title) for name, make in FROM_MATRIX.items()}
    if epochs:
        files |= {name: make(epochs, title) for name, make in FROM_CURVES.items()}
    return files


def attempt_tags(reason: str) -> dict[str, str]:
    """Tags of the run of a training that was broken off: it is not one of the sweep's trials any more."""
    return {"digitsweep.kind": "attempt", "trial.state": TrialState.FAIL.value, "trial.reason": reason}


def planned(trial: Trial) -> str:
    """A trial that begins, as the tag TRIAL: all that it takes to train it again."""
    return _compact(_plan(trial))


def compact(record: TrialRecord, metric: str) -> str:
    """A trial that ended, as the tag TRIAL: all that a study is rebuilt from; `values` are those of `metric`."""
    trial, result = record.trial, record.result
    values = {
        **_plan(trial),
        "state": result.state.value,
        "seconds": result.train_seconds,
        "used": record.used,
        "weights": result.weight_count,
        "values": [each.metrics()[metric] for each in result.epochs if metric in each.metrics()],
    }
    text = _compact(values)
    # Hundreds of epochs are too long for a tag; the run's metrics hold them too.
    return text if len(text) <= MOST_TAG else _compact({**values, "values": None})


def trial_name_of(run: Run) -> str | None:
    """The name of the trial that a run is of, also where a person has renamed the run; None where it is of none."""
    text = run.data.tags.get(TRIAL)
    if not text:
        return None
    values = json.loads(text)
    identifying = values["family"], values["number"], Kind(values["kind"]), values["repetition"]
    return trial_name(*identifying, values.get("rung", 0), values["baseline"])


def title_of(trial: Trial) -> str:
    """What a trial's pictures are called: its name and its network."""
    return f"{trial.name}: {trial.params.describe()}"


def title_of_run(run: Run) -> str | None:
    """The same of a run's trial: its name alone if its family is not known here; None if the run is of no trial."""
    text = run.data.tags.get(TRIAL)
    values = json.loads(text) if text else None
    return title_of(restored_trial(values)) if values and values["family"] in FAMILIES else trial_name_of(run)


def restored_trial(values: Mapping[str, Any]) -> Trial:
    """The trial of a tag TRIAL, whose family must be known."""
    return Trial(
        number=values["number"],
        params=parse_params(values["family"], values["params"]),
        seed=values["seed"],
        epochs=values["epochs"],
        baseline=values["baseline"],
        kind=Kind(values["kind"]),
        repetition=values["repetition"],
        drawn=values["drawn"],
        rung=values.get("rung", 0),
        proposed_by=values.get("proposed_by", ""),
        ladder=tuple(values.get("ladder", ())),
        left_out=values.get("left_out", 0),
    )


def trainings(sweep_run: str) -> list[dict[str, Any]]:
    """Every training of a sweep that came to an end, in the order of their starts: what its run holds, by column.

    Attempts that were broken off are left out. Raises DigitsweepError if the server cannot be reached."""
    with server_errors("could not be asked"):
        client = open_store()
        runs = children(client, client.get_run(sweep_run).info.experiment_id, sweep_run)
    return [_row(run, json.loads(run.data.tags[TRIAL])) for run in runs if _has_ended(run)]


def _has_ended(run: Run) -> bool:
    return "trial.state" in run.data.tags and TRIAL in run.data.tags and run.data.tags.get("digitsweep.kind") != "attempt"


def _row(run: Run, trial: Mapping[str, Any]) -> dict[str, Any]:
    tags, metrics = run.data.tags, run.data.metrics
    reason = tags.get("trial.reason", "")
    measured = [each.name for each in dataclasses.fields(EpochMetrics) if each.name not in BY_EPOCH]
    row = {
        "trial": trial_name_of(run),
        "family": trial["family"],
        "kind": trial["kind"],
        "number": trial["number"],
        "rung": trial.get("rung"),
        "baseline": trial["baseline"] or "",
        "proposed_by": trial.get("proposed_by", ""),
        "state": OUT_OF_TIME if reason in (SPENT, LATE) else tags["trial.state"],
        "reason": reason,
        "seed": trial["seed"],
        "epochs": float(trial["epochs"]),
        SECONDS: metrics.get(SECONDS),
        "weights": metrics.get("weights"),
        **{name: metrics.get(name) for name in (*measured, "test_accuracy")},
        "run_id": run.info.run_id,
    }
    return row | {name: _scalar(text) for name, text in run.data.params.items() if name not in row}


def _scalar(text: str) -> Scalar:
    """A hyperparameter as it was before MLflow took it as text."""
    try:
        return int(text) if text.isdecimal() else float(text)
    except ValueError:
        return text


def restored_weights(content: bytes) -> tuple[NDArray[np.float32], ...]:
    """The weights that `weights.npz` holds, in Keras' order."""
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return tuple(arrays[f"arr_{index}"] for index in range(len(arrays.files)))


def _plan(trial: Trial) -> dict[str, Any]:
    return {
        "number": trial.number,
        "kind": trial.kind.value,
        "repetition": trial.repetition,
        "family": trial.family,
        "baseline": trial.baseline,
        "params": trial.params.model_dump(mode="json"),
        "drawn": dict(trial.drawn),
        "seed": trial.seed,
        "epochs": trial.epochs,
        **({name: getattr(trial, name) for name in ("rung", "proposed_by", "ladder", "left_out")} if trial.ladder else {}),
    }


def _compact(values: Mapping[str, Any]) -> str:
    return json.dumps(values, separators=(",", ":"))


def record_comparison(
    comparison: Comparison, files: Callable[[Comparison], Mapping[str, bytes]], models: Sequence[str]
) -> Comparison:
    """Writes a comparison of models to the run that `mlflow run` opened, or to a new one; the comparison with that run's
    id."""
    tags = {
        "digitsweep.kind": "comparison",
        "digitsweep.models": " ".join(models),
        "digitsweep.data": str(comparison.data["name"]),
        TEST_DIGEST: str(comparison.data["digests"]["test"]),
        "digitsweep.test.opened": "; ".join(
            f"{each.at} for {each.by}, sha256 {each.digest}" for each in comparison.openings
        ),
        MLFLOW_RUN_NAME: comparison.openings[0].by if comparison.openings else "compare",
    }
    with server_errors("did not accept the comparison"):
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
    """What a comparison puts on a run: metrics, its short report as the description, and itself and `files` as artifacts."""
    metrics: list[Figure] = []
    for each in comparison.best():
        figures = {"weights": float(each.weights), **comparison.accuracies(each)}
        # A sweep has one best of each family; models that somebody named may be of one family.
        of = each.family if comparison.spent else re.sub(r"[^\w.-]+", "_", each.trial)
        metrics += [(f"{of}_{name}", value, milliseconds(), 0) for name, value in figures.items()]
    table = comparison.table().to_csv(index=False).encode()
    everything = {"comparison.json": as_json(comparison.values()), "comparison.csv": table, **files}
    tags = {NOTE: files["report.md"].decode()}
    return metrics, tags, {f"comparison/{name}": content for name, content in everything.items()}


def as_json(values: Any) -> bytes:
    return json.dumps(values, indent=2, default=lambda value: value.item()).encode()
