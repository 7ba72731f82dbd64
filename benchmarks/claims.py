"""How often a claim about two networks or two families is wrong, and how often a true difference is found, by simulation.

A network gets an image wrong where the image's difficulty plus the network's own noise exceeds a threshold (a probit model).
Difficulty is partly common to everybody, partly to the networks of one family. How large the parts are follows from how
often networks of one family and of two are wrong together, which `make bench-agreement` measures. A seed moves the threshold
of its network, so that true accuracies have a standard deviation between seeds, which no test set sees directly."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import gate_claims
import numpy as np
from common import report
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import norm
from scipy.stats import t as student

from digitsweep.evaluation.imbalance import class_averages
from digitsweep.evaluation.statistics import LEVEL, Share, between_images, difference, joint_reach
from digitsweep.training.class_averages import macro_f1

Floats = NDArray[np.float64]
Wrong = NDArray[np.bool_]
"""Which of the hard images each network gets wrong: (repetitions, families, seeds, hard images)."""

ERROR = 0.006
"""Of both families: the networks of `make bench-agreement` were at 0.97 and 0.64 %."""
TOGETHER_WITHIN = 0.65
"""The share of a network's errors that another network of its family makes too (measured: 0.62 and 0.67)."""
TOGETHER_ACROSS = 0.41
"""The same for a network of the other family."""
DEVIATIONS = (0.0, 0.05, 0.10)
"""Standard deviations of the true accuracy between seeds, in points."""
MOST = 10
"""Networks of each family; fewer seeds are the first of them."""
POPULATION = 1_000_000
"""Images of whose difficulties test sets are drawn."""
CHUNK = 250


@dataclass(frozen=True)
class Families:
    """Two families: what their networks do with the images that any of them may get wrong."""

    hard: NDArray[np.float32]
    """Difficulties for each family of the images that are not easy for both: (2, hard images)."""
    share: float
    """Of the hard images among all."""
    thresholds: tuple[float, float]
    deviations: tuple[float, float]
    """Of the thresholds between seeds."""
    noise: float
    """Standard deviation of a network's own noise on an image."""

    def draw(self, generator: np.random.Generator, images: int, repetitions: int, seeds: int = MOST) -> Iterator[Wrong]:
        """Test sets of so many images, each with fresh networks of both families, some at a time."""
        for begin in range(0, repetitions, CHUNK):
            count = min(CHUNK, repetitions - begin)
            sizes = generator.binomial(images, self.share, count)
            chosen = generator.integers(0, self.hard.shape[1], (count, max(int(sizes.max()), 1)))
            there = np.arange(chosen.shape[1]) < sizes[:, None]
            spread = np.array(self.deviations)[:, None] * generator.standard_normal((count, 2, seeds))
            needed = (np.array(self.thresholds)[:, None] + spread)[..., None] - self.hard[:, chosen].swapaxes(0, 1)[
                :, :, None
            ]
            own = generator.standard_normal((count, 2, seeds, chosen.shape[1]), dtype=np.float32)
            yield (own > needed.astype(np.float32) / np.float32(self.noise)) & there[:, None, None]


def correlation(error: float, together: float) -> float:
    """Of two normal variables that exceed the threshold of `error` together in a share `together` of these cases."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(200)
    threshold, weights = norm.isf(error), weights / weights.sum()

    def excess(value: float) -> float:
        above = norm.sf((threshold - math.sqrt(value) * nodes) / math.sqrt(1.0 - value))
        return float((weights * above**2).sum()) - error * together

    return float(brentq(excess, 1e-6, 1.0 - 1e-6))


def threshold(error: float, deviation: float) -> tuple[float, float]:
    """The mean and standard deviation of the thresholds, for a mean error and its standard deviation between seeds."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(100)
    weights = weights / weights.sum()

    def mean_of(spread: float) -> float:
        return float(norm.isf(error)) * math.sqrt(1.0 + spread**2)

    def excess(spread: float) -> float:
        errors = norm.sf(mean_of(spread) + spread * nodes)
        return math.sqrt(float((weights * (errors - error) ** 2).sum())) - deviation

    spread = float(brentq(excess, 0.0, 2.0)) if deviation else 0.0
    return mean_of(spread), spread


@lru_cache
def difficulties(error: float) -> tuple[Floats, float]:
    """Difficulties of a population of images for two families, and the standard deviation of a network's own noise. Each
    image is there twice, with the families exchanged, so that neither is at an advantage."""
    generator = np.random.default_rng(1)
    within, across = correlation(error, TOGETHER_WITHIN), correlation(error, TOGETHER_ACROSS)
    common = math.sqrt(across) * generator.standard_normal(POPULATION // 2)
    both = common + math.sqrt(within - across) * generator.standard_normal((2, POPULATION // 2))
    return np.concatenate([both, both[::-1]], axis=1), math.sqrt(1.0 - within)


def families(deviations: tuple[float, float] = (0.0, 0.0), gap: float = 0.0, error: float = ERROR) -> Families:
    """Two families whose mean accuracies differ by `gap` points around `1 - error`, with deviations in points."""
    difficulty, noise = difficulties(error)
    (first, first_spread), (second, second_spread) = (
        threshold(error + sign * gap / 200.0, each / 100.0) for sign, each in zip((1, -1), deviations, strict=True)
    )
    reach = np.array([first - 4.0 * math.hypot(noise, first_spread), second - 4.0 * math.hypot(noise, second_spread)])
    hard = difficulty[:, (difficulty > reach[:, None]).any(axis=0)]
    return Families(
        hard.astype(np.float32), hard.shape[1] / difficulty.shape[1], (first, second), (first_spread, second_spread), noise
    )


@dataclass(frozen=True)
class Parts:
    """What a method needs of test sets that so many networks of each family judged; arrays begin with repetitions."""

    seeds: tuple[int, int]
    gap: Floats
    images: Floats
    """The variance between images, and its degrees of freedom."""
    image_degrees: Floats
    between: Floats
    """Of each family's mean accuracy, the variance between seeds: (repetitions, 2)."""
    own: Floats
    """What of that the networks' own noise on these images explains, and `images` has too."""

    def ours(self) -> Wrong:
        """Whether `family_difference` calls the families different."""
        variances = np.concatenate([self.images[:, None], self.between], axis=1)
        degrees = np.stack([self.image_degrees, *(np.full(len(self.gap), each - 1.0) for each in self.seeds)], axis=1)
        with np.errstate(invalid="ignore"):  # 0 / 0: no image and no seed tells the families apart, and the gap is 0
            return np.asarray(np.abs(self.gap) > joint_reach(variances, degrees))


def parts(wrong: Wrong, seeds: tuple[int, int], images: int) -> Parts:
    means, between, own = [], [], []
    for family, count in enumerate(seeds):
        of = wrong[:, family, :count]
        means.append(of.mean(axis=1))
        between.append(np.var(of.sum(axis=2) / images, axis=1, ddof=1) / count)
        own.append((means[-1] * (1.0 - means[-1])).sum(axis=1) / (count - 1) / images**2)
    apart = means[0] - means[1]
    variance, degrees = between_images(apart, images)
    return Parts(seeds, apart.sum(axis=1) / images, variance, degrees, np.stack(between, axis=1), np.stack(own, axis=1))


def satterthwaite(part: Parts, images: Floats) -> Wrong:
    """Student's test with the variance between images given, and the degrees of freedom of the sum by Satterthwaite."""
    variance = images + part.between.sum(axis=1)
    uncertain = (np.square(part.between) / (np.array(part.seeds) - 1)).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        degrees = np.where(uncertain > 0.0, np.square(variance) / uncertain, np.inf)
        return np.asarray(np.abs(part.gap) > student.isf(LEVEL / 2.0, degrees) * np.sqrt(variance))


def bootstrap(wrong: Wrong, seeds: int, images: int, generator: np.random.Generator, resamples: int = 400) -> Wrong:
    """Whether the percentile interval of the bootstrap over seeds and images leaves out 0. Drawing the images anew is
    weighting them by Poisson counts."""
    found = []
    for each in wrong[:, :, :seeds].astype(np.float32):
        weights = generator.poisson(1.0, (resamples, each.shape[-1])).astype(np.float32)
        drawn = generator.multinomial(seeds, [1.0 / seeds] * seeds, (2, resamples)) / seeds
        errors = [(weights @ family.T * times).sum(axis=1) for family, times in zip(each, drawn, strict=True)]
        low, high = np.quantile((errors[0] - errors[1]) / images, [LEVEL / 2.0, 1.0 - LEVEL / 2.0])
        found.append(low > 0.0 or high < 0.0)
    return np.array(found)


def shown(found: Sequence[Wrong]) -> str:
    """A rate in per cent with its 95 % interval."""
    share = share_of(found)
    low, high = share.interval
    return f"{100 * share.accuracy:.1f} ({100 * low:.1f} to {100 * high:.1f})"


def share_of(found: Sequence[Wrong]) -> Share:
    claims = np.concatenate(found)
    return Share(int(claims.sum()), len(claims))


SEEDS = ((2, 2), (3, 3), (4, 4), (5, 5), (8, 8), (10, 10), (2, 5), (5, 2), (3, 10), (10, 3))
EQUAL = [
    *((10_000, 0.006, pair) for pair in ((0.0, 0.0), (0.05, 0.05), (0.1, 0.1), (0.0, 0.1), (0.05, 0.1), (0.0, 0.2))),
    *((2_000, 0.006, pair) for pair in ((0.0, 0.0), (0.05, 0.05), (0.1, 0.1), (0.0, 0.1))),
    *((2_000, 0.03, pair) for pair in ((0.0, 0.0), (0.5, 0.5), (0.0, 0.5))),
    *((360, 0.006, pair) for pair in ((0.0, 0.0), (0.05, 0.05), (0.1, 0.1), (0.0, 0.1))),
    *((360, 0.03, pair) for pair in ((0.0, 0.0), (0.1, 0.1), (0.5, 0.5), (0.0, 0.5))),
]
"""Images, errors and deviations of equal families."""


def one_network_each(wrong: Wrong, images: int) -> Wrong:
    """Whether the verdict calls the first network of each family different. Interval and p-value must agree on that."""
    first, second = wrong[:, 0, 0], wrong[:, 1, 0]
    counts = np.stack([(first & ~second).sum(axis=1), (second & ~first).sum(axis=1)], axis=1)
    unique, index = np.unique(counts, axis=0, return_inverse=True)
    return np.array([_differ(images, *each) for each in unique.tolist()])[index.reshape(-1)]


def _differ(images: int, only_first: int, only_second: int) -> bool:
    labels, first, second = np.zeros((3, images), np.uint8)
    first[:only_first] = 1
    second[only_first : only_first + only_second] = 1
    found = difference(labels, first, second)
    assert found.significant == (found.low > 0.0 or found.high < 0.0), found
    return found.significant


def wrong_verdicts(repetitions: int = 10_000) -> None:
    """Between two equally good networks of different families."""
    rows: list[list[object]] = []
    highest = Share(0, repetitions)
    for images, error in ((10_000, 0.006), (10_000, 0.03), (2_000, 0.006), (2_000, 0.03), (360, 0.03)):
        drawn = families(error=error).draw(np.random.default_rng(7), images, repetitions, seeds=1)
        found = [one_network_each(wrong, images) for wrong in drawn]
        highest = max(highest, share_of(found), key=lambda each: each.hits)
        rows.append([f"{images:,}", f"{100 * (1 - error):.1f}", shown(found)])
    headline = (
        f"verdicts that call two equally good networks different: {100 * highest.accuracy:.1f} % at most, of "
        f"{repetitions:,} simulated pairs each"
    )
    report("claims-verdict", headline, ["images", "accuracy %", "called different, %"], rows)


def wrong_claims(repetitions: int = 10_000) -> None:
    """Between equal families."""
    rows: list[list[object]] = []
    highest = Share(0, repetitions)
    for images, error, pair in EQUAL:
        found: dict[tuple[int, int], list[Wrong]] = {seeds: [] for seeds in SEEDS}
        for wrong in families(pair, error=error).draw(np.random.default_rng(2), images, repetitions):
            for seeds, claims in found.items():
                claims.append(parts(wrong, seeds, images).ours())
        highest = max(highest, *(share_of(each) for each in found.values()), key=lambda each: each.hits)
        rows.append(
            [f"{images:,}", f"{100 * (1 - error):.1f}", *(f"{each:.2f}" for each in pair), *map(shown, found.values())]
        )
    low, high = highest.interval
    headline = (
        f"wrong claims about equal families: {100 * highest.accuracy:.1f} % at most of all {len(EQUAL) * len(SEEDS)} cases "
        f"({100 * low:.1f} to {100 * high:.1f}), {repetitions:,} simulations each"
    )
    columns = [f"{first} seeds" if first == second else f"{first} and {second}" for first, second in SEEDS]
    report("claims", headline, ["images", "accuracy %", "deviation, first", "second", *columns], rows)


def power(repetitions: int = 2_000) -> None:
    """How often a true difference is found."""
    rows: list[list[object]] = []
    counts = (2, 3, 4, 5, 8, 10)
    for images, gaps in ((10_000, (0.1, 0.2, 0.3, 0.5)), (2_000, (0.5, 1.0))):
        for deviation in DEVIATIONS:
            for gap in gaps:
                found: dict[int, list[Wrong]] = {count: [] for count in counts}
                for wrong in families((deviation, deviation), gap).draw(np.random.default_rng(3), images, repetitions):
                    for count, claims in found.items():
                        claims.append(parts(wrong, (count, count), images).ours())
                rows.append([f"{images:,}", f"{deviation:.2f}", f"{gap:.1f}", *map(shown, found.values())])
    headline = f"power in per cent at an accuracy of {100 * (1 - ERROR):.1f} %, {repetitions:,} simulations each"
    columns = ["images", "deviation", "true difference, points", *(f"{count} seeds" for count in counts)]
    report("claims-power", headline, columns, rows)


def methods(repetitions: int = 2_000, bootstraps: int = 500) -> None:
    """Other ways to judge families, where these are equal."""
    pairs = ((0.0, 0.0), (0.05, 0.05), (0.1, 0.1), (0.0, 0.2))
    found: dict[tuple[str, int], dict[tuple[float, float], list[Wrong]]] = {}

    def add(method: str, count: int, pair: tuple[float, float], claims: Wrong) -> None:
        found.setdefault((method, count), {}).setdefault(pair, []).append(claims)

    for pair in pairs:
        generator, images, left = np.random.default_rng(4), 10_000, bootstraps
        for wrong in families(pair).draw(np.random.default_rng(5), images, repetitions):
            add("McNemar, one network each", 1, pair, one_network_each(wrong, images))
            for count in (2, 3, 5):
                part = parts(wrong, (count, count), images)
                add("images only: the networks as given", count, pair, np.abs(part.gap) > 1.96 * np.sqrt(part.images))
                add("seeds only: Welch's t-test of accuracies", count, pair, satterthwaite(part, np.zeros(len(part.gap))))
                if left > 0:
                    add("bootstrap over seeds and images", count, pair, bootstrap(wrong[:left], count, images, generator))
                unbiased = np.maximum(part.images - part.own.sum(axis=1), 0.0)
                add("unbiased variance, Satterthwaite (Hillis)", count, pair, satterthwaite(part, unbiased))
                add("sum of both variances, Satterthwaite", count, pair, satterthwaite(part, part.images))
                add("sum of both variances, Cochran (ours)", count, pair, part.ours())
            left -= len(wrong)
    order = list(dict.fromkeys(method for method, _ in found))
    rows = [
        [method, count, *(shown(claims[pair]) for pair in pairs)]
        for (method, count), claims in sorted(found.items(), key=lambda each: (order.index(each[0][0]), each[0][1]))
    ]
    headline = (
        f"wrong claims of several methods in per cent, 10,000 images, {repetitions:,} simulations each "
        f"({bootstraps:,} of the bootstrap)"
    )
    report("claims-methods", headline, ["method", "seeds", *(f"deviations {a:.2f}, {b:.2f}" for a, b in pairs)], rows)


def selection(repetitions: int = 10_000, images: int = 10_000, deviation: float = 0.1) -> None:
    """How much the mean over seeds flatters the winner of several equally good configurations, by which it was chosen."""
    rows: list[list[object]] = []
    generator = np.random.default_rng(6)
    family = families((deviation, deviation))
    (mean, _), (spread, _) = family.thresholds, family.deviations
    for candidates, seeds in ((2, 2), (2, 3), (2, 5), (3, 2), (3, 3), (3, 5)):
        shape = (repetitions, candidates, seeds)
        accuracies = norm.cdf(mean + spread * generator.standard_normal(shape))
        # Images that all networks of a family judge move every candidate alike; a network's own noise on them does not.
        own = math.sqrt(ERROR * (1.0 - TOGETHER_WITHIN) / images)
        validation = (accuracies + own * generator.standard_normal(shape)).mean(axis=2)
        winner = validation.argmax(axis=1)
        true = accuracies.mean(axis=2)[np.arange(repetitions), winner]
        seen = validation[np.arange(repetitions), winner]
        fresh = norm.cdf(mean + spread * generator.standard_normal((repetitions, seeds))).mean(axis=1)
        rows.append([candidates, seeds, *(f"{100 * (each.mean() - 1 + ERROR):+.3f}" for each in (seen, true, fresh))])
    headline = f"bias in points at a deviation of {deviation:.2f} between seeds, {repetitions:,} simulations each"
    columns = ["candidates", "seeds", "validation, the seeds that chose", "test, the seeds that chose", "test, fresh seeds"]
    report("claims-selection", headline, columns, rows)


def coverage(repetitions: int = 2_000) -> None:
    """How often the intervals of balanced accuracy and macro F1 hold the true value, by the sizes of the classes."""
    rows: list[list[object]] = []
    for sizes, recall in (
        ((1_000,) * 10, 0.99),
        ((100,) * 10, 0.9),
        ((900, 100), 0.9),
        ((700, 100, 50, 50, 40, 30, 30), 0.8),
        ((200, 20, 20), 0.8),
        ((90, 10), 0.8),
        ((200, 5, 5), 0.8),
    ):
        generator, classes = np.random.default_rng(8), len(sizes)
        shares = np.full((classes, classes), (1.0 - recall) / (classes - 1))
        np.fill_diagonal(shares, recall)
        expected = shares * np.array(sizes)[:, None]
        true = (recall, float(macro_f1(np.diag(expected), expected.sum(axis=1), expected.sum(axis=0))))
        held: list[list[bool]] = []
        labels, pairs = (each.ravel().astype(np.uint8) for each in np.indices(shares.shape))
        for _ in range(repetitions):
            drawn = np.concatenate([generator.multinomial(*each) for each in zip(sizes, shares, strict=True)])
            found = class_averages(np.repeat(labels, drawn), np.repeat(pairs, drawn), classes)
            both = (found.balanced_accuracy, found.macro_f1)
            held.append([each.low <= value <= each.high for each, value in zip(both, true, strict=True)])
        told = f"{classes} of {sizes[0]:,}" if len(set(sizes)) == 1 else ", ".join(map(str, sizes))
        rows.append([told, f"{100 * recall:.0f}", *(shown([each]) for each in np.array(held).T)])
    headline = f"how often 95 % intervals hold the true value, in per cent of {repetitions:,} simulations each"
    report("claims-averages", headline, ["images of each class", "recall %", "balanced accuracy", "macro F1"], rows)


def main() -> None:
    coverage()
    wrong_verdicts()
    wrong_claims()
    power()
    methods()
    selection()
    gate_claims.main()


if __name__ == "__main__":
    main()
