"""Figures that count each class alike, however many images it has: balanced accuracy and macro F1. Pure functions.

They are computed from counts by class, integers (..., classes): `hits` are the images of a class that were recognised,
`true` those that there are, `predicted` those that were taken for it. Leading axes are cases of their own.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Counts(NamedTuple):
    """Counts by class, int64 (classes,)."""

    hits: NDArray[np.int64]
    true: NDArray[np.int64]
    predicted: NDArray[np.int64]


def class_counts(labels: NDArray[np.uint8], predictions: NDArray[np.uint8], classes: int) -> Counts:
    """Counts of true and predicted labels, both (n,)."""
    found = (labels[labels == predictions], labels, predictions)
    return Counts(*(np.bincount(each, minlength=classes) for each in found))


def balanced_accuracy(hits: NDArray[np.int64], true: NDArray[np.int64]) -> Any:
    """The mean recall of the classes that have images, float64 (...).

    Brodersen et al. (2010); scikit-learn's `balanced_accuracy_score`. nan without images."""
    return _mean_ratio(hits, true)


def macro_f1(hits: NDArray[np.int64], true: NDArray[np.int64], predicted: NDArray[np.int64]) -> Any:
    """The mean F1 score of the classes that occur among true or predicted labels, float64 (...).

    F1 is 2 hits / (true + predicted), the harmonic mean of precision and recall; 0 for a class without hits. scikit-learn's
    `f1_score` with `average="macro"` and `zero_division=0`. nan without images."""
    return _mean_ratio(2 * hits, true + predicted)


def _mean_ratio(parts: NDArray[np.int64], wholes: NDArray[np.int64]) -> Any:
    """The mean of parts / wholes over the last axis, without those whose whole is 0."""
    with np.errstate(invalid="ignore"):
        return (parts / np.maximum(wholes, 1)).sum(axis=-1) / np.count_nonzero(wholes, axis=-1)
