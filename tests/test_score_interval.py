"""The interval that decides whether a model is not worse: published and hand-computed ends, and how often it is wrong."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import multinomial, norm
from support import PROPERTY

from digitsweep.evaluation.statistics import score_interval

SQUARE = float(norm.isf(0.025)) ** 2
"""1.96 squared."""


@pytest.mark.parametrize(
    ("counts", "published"), [((161, 6, 16), (-0.1240, -0.0054)), ((21, 1, 7), (-0.5172, -0.0260))], ids=["Cavo", "Bentur"]
)
def test_the_published_intervals(counts: tuple[int, int, int], published: tuple[float, float]) -> None:
    """Two studies as Fagerland, Lydersen and Laake (2017, chapter 8) have their Tango intervals: complete responses before
    and after a therapy (Cavo 2012), and airways before and after a transplantation (Bentur 2009)."""
    assert score_interval(*counts) == pytest.approx(published, abs=0.00006)


@pytest.mark.parametrize("images", [20, 359, 10_000])
def test_ends_by_hand(images: int) -> None:
    """Where no image favours the first model, the formula is a line: the lower end is (b - z^2) / (n + z^2)."""
    for more in (0, 1, 3, 4):
        low, high = score_interval(images, more, 0)
        assert low == pytest.approx((more - SQUARE) / (images + SQUARE))
        assert score_interval(images, 0, more) == pytest.approx((-high, -low))
    assert score_interval(images, 0, 0)[1] == pytest.approx(SQUARE / (images + SQUARE))


def test_one_model_has_everything_right() -> None:
    """The interval stays within -1 and 1, and has a width, where every image favours the same model."""
    assert score_interval(5, 5, 0) == pytest.approx(((5 - SQUARE) / (5 + SQUARE), 1.0))
    assert score_interval(1, 0, 1) == pytest.approx((-1.0, (SQUARE - 1) / (SQUARE + 1)))


@pytest.mark.parametrize(("images", "more", "fewer"), [(359, 2, 1), (359, 1, 4), (1000, 60, 20), (50, 9, 3)])
def test_the_ends_are_where_the_score_test_turns(images: int, more: int, fewer: int) -> None:
    """At each end the score is 1.96 standard errors, with the likeliest share of the other images found by searching."""
    for end, sign in zip(score_interval(images, more, fewer), (1.0, -1.0), strict=True):

        def unlikeliness(share: float, true: float = end) -> float:
            shares = np.array([share + true, share, 1.0 - 2.0 * share - true])
            return float(-np.dot([more, fewer, images - more - fewer], np.log(shares)))

        within = (max(0.0, -end) + 1e-9, (1.0 - end) / 2.0 - 1e-9)
        share = minimize_scalar(unlikeliness, bounds=within, method="bounded", options={"xatol": 1e-12}).x
        error = (images * (2.0 * share + end - end**2)) ** 0.5
        assert (more - fewer - images * end) / error == pytest.approx(sign * SQUARE**0.5, rel=1e-5)


@PROPERTY
@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 5000))
def test_the_interval_holds_the_difference(more: int, fewer: int, others: int) -> None:
    """It holds what was counted, mirrors where the models change places, and is narrower on more images of the kind."""
    images = max(more + fewer + others, 1)
    low, high = score_interval(images, more, fewer)
    assert -1.0 <= low <= (more - fewer) / images <= high <= 1.0
    assert score_interval(images, fewer, more) == (-high, -low)
    narrow = score_interval(4 * images, 4 * more, 4 * fewer)
    assert narrow[1] - narrow[0] < high - low


@pytest.mark.parametrize("margin", [0.002, 0.01])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.002, 0.005, 0.01])
def test_a_model_at_the_margin_seldom_passes(margin: float, share: float) -> None:
    """Where a model is worse by exactly the margin, at most 2.5 % of all test sets of 359 images let it pass: the sum over
    all counts that could come about. `share` of all images favour it; the bootstrap let 12 % pass."""
    images, passing = 359, 0.0
    for more in range(16):
        for fewer in range(32):
            if score_interval(images, more, fewer)[0] > -margin:
                shares = [share, share + margin, 1.0 - 2.0 * share - margin]
                passing += multinomial.pmf([more, fewer, images - more - fewer], images, shares)
    assert passing <= 0.025
