"""Which mistakes models make: recall of each class, confused pairs, and single images. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from digitsweep.evaluation.statistics import Share

CONFIDENT = 0.9
"""From this probability on, a wrong prediction that two models share makes the label suspicious."""


@dataclass(frozen=True)
class ClassRecall:
    """Of the test images of one class, how many each model gets right."""

    label: int
    recalls: dict[str, Share]
    """By the model's name, as `ANN`."""


@dataclass(frozen=True)
class ConfusedPair:
    """Images of one class that a model takes for another."""

    true: int
    predicted: int
    count: int


@dataclass(frozen=True)
class Prediction:
    """What a model predicts for one image."""

    predicted: int
    confidence: float
    """The probability of the predicted label."""


@dataclass(frozen=True)
class ClassifiedImage:
    """One test image with what each model predicts for it."""

    index: int
    """In the test set, from 0."""
    true: int
    predictions: dict[str, Prediction]
    """By the model's name."""


@dataclass(frozen=True)
class Galleries:
    """Test images worth a look, the most confident mistakes first. Each list holds at most a page's worth; the count is of
    all."""

    only_first_wrong: tuple[ClassifiedImage, ...]
    only_second_wrong: tuple[ClassifiedImage, ...]
    both_wrong: tuple[ClassifiedImage, ...]
    suspicious: tuple[ClassifiedImage, ...]
    """Both models predict the same wrong class with confidence: often the label is wrong."""
    suspicious_count: int


@dataclass(frozen=True)
class Mistakes:
    """The mistakes of two models, or of one (then the galleries hold them in `only_first_wrong`)."""

    classes: tuple[ClassRecall, ...]
    confused: dict[str, tuple[ConfusedPair, ...]]
    """The most frequent first, by the model's name."""
    galleries: Galleries


def find_mistakes(
    labels: NDArray[np.uint8], probabilities: Mapping[str, NDArray[np.float32]], classes: int, shown: int = 24
) -> Mistakes:
    """The mistakes of one or two models on the same test images.

    labels: (n,); probabilities: (n, classes) by the model's name; shown: images of a gallery at most. A class without test
    images is left out. Raises ValueError for no model, or more than two."""
    if not 1 <= len(probabilities) <= 2:
        raise ValueError(f"mistakes are those of one model or two, but there are {len(probabilities)}")
    predicted = {name: each.argmax(axis=1).astype(np.uint8) for name, each in probabilities.items()}
    confidences = {name: each.max(axis=1) for name, each in probabilities.items()}
    return Mistakes(
        classes=tuple(_recall(labels, predicted, label) for label in range(classes) if np.any(labels == label)),
        confused={name: _confused(labels, each, classes) for name, each in predicted.items()},
        galleries=_galleries(labels, predicted, confidences, shown),
    )


def _recall(labels: NDArray[np.uint8], predicted: Mapping[str, NDArray[np.uint8]], label: int) -> ClassRecall:
    of_class = labels == label
    total = int(of_class.sum())
    return ClassRecall(label, {name: Share(int((each[of_class] == label).sum()), total) for name, each in predicted.items()})


def _confused(labels: NDArray[np.uint8], predicted: NDArray[np.uint8], classes: int) -> tuple[ConfusedPair, ...]:
    wrong = predicted != labels
    pairs = labels[wrong].astype(np.intp) * classes + predicted[wrong]
    counts = np.bincount(pairs, minlength=classes**2)
    most = np.argsort(-counts, kind="stable")
    return tuple(ConfusedPair(*divmod(int(pair), classes), int(counts[pair])) for pair in most if counts[pair])


def _galleries(
    labels: NDArray[np.uint8],
    predicted: Mapping[str, NDArray[np.uint8]],
    confidences: Mapping[str, NDArray[np.float32]],
    shown: int,
) -> Galleries:
    def gallery(chosen: NDArray[np.bool_], sureness: NDArray[np.float32]) -> tuple[ClassifiedImage, ...]:
        indices = np.flatnonzero(chosen)
        surest = indices[np.argsort(-sureness[indices], kind="stable")][:shown]
        return tuple(image(int(index)) for index in surest)

    def image(index: int) -> ClassifiedImage:
        predictions = {name: Prediction(int(predicted[name][index]), float(confidences[name][index])) for name in predicted}
        return ClassifiedImage(index, int(labels[index]), predictions)

    if len(predicted) == 1:
        (name,) = predicted
        return Galleries(gallery(predicted[name] != labels, confidences[name]), (), (), (), 0)
    first, second = predicted
    first_wrong, second_wrong = predicted[first] != labels, predicted[second] != labels
    both_wrong, less_sure = first_wrong & second_wrong, np.minimum(confidences[first], confidences[second])
    suspicious = both_wrong & (predicted[first] == predicted[second]) & (less_sure >= CONFIDENT)
    return Galleries(
        only_first_wrong=gallery(first_wrong & ~second_wrong, confidences[first]),
        only_second_wrong=gallery(second_wrong & ~first_wrong, confidences[second]),
        both_wrong=gallery(both_wrong, less_sure),
        suspicious=gallery(suspicious, less_sure),
        suspicious_count=int(suspicious.sum()),
    )
