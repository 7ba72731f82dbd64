"""What hears of everything that happens in a sweep, to keep it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from digitsweep.comparison import Comparison, Opening
from digitsweep.results import EpochMetrics, Trial, TrialRecord


class Tracker(Protocol):
    """Hears what happens in a sweep."""

    run_id: str

    def trial_started(self, trial: Trial) -> None:
        """A worker has begun with a trial."""

    def epoch_ended(self, trial: Trial, metrics: EpochMetrics) -> None:
        """A trial has finished an epoch."""

    def trial_ended(self, record: TrialRecord) -> None:
        """A trial is over."""

    def run_of(self, trial: Trial) -> str:
        """The id of a trial's run, once it is written."""

    def measured(self, trial: Trial, metrics: Mapping[str, float]) -> None:
        """What was found out about a trained network after its training."""

    def test_opened(self, family: str, opening: Opening) -> None:
        """The sealed test set was opened for a family."""

    def check(self) -> None:
        """Raises DigitsweepError where records could not be written."""

    def compared(self, comparison: Comparison, files: Mapping[str, bytes]) -> None:
        """The answer, and files to stand beside it, by name."""

    def ended(self, state: str) -> None:
        """The sweep is COMPLETE, INTERRUPTED or FAILED. Waits until everything is written."""


class NoTracker:
    """Records nothing."""

    run_id = ""

    def trial_started(self, trial: Trial) -> None: ...
    def epoch_ended(self, trial: Trial, metrics: EpochMetrics) -> None: ...
    def trial_ended(self, record: TrialRecord) -> None: ...
    def run_of(self, trial: Trial) -> str:
        return ""

    def measured(self, trial: Trial, metrics: Mapping[str, float]) -> None: ...
    def test_opened(self, family: str, opening: Opening) -> None: ...
    def check(self) -> None: ...
    def compared(self, comparison: Comparison, files: Mapping[str, bytes]) -> None: ...
    def ended(self, state: str) -> None: ...
