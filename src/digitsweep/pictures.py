"""The pictures of a comparison that stand beside its page, as PNG files."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from digitsweep import plots
from digitsweep.comparison import Comparison
from digitsweep.evaluation import evaluate
from digitsweep.results import TrialRecord, TrialState


def pictures(
    comparison: Comparison,
    records: Mapping[str, Sequence[TrialRecord]],
    winners: Collection[str],
    predictions: Mapping[str, tuple[NDArray[np.uint8], NDArray[np.uint8]]],
    classes: int,
) -> dict[str, bytes]:
    """Training curves of the winners and the baselines, and the winners' confusion matrices.

    winners: the names of their trials; predictions: true and predicted test labels, (n,), by the model's name; classes:
    of the training images, since a test set may lack one that a model says all the same."""
    data = comparison.data["name"]
    curves = [
        plots.Curve(
            " ".join(filter(None, [each.trial.family, each.trial.baseline, "(best)" if best else None])),
            each.trial.family,
            best,
            each.result.epochs,
        )
        for each in (record for family in records.values() for record in family)
        if (best := each.trial.name in winners) or (each.trial.baseline and each.result.state is TrialState.COMPLETE)
    ]
    matrices = {}
    for name, (labels, predicted) in predictions.items():
        found = evaluate(labels, predicted, classes)
        matrices[f"best {name}, {found.accuracy:.2%}"] = found.confusion
    return {
        "training_curves.png": plots.png(plots.training_curves(curves, f"Validation error by epoch, {data}")),
        "confusion_matrices.png": plots.png(plots.confusion_matrices(matrices, f"Test images of {data}")),
    }
