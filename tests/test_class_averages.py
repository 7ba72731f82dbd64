"""Figures that count each class alike: against scikit-learn's, and in the training loop."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import balanced_accuracy_score, f1_score

from digitsweep.training.class_averages import balanced_accuracy, class_counts, macro_f1


def drawn(seed: int, classes: int, images: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """True labels of unequal classes, and predictions of which about half are right."""
    random = np.random.default_rng(seed)
    labels = random.choice(classes, images, p=random.dirichlet(np.full(classes, 0.5))).astype(np.uint8)
    guesses = random.integers(0, classes, images, dtype=np.uint8)
    return labels, np.where(random.random(images) < 0.5, labels, guesses)


@pytest.mark.parametrize("classes", [2, 3, 10, 26])
@pytest.mark.parametrize("images", [1, 5, 40, 2000])
def test_they_are_scikit_learns(classes: int, images: int) -> None:
    """With few images some classes are missing, from the labels, the predictions or both."""
    for seed in range(20):
        labels, predictions = drawn(seed, classes, images)
        hits, true, predicted = class_counts(labels, predictions, classes)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a predicted class without images
            expected = balanced_accuracy_score(labels, predictions)
        assert balanced_accuracy(hits, true) == pytest.approx(expected, abs=1e-12)
        expected = f1_score(labels, predictions, average="macro", zero_division=0)
        assert macro_f1(hits, true, predicted) == pytest.approx(expected, abs=1e-12)


def test_leading_axes_are_cases_of_their_own() -> None:
    """Stacked counts give what each gives alone."""
    alone = [class_counts(*drawn(seed, 7, 50), 7) for seed in range(6)]
    hits, true, predicted = (np.stack(each).reshape(2, 3, 7) for each in zip(*alone, strict=True))
    assert balanced_accuracy(hits, true).ravel().tolist() == [balanced_accuracy(each.hits, each.true) for each in alone]
    assert macro_f1(hits, true, predicted).ravel().tolist() == [macro_f1(*each) for each in alone]


def test_the_majority_class_alone_is_worth_its_share_of_the_classes() -> None:
    """Always answering the largest of four classes, with 97 % of the images, gets a balanced accuracy of a quarter."""
    labels = np.repeat(np.arange(4, dtype=np.uint8), [97, 1, 1, 1])
    counts = class_counts(labels, np.zeros_like(labels), 4)
    assert balanced_accuracy(counts.hits, counts.true) == 0.25
    assert macro_f1(*counts) == pytest.approx(2 * 97 / 197 / 4)


def test_nothing_is_nan_but_nothing() -> None:
    """Without images neither figure is known, and no warning says so."""
    nothing = np.zeros(0, np.uint8)
    counts = class_counts(nothing, nothing, 3)
    assert np.isnan(balanced_accuracy(counts.hits, counts.true))
    assert np.isnan(macro_f1(*counts))
