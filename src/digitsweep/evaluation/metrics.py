"""Predictions against labels: report, confusion matrix, accuracy (scikit-learn)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ClassificationMetrics:
    """How well labels were predicted."""

    accuracy: float
    report: dict[str, Any]
    """scikit-learn's classification report: precision, recall, F1 and support of each class, and their averages."""
    text: str
    """The same for reading."""
    confusion: NDArray[np.int64]
    """(classes, classes): rows are true, columns predicted labels."""


def classification_metrics(labels: NDArray[np.uint8], predictions: NDArray[np.uint8], classes: int) -> ClassificationMetrics:
    """Compares predicted with true labels, both (n,); a class that was never predicted has precision 0."""
    # Here and not above: a sweep starts most of a second earlier, and needs it when the first trial ends.
    from sklearn.metrics import classification_report, confusion_matrix

    known = list(range(classes))
    report = classification_report(labels, predictions, labels=known, output_dict=True, zero_division=0)
    # With `labels` given, scikit-learn names the accuracy only where every class occurs: always give it here.
    accuracy = float(np.mean(labels == predictions))
    return ClassificationMetrics(
        accuracy=accuracy,
        report={**report, "accuracy": accuracy},
        text=classification_report(labels, predictions, labels=known, digits=4, zero_division=0),
        confusion=confusion_matrix(labels, predictions, labels=known),
    )
