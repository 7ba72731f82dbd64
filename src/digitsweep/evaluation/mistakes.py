"""Which mistakes models make: recall of each class, confused pairs, and single images. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from digitsweep.evaluation.statistics import Share

CONFIDENT = 0.9
"""From this probability on, a wrong prediction that all models share makes the label suspicious."""


@dataclass(frozen=True)
class ClassRecall:
    """Of the test images of one class, how many each model gets right."""

    label: int
    recalls: dict[str, Share]
    """By the model's name."""


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
    """Of one model or two; so below."""
    only_second_wrong: tuple[ClassifiedImage, ...]
    both_wrong: tuple[ClassifiedImage, ...]
    """All models are wrong, however many there are."""
    suspicious: tuple[ClassifiedImage, ...]
    """All models predict the same wrong class with confidence: often the label is wrong."""
    suspicious_count: int
    only_wrong: dict[str, tuple[ClassifiedImage, ...]] = field(default_factory=dict)
    """Where there are three models or more: what one of them alone gets wrong, by its name."""


@dataclass(frozen=True)
class Overlap:
    """How many test images three models or more get wrong together."""

    images: int
    all_right: int
    all_wrong: int
    only_wrong: dict[str, int]
    """Images that one model alone gets wrong, by its name."""


@dataclass(frozen=True)
class Mistakes:
    """The mistakes of models on the same test images. Those of a single one are in the gallery `only_first_wrong`."""

    classes: tuple[ClassRecall, ...]
    confused: dict[str, tuple[ConfusedPair, ...]]
    """The most frequent first, by the model's name."""
    galleries: Galleries
    overlap: Overlap | None = None
    """None for one model or two, of which a `Difference` has these counts."""


def find_mistakes(
    labels: NDArray[np.uint8], probabilities: Mapping[str, NDArray[np.float32]], classes: int, shown: int = 24
) -> Mistakes:
    """The mistakes of models on the same test images.

    labels: (n,); probabilities: (n, classes) by the model's name; shown: images of a gallery at most. A class without test
    images is left out. Raises ValueError for no model."""
    if not probabilities:
        raise ValueError("mistakes are those of one model or more, but there is none")
    predicted = {name: each.argmax(axis=1).astype(np.uint8) for name, each in probabilities.items()}
    confidences = {name: each.max(axis=1) for name, each in probabilities.items()}
    wrong = {name: each != labels for name, each in predicted.items()}
    return Mistakes(
        classes=tuple(_recall(labels, predicted, label) for label in range(classes) if np.any(labels == label)),
        confused={name: _confused(labels, each, classes) for name, each in predicted.items()},
        galleries=_galleries(labels, predicted, confidences, wrong, shown),
        overlap=_overlap(wrong) if len(predicted) > 2 else None,
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
    wrong: Mapping[str, NDArray[np.bool_]],
    shown: int,
) -> Galleries:
    def gallery(chosen: NDArray[np.bool_], sureness: NDArray[np.float32]) -> tuple[ClassifiedImage, ...]:
        indices = np.flatnonzero(chosen)
        surest = indices[np.argsort(-sureness[indices], kind="stable")][:shown]
        return tuple(image(int(index)) for index in surest)

    def image(index: int) -> ClassifiedImage:
        predictions = {name: Prediction(int(predicted[name][index]), float(confidences[name][index])) for name in predicted}
        return ClassifiedImage(index, int(labels[index]), predictions)

    only_wrong = {name: gallery(each, confidences[name]) for name, each in _only_wrong(wrong).items()}
    if len(predicted) == 1:
        (alone,) = only_wrong.values()
        return Galleries(alone, (), (), (), 0)
    all_wrong, least_sure = np.all(list(wrong.values()), axis=0), np.min(list(confidences.values()), axis=0)
    first, *others = predicted.values()
    suspicious = all_wrong & np.all([each == first for each in others], axis=0) & (least_sure >= CONFIDENT)
    only_first, only_second = only_wrong.values() if len(predicted) == 2 else ((), ())
    return Galleries(
        only_first_wrong=only_first,
        only_second_wrong=only_second,
        both_wrong=gallery(all_wrong, least_sure),
        suspicious=gallery(suspicious, least_sure),
        suspicious_count=int(suspicious.sum()),
        only_wrong=only_wrong if len(predicted) > 2 else {},
    )


def _only_wrong(wrong: Mapping[str, NDArray[np.bool_]]) -> dict[str, NDArray[np.bool_]]:
    """Which images one model gets wrong and all others right, by its name."""
    count = np.sum(list(wrong.values()), axis=0)
    return {name: each & (count == 1) for name, each in wrong.items()}


def _overlap(wrong: Mapping[str, NDArray[np.bool_]]) -> Overlap:
    count = np.sum(list(wrong.values()), axis=0)
    return Overlap(
        images=len(count),
        all_right=int((count == 0).sum()),
        all_wrong=int((count == len(wrong)).sum()),
        only_wrong={name: int(each.sum()) for name, each in _only_wrong(wrong).items()},
    )
