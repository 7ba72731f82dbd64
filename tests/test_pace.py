"""How long an epoch may take: much longer than any so far for its size, and never so little that a busy machine looks
hung."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st
from support import PROPERTY

from digitsweep.pace import TIMES, Pace
from digitsweep.params import parse_params
from digitsweep.results import EpochMetrics, Trial

SMALL = Trial(0, parse_params("ann", {"hidden_layers": 0}), 0, 3)
LARGE = Trial(1, parse_params("ann", {"hidden_layers": 2, "units": 512}), 0, 3)


def epoch(seconds: float) -> EpochMetrics:
    return EpochMetrics(1, 1.0, 0.5, 1.0, 0.5, 0.01, seconds)


def test_nothing_is_known_at_first() -> None:
    """Before an epoch was measured none is too slow."""
    assert Pace(28).limit(SMALL) == math.inf


@PROPERTY
@given(st.lists(st.floats(0.01, 1000), min_size=1, max_size=5), st.floats(0, 100))
def test_the_slowest_counts(seconds: list[float], least: float) -> None:
    """An epoch may take many times the slowest so far, and a larger network more."""
    pace = Pace(28, least)
    for each in seconds:
        pace.note(SMALL, epoch(each))
    assert pace.limit(SMALL) >= max(least, TIMES * max(seconds) * 0.999)
    assert pace.limit(LARGE) >= pace.limit(SMALL)
