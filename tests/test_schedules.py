"""Learning-rate schedules: the rates that hold for all of them, and those that can be worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from support import PROPERTY

from digitsweep.params import AnnParams
from digitsweep.schedules import epoch_rates, plateaus

SCHEDULES = ["constant", "step", "exponential", "cosine", "one_cycle", "plateau"]
LOSSES = st.lists(st.floats(0, 10) | st.just(float("nan")), max_size=12)


def params(schedule: str, learning_rate: float = 1.0, warmup: float = 0.5) -> AnnParams:
    """A softmax with this schedule."""
    values = {"hidden_layers": 0, "schedule": schedule, "learning_rate": learning_rate, "warmup": warmup}
    return AnnParams.model_validate(values)


def all_rates(of: AnnParams, epochs: int, steps: int, val_losses: Sequence[float] = ()) -> NDArray[np.float32]:
    """The rate of every step of a training; an epoch sees the losses of those before it."""
    return np.concatenate([epoch_rates(of, epoch, epochs, steps, val_losses[: epoch - 1]) for epoch in range(1, epochs + 1)])


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
        rates = epoch_rates(params(schedule, learning_rate, warmup), epoch, epochs, steps, losses)
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


def test_constant_by_hand() -> None:
    """A constant rate is `learning_rate` at every step."""
    np.testing.assert_array_equal(all_rates(params("constant", 0.25), 2, 3), [0.25] * 6)


def test_step_by_hand() -> None:
    """A tenth after a half of the steps, a hundredth after three quarters."""
    np.testing.assert_allclose(all_rates(params("step"), 4, 2), [1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01], rtol=1e-6)


def test_exponential_by_hand() -> None:
    """Half-way down to a hundredth is a tenth."""
    root = 0.1**0.5
    expected = [0.5, 0.5 * root, 0.05, 0.05 * root]
    np.testing.assert_allclose(all_rates(params("exponential", 0.5), 2, 2), expected, rtol=1e-6)


def test_cosine_by_hand() -> None:
    """Three quarters of the rate after a third, a quarter after two."""
    np.testing.assert_allclose(all_rates(params("cosine", 2.0), 3, 1), [2, 1.5, 0.5], rtol=1e-6)


def test_one_cycle_by_hand() -> None:
    """From 1/25 over the mean to the whole rate in the warm-up, then down towards 1/10,000."""
    expected = [1 / 25, (1 + 1 / 25) / 2, 1, (1 + 1 / 10_000) / 2]
    np.testing.assert_allclose(all_rates(params("one_cycle", warmup=0.5), 2, 2), expected, rtol=1e-6)


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


def test_plateau_by_hand() -> None:
    """Each plateau among the losses so far halves the rate from the next epoch on."""
    rates = all_rates(params("plateau", 0.8), 6, 1, [1.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    np.testing.assert_allclose(rates, [0.8, 0.8, 0.8, 0.4, 0.4, 0.2], rtol=1e-6)


@pytest.mark.parametrize("epoch", [0, 4, -1])
def test_an_epoch_out_of_range_is_refused(epoch: int) -> None:
    """Epochs count from 1 to as many as there are."""
    with pytest.raises(ValueError, match=f"must be 1 to 3, but is {epoch}"):
        epoch_rates(params("cosine"), epoch, 3, 10, [])
