"""What a model costs: weights, training seconds, latency; and which models nobody beats at once in cost and accuracy."""

from __future__ import annotations

from dataclasses import dataclass


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
    """As in the comparison: `best ANN`, or a baseline's name."""
    family: str
    accuracy: float
    """Of the test images."""
    weights: int
    train_seconds: float
    latencies: tuple[Latency, ...] = ()
