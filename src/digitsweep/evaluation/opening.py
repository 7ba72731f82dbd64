"""The only place that opens the sealed test set: models classify its images, each model once."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from digitsweep.data import Dataset
from digitsweep.evaluation.comparison import Opening
from digitsweep.evaluation.cost import Latency, measure_latency
from digitsweep.evaluation.statistics import Share
from digitsweep.training.loop import compiled, probabilities

if TYPE_CHECKING:
    import keras

LATENCY_SECONDS = 0.1
"""For each batch size of each model."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a model predicts for the test images."""

    labels: NDArray[np.uint8]
    """The true ones, (n,)."""
    probabilities: NDArray[np.float32]
    """(n, classes)"""
    weights: int
    """Of the model."""
    latencies: tuple[Latency, ...] = ()

    @property
    def predicted(self) -> NDArray[np.uint8]:
        """Labels, (n,)."""
        labels: NDArray[np.uint8] = self.probabilities.argmax(axis=1).astype(np.uint8)
        return labels

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Which images are classified correctly, (n,)."""
        found: NDArray[np.bool_] = self.predicted == self.labels
        return found

    @property
    def accuracy(self) -> Share:
        return Share(int(self.correct.sum()), len(self.labels))


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The opened test set, and what each model predicts for it."""

    opening: Opening
    images: NDArray[np.uint8]
    """(n, height, width, channels)"""
    labels: NDArray[np.uint8]
    """(n,)"""
    predictions: Mapping[str, Predictions]
    """By the model's name."""


def evaluate(
    dataset: Dataset,
    by: str,
    models: Iterable[tuple[str, keras.Model]],
    *,
    untimed: Container[str] = (),
    before: int = 0,
    opened: Callable[[Opening], None] = lambda opening: None,
) -> Evaluation:
    """Opens the test set and lets each model classify its images.

    by: who opens the test set, and what for. models: each with its name; an iterator may load them one after the other.
    untimed: models whose latency is not wanted. before: openings for the same purpose in an earlier process. opened: records
    the opening; it is called before any model sees an image, so that a crash cannot hide the opening."""
    test = dataset.test.open(by)
    opening = Opening(
        by=by,
        at=f"{datetime.datetime.now(datetime.UTC):%Y-%m-%dT%H:%M:%SZ}",
        digest=dataset.test.digest,
        number=before + dataset.test.openings.count(by),
    )
    opened(opening)
    predictions = {}
    for name, model in models:
        timed = () if name in untimed else measure_latency(compiled(model), test.images, seconds=LATENCY_SECONDS)
        predictions[name] = Predictions(test.labels, probabilities(model, test.images), int(model.count_params()), timed)
    return Evaluation(opening, test.images, test.labels, predictions)
