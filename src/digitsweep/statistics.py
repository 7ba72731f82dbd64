"""Statistics of accuracies: intervals, and whether two models that judged the same images differ. Pure functions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer
from scipy.optimize import brentq
from scipy.stats import binomtest, norm

CONFIDENCE = 0.95
"""Of every interval."""

LEVEL = 0.05
"""A p-value below it is taken for a difference."""

POWER = 0.8
"""The probability with which the smallest difference would have shown."""

RESAMPLES = 10_000
"""Of the bootstrap."""


@dataclass(frozen=True)
class Share:
    """An accuracy with its interval."""

    hits: int
    total: Annotated[int, Field(validation_alias="images")]

    @property
    def accuracy(self) -> float:
        return self.hits / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's interval (1927) at 95 %, as scipy computes it."""
        found = binomtest(self.hits, self.total).proportion_ci(CONFIDENCE, method="wilson")
        return float(found.low), float(found.high)

    @model_serializer
    def values(self) -> dict[str, Any]:
        """For JSON: `total` is called `images`, and what follows from the two counts stands beside them."""
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
    """Ends of the 95 % bootstrap interval of the difference, as fractions; Bonferroni's where there were several rivals."""
    high: float
    p_value: float
    """Of McNemar's exact test, times the number of rivals."""
    smallest: float
    """The least difference, as a fraction, that a test set of this size shows with a power of 80 % at level 0.05, at the
    share of images that exactly one of the two gets right here."""
    rivals: int = 1
    """Models that the second was the best of, by these same images."""

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

    @property
    def discordant(self) -> int:
        """Images that exactly one of the two gets right: all that tells the two apart."""
        return self.only_first_wrong + self.only_second_wrong

    @model_serializer(mode="wrap")
    def _with_derived(self, fields: SerializerFunctionWrapHandler) -> dict[str, Any]:
        derived = ("accuracy", "only_first_wrong", "only_second_wrong", "discordant")
        values = {**fields(self), **{name: getattr(self, name) for name in derived}}
        rivals = values.pop("rivals")
        return values if rivals == 1 else {**values, "rivals": rivals, "correction": "Bonferroni"}


@dataclass(frozen=True)
class Spread:
    """What several seeds of one configuration gave."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        return fmean(self.values)

    @property
    def std(self) -> float | None:
        """The sample's standard deviation (divided by one less than the number of seeds); one seed has none."""
        return stdev(self.values) if len(self.values) > 1 else None


def difference(
    labels: NDArray[np.uint8],
    first: NDArray[np.uint8],
    second: NDArray[np.uint8],
    names: tuple[str, str] = ("ANN", "CNN"),
    *,
    rivals: int = 1,
    seed: int = 0,
) -> Difference:
    """Compares two models' predicted labels of the same images with the true ones; all are of shape (n,).

    Where the second is the best of several rivals by these images, Bonferroni's correction (1936; Dunn 1961) allows for that
    choice: p-value, interval and smallest difference are those of as many tests at once. `seed` is that of the bootstrap."""
    first_wrong, second_wrong = first != labels, second != labels
    only_first, only_second = int((first_wrong & ~second_wrong).sum()), int((second_wrong & ~first_wrong).sum())
    low, high = bootstrap_interval(len(labels), only_first, only_second, seed, rivals)
    return Difference(
        first=names[0],
        second=names[1],
        images=len(labels),
        first_wrong=int(first_wrong.sum()),
        second_wrong=int(second_wrong.sum()),
        both_wrong=int((first_wrong & second_wrong).sum()),
        low=low,
        high=high,
        p_value=min(rivals * mcnemar(only_first, only_second), 1.0),
        smallest=smallest_difference(len(labels), (only_first + only_second) / len(labels), rivals),
        rivals=rivals,
    )


def mcnemar(only_first_wrong: int, only_second_wrong: int) -> float:
    """The p-value of McNemar's test (1947), exact and two-sided: were both models equally good, an image that only one of
    them gets wrong would be the first's or the second's like heads or tails."""
    discordant = only_first_wrong + only_second_wrong
    return float(binomtest(only_first_wrong, discordant).pvalue) if discordant else 1.0


def bootstrap_interval(
    images: int, only_first_wrong: int, only_second_wrong: int, seed: int = 0, rivals: int = 1
) -> tuple[float, float]:
    """The 95 % percentile bootstrap interval of the second model's accuracy minus the first's (Efron and Tibshirani 1993,
    chapter 13); with several rivals of such intervals, all of them hold their difference in 95 % (Bonferroni).

    An image counts +1 (only the first is wrong), -1 (only the second is) or 0. To draw images with replacement is to draw
    how many of each kind there are from a multinomial distribution: that is the same bootstrap, without the images.

    Percentile, not BCa: the differences are whole numbers of images, and BCa's correction for bias counts their ties. Where
    3 to 40 images tell the models apart, the percentile interval covers the true difference in 95 to 96 % of all cases,
    BCa in 91 to 96 %, and it contradicts McNemar's test half as often.

    Where no image tells the two apart, every resample gives 0, but the interval is not 0 to 0: a share of images that was
    not met among n is below 1 - 0.05^(1/n), about 3/n, with 95 % confidence (Hanley and Lippman-Hand 1983), and no
    difference is larger than the share of the images that it comes from."""
    more, fewer = max(only_first_wrong, only_second_wrong), min(only_first_wrong, only_second_wrong)
    if more == 0:
        bound = float(-np.expm1(np.log((1.0 - CONFIDENCE) / rivals) / images))
        return -bound, bound
    shares = np.array([more, fewer, images - more - fewer]) / images
    drawn = np.random.default_rng(seed).multinomial(images, shares, size=RESAMPLES)
    tail = (1.0 - CONFIDENCE) / rivals / 2.0
    ends = np.quantile(drawn[:, 0] - drawn[:, 1], [tail, 1.0 - tail], method="inverted_cdf")
    low, high = (float(end) / images for end in ends)
    return (low, high) if only_first_wrong >= only_second_wrong else (-high, -low)


def score_interval(images: int, only_first_wrong: int, only_second_wrong: int) -> tuple[float, float]:
    """The 95 % score interval of the second model's accuracy minus the first's, as fractions (Tango 1998).

    Its ends are the differences d at which (b - c - n d) / sqrt(n (2 q + d (1 - d))) is 1.96 or -1.96, for b images that
    only the first gets wrong and c that only the second does, of n; q is the likeliest share of the latter, were d true. It
    is about the difference that is asked after, not about the sample, so it does not end at 0 where c is 0 and b is small:
    there its lower end is (b - 1.96^2) / (n + 1.96^2), where the bootstrap's is 0 or above."""

    def lower(more: int, fewer: int) -> float:
        gap = more - fewer

        def excess(true: float) -> float:
            """How far the counts lie above what a difference allows, in images."""
            linear = (2 * images - gap) * true - more - fewer
            root = math.sqrt(max(linear**2 + 8 * images * fewer * true * (1.0 - true), 0.0))
            share = (root - linear) / (4 * images)
            spread = math.sqrt(max(images * (2.0 * share + true * (1.0 - true)), 0.0))
            return gap - images * true - float(norm.isf((1.0 - CONFIDENCE) / 2.0)) * spread

        # A little below the counts' own difference: where that is 1 there is no spread at it, and so another root.
        return float(brentq(excess, -1.0, gap / images - 1e-9)) if fewer < images else -1.0

    return lower(only_first_wrong, only_second_wrong), -lower(only_second_wrong, only_first_wrong)


def smallest_difference(images: int, discordant_share: float, rivals: int = 1) -> float:
    """The least difference in accuracy, as a fraction, that McNemar's test finds with a power of 80 % at level 0.05, shared
    by the rivals, where exactly one of the two models is right on `discordant_share` of so many images.

    Connor's formula (1987; Miettinen 1968), n d^2 = (z_a sqrt(s) + z_b sqrt(s - d^2))^2, solved for the difference d. It
    is asymptotic: the exact test is stricter where few images differ, with a power of 75 to 80 % on 50 images or more.
    A difference cannot be larger than the share of the images that it comes from. Where d would be, the share is taken
    to be as large as d, every such image in favour of one model: about 8 images. 1.0 for fewer images than the exact test
    needs to find anything."""
    if rivals * mcnemar(images, 0) >= LEVEL:
        return 1.0
    level, power = float(norm.isf(LEVEL / rivals / 2.0)), float(norm.isf(1.0 - POWER))
    square = images + power**2

    def larger_root(half: float, constant: float) -> float:
        """Of square x^2 - 2 half x + constant."""
        return (half + math.sqrt(max(half**2 - square * constant, 0.0))) / square

    found = larger_root(level * math.sqrt(images * discordant_share), (level**2 - power**2) * discordant_share)
    if found <= discordant_share and found > 0.0:
        return found
    rest = larger_root(-level * power, level**2 - images)  # sqrt(1 - d), from n d^2 = (z_a sqrt(d) + z_b sqrt(d - d^2))^2
    return 1.0 - max(rest, 0.0) ** 2
