"""What a model costs: weights, training seconds, latency; and which models nobody beats at once in cost and accuracy."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WARM_UP_CALLS = 2
"""The first call traces and compiles, the second may still fill caches."""


@dataclass(frozen=True)
class Latency:
    """Seconds for one call with a batch of so many images, on one machine, in float32."""

    batch: int
    median: float
    p95: float


@dataclass(frozen=True)
class Cost:
    """One model's place among the others."""

    name: str
    """As in the comparison: `best` and the family's title, or a baseline's name."""
    family: str
    accuracy: float
    """Of the test images."""
    weights: int
    train_seconds: float
    latencies: tuple[Latency, ...] = ()

    def latency(self, batch: int) -> float | None:
        """The median latency of a batch of so many images, in seconds; None where it was not measured."""
        return next((each.median for each in self.latencies if each.batch == batch), None)


def pareto(costs: Sequence[Cost], by: Callable[[Cost], float | None]) -> tuple[str, ...]:
    """The names on the Pareto front, the cheapest first: nobody else is at least as accurate and at most as costly as one
    of them, and better in one of the two. Equals stay together.

    `by` gives the cost that counts, as `lambda each: each.weights` or `lambda each: each.latency(256)`; who has none (None)
    is left out."""
    placed = [(cost, each) for each in costs if (cost := by(each)) is not None]
    placed.sort(key=lambda pair: (pair[0], -pair[1].accuracy))
    return tuple(
        each.name
        for cost, each in placed
        if not any(
            other.accuracy >= each.accuracy and other_cost <= cost and (other.accuracy > each.accuracy or other_cost < cost)
            for other_cost, other in placed
        )
    )


def measure_latency(
    predict: Callable[[NDArray[np.uint8]], object],
    images: NDArray[np.uint8],
    batches: Sequence[int] = (1, 256),
    repeats: int = 200,
    seconds: float = 1.0,
) -> tuple[Latency, ...]:
    """How long `predict` takes for a batch of images, uint8 (n, height, width, channels).

    They are repeated from the start where there are too few. Median and 95th percentile are of up to `repeats` calls after
    the warm-up. No batch size takes much longer than `seconds`, but each has one measured call, however slow."""
    return tuple(_measure(predict, images[np.arange(batch) % len(images)], repeats, seconds) for batch in batches)


def _measure(
    predict: Callable[[NDArray[np.uint8]], object], batch: NDArray[np.uint8], repeats: int, seconds: float
) -> Latency:
    end = time.perf_counter() + seconds
    for _ in range(WARM_UP_CALLS):
        predict(batch)
        if time.perf_counter() > end:
            break
    taken: list[float] = []
    while not taken or (len(taken) < repeats and time.perf_counter() < end):
        started = time.perf_counter()
        predict(batch)
        taken.append(time.perf_counter() - started)
    median, p95 = np.percentile(taken, [50, 95])
    return Latency(len(batch), float(median), float(p95))
