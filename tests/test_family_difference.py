"""Families compared over seeds and images: by hand, against scipy and statsmodels, in simulations, and in a sentence."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import TypeAdapter
from scipy.optimize import brentq
from scipy.stats import norm, ttest_ind
from scipy.stats import t as student
from support import PROPERTY

from digitsweep.evaluation.statistics import (
    FamilyDifference,
    difference,
    family_difference,
    family_differences,
    holm,
    mcnemar,
)
from digitsweep.report.format import p_value
from digitsweep.report.sentences import family_verdict

Right = NDArray[np.bool_]

SHAPES = st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 60), st.integers(0, 2**32 - 1), st.floats(0.0, 0.5))


def random_families(shape: tuple[int, int, int, int, float]) -> tuple[Right, Right]:
    """Two families of so many networks, on so many images of random difficulty, with a gap between them."""
    first, second, images, seed, gap = shape
    generator = np.random.default_rng(seed)
    difficulty = generator.random(images)
    return generator.random((first, images)) > difficulty, generator.random((second, images)) > difficulty * (1.0 - gap)


def networks(wrong: list[list[int]], images: int) -> Right:
    """A network for each list of the images that it gets wrong."""
    right = np.ones((len(wrong), images), np.bool_)
    for network, indices in zip(right, wrong, strict=True):
        network[indices] = False
    return right


def test_the_figures_of_a_family_difference() -> None:
    """Accuracies are averaged over the networks; each family's standard deviation is that of its networks' accuracies."""
    found = family_difference(networks([[0, 1, 2], [0], [0, 1]], 10), networks([[], [0]], 10), ("ANN", "CNN"))
    assert (found.first, found.second, found.images, found.seeds) == ("ANN", "CNN", 10, (3, 2))
    assert found.accuracy == pytest.approx(0.15)
    assert np.allclose(np.array(found.seed_std, float), [0.1, 0.1 / 2**0.5])
    assert found.enough_seeds


@pytest.mark.parametrize("shape", [(3, 3, 200, 1, 0.3), (2, 5, 500, 2, 0.1), (4, 3, 100, 3, 0.4)])
def test_the_variances_are_those_of_statsmodels(shape: tuple[int, int, int, int, float]) -> None:
    """The p-value is the one that variances clustered by image and by network give, from a regression on the family."""
    first, second = random_families(shape)
    seeds, images = (len(first), len(second)), first.shape[1]
    right = np.concatenate([first, second])
    family = np.repeat([0.0, 1.0], np.array(seeds) * images)
    image, network = np.tile(np.arange(images), len(right)), np.repeat(np.arange(len(right)), images)

    def clustered(groups: NDArray[np.int64], of: NDArray[np.bool_]) -> float:
        design = sm.add_constant(family[of]) if np.ptp(family[of]) else np.ones((of.sum(), 1))
        options = {"groups": groups[of], "use_correction": False}
        fitted = sm.OLS(right.ravel()[of].astype(float), design).fit(cov_type="cluster", cov_kwds=options)
        return float(fitted.cov_params()[-1, -1])

    found = family_difference(first, second)
    squares = np.square(second.mean(axis=0) - first.mean(axis=0))
    # About 0 instead of about the mean; and divided by one less than the number of networks.
    parts = [(clustered(image, family >= 0.0) + found.accuracy**2 / images, squares.sum() ** 2 / np.square(squares).sum())]
    parts += [(clustered(network, family == each) * n / (n - 1), n - 1) for each, n in enumerate(seeds)]
    whole = sum(variance for variance, _ in parts)

    def critical(level: float) -> float:
        return float(sum(variance / whole * student.ppf(1.0 - level / 2.0, degrees) for variance, degrees in parts))

    statistic = abs(found.accuracy) / whole**0.5
    assert found.p_value == pytest.approx(brentq(lambda level: critical(level) - statistic, 1e-12, 1.0), rel=1e-6)
    assert found.high - found.low == pytest.approx(2.0 * critical(0.05) * whole**0.5)


def test_many_images_leave_the_seeds() -> None:
    """Where images are many and seeds differ widely, it is a t-test of the accuracies, with cautious degrees of freedom: one
    less than the number of seeds."""
    generator = np.random.default_rng(0)
    first, second = (
        generator.random((4, 100_000)) < np.array(each)[:, None] for each in ([0.5, 0.6, 0.7, 0.8], [0.7, 0.85, 0.9, 0.8])
    )
    expected = ttest_ind(second.mean(axis=1), first.mean(axis=1), equal_var=False).statistic
    assert family_difference(first, second).p_value == pytest.approx(2.0 * student.sf(expected, 3), rel=0.01)


@pytest.mark.parametrize(("only_first", "only_second"), [(5, 0), (6, 0), (15, 5), (12, 5), (60, 29), (50, 40)])
def test_networks_that_agree_are_one(only_first: int, only_second: int) -> None:
    """Where a family's networks are all alike, two networks are compared, and McNemar's test says the same."""
    first = networks([list(range(only_first))] * 3, 1000)
    second = networks([list(range(only_first, only_first + only_second))] * 3, 1000)
    found, exact = family_difference(first, second), mcnemar(only_first, only_second)
    assert (found.p_value < 0.05) == (exact < 0.05)
    assert found.p_value == pytest.approx(exact, abs=0.06)


@PROPERTY
@given(SHAPES)
def test_interval_and_p_value_agree(shape: tuple[int, int, int, int, float]) -> None:
    """The p-value is below 0.05 exactly where the interval leaves out 0; the interval holds the difference."""
    found = family_difference(*random_families(shape))
    assert (found.p_value < 0.05) == (found.low > 0.0 or found.high < 0.0)
    assert -1.0 <= found.low <= found.accuracy <= found.high <= 1.0
    assert 0.0 < found.p_value <= 1.0


@PROPERTY
@given(SHAPES)
def test_families_reversed_have_the_other_sign(shape: tuple[int, int, int, int, float]) -> None:
    """Exchanging the families changes the sign of the difference and of its interval, and nothing else."""
    first, second = random_families(shape)
    one, other = family_difference(first, second, ("a", "b")), family_difference(second, first, ("b", "a"))
    assert other.accuracy == -one.accuracy
    assert (other.low, other.high) == pytest.approx((-one.high, -one.low))
    assert other.p_value == pytest.approx(one.p_value)
    assert (other.first, other.seeds, other.seed_std) == (one.second, one.seeds[::-1], one.seed_std[::-1])


def test_equal_families_do_not_differ() -> None:
    """The same networks on both sides differ by 0, with p = 1. Where no image tells any two apart, the interval is that of
    two such networks."""
    right, _ = random_families((3, 1, 200, 5, 0.0))
    assert (family_difference(right, right).accuracy, family_difference(right, right).p_value) == (0.0, 1.0)
    labels, alike = np.zeros(200, np.uint8), np.repeat(right[:1], 3, axis=0)
    found, two = family_difference(alike, alike), difference(labels, labels, labels)
    assert (found.low, found.high, found.p_value) == (two.low, two.high, 1.0)


@pytest.mark.parametrize("seeds", [(1, 1), (1, 8), (8, 1)])
def test_one_network_says_nothing_about_a_family(seeds: tuple[int, int]) -> None:
    """With one network of either family anything is possible, however clear it looks; the sentence says what would help."""
    found = family_difference(networks([list(range(90))] * seeds[0], 100), networks([[]] * seeds[1], 100))
    assert (found.low, found.high, found.p_value, found.enough_seeds) == (-1.0, 1.0, 1.0, False)
    assert (
        family_verdict(found)
        == family_verdict()
        == (
            "A single network does not show what another seed would change, so nothing can be said about the families. "
            "Train each winner on at least 2 fresh seeds, better on 5: set finalists.confirm to 5."
        )
    )


@pytest.mark.parametrize("shapes", [((3, 10), (3, 11)), ((0, 10), (3, 10)), ((3, 0), (3, 0)), ((10,), (10,))])
def test_what_does_not_match_is_refused(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    """Other images, no network or no image: an error that shows both shapes."""
    with pytest.raises(ValueError, match=re.escape(str(shapes[0]))):
        family_difference(np.ones(shapes[0], np.bool_), np.ones(shapes[1], np.bool_))


def test_a_family_difference_as_json() -> None:
    """What is written is read again as the same value; whether there are enough seeds is beside it."""
    adapter = TypeAdapter(FamilyDifference)
    found = family_difference(*random_families((3, 1, 50, 6, 0.2)))
    values = adapter.dump_python(found, mode="json")
    assert adapter.validate_python(values) == found
    assert (values["enough_seeds"], values["seed_std"][1]) == (False, None)


DEVIATIONS = [(0.0, 0.0), (0.1, 0.1), (0.0, 0.2)]


def simulated(seeds: tuple[int, int], deviations: tuple[float, float], gap: float = 0.0) -> list[tuple[Right, Right]]:
    """Families on 10,000 images, of which 500 are hard enough to be got wrong: half of their difficulty is common to all,
    a third is the family's. The true accuracies of a family's networks are about 99.4 % with this deviation, in points."""
    generator = np.random.default_rng(1)
    found = []
    for _ in range(400):
        common = generator.standard_normal(500) * 0.5**0.5
        pair = []
        for count, deviation, sign in zip(seeds, deviations, (-0.5, 0.5), strict=True):
            shared = common + generator.standard_normal(500) * (1 / 3) ** 0.5
            accuracy = 99.4 + sign * gap + deviation * generator.standard_normal(count)
            threshold = norm.ppf(1.0 - (100.0 - accuracy) / 5.0)[:, None]
            right = np.ones((count, 10_000), np.bool_)
            right[:, :500] = shared + generator.standard_normal((count, 500)) * (1 / 6) ** 0.5 < threshold
            pair.append(right)
        found.append((pair[0], pair[1]))
    return found


@pytest.mark.parametrize("seeds", [(2, 2), (3, 3), (5, 3)])
@pytest.mark.parametrize("deviations", DEVIATIONS)
def test_equal_families_are_seldom_told_apart(seeds: tuple[int, int], deviations: tuple[float, float]) -> None:
    """Between equally good families at most 5 % of the claims are wrong, whatever the seeds change and however few there are
    (of 400 simulations; 28 could be chance)."""
    claims = sum(family_difference(*pair).p_value < 0.05 for pair in simulated(seeds, deviations))
    assert claims <= 28


def test_one_network_each_is_often_wrong_about_families() -> None:
    """What this is for: McNemar's test on one network each is wrong about equal families in a quarter of all cases."""
    pairs = simulated((1, 1), (0.1, 0.1))
    wrong = sum(mcnemar(int((~a & b).sum()), int((a & ~b).sum())) < 0.05 for a, b in pairs)
    assert wrong / len(pairs) > 0.2


@pytest.mark.parametrize(("seeds", "least"), [(3, 0.5), (5, 0.9)])
def test_a_true_difference_is_found(seeds: int, least: float) -> None:
    """Of families that differ by 0.3 points at a deviation of 0.05, five networks each find most, three more than half."""
    pairs = simulated((seeds, seeds), (0.05, 0.05), gap=0.3)
    assert sum(family_difference(*pair).low > 0.0 for pair in pairs) / len(pairs) > least


CLEAR = FamilyDifference("ANN", "CNN", 10_000, (3, 3), 0.0022, 0.0005, 0.0039, 0.021, (0.0003, 0.0004))


def test_a_clear_difference_of_families() -> None:
    """The better family, by how much, over how many networks, in its favour whichever it is."""
    said = "by 0.22 points (3 networks of each, 95 % interval 0.05 to 0.39, p = 0.021)."
    assert family_verdict(CLEAR) == f"Over training seeds and test images together, the CNN is better than the ANN {said}"
    other = dataclasses.replace(CLEAR, accuracy=-0.0022, low=-0.0039, high=-0.0005)
    assert family_verdict(other) == f"Over training seeds and test images together, the ANN is better than the CNN {said}"


def test_no_clear_difference_of_families() -> None:
    """Who is ahead, and, with fewer than five seeds, what would tell more."""
    found = dataclasses.replace(CLEAR, seeds=(2, 3), accuracy=0.0005, low=-0.0010, high=0.0020, p_value=0.31)
    assert family_verdict(found) == (
        "Over training seeds and test images together, the ANN and the CNN cannot be told apart: the CNN is ahead by 0.05 "
        "points (2 networks of the ANN, 3 of the CNN, 95 % interval -0.10 to 0.20, p = 0.31). More seeds would tell more: "
        "set finalists.confirm to 5."
    )
    assert family_verdict(dataclasses.replace(found, seeds=(5, 6))).endswith("p = 0.31).")
    level = dataclasses.replace(found, accuracy=0.0, low=-0.001, high=0.001, p_value=1.0)
    assert "apart: their mean accuracies are equal (" in family_verdict(level)


def test_three_families() -> None:
    """Three families are ranked over seeds and images, with Holm's correction; the intervals leave out 0 exactly where the
    corrected p-value is below 0.05."""
    right = {
        "ANN": networks([[*range(90 + seed)] for seed in range(3)], 10_000),
        "CNN": networks([[*range(seed, 31)] for seed in range(3)], 10_000),
        "ResNet": networks([[*range(seed, 30)] for seed in range(3)], 10_000),
    }
    found = family_differences(right)
    raw = [family_difference(right[each.first], right[each.second]).p_value for each in found]
    assert [each.raw_p_value for each in found] == raw
    assert [each.p_value for each in found] == holm(raw)[0]
    assert [each.significant for each in found] == [True, True, False]
    for each in found:
        assert (each.low > 0.0 or each.high < 0.0) == each.significant
    assert family_verdict(*found, in_minutes=True) == (
        "Over training seeds and test images together, the ResNet and the CNN are better than the ANN; the ResNet and the "
        "CNN cannot be told apart (3 networks of each; Holm's correction for 3 comparisons). More seeds would tell more: "
        "give the sweep more minutes."
    )


def test_families_with_too_few_networks() -> None:
    """A family with a single network is named as one of which nothing can be said; the others are compared all the same."""
    said = family_verdict(CLEAR, alone=["ResNet"])
    assert said.startswith(family_verdict(CLEAR))
    assert "Nothing can be said about the ResNet: a single network does not show what another seed would change." in said
    assert said.endswith("More seeds would tell more: set finalists.confirm to 5.")
    assert family_verdict(alone=["ANN", "CNN", "ResNet"]) == family_verdict()


@PROPERTY
@given(SHAPES)
def test_the_sentence_does_not_contradict_its_figures(shape: tuple[int, int, int, int, float]) -> None:
    """It claims a difference exactly where the p-value and the interval do, and as they are printed."""
    found = family_difference(*random_families(shape), ("ANN", "CNN"))
    sentence = family_verdict(found)
    claimed = re.search(r"the (\w+) is better than the (\w+)", sentence)
    assert bool(claimed) == (found.p_value < 0.05)
    if claimed:
        assert claimed[1] == ("CNN" if found.accuracy > 0.0 else "ANN") != claimed[2]
    if found.enough_seeds:
        low, high = re.findall(r"interval (\S+) to (\S+),", sentence)[0]
        assert p_value(found.p_value) in sentence
        assert (float(low) > 0.0) == bool(claimed)
        assert float(high) > 0.0
