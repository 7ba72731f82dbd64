"""Statistics of accuracies: intervals, and whether two models that judged the same images differ. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import fmean, stdev
from typing import Annotated, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer
from scipy.optimize import brentq
from scipy.stats import binomtest, norm
from scipy.stats import t as student

CONFIDENCE = 0.95
"""Of every interval."""

LEVEL = 0.05
"""A difference is claimed where its p-value is below this, and where its interval leaves out 0: the two always agree."""

POWER = 0.8
"""The probability with which the smallest difference would have shown."""

SEEDS_NEEDED = 2
"""Networks of each family without which nothing can be said about families: one does not show what a seed changes."""

SEEDS_ADVISED = 5
"""Networks of each family that find a difference of 0.3 points on MNIST in four of five cases, if seeds change the accuracy
by no more than 0.1 points (docs/statistics.md)."""


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
    """What the first is called: a family's title, or a registered model's label."""
    second: str
    images: int
    first_wrong: int
    second_wrong: int
    both_wrong: int
    low: float
    """Ends of the 95 % score interval of the difference, as fractions. It leaves out 0 exactly where `p_value` is below
    0.05."""
    high: float
    p_value: float
    """Of McNemar's exact test; corrected if there are several comparisons."""
    smallest: float
    """The smallest difference, as a fraction, that a test set of this size shows with a power of 80 % at level 0.05, given
    the share of images that exactly one of the two gets right here."""
    comparisons: int = 1
    """The number of pairs that were compared, for which `p_value` and the interval are corrected by `holm`."""
    raw_p_value: float | None = None
    """Without the correction; None for a single comparison."""

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
        """Images that exactly one of the two gets right."""
        return self.only_first_wrong + self.only_second_wrong

    @property
    def significant(self) -> bool:
        """Whether the test set shows that the two differ."""
        return self.p_value < LEVEL

    @property
    def ranked(self) -> tuple[str, str]:
        """Who is ahead, and who is behind; the second is ahead of an equal."""
        return _ranked(self)

    @model_serializer(mode="wrap")
    def _with_derived(self, fields: SerializerFunctionWrapHandler) -> dict[str, Any]:
        derived = ("accuracy", "only_first_wrong", "only_second_wrong", "discordant")
        return {**_correction_told(fields(self)), **{name: getattr(self, name) for name in derived}}


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


@dataclass(frozen=True)
class FamilyDifference:
    """Two families, each as several networks of one configuration on fresh seeds, that classified the same images."""

    first: str
    """The first family's title."""
    second: str
    images: int
    seeds: tuple[int, int]
    """Networks of each family."""
    accuracy: float
    """The second family's mean accuracy minus the first's, as a fraction."""
    low: float
    """Ends of the 95 % interval of that difference over seeds and images together, as fractions. Where there are too few
    seeds, -1 and 1: anything is possible."""
    high: float
    p_value: float
    """Of the same method as the interval: below 0.05 exactly where the interval leaves out 0. 1 with too few seeds.
    Corrected if there are several comparisons."""
    seed_std: tuple[float | None, float | None]
    """Standard deviation of the accuracies within each family; None for a single network."""
    comparisons: int = 1
    """The number of pairs that were compared, for which `p_value` and the interval are corrected by `holm`."""
    raw_p_value: float | None = None
    """Without the correction; None for a single comparison."""

    @property
    def enough_seeds(self) -> bool:
        """Whether there are enough networks to say anything about the families."""
        return min(self.seeds) >= SEEDS_NEEDED

    @property
    def significant(self) -> bool:
        """Whether seeds and images together show that the two differ."""
        return self.p_value < LEVEL

    @property
    def ranked(self) -> tuple[str, str]:
        """Which family is ahead, and which is behind; the second is ahead of an equal."""
        return _ranked(self)

    @model_serializer(mode="wrap")
    def _with_derived(self, fields: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {**_correction_told(fields(self)), "enough_seeds": self.enough_seeds}


def _ranked(found: Difference | FamilyDifference) -> tuple[str, str]:
    return (found.second, found.first) if found.accuracy >= 0.0 else (found.first, found.second)


def _correction_told(values: dict[str, Any]) -> dict[str, Any]:
    """The fields of a difference, for JSON: a single comparison has nothing to correct for."""
    if values["comparisons"] > 1:
        return {**values, "correction": "Holm"}
    return {key: value for key, value in values.items() if key not in ("comparisons", "raw_p_value")}


Compared = TypeVar("Compared", Difference, FamilyDifference)


def differences(labels: NDArray[np.uint8], predicted: Mapping[str, NDArray[np.uint8]]) -> tuple[Difference, ...]:
    """Compares each pair of models, by name, in the order given; a single model has no pair. With three models or more,
    p-values and intervals are corrected by `holm`.

    labels: the true ones; predicted: those that each model predicts for the same images; all of shape (n,)."""
    return _each_pair(
        predicted, lambda one, other, share: difference(labels, predicted[one], predicted[other], (one, other), share=share)
    )


def family_differences(correct: Mapping[str, NDArray[np.bool_]]) -> tuple[FamilyDifference, ...]:
    """Compares each pair of families, by title, in the order given; a single family has no pair. With three families or
    more, p-values and intervals are corrected by `holm`.

    correct: whether each of a family's networks classified each image rightly, shape (seeds, images)."""
    return _each_pair(
        correct, lambda one, other, share: family_difference(correct[one], correct[other], (one, other), share=share)
    )


def _each_pair(names: Iterable[str], compare: Callable[[str, str, int], Compared]) -> tuple[Compared, ...]:
    """`compare` gets two names and the number of comparisons that share the level with this one."""
    pairs = list(combinations(names, 2))
    alone = [compare(*pair, 1) for pair in pairs]
    if len(pairs) < 2:
        return tuple(alone)
    corrected, shares = holm([each.p_value for each in alone])
    return tuple(
        replace(compare(*pair, share), p_value=p_value, raw_p_value=each.p_value, comparisons=len(pairs))
        for pair, each, p_value, share in zip(pairs, alone, corrected, shares, strict=True)
    )


def holm(p_values: Sequence[float]) -> tuple[list[float], list[int]]:
    """Holm's step-down correction (1979, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
    Statistics 6) of several p-values: with it, the probability of claiming any difference that does not exist is at most the
    level, however the comparisons depend on each other.

    From the smallest p-value on, each is multiplied by the number of those that are not smaller, and is at least the one
    before. Returns the corrected p-values, and for each the number of comparisons that share the level when it is tested, in
    the order given: those that no earlier step rejected. A corrected p-value is below 0.05 exactly where the p-value itself
    is below 0.05 divided by that number. So an interval of confidence 1 - 0.05 / number leaves out 0 exactly there, too."""
    ranks = np.arange(len(p_values))
    order = np.argsort(p_values, kind="stable")
    steps = np.minimum(np.maximum.accumulate((len(p_values) - ranks) * np.asarray(p_values)[order]), 1.0)
    shares = len(p_values) - np.minimum(ranks, int((steps < LEVEL).sum()))
    places = np.argsort(order)
    return steps[places].tolist(), shares[places].tolist()


def difference(
    labels: NDArray[np.uint8],
    first: NDArray[np.uint8],
    second: NDArray[np.uint8],
    names: tuple[str, str] = ("first", "second"),
    *,
    share: int = 1,
) -> Difference:
    """Compares two models' predicted labels of the same images with the true ones; all are of shape (n,).

    McNemar's exact test decides whether they differ. The interval is Tango's, which leaves out 0 wherever the exact test
    finds a difference (at any level above 0.0006, so for up to 90 comparisons), and sometimes where it finds none, such as
    for five images against none. There the interval is extended to 0, so that it never contradicts the test.

    share: the number of comparisons that share the level 0.05, for interval and smallest difference; the p-value is this
    comparison's own."""
    first_wrong, second_wrong = first != labels, second != labels
    only_first, only_second = int((first_wrong & ~second_wrong).sum()), int((second_wrong & ~first_wrong).sum())
    p_value = mcnemar(only_first, only_second)
    low, high = score_interval(len(labels), only_first, only_second, 1.0 - LEVEL / share)
    if share * p_value >= LEVEL:
        low, high = min(low, 0.0), max(high, 0.0)
    return Difference(
        first=names[0],
        second=names[1],
        images=len(labels),
        first_wrong=int(first_wrong.sum()),
        second_wrong=int(second_wrong.sum()),
        both_wrong=int((first_wrong & second_wrong).sum()),
        low=low,
        high=high,
        p_value=p_value,
        smallest=smallest_difference(len(labels), (only_first + only_second) / len(labels), share),
    )


def family_difference(
    first: NDArray[np.bool_],
    second: NDArray[np.bool_],
    names: tuple[str, str] = ("first", "second"),
    *,
    share: int = 1,
) -> FamilyDifference:
    """Compares two families by whether each of their networks classified each image rightly: shapes (seeds, images), where
    the images are the same. Raises ValueError where a family has no network, or the images do not match.

    All networks judge the same images, and seeds are nested in families. The variance of the difference between the mean
    accuracies is the sum of two: that between images, were the networks fixed, and that between seeds, were the images fixed
    (a t-test of the accuracies). What a network does with an image beyond both is counted twice, to be on the safe side; the
    unbiased variance (Obuchowski and Rockette 1995; Cameron, Gelbach and Miller 2011) subtracts it once. Each part keeps its
    own degrees of freedom, see `joint_reach`: one number for the sum, by Satterthwaite's formula (Hillis 2007), trusts two
    or three seeds that happen to agree, and can be wrong in more than 5 % of cases.

    docs/statistics.md has the simulated error rates and power of this and of other methods.

    share: the number of comparisons that share the level 0.05, for the interval; the p-value is this comparison's own."""
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1] or not first.size or not second.size:
        raise ValueError(f"two arrays (seeds, images) of the same images are needed, not {first.shape} and {second.shape}")
    images, seeds = first.shape[1], (len(first), len(second))
    spreads = [Spread(tuple(float(each) for each in family.mean(axis=1))) for family in (first, second)]
    gap = (int(second.sum()) * seeds[0] - int(first.sum()) * seeds[1]) / (seeds[0] * seeds[1] * images)
    low, high, p_value = -1.0, 1.0, 1.0
    if min(seeds) >= SEEDS_NEEDED:
        apart = second.mean(axis=0) - first.mean(axis=0)
        image_variance, image_degrees = between_images(apart, images)
        variances = np.array([image_variance, *((each.std or 0.0) ** 2 / len(each.values) for each in spreads)])
        degrees = np.array([image_degrees, seeds[0] - 1, seeds[1] - 1])
        if variances.any():
            reach = float(joint_reach(variances, degrees, LEVEL / share))
            low, high, p_value = max(gap - reach, -1.0), min(gap + reach, 1.0), _level_reaching(abs(gap), variances, degrees)
        else:
            low, high = score_interval(images, 0, 0, 1.0 - LEVEL / share)
    return FamilyDifference(
        first=names[0],
        second=names[1],
        images=images,
        seeds=seeds,
        accuracy=gap,
        low=low,
        high=high,
        p_value=p_value,
        seed_std=(spreads[0].std, spreads[1].std),
    )


def between_images(apart: NDArray[np.float64], images: int) -> tuple[Any, Any]:
    """The variance of the mean of `apart`, the families' difference on each image (..., images), and its degrees of freedom.
    Images on which the families do not differ may be left out; `images` counts them all.

    The variance is taken about 0, where the hypothesis has the mean; about the mean itself it would vanish where all images
    speak for one family. Its degrees of freedom are the number of images that decide, (sum x^2)^2 / sum x^4: as in McNemar's
    exact test, six that all speak for one family are the fewest that show a difference."""
    squares = np.square(apart)
    total = squares.sum(axis=-1)
    decisive = np.square(total) / np.maximum(np.square(squares).sum(axis=-1), np.finfo(float).tiny)
    return total / images**2, np.maximum(decisive, 1.0)


def joint_reach(variances: Any, degrees: Any, level: float = LEVEL) -> Any:
    """How far from 0 a difference must be to be significant, where its variance is a sum of parts that were each estimated
    with their own degrees of freedom (..., parts).

    Cochran's approximation (1964; Cochran and Cox 1950) to the test of Behrens and Fisher: the critical value is the mean of
    Student's for each part, weighted by the variances. It errs on the safe side."""
    critical = student.isf(level / 2.0, degrees)
    return (variances * critical).sum(axis=-1) / np.sqrt(variances.sum(axis=-1))


def _level_reaching(gap: float, variances: NDArray[np.float64], degrees: NDArray[np.float64]) -> float:
    """The level at which a difference of `gap` is just significant: its p-value."""
    least = 1e-15
    if gap == 0.0 or joint_reach(variances, degrees, least) <= gap:
        return 1.0 if gap == 0.0 else least
    return float(brentq(lambda level: joint_reach(variances, degrees, level) - gap, least, 1.0))


def mcnemar(only_first_wrong: int, only_second_wrong: int) -> float:
    """The p-value of McNemar's test (1947), exact and two-sided: were both models equally good, an image that only one of
    them gets wrong would be the first's or the second's like heads or tails."""
    discordant = only_first_wrong + only_second_wrong
    return float(binomtest(only_first_wrong, discordant).pvalue) if discordant else 1.0


def score_interval(
    images: int, only_first_wrong: int, only_second_wrong: int, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """The score interval of the second model's accuracy minus the first's, as fractions (Tango 1998).

    At 95 %, its ends are the differences d at which (b - c - n d) / sqrt(n (2 q + d (1 - d))) is 1.96 or -1.96, for b images
    that only the first gets wrong and c that only the second does, of n; q is the likeliest share of the latter, were d
    true. Where c is 0, the lower end is (b - 1.96^2) / (n + 1.96^2). A percentile bootstrap interval would end at 0 there,
    which is too short: it let a model that is worse by just the gate's margin pass in 12 % of cases instead of 2.5 %."""

    def lower(more: int, fewer: int) -> float:
        gap = more - fewer

        def excess(true: float) -> float:
            """How far the counts lie above what a difference allows, in images."""
            linear = (2 * images - gap) * true - more - fewer
            root = math.sqrt(max(linear**2 + 8 * images * fewer * true * (1.0 - true), 0.0))
            share = (root - linear) / (4 * images)
            spread = math.sqrt(max(images * (2.0 * share + true * (1.0 - true)), 0.0))
            return gap - images * true - float(norm.isf((1.0 - confidence) / 2.0)) * spread

        # A little below the counts' own difference: where that is 1 there is no spread at it, and so another root.
        return float(brentq(excess, -1.0, gap / images - 1e-9)) if fewer < images else -1.0

    return lower(only_first_wrong, only_second_wrong), -lower(only_second_wrong, only_first_wrong)


def smallest_difference(images: int, discordant_share: float, share: int = 1) -> float:
    """The least difference in accuracy, as a fraction, that McNemar's test finds with a power of 80 % at level 0.05, shared
    by so many comparisons, where exactly one of the two models is right on `discordant_share` of so many images.

    Connor's formula (1987; Miettinen 1968), n d^2 = (z_a sqrt(s) + z_b sqrt(s - d^2))^2, solved for the difference d. It
    is asymptotic: the exact test is stricter where few images differ, with a power of 75 to 80 % on 50 images or more.
    A difference cannot be larger than the share of the images that it comes from. Where d would be, the share is taken
    to be as large as d, every such image in favour of one model: about 8 images. 1.0 for fewer images than the exact test
    needs to find anything."""
    if share * mcnemar(images, 0) >= LEVEL:
        return 1.0
    level, power = float(norm.isf(LEVEL / share / 2.0)), float(norm.isf(1.0 - POWER))
    square = images + power**2

    def larger_root(half: float, constant: float) -> float:
        """Of square x^2 - 2 half x + constant."""
        return (half + math.sqrt(max(half**2 - square * constant, 0.0))) / square

    found = larger_root(level * math.sqrt(images * discordant_share), (level**2 - power**2) * discordant_share)
    if found <= discordant_share and found > 0.0:
        return found
    rest = larger_root(-level * power, level**2 - images)  # sqrt(1 - d), from n d^2 = (z_a sqrt(d) + z_b sqrt(d - d^2))^2
    return 1.0 - max(rest, 0.0) ** 2
