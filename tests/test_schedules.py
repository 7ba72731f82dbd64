"""Learning-rate schedules: the rates that hold for all of them, and those that can be worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from support import PROPERTY

from digitsweep.families.ann import AnnParams
from digitsweep.training.schedules import plateaus, step_rates

SCHEDULES = ["constant", "step", "exponential", "cosine", "one_cycle", "plateau"]
LOSSES = st.lists(st.floats(0, 10) | st.just(float("nan")), max_size=12)


def params(schedule: str, learning_rate: float = 1.0, warmup: float = 0.5) -> AnnParams:
    """A softmax with this schedule."""
    values = {"hidden_layers": 0, "schedule": schedule, "learning_rate": learning_rate, "warmup": warmup}
    return AnnParams.model_validate(values)


def all_rates(of: AnnParams, epochs: int, steps: int, val_losses: Sequence[float] = ()) -> NDArray[np.float32]:
    """The rate of every step of a training; an epoch sees the losses of those before it."""
    return np.concatenate([step_rates(of, each * steps, steps, epochs * steps, val_losses[:each]) for each in range(epochs)])


@PROPERTY
@given(
    schedule=st.sampled_from(SCHEDULES),
    learning_rate=st.floats(1e-6, 10),
    warmup=st.floats(0.01, 0.99),
    epochs=st.integers(1, 12),
    steps=st.integers(1, 40),
    losses=LOSSES,
)
def test_rates_stay_within_bounds(
    schedule: str, learning_rate: float, warmup: float, epochs: int, steps: int, losses: list[float]
) -> None:
    """Each step has one rate: finite, not negative, and not above `learning_rate`."""
    for epoch in range(1, epochs + 1):
        rates = step_rates(params(schedule, learning_rate, warmup), (epoch - 1) * steps, steps, epochs * steps, losses)
        assert rates.shape == (steps,)
        assert rates.dtype == np.float32
        assert np.all(np.isfinite(rates))
        assert np.all(rates >= 0)
        assert np.all(rates <= learning_rate * (1 + 1e-6))


@PROPERTY
@given(
    schedule=st.sampled_from(["constant", "step", "exponential", "cosine", "one_cycle"]),
    warmup=st.floats(0.01, 0.99),
    epochs=st.integers(1, 12),
    steps=st.integers(1, 40),
)
def test_epochs_are_parts_of_one_curve(schedule: str, warmup: float, epochs: int, steps: int) -> None:
    """Several epochs follow the same curve as a single one of as many steps."""
    of = params(schedule, warmup=warmup)
    np.testing.assert_allclose(all_rates(of, epochs, steps), all_rates(of, 1, epochs * steps), rtol=1e-6)


@PROPERTY
@given(
    schedule=st.sampled_from(["cosine", "one_cycle"]),
    warmup=st.floats(0.05, 0.95),
    epochs=st.integers(2, 12),
    steps=st.integers(2, 40),
)
def test_smooth_schedules_do_not_jump(schedule: str, warmup: float, epochs: int, steps: int) -> None:
    """From one step to the next, also across epochs, cosine and one_cycle change no faster than their curve."""
    steepest = np.pi / 2 / (min(warmup, 1 - warmup) if schedule == "one_cycle" else 1)
    jumps = np.abs(np.diff(all_rates(params(schedule, warmup=warmup), epochs, steps)))
    assert jumps.max() <= steepest / (epochs * steps) + 1e-6


@pytest.mark.parametrize(
    ("of", "epochs", "steps", "expected"),
    [
        (params("constant", 0.25), 2, 3, [0.25] * 6),
        (params("step"), 4, 2, [1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01]),
        (params("exponential", 0.5), 2, 2, [0.5, 0.5 * 0.1**0.5, 0.05, 0.05 * 0.1**0.5]),
        (params("cosine", 2.0), 3, 1, [2, 1.5, 0.5]),
        (params("one_cycle", warmup=0.5), 2, 2, [1 / 25, (1 + 1 / 25) / 2, 1, (1 + 1 / 250_000) / 2]),
        (params("plateau", 0.8), 6, 1, [0.8, 0.8, 0.8, 0.4, 0.4, 0.2]),
    ],
    ids=SCHEDULES,
)
def test_rates_by_hand(of: AnnParams, epochs: int, steps: int, expected: list[float]) -> None:
    """A few steps of each schedule, worked out by hand; one_cycle as PyTorch's OneCycleLR, plateau with constant losses."""
    np.testing.assert_allclose(all_rates(of, epochs, steps, [1.0] * epochs), expected, rtol=1e-6)


def test_one_cycle_ends_low() -> None:
    """The last of many steps has 1/250,000 of the rate."""
    rates = all_rates(params("one_cycle"), 1, 1_000_000)
    np.testing.assert_allclose(rates[-1], 1 / 250_000, rtol=1e-3)


@pytest.mark.parametrize(
    ("losses", "count"),
    [
        ([], 0),
        ([1.0, 1.0], 0),
        ([1.0, 1.0, 1.0], 1),
        ([1.0, 1.0, 1.0, 1.0], 1),
        ([1.0, 1.0, 1.0, 1.0, 1.0], 2),
        ([1.0, 1.1, 0.9, 1.0, 0.8], 0),
        ([1.0, 0.9995, 0.9991], 1),
        ([1.0, 0.9995, 0.998], 0),
        ([float("nan")] * 2, 1),
    ],
)
def test_plateaus_by_hand(losses: list[float], count: int) -> None:
    """Two epochs in a row that improve on the best by less than 0.1 % are a plateau, and so are the next two."""
    assert plateaus(losses) == count


@pytest.mark.parametrize(("first", "steps"), [(-1, 10), (25, 10), (40, 1)])
def test_steps_out_of_range_are_refused(first: int, steps: int) -> None:
    """Steps count from 0 to as many as there are."""
    with pytest.raises(ValueError, match="must lie within the 30"):
        step_rates(params("cosine"), first, steps, 30, [])
