"""Trials and what becomes of them, as tests of the search make them: nothing is trained."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from digitsweep.config.experiment import Experiment, MinutesBudget
from digitsweep.families import Shape
from digitsweep.search.budget import START_SECONDS, SweepTime
from digitsweep.search.promotion import PromotionStudy
from digitsweep.search.scheduler import Scheduler
from digitsweep.search.study import Study
from digitsweep.trial import EpochMetrics, Kind, Trial, TrialRecord, TrialResult, TrialState


class Clock:
    """Shows what it is set to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def metrics(epoch: int = 1, accuracy: float = 0.5, seconds: float = 0.1) -> EpochMetrics:
    return EpochMetrics(epoch, 0.5, 0.8, 0.4, accuracy, 0.001, seconds)


def complete(trial: Trial, accuracy: float = 0.5, seconds: float = 0.3) -> TrialResult:
    """The result of a trial that has run to its end in so many seconds."""
    epochs = tuple(metrics(each + 1, accuracy, seconds / trial.epochs) for each in range(trial.epoch_count))
    return TrialResult(TrialState.COMPLETE, epochs, None, (np.zeros(3, np.float32),), 3, seconds)


def searched(study: Study, count: int = 1) -> list[Trial]:
    """The next trials of a study's search, all of which run; the baselines before them have ended."""
    found: list[Trial] = []
    while len(found) < count:
        trial = study.next_trial()
        assert trial is not None
        if trial.baseline is None:
            found.append(trial)
        else:
            study.trial_ended(trial, complete(trial, seconds=100.0))
    return found


class Machine:
    """Trains nothing: a clock, on which each training takes its predicted seconds times `slowness`."""

    def __init__(self, workers: int = 1, slowness: float = 1.0, shape: Shape = (8, 8, 1), images: int = 10_000) -> None:
        self.workers, self.slowness, self.shape, self.images = workers, slowness, shape, images
        self.clock = Clock()
        self.begun: list[Trial] = []
        """Everything that has begun, in order."""
        self.ended: list[TrialRecord] = []
        """Everything that has ended, in order."""
        self.estimates: list[tuple[float, float]] = []
        """After each training: the time, and the seconds that were then estimated to be left."""

    def study(
        self, experiment: Experiment, family: str = "ann", sweep_time: SweepTime | None = None, after: float = 0.0
    ) -> PromotionStudy:
        """A family's search on this machine; without a time that it shares with others, as if its sweep began now."""
        return PromotionStudy(
            experiment,
            family,
            self.shape,
            self.images,
            self.images // 5,
            sweep_time or self.time(experiment, after=after, families=[family]),
        )

    def time(
        self, experiment: Experiment, *, after: float = 0.0, elapsed: float = 0.0, families: Sequence[str] = ()
    ) -> SweepTime:
        assert isinstance(experiment.budget, MinutesBudget)
        named = families or list(map(str, experiment.families))
        return SweepTime(experiment.budget.minutes, lambda: self.workers, named, after, elapsed, self.clock)

    def seconds(self, trial: Trial) -> float:
        """What a training takes: a refit has a fifth more images."""
        work = trial.epochs * trial.params.epoch_seconds(self.shape, self.images)
        return START_SECONDS + self.slowness * work * (1.2 if trial.kind is Kind.REFIT else 1.0)

    def accuracy(self, trial: Trial) -> float:
        """Depends on the configuration, and grows with the rung."""
        return 0.8 + 0.02 * trial.rung - 0.05 * abs(math.log10(trial.params.learning_rate / 0.01))

    def result(self, trial: Trial) -> TrialResult:
        return complete(trial, self.accuracy(trial), self.seconds(trial))

    def train(self, scheduler: Scheduler) -> TrialRecord | None:
        """Trains the next trial of a scheduler to its end; None if it has none."""
        trial = scheduler.next_trial()
        if trial is None:
            return None
        self.begun.append(trial)
        self.clock.now += self.seconds(trial)
        self.ended.append(scheduler.trial_ended(trial, self.result(trial)))
        return self.ended[-1]

    def run(self, schedulers: Mapping[str, Scheduler]) -> None:
        """Trains with all workers, as the coordinator does, until nothing is left. By family."""
        running: dict[str, tuple[float, Trial]] = {}
        while True:
            while len(running) < self.workers:
                order = sorted(schedulers.values(), key=lambda each: (-each.priority(), each.progress()))
                trial = next((trial for each in (*order, *order) if (trial := each.next_trial()) is not None), None)
                if trial is None:
                    break
                self.begun.append(trial)
                running[trial.name] = self.clock.now + self.seconds(trial), trial
            if not running:
                return
            end, trial = min(running.values(), key=lambda each: each[0])
            self.clock.now = min(end, self.clock.now + 0.5)
            if self.clock.now >= end:
                del running[trial.name]
                self.ended.append(schedulers[trial.family].trial_ended(trial, self.result(trial)))
                left = sum(each.seconds_left() for each in schedulers.values()) / self.workers
                self.estimates.append((self.clock.now, left))
            for stopped in [each for scheduler in schedulers.values() for each in scheduler.out_of_time()]:
                end, _ = running.pop(stopped.name)
                trained = self.seconds(stopped) - (end - self.clock.now)
                result = TrialResult(TrialState.PRUNED, (metrics(1, 0.1),), train_seconds=trained, reason="stopped")
                self.ended.append(schedulers[stopped.family].trial_ended(stopped, result))
