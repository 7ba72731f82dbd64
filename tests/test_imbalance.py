"""Classes of unequal size: intervals of figures that count each class alike, and when accuracy misleads."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import balanced_accuracy_score, f1_score

from digitsweep.evaluation.imbalance import class_averages, misleading_class
from digitsweep.evaluation.mistakes import ClassRecall
from digitsweep.evaluation.statistics import Share

SIZES, RECALLS = (300, 60, 40), (0.95, 0.7, 0.6)


def predictions() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """True and predicted labels of three unequal classes; mistakes go to the next class."""
    labels = np.repeat(np.arange(3, dtype=np.uint8), SIZES)
    right = np.concatenate([np.arange(size) < size * share for size, share in zip(SIZES, RECALLS, strict=True)])
    return labels, np.where(right, labels, (labels + 1) % 3).astype(np.uint8)


def test_figures_are_scikit_learns() -> None:
    """The figures are those of the predictions themselves, not of a resample, and lie between the ends."""
    labels, predicted = predictions()
    found = class_averages(labels, predicted, 3)
    assert found.balanced_accuracy.value == pytest.approx(balanced_accuracy_score(labels, predicted))
    assert found.macro_f1.value == pytest.approx(f1_score(labels, predicted, average="macro"))
    for each in (found.balanced_accuracy, found.macro_f1):
        assert each.low < each.value < each.high


def test_intervals_are_those_of_resampled_images() -> None:
    """Drawing counts is drawing images: the ends are those of a bootstrap that resamples each class's images one by one, up
    to the chance of 2,000 resamples."""
    labels, predicted = predictions()
    random, scores = np.random.default_rng(1), []
    classes = [np.flatnonzero(labels == label) for label in range(3)]
    for _ in range(2_000):
        chosen = np.concatenate([random.choice(each, len(each)) for each in classes])
        hits = [np.mean(predicted[each] == labels[each]) for each in np.split(chosen, np.cumsum(SIZES)[:-1])]
        true, guessed = labels[chosen], predicted[chosen]
        f1 = [2 * np.sum((true == c) & (guessed == c)) / (np.sum(true == c) + np.sum(guessed == c)) for c in range(3)]
        scores.append((np.mean(hits), np.mean(f1)))
    found = class_averages(labels, predicted, 3)
    for each, expected in zip(
        (found.balanced_accuracy, found.macro_f1), np.percentile(scores, [2.5, 97.5], axis=0).T, strict=True
    ):
        assert (each.low, each.high) == pytest.approx(tuple(expected), abs=0.006)


def test_the_same_predictions_have_the_same_intervals() -> None:
    """The seed is fixed; another one changes the ends a little and the figures not at all."""
    first, second, other = (class_averages(*predictions(), 3, seed=seed) for seed in (0, 0, 1))
    assert first == second
    assert first != other
    assert first.balanced_accuracy.value == other.balanced_accuracy.value


def test_a_class_without_images_counts_for_nothing() -> None:
    """A fourth class that does not occur changes neither figures nor intervals."""
    assert class_averages(*predictions(), 4) == class_averages(*predictions(), 3)


def test_a_perfect_network_has_no_width() -> None:
    """Where nothing is wrong, nothing can be resampled that is."""
    labels, _ = predictions()
    found = class_averages(labels, labels, 3)
    assert found.balanced_accuracy == found.macro_f1
    assert (found.macro_f1.value, found.macro_f1.low, found.macro_f1.high) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("sizes", "label"),
    [
        ((50, 50), None),
        ((69, 31), None),
        ((28, 72), 1),
        ((100,) * 10, None),
        ((980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009), None),  # MNIST's test images
        ((290, 100, 100, 100, 100, 100, 100, 50, 30, 30), None),
        ((40, 310, 100, 100, 100, 100, 100, 100, 25, 25), 1),
        ((10, 5, 985), 2),
        ((100,), None),
        ((), None),
    ],
)
def test_when_accuracy_misleads(sizes: tuple[int, ...], label: int | None) -> None:
    """Where the largest class has 20 points more of the images than it would have among equal classes."""
    classes = [ClassRecall(place, {"ANN": Share(0, size)}) for place, size in enumerate(sizes)]
    found = misleading_class(classes)
    assert found == (None if label is None else (label, Share(sizes[label], sum(sizes))))
