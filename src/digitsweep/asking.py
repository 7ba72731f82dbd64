"""Models before the opened test set: how many images each gets right, what it says of them, and how long that takes."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from digitsweep.comparison import Opening
from digitsweep.cost import Latency, measure_latency
from digitsweep.data import Dataset, Split
from digitsweep.statistics import Share
from digitsweep.training import compiled, probabilities

if TYPE_CHECKING:
    import keras

LATENCY_SECONDS = 0.1
"""For each batch size of each model."""


@dataclass(frozen=True, eq=False)
class Asked:
    """What a model said of the test images."""

    share: Share
    probabilities: NDArray[np.float32]
    """(n, classes)"""
    latencies: tuple[Latency, ...] = ()

    def predicted(self) -> NDArray[np.uint8]:
        """Labels, (n,)."""
        labels: NDArray[np.uint8] = self.probabilities.argmax(axis=1).astype(np.uint8)
        return labels


def ask(model: keras.Model, test: Split, *, timed: bool = True) -> Asked:
    """Asks a model about every test image; `timed` measures its latency as well."""
    said = probabilities(model, test.images)
    hits = int((said.argmax(axis=1) == test.labels).sum())
    latencies = measure_latency(compiled(model), test.images, seconds=LATENCY_SECONDS) if timed else ()
    return Asked(Share(hits, len(test)), said, latencies)


def open_test(dataset: Dataset, by: str, before: int = 0) -> tuple[Split, Opening]:
    """Opens the sealed test set, and says who did, when, and for which time; `before` counts openings of another process."""
    test = dataset.test.open(by)
    at = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%dT%H:%M:%SZ}"
    return test, Opening(by=by, at=at, digest=dataset.test.digest, number=before + dataset.test.openings.count(by))
