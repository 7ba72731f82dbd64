"""Classes of unequal size: figures that count each class alike, with intervals; when accuracy misleads. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from digitsweep.evaluation.mistakes import ClassRecall
from digitsweep.evaluation.statistics import CONFIDENCE, Share
from digitsweep.training.class_averages import balanced_accuracy, class_counts, macro_f1

RESAMPLES = 2_000
"""Of a bootstrap. Percentile intervals need at least 1,000 (Efron and Tibshirani 1993, chapter 13)."""
MISLEADING = 0.2
"""Accuracy misleads if the largest class has a share of the images that is larger than its share would be among equal
classes by more than this: over 70 % of two classes, over 30 % of ten."""


@dataclass(frozen=True)
class Estimate:
    """A figure of one network on the test images and the ends of its 95 % interval, as fractions."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class ClassAverages:
    """Figures of one network on the test images that count each class alike."""

    balanced_accuracy: Estimate
    macro_f1: Estimate


def class_averages(labels: NDArray[np.uint8], predicted: NDArray[np.uint8], classes: int, *, seed: int = 0) -> ClassAverages:
    """Balanced accuracy and macro F1 of predicted labels, with 95 % intervals; both arrays are of shape (n,), n above 0.

    The intervals are those of a percentile bootstrap (Efron and Tibshirani 1993, "An introduction to the bootstrap", chapter
    13), from the 2.5th to the 97.5th percentile of RESAMPLES resamples. It is stratified: the images of each class are
    resampled among themselves, so the sizes of the classes stay as they are. How often each label is predicted for n images
    of a class is then multinomial, so these counts are drawn instead of images. seed: of these draws, the same for all
    networks.

    A class whose images are all classified correctly is so in every resample and adds nothing to the width. With few images
    of a class, the intervals are therefore too short; docs/statistics.md says by how much."""
    random = np.random.default_rng(seed)
    confusion = np.bincount(labels.astype(np.intp) * classes + predicted, minlength=classes**2).reshape(classes, classes)
    true = confusion.sum(axis=1)
    hits, guesses = np.zeros((2, RESAMPLES, classes), np.int64)
    for label in np.flatnonzero(true):
        columns = np.flatnonzero(confusion[label])
        drawn = random.multinomial(true[label], confusion[label, columns] / true[label], RESAMPLES)
        guesses[:, columns] += drawn
        hits[:, label] = drawn[:, columns == label].sum(axis=1)
    counts = class_counts(labels, predicted, classes)
    return ClassAverages(
        _estimate(balanced_accuracy(counts.hits, true), balanced_accuracy(hits, true)),
        _estimate(macro_f1(*counts), macro_f1(hits, true, guesses)),
    )


def _estimate(value: float, resampled: NDArray[np.float64]) -> Estimate:
    low, high = np.quantile(resampled, [(1.0 - CONFIDENCE) / 2.0, (1.0 + CONFIDENCE) / 2.0])
    return Estimate(float(value), float(low), float(high))


def misleading_class(classes: Sequence[ClassRecall]) -> tuple[int, Share] | None:
    """The largest class and its share of the test images, if classes are so unequal that accuracy misleads.

    The share is the accuracy of always answering this class, while its balanced accuracy is that of guessing."""
    sizes = {each.label: next(iter(each.recalls.values())).total for each in classes if each.recalls}
    if not sizes:
        return None
    largest = max(sizes, key=lambda label: sizes[label])
    share = Share(sizes[largest], sum(sizes.values()))
    return (largest, share) if share.accuracy - 1.0 / len(sizes) > MISLEADING else None
