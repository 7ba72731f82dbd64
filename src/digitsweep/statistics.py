"""Statistics of accuracies: intervals, and whether two models that judged the same images differ. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from scipy.stats import binomtest

LEVEL = 0.95


@dataclass(frozen=True)
class Share:
    """An accuracy with its interval."""

    hits: int
    total: int

    @property
    def accuracy(self) -> float:
        return self.hits / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's interval (1927) at 95 %, as scipy computes it."""
        found = binomtest(self.hits, self.total).proportion_ci(LEVEL, method="wilson")
        return float(found.low), float(found.high)

    def values(self) -> dict[str, Any]:
        low, high = self.interval
        return {"accuracy": self.accuracy, "low": low, "high": high, "hits": self.hits, "images": self.total}


@dataclass(frozen=True)
class Difference:
    """Two models that judged the same test images: the second's accuracy minus the first's, and what that is worth."""

    first: str
    """What the first is called, as `ANN`."""
    second: str
    images: int
    first_wrong: int
    second_wrong: int
    both_wrong: int
    low: float
    """Ends of the 95 % bootstrap interval of the difference, as fractions."""
    high: float
    p_value: float
    """Of McNemar's exact test."""
    smallest: float
    """The least difference, as a fraction, that a test set of this size shows with a power of 80 % at level 0.05, at the
    share of images that exactly one of the two gets right here."""

    @property
    def accuracy(self) -> float:
        """The second's accuracy minus the first's, as a fraction."""
        return (self.first_wrong - self.second_wrong) / self.images

    @property
    def only_first_wrong(self) -> int:
        return self.first_wrong - self.both_wrong

    @property
    def only_second_wrong(self) -> int:
        return self.second_wrong - self.both_wrong


@dataclass(frozen=True)
class Spread:
    """What several seeds of one configuration gave."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        return sum(self.values) / len(self.values)
