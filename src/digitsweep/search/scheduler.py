"""The protocol between the coordinator and what it trains: which trial next, and whether one continues or stops."""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence
from typing import Protocol

from digitsweep.trial import CUT_OFF, INTERRUPTED, EpochMetrics, Trial, TrialRecord, TrialResult, TrialState

HOPELESS = 5
"""A family's search ends if this many trials at its beginning all fail for the same reason."""


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
        """How soon the next trial should start, compared with those of other families; 0 for one that a search proposed."""

    def progress(self) -> float:
        """The share of the work that has begun, 0 to 1."""

    def seconds_left(self) -> float:
        """Estimated training seconds still to come; inf while nothing is known."""

    def notices(self) -> Sequence[str]:
        """Messages for the person, each returned once."""


class Failures:
    """Ends a family's search if its first trials all fail for the same reason: if no network can be built, the rest of the
    budget would be wasted on failures."""

    def __init__(self, family: str) -> None:
        self._family = family
        self._reasons: list[str] = []
        self._is_hopeful = False
        self._notices: list[str] = []

    def end_search(self, result: TrialResult) -> bool:
        """Counts a trial of the search (no baseline) that has ended; True if the search should end."""
        if self._is_hopeful or result.reason in (INTERRUPTED, CUT_OFF):
            return False
        self._reasons.append(result.reason)
        is_same = len({re.sub(r"\d+", "", each) for each in self._reasons}) == 1  # apart from numbers, such as units
        # If there was a network, and only its loss was not finite, other values may do better.
        self._is_hopeful = result.state is not TrialState.FAIL or result.weight_count > 0 or not is_same
        if self._is_hopeful or len(self._reasons) != HOPELESS:
            return False
        why = f"its first {HOPELESS} trials all failed: {result.reason}"
        self._notices = [f"The search of the family {self._family} ends early, because {why}"]
        return True

    def notices(self) -> list[str]:
        """One sentence, once, after the search has ended early."""
        found, self._notices = self._notices, []
        return found
