"""What a family's search has spent of its budget: trials, and the training seconds of them all added up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from digitsweep.experiment import Budget
from digitsweep.results import TrialResult

STOPPING_SECONDS = 1.0
"""What a trial still takes after it was told to stop: the step it is in, and its evaluation."""


@dataclass
class Sums:
    """What trials that ended took. Kept as sums, so that a study of 10,000 trials is as quick as one of ten."""

    trials: int = 0
    epochs: int = 0
    seconds: float = 0.0

    def add(self, result: TrialResult) -> None:
        self.trials += 1
        self.epochs += len(result.epochs)
        self.seconds += result.train_seconds


class Spending:
    """Counts the searched trials that began, run and ended; baselines cost no budget."""

    def __init__(self, budget: Budget, clock: Callable[[], float]) -> None:
        self.started = 0
        self.ended = Sums()
        self._budget, self._clock = budget, clock
        self._running = 0
        self._begun = 0.0
        """The moments at which the running trials started, added up: all that their seconds need."""

    def begin(self) -> float:
        """A trial begins; the moment, to be given back at its end."""
        now = self._clock()
        self.started += 1
        self._running += 1
        self._begun += now
        return now

    def end(self, begun: float) -> None:
        """A trial that began at this moment runs no more."""
        self._running -= 1
        self._begun = self._begun - begun if self._running else 0.0  # no rounding is carried on

    def allows_another(self) -> bool:
        """Whether there are trials left, and time for a first epoch as long as they have been so far."""
        return self.started < self._budget.trials and self.seconds() + self.epoch_seconds() < self._budget.seconds

    def is_spent(self) -> bool:
        """Whether the trials that run should stop, so that the seconds are not overdrawn."""
        return self.seconds() + STOPPING_SECONDS * self._running >= self._budget.seconds

    def share(self) -> float:
        """How much of the budget is used, 0 to 1: the larger of the shares of trials and of seconds."""
        trials = (self.started - 0.5 * self._running) / self._budget.trials
        return min(1.0, max(trials, self.seconds() / self._budget.seconds))

    def seconds(self) -> float:
        """Training seconds so far, those of the trials that run too."""
        return self.ended.seconds + self._running * self._clock() - self._begun

    def seconds_left(self) -> float:
        """Training seconds still to come, from the mean of the trials that ended."""
        left = self._budget.trials - self.started + 0.5 * self._running
        ended = self.ended
        each = ended.seconds / ended.trials if ended.trials else self._budget.seconds / max(self._budget.trials, 1)
        return max(0.0, min(self._budget.seconds - self.seconds(), left * each))

    def epoch_seconds(self) -> float:
        """What an epoch of the search has taken so far, in the mean; 0 while there was none."""
        return self.ended.seconds / self.ended.epochs if self.ended.epochs else 0.0
