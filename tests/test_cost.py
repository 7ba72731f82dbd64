"""The Pareto front and the measuring of latencies."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from support import PROPERTY, made_split

from digitsweep.evaluation.cost import Cost, Latency, measure_latency, pareto


def cost(name: str, accuracy: float, weights: int, *latencies: Latency) -> Cost:
    return Cost(name, "ann", accuracy, weights, weights / 100, latencies)


def test_the_front_by_hand() -> None:
    """A model that is dearer and no better, or worse and no cheaper, is not on the front; the cheapest stands first."""
    costs = [
        cost("best", 0.99, 1000),
        cost("dear", 0.99, 2000),
        cost("small", 0.9, 10),
        cost("middle", 0.95, 100),
        cost("weak", 0.94, 100),
        cost("twin", 0.95, 100),
    ]
    assert pareto(costs, lambda each: each.weights) == ("small", "middle", "twin", "best")
    assert pareto(costs, lambda each: each.train_seconds) == ("small", "middle", "twin", "best")
    assert pareto([], lambda each: each.weights) == ()


def test_the_front_by_latency() -> None:
    """By latency only models count whose latency at this batch size was measured."""
    costs = [
        cost("slow", 0.99, 1, Latency(1, 0.02, 0.03), Latency(256, 0.5, 0.6)),
        cost("quick", 0.98, 9, Latency(1, 0.01, 0.09)),
        cost("never run", 1.0, 1),
    ]
    assert pareto(costs, lambda each: each.latency(1)) == ("quick", "slow")
    assert pareto(costs, lambda each: each.latency(256)) == ("slow",)
    assert pareto(costs, lambda each: each.latency(7)) == ()


COSTS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=12).map(
    lambda pairs: [cost(str(number), accuracy / 6, weights) for number, (accuracy, weights) in enumerate(pairs)]
)


@PROPERTY
@given(COSTS)
def test_nobody_on_the_front_is_beaten(costs: list[Cost]) -> None:
    """Nobody beats one on the front; everybody else is beaten by one on it; the front rises in cost and accuracy."""
    by_name = {each.name: each for each in costs}
    front = [by_name[name] for name in pareto(costs, lambda each: each.weights)]

    def beaten(each: Cost, by: list[Cost]) -> bool:
        return any(
            (other.accuracy > each.accuracy and other.weights <= each.weights)
            or (other.accuracy >= each.accuracy and other.weights < each.weights)
            for other in by
        )

    assert not any(beaten(each, costs) for each in front)
    assert all(beaten(each, front) for each in costs if each not in front)
    places = [(each.weights, each.accuracy) for each in front]
    assert places == sorted(places)


class Clock:
    """A clock that only `predict` moves: by so many seconds a call, the last of them for all further calls."""

    def __init__(self, *durations: float) -> None:
        self.now, self.durations, self.batches = 0.0, list(durations), list[NDArray[np.uint8]]()

    def predict(self, batch: NDArray[np.uint8]) -> None:
        self.batches.append(batch)
        self.now += self.durations.pop(0) if len(self.durations) > 1 else self.durations[0]


def measured(clock: Clock, monkeypatch: pytest.MonkeyPatch, batch: int, repeats: int) -> Latency:
    monkeypatch.setattr(time, "perf_counter", lambda: clock.now)
    (found,) = measure_latency(clock.predict, made_split(5).images, (batch,), repeats=repeats)
    return found


def test_latency_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """The two slow first calls warm up; median and 95th percentile are of the others."""
    clock = Clock(0.3, 0.2, 0.01, 0.02, 0.03, 0.04, 0.14)
    found = measured(clock, monkeypatch, 3, repeats=5)
    assert found.batch == 3
    assert found.median == pytest.approx(0.03)
    assert found.p95 == pytest.approx(0.04 + 0.8 * 0.1)
    assert len(clock.batches) == 7


def test_measuring_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """About a second for a batch size; a model that needs longer for one call is called twice."""
    quick = Clock(0.1)
    assert measured(quick, monkeypatch, 1, repeats=1000).median == pytest.approx(0.1)
    assert quick.now == pytest.approx(1.0, abs=0.11)
    slow = Clock(7.0)
    assert measured(slow, monkeypatch, 1, repeats=1000) == Latency(1, 7.0, 7.0)
    assert len(slow.batches) == 2


def test_batches_are_filled() -> None:
    """Each call gets as many images as the batch has, from the start again where there are too few."""
    images, seen = made_split(5).images, list[NDArray[np.uint8]]()
    found = measure_latency(seen.append, images, (1, 12), repeats=3)
    assert [each.batch for each in found] == [1, 12]
    assert [len(each) for each in seen] == [1] * 5 + [12] * 5
    np.testing.assert_array_equal(seen[-1], np.concatenate([images, images, images[:2]]))
    assert all(0.0 < each.median <= each.p95 for each in found)
