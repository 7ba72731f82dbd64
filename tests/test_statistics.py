"""The statistics of accuracies: by hand, against scipy and statsmodels, and in simulations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from statsmodels.stats.contingency_tables import mcnemar as mcnemar_of_statsmodels
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint
from support import PROPERTY

from digitsweep.evaluation.statistics import (
    Difference,
    Share,
    Spread,
    difference,
    differences,
    holm,
    mcnemar,
    score_interval,
    smallest_difference,
)
from digitsweep.report.sentences import verdict

Labels = NDArray[np.uint8]

THREE_LABELS = st.integers(1, 40).flatmap(
    lambda count: st.tuples(*(st.lists(st.integers(0, 2), min_size=count, max_size=count) for _ in range(3)))
)
"""True labels and two models' predictions of the same images."""


def arrays(lists: tuple[list[int], ...]) -> list[Labels]:
    return [np.array(each, np.uint8) for each in lists]


def made(only_first: int, only_second: int, both: int = 0, images: int = 10_000, share: int = 1) -> Difference:
    """Two models with so many errors."""
    labels, first, second = (np.zeros(images, np.uint8) for _ in range(3))
    first[: only_first + both] = 1
    second[only_first : only_first + both + only_second] = 1
    return difference(labels, first, second, ("ANN", "CNN"), share=share)


@pytest.mark.parametrize(("hits", "total"), [(0, 1), (1, 1), (7, 9), (359, 360), (9_975, 10_000), (10_000, 10_000)])
def test_wilson_agrees_with_statsmodels(hits: int, total: int) -> None:
    """Wilson's interval is that of statsmodels."""
    expected = proportion_confint(hits, total, alpha=0.05, method="wilson")
    assert Share(hits, total).interval == pytest.approx(expected, abs=1e-12)


@PROPERTY
@given(st.integers(0, 200), st.integers(0, 200))
def test_mcnemar_agrees_with_statsmodels(only_first: int, only_second: int) -> None:
    """McNemar's p-value is that of statsmodels, whichever model stands first."""
    expected = mcnemar_of_statsmodels([[7, only_first], [only_second, 3]], exact=True).pvalue
    assert mcnemar(only_first, only_second) == pytest.approx(expected, rel=1e-9)
    assert mcnemar(only_second, only_first) == mcnemar(only_first, only_second)


def test_the_counts_of_a_difference() -> None:
    """Errors of one, of the other and of both are counted image by image."""
    labels, ann, cnn = arrays(([0, 1, 2, 3, 4, 5], [9, 9, 9, 3, 4, 5], [0, 1, 8, 8, 4, 5]))
    found = difference(labels, ann, cnn, ("ANN", "CNN"))
    assert (found.first, found.second, found.images) == ("ANN", "CNN", 6)
    assert (found.first_wrong, found.second_wrong, found.both_wrong) == (3, 2, 1)
    assert (found.only_first_wrong, found.only_second_wrong, found.discordant) == (2, 1, 3)
    assert found.accuracy == pytest.approx(1 / 6)
    assert found.p_value == 1.0


@PROPERTY
@given(THREE_LABELS)
def test_a_difference_reversed_has_the_other_sign(lists: tuple[list[int], ...]) -> None:
    """Exchanging the models changes the sign of the difference and of its interval, and nothing else."""
    labels, first, second = arrays(lists)
    one, other = difference(labels, first, second), difference(labels, second, first)
    assert other.accuracy == -one.accuracy
    assert (other.low, other.high) == (-one.high, -one.low)
    assert (other.p_value, other.smallest, other.both_wrong) == (one.p_value, one.smallest, one.both_wrong)


@PROPERTY
@given(THREE_LABELS)
def test_the_counts_add_up(lists: tuple[list[int], ...]) -> None:
    """Right and wrong images add up; the interval holds the difference, which is that of the two accuracies."""
    labels, first, second = arrays(lists)
    found = difference(labels, first, second)
    both_right = int(((first == labels) & (second == labels)).sum())
    assert both_right + found.only_first_wrong + found.only_second_wrong + found.both_wrong == found.images
    assert found.accuracy == pytest.approx(float((second == labels).mean() - (first == labels).mean()))
    assert -1.0 <= found.low <= found.accuracy <= found.high <= 1.0
    assert 0.0 < found.smallest <= 1.0


@pytest.mark.parametrize("share", [1, 2, 50])
def test_interval_and_test_agree(share: int) -> None:
    """The interval leaves out 0 exactly where the exact test finds a difference at its share of the level; it is Tango's
    interval, extended to 0 where that alone would find a difference."""
    for discordant in range(31):
        for only_second in range(discordant // 2 + 1):
            found = made(discordant - only_second, only_second, share=share)
            differ = share * found.p_value < 0.05
            assert (found.low > 0.0 or found.high < 0.0) == differ
            low, high = score_interval(10_000, discordant - only_second, only_second, 1.0 - 0.05 / share)
            assert (found.low, found.high) == ((low if differ else min(low, 0.0)), high)


@pytest.mark.parametrize("share", [0.0005, 0.002, 0.02, 0.3, 1.0])
@pytest.mark.parametrize("images", [100, 359, 10_000])
def test_the_smallest_difference_solves_connors_formula(images: int, share: float) -> None:
    """Put back into the formula it gives the number of images; where it would exceed the share, the share is as large."""
    found = smallest_difference(images, share)
    differing = max(share, found)
    needed = ((1.959964 * differing**0.5 + 0.841621 * (differing - found**2) ** 0.5) / found) ** 2
    assert needed == pytest.approx(images, rel=1e-5)


@pytest.mark.parametrize(("images", "share"), [(10_000, 0.0), (10_000, 0.002), (10_000, 0.01), (359, 0.05), (100, 0.3)])
def test_the_smallest_difference_would_probably_have_shown(images: int, share: float) -> None:
    """In simulations the exact test finds a difference of this size in about 75 to 80 % of all cases, half of it seldom."""
    generator = np.random.default_rng(0)
    found = smallest_difference(images, share)

    def power(gap: float) -> float:
        differing = max(share, gap)
        rates = [(differing + gap) / 2, (differing - gap) / 2, 1 - differing]
        counts = generator.multinomial(images, rates, size=2000)
        unique, times = np.unique(counts[:, :2], axis=0, return_counts=True)
        return sum(int(n) for (b, c), n in zip(unique, times, strict=True) if mcnemar(int(b), int(c)) < 0.05) / 2000

    assert 0.73 <= power(found) <= 0.82
    assert power(found / 2) < 0.4


@PROPERTY
@given(st.integers(6, 100_000), st.floats(0, 1), st.floats(0, 1))
def test_the_smallest_difference_is_sensible(images: int, one: float, other: float) -> None:
    """It lies within 0 and 1; more differing images hide a difference, more images show it."""
    low, high = sorted((one, other))
    assert 0.0 < smallest_difference(images, low) <= smallest_difference(images, high) * (1 + 1e-9) <= 1.0 + 1e-9
    assert smallest_difference(2 * images, low) < smallest_difference(images, low)


def test_few_images_show_nothing() -> None:
    """Five images cannot show any difference to the exact test; six can."""
    assert [smallest_difference(images, 0.2) for images in (1, 5)] == [1.0, 1.0]
    assert smallest_difference(6, 0.2) < 1.0


def test_spread() -> None:
    """Mean and the sample's standard deviation; one seed has no deviation, equal seeds have none at all."""
    assert Spread((0.9, 0.94)).mean == pytest.approx(0.92)
    assert Spread((0.9, 0.94)).std == pytest.approx(0.02 * 2**0.5)
    assert Spread((0.1, 0.2, 0.6)).std == pytest.approx(np.std([0.1, 0.2, 0.6], ddof=1))
    assert (Spread((0.7,)).mean, Spread((0.7,)).std) == (0.7, None)
    assert Spread((0.1,) * 3).std == 0.0


@pytest.mark.parametrize(
    "p_values", [[0.3], [0.01, 0.02, 0.03], [0.04, 0.01, 0.03, 0.005], [1.0, 0.0, 0.01, 0.01], [0.2, 0.5, 0.03] * 3]
)
def test_holms_correction(p_values: list[float]) -> None:
    """It is that of statsmodels, in the order given."""
    assert holm(p_values)[0] == pytest.approx(multipletests(p_values, method="holm")[1])


@PROPERTY
@given(st.lists(st.one_of(st.floats(0.0, 1.0), st.sampled_from([0.0, 0.01, 0.05, 1.0])), min_size=1, max_size=12))
def test_holms_correction_shares_the_level(p_values: list[float]) -> None:
    """It decides as testing each p-value at its share of the level does."""
    corrected, shares = holm(p_values)
    for p_value, each, share in zip(p_values, corrected, shares, strict=True):
        assert (each < 0.05) == (share * p_value < 0.05)
        assert 1 <= share <= len(p_values)


def test_a_share_of_the_level_asks_for_more() -> None:
    """Where several comparisons share the level, the interval is wider and the smallest difference larger."""
    alone, shared = made(45, 24), made(45, 24, share=3)
    assert shared.p_value == alone.p_value
    assert shared.low < alone.low < alone.high < shared.high
    assert shared.smallest > alone.smallest
    assert [smallest_difference(images, 1.0, share=3) < 1.0 for images in (6, 7, 8)] == [False, True, True]


def test_each_pair_of_models() -> None:
    """Three models have three pairs, each with its own p-value, the one that Holm's correction makes of it, and an interval
    that leaves out 0 exactly where the corrected p-value is below 0.05. Two have one pair, and one has none."""
    labels = np.zeros(10_000, np.uint8)
    wrong = {"a": range(60), "b": range(40, 70), "c": range(60, 72)}
    predicted = {name: np.isin(np.arange(10_000), list(images)).astype(np.uint8) for name, images in wrong.items()}
    found = differences(labels, predicted)
    assert [(each.first, each.second) for each in found] == [("a", "b"), ("a", "c"), ("b", "c")]
    raw = [mcnemar(each.only_first_wrong, each.only_second_wrong) for each in found]
    assert [each.raw_p_value for each in found] == raw
    assert [each.p_value for each in found] == pytest.approx(multipletests(raw, method="holm")[1])
    assert [each.significant for each in found] == [True, True, True]
    assert all(each.comparisons == 3 and each.high > each.low > 0.0 for each in found)
    two = {name: predicted[name] for name in "ab"}
    assert differences(labels, two) == (difference(labels, predicted["a"], predicted["b"], ("a", "b")),)
    assert differences(labels, {"a": predicted["a"]}) == ()


def test_equal_models_are_seldom_ranked() -> None:
    """Of five equally good models any two are called different in at most 5 % of all cases; without the correction there
    would be more."""
    generator = np.random.default_rng(4)
    labels, cases, corrected, uncorrected = np.zeros(500, np.uint8), 60, 0, 0
    for _ in range(cases):
        models = (generator.random((5, 500)) < 0.2).astype(np.uint8)
        found = differences(labels, {str(number): each for number, each in enumerate(models)})
        corrected += any(each.significant for each in found)
        uncorrected += any((each.raw_p_value or 0.0) < 0.05 for each in found)
    assert corrected / cases <= 0.05 < uncorrected / cases


@pytest.mark.parametrize("wrong", [0.05, 0.9], ids=["two good models", "shuffled labels"])
def test_equal_models_cannot_be_told_apart(wrong: float) -> None:
    """Of pairs of equally good models about 95 % cannot be told apart, and about as many intervals hold 0: no more, no
    less. A wrong label is one of nine others; with nine in ten wrong that is what shuffled labels make of any model."""
    generator = np.random.default_rng(3)
    pairs, apart, covered = 300, 0, 0
    for _ in range(pairs):
        labels = generator.integers(0, 10, 500, dtype=np.uint8)
        first, second = (
            np.where(generator.random(500) < wrong, (labels + generator.integers(1, 10, 500)) % 10, labels).astype(np.uint8)
            for _ in range(2)
        )
        found = difference(labels, first, second, ("ANN", "CNN"))
        apart += not verdict(found).startswith("This test set cannot tell this ANN from this CNN")
        covered += found.low <= 0.0 <= found.high
    assert 0.93 <= 1 - apart / pairs < 1.0
    assert 0.92 <= covered / pairs < 1.0
