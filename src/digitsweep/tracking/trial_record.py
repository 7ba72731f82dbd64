"""A trial that has ended, as its MLflow run keeps it: figures, files, and all of it in one tag."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from digitsweep.evaluation import evaluate
from digitsweep.params import parse_params
from digitsweep.results import EpochMetrics, Kind, Trial, TrialRecord
from digitsweep.tracking.records import as_json

MOST_TAG = 7500
"""Characters in a tag's value; MLflow takes 8,000."""


def summarized(record: TrialRecord, labels: NDArray[np.uint8], classes: int) -> tuple[dict[str, float], dict[str, bytes]]:
    """What is said once at a trial's end, by name, and its files by theirs; `labels` are those of validation, (n,)."""
    from digitsweep import plots  # here and not above: a sweep starts sooner, and draws when its first trial ends

    trial, result = record.trial, record.result
    figures = {"train_seconds": result.train_seconds}
    if result.weight_count:
        figures["weights"] = float(result.weight_count)
    files: dict[str, bytes] = {}
    title = f"{trial.name}: {trial.params.describe()}"
    if result.predictions is not None:
        evaluation = evaluate(labels, result.predictions, classes)
        figures["val_macro_f1"] = evaluation.macro_f1
        matrix = plots.confusion_matrix(evaluation.confusion, f"{title} · validation, {evaluation.accuracy:.2%}")
        files = {
            "classification_report.json": as_json(evaluation.report),
            "classification_report.txt": evaluation.text.encode(),
            "confusion_matrix.json": as_json(evaluation.confusion.tolist()),
            "confusion_matrix.png": plots.png(matrix),
        }
    if result.weights is not None:
        files["weights.npz"] = _npz(result.weights)
    if result.epochs or result.predictions is not None:
        files["learning_curves.png"] = plots.png(plots.learning_curves(result.epochs, title))
    return figures, files


def drawn_again(title: str, epochs: Sequence[EpochMetrics], matrix: NDArray[np.int64] | None) -> dict[str, bytes]:
    """A trial's pictures, from what its run still has: its curves, and its confusion matrix, (classes, classes)."""
    from digitsweep import plots  # as above

    files = {}
    if epochs:
        files["learning_curves.png"] = plots.png(plots.learning_curves(epochs, title))
    if matrix is not None:
        accuracy = matrix.trace() / max(int(matrix.sum()), 1)
        files["confusion_matrix.png"] = plots.png(plots.confusion_matrix(matrix, f"{title} · validation, {accuracy:.2%}"))
    return files


def planned(trial: Trial) -> str:
    """A trial that begins, as JSON for a tag: all that it takes to train it again."""
    return _json(_plan(trial))


def compact(record: TrialRecord, metric: str) -> str:
    """A trial that ended, as JSON for a tag: all that a study needs to be rebuilt; `values` are those of `metric`."""
    trial, result = record.trial, record.result
    values = {
        **_plan(trial),
        "state": result.state.value,
        "seconds": result.train_seconds,
        "weights": result.weight_count,
        "values": [each.metrics()[metric] for each in result.epochs if metric in each.metrics()],
    }
    text = _json(values)
    return (
        text if len(text) <= MOST_TAG else _json({**values, "values": None})
    )  # hundreds of epochs: the metrics hold them too


def restored_trial(values: Mapping[str, Any]) -> Trial:
    """The trial that the tag's JSON tells of."""
    return Trial(
        number=values["number"],
        params=parse_params(values["family"], values["params"]),
        seed=values["seed"],
        epochs=values["epochs"],
        baseline=values["baseline"],
        kind=Kind(values["kind"]),
        repetition=values["repetition"],
        drawn=values["drawn"],
    )


def restored_weights(content: bytes) -> tuple[NDArray[np.float32], ...]:
    """The learned numbers that `weights.npz` holds, in Keras' order."""
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
    }


def _npz(weights: Sequence[NDArray[np.float32]]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, *weights)
    return buffer.getvalue()


def _json(values: Mapping[str, Any]) -> str:
    return json.dumps(values, separators=(",", ":"))
