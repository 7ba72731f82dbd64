"""A trial that has ended, as its MLflow run keeps it: figures, files, and all of it in one tag."""

from __future__ import annotations

import json

import numpy as np
from numpy.typing import NDArray

from digitsweep.evaluation import evaluate
from digitsweep.records import as_json
from digitsweep.results import TrialRecord

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
    if result.epochs or result.predictions is not None:
        files["learning_curves.png"] = plots.png(plots.learning_curves(result.epochs, title))
    return figures, files


def compact(record: TrialRecord, metric: str) -> str:
    """All that a study needs to be rebuilt from, as JSON for a tag; `values` are those of `metric` after each epoch."""
    trial, result = record.trial, record.result
    values = {
        "number": trial.number,
        "kind": trial.kind.value,
        "repetition": trial.repetition,
        "family": trial.family,
        "baseline": trial.baseline,
        "params": trial.params.model_dump(mode="json"),
        "seed": trial.seed,
        "epochs": trial.epochs,
        "state": result.state.value,
        "seconds": round(result.train_seconds, 3),
        "weights": result.weight_count,
        "values": [round(each.metrics()[metric], 6) for each in result.epochs if metric in each.metrics()],
    }
    text = json.dumps(values, separators=(",", ":"))
    if len(text) > MOST_TAG:  # hundreds of epochs: the metrics hold the values too
        text = json.dumps({**values, "values": None}, separators=(",", ":"))
    return text
