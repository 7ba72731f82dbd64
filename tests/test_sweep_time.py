"""A sweep's minutes hold, on a fast machine and on a slow one: two families are searched to their end by a simulated clock,
with trainings that take longer or shorter than predicted. Nothing is trained."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
from running import EXPERIMENTS

from digitsweep.config.experiment_file import load_experiment
from digitsweep.families import Shape
from digitsweep.search.budget import MOST_SLOWER, START_SECONDS, SweepTime
from digitsweep.search.finalists import Finalists, Succession
from digitsweep.search.promotion import FINALISTS, FinalPace, PromotionStudy
from digitsweep.trial import EpochMetrics, Kind, Trial, TrialRecord, TrialResult, TrialState

AFTER = 15.0
"""Seconds that evaluation takes on the reference machine; longer on a slower one."""
POLL = 0.5
UNCERTAIN = 0.2
"""Standard deviation of the logarithm of how much longer than predicted a training takes."""


@dataclass
class Simulated:
    """How a simulated sweep went."""

    minutes: float
    records: list[TrialRecord]
    left: list[tuple[float, float]]
    """(seconds since the command, seconds that the sweep said were left)."""

    def count(self, family: str, kind: Kind, rung: int | None = None) -> int:
        """Complete trainings, without baselines."""
        return sum(
            each.trial.family == family
            and each.trial.kind is kind
            and each.trial.baseline is None
            and each.result.state is TrialState.COMPLETE
            and rung in (None, each.trial.rung)
            for each in self.records
        )


def simulate(
    name: str,
    minutes: float,
    workers: int,
    slower: float,
    *,
    shape: Shape = (28, 28, 1),
    images: int = 50_000,
    seed: int = 0,
) -> Simulated:
    """Runs the schedulers of an experiment as the coordinator does, on a machine that takes `slower` times as long as the
    reference machine."""
    experiment = load_experiment(EXPERIMENTS / f"{name}.yaml").changed(minutes=minutes, seed=seed)
    now, random = [3.0], np.random.default_rng(seed)
    time = SweepTime(minutes, lambda: workers, experiment.families, AFTER, 3.0, clock=lambda: now[0])

    def succession(family: str) -> Succession:
        study = PromotionStudy(experiment, family, shape, images, images // 5, time)
        return Succession(study, lambda: Finalists(experiment, family, FINALISTS, study.records, FinalPace(study)))

    families = {str(family): succession(str(family)) for family in experiment.families}
    running: dict[str, tuple[Trial, float, float]] = {}
    quality: dict[object, float] = {}
    found = Simulated(0.0, [], [])

    def fill() -> None:
        while len(running) < workers:
            order = sorted(families.values(), key=lambda one: (-one.priority(), one.progress()))
            for each in (*order, *order):
                if (trial := each.next_trial()) is not None:
                    break
            else:
                return
            refit = 1.2 if trial.kind is Kind.REFIT else 1.0
            seconds = trial.epochs * trial.params.epoch_seconds(shape, images) * refit * slower
            seconds = START_SECONDS + seconds * math.exp(random.normal(0.0, UNCERTAIN))
            running[trial.name] = trial, now[0], now[0] + seconds

    fill()
    while running:
        now[0] = min(now[0] + POLL, *(end for *_, end in running.values()))
        stopped = {trial.name for each in families.values() for trial in each.out_of_time()}
        for name, (trial, begun, end) in list(running.items()):
            if end > now[0] and name not in stopped:
                continue
            del running[name]
            state = TrialState.COMPLETE if end <= now[0] else TrialState.PRUNED
            drawn = random.normal(0.8 if trial.baseline else 0.9, 0.02)
            accuracy = quality.setdefault(trial.params.key(), drawn) + 0.02 * math.log10(1 + trial.epochs)
            epochs = (EpochMetrics(1, 0.0, 0.0, 0.0, accuracy, 0.0, 0.0),) if state is TrialState.COMPLETE else ()
            result = TrialResult(state, epochs, None, (np.zeros(1, np.float32),), 1, now[0] - begun)
            found.records.append(families[trial.family].trial_ended(trial, result))
            fill()
        found.left.append((now[0], time.after() + sum(each.seconds_left() for each in families.values()) / workers))
    found.minutes = (now[0] + AFTER * min(max(1.0, slower), MOST_SLOWER)) / 60
    return found


@pytest.mark.parametrize("slower", [0.5, 1.0, 2.5])
@pytest.mark.parametrize("workers", [1, 2, 6])
@pytest.mark.parametrize("minutes", [3, 8, 15, 30])
def test_a_sweep_ends_with_its_minutes(minutes: int, workers: int, slower: float) -> None:
    """Whatever the machine, a sweep is over within a tenth of its minutes, and each family has an answer: a refit, networks
    on fresh seeds, and configurations on the highest rung and on the lowest."""
    swept = simulate("mnist", minutes, workers, slower)
    assert swept.minutes == pytest.approx(minutes, rel=0.1)
    for family in ("ann", "cnn"):
        assert swept.count(family, Kind.REFIT) == 1
        assert swept.count(family, Kind.CONFIRMATION) >= 1
        ladders = [each.trial.ladder for each in swept.records if each.trial.family == family and each.trial.ladder]
        assert swept.count(family, Kind.TRIAL, rung=len(ladders[-1]) - 1) >= 1
        assert swept.count(family, Kind.TRIAL, rung=0) >= 1
    names = Counter(each.trial.name for each in swept.records)
    assert set(names.values()) == {1}


def test_the_time_left_is_right() -> None:
    """From the first third of a sweep on, the time that it says is left is right within a fifth, on average."""
    errors = []
    for seed in range(6):
        swept = simulate("mnist", 15, 2, 1.0, seed=seed)
        end = 60 * swept.minutes
        errors += [abs(left - (end - at)) / (end - at) for at, left in swept.left if at > end / 3]
    assert np.mean(errors) < 0.2


def test_an_unaffordable_space_still_gives_an_answer() -> None:
    """On a machine that is far too slow for its minutes both families still have a network to register."""
    swept = simulate("mnist", 3, 1, 20.0)
    assert {each.trial.family for each in swept.records if each.result.state is TrialState.COMPLETE} == {"ann", "cnn"}
    assert swept.minutes < 2 * 3
