"""The protocol between the coordinator and what it trains: which trial next, and whether one continues or stops."""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence
from typing import Protocol

from digitsweep.trial import CUT_OFF, INTERRUPTED, EpochMetrics, Trial, TrialRecord, TrialResult, TrialState

HOPELESS = 5
"""So many trials of a family's search must fail at its beginning, all for the same reason, for it to be given up."""


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

    def notices(self) -> Sequence[str]:
        """What the person should know, each sentence once."""


class Failures:
    """Gives a family's search up if its first trials all fail for the same reason: where no network can be built, the rest
    of the budget would go into failures."""

    def __init__(self, family: str) -> None:
        self._family = family
        self._reasons: list[str] = []
        self._is_hopeful = False
        self._notices: list[str] = []

    def end_search(self, result: TrialResult) -> bool:
        """Counts a trial of the search that has ended, without baselines. Whether the search should end."""
        if self._is_hopeful or result.reason in (INTERRUPTED, CUT_OFF):
            return False
        self._reasons.append(result.reason)
        is_same = len({re.sub(r"\d+", "", each) for each in self._reasons}) == 1  # but for a number of units, say
        # Where there was a network, and its loss was not finite, other values may do better.
        self._is_hopeful = result.state is not TrialState.FAIL or result.weight_count > 0 or not is_same
        if self._is_hopeful or len(self._reasons) != HOPELESS:
            return False
        told = f"its first {HOPELESS} trials have all failed: {result.reason}"
        self._notices = [f"The search of the family {self._family} ends early: {told}"]
        return True

    def notices(self) -> list[str]:
        """One sentence when the search has been given up, once."""
        found, self._notices = self._notices, []
        return found
