"""The protocol between the coordinator and what it trains: which trial next, and whether one continues or stops."""

from __future__ import annotations

import enum
from typing import Protocol

from digitsweep.trial import EpochMetrics, Trial, TrialRecord, TrialResult


class SchedulerDecision(enum.Enum):
    """Whether a trial goes on after an epoch."""

    CONTINUE = enum.auto()
    STOP = enum.auto()
    """The trial ends with this epoch: the scheduler hears of no later one, and the result is PRUNED and cut here."""


class Scheduler(Protocol):
    """One family's trials."""

    def next_trial(self) -> Trial | None:
        """The trial to start now; None if there is none now."""

    def epoch_ended(self, trial: Trial, metrics: EpochMetrics) -> SchedulerDecision:
        """Counts an epoch of a running trial."""

    def out_of_time(self) -> list[Trial]:
        """The running trials to stop now, at once and not after an epoch; each is named once."""

    def attempt_ended(self, trial: Trial, seconds: float) -> None:
        """Takes a running trial back that has lost its worker after so many seconds: `next_trial` gives it out again."""

    def needs_weights(self, trial: Trial, result: TrialResult) -> bool:
        """Whether the weights of a running trial would be kept if it ended now with this COMPLETE result."""

    def trial_ended(self, trial: Trial, result: TrialResult) -> TrialRecord:
        """Counts a trial that has ended. The record says how, which the scheduler may know better than the worker. A result
        that is PRUNED although the scheduler had not stopped the trial means that the sweep was interrupted."""

    def priority(self) -> float:
        """How soon the next trial should start, beside the other family's; 0 for one of a search."""

    def progress(self) -> float:
        """The share of the work that has begun, 0 to 1."""

    def seconds_left(self) -> float:
        """Estimated training seconds still to come; inf while nothing is known."""
