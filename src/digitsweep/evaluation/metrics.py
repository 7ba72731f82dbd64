"""Predictions against labels: report, confusion matrix, accuracy (scikit-learn)."""

from __future__ import annotations

from collections.abc import Sequence
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
    class_names: tuple[str, ...]
    """In the order of the labels."""


def classification_metrics(
    labels: NDArray[np.uint8], predictions: NDArray[np.uint8], class_names: Sequence[str]
) -> ClassificationMetrics:
    """Compares predicted with true labels, both (n,); a class that was never predicted has precision 0.

    class_names: of all classes, in the order of the labels."""
    # Here and not above: a sweep starts most of a second earlier, and needs it when the first trial ends.
    from sklearn.metrics import classification_report, confusion_matrix

    known = {"labels": list(range(len(class_names))), "target_names": list(class_names), "zero_division": 0}
    report = classification_report(labels, predictions, output_dict=True, **known)
    # With `labels` given, scikit-learn names the accuracy only where every class occurs: always give it here.
    accuracy = float(np.mean(labels == predictions))
    return ClassificationMetrics(
        accuracy=accuracy,
        report={**report, "accuracy": accuracy},
        text=classification_report(labels, predictions, digits=4, **known),
        confusion=confusion_matrix(labels, predictions, labels=known["labels"]),
        class_names=tuple(class_names),
    )
