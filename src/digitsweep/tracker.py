"""What hears of everything that happens in a sweep, to keep it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from digitsweep.comparison import Comparison, Opening
from digitsweep.results import EpochMetrics, Kind, Trial, TrialRecord


@dataclass(frozen=True)
class Backlog:
    """Records that wait, on disk, for a server that does not take them."""

    count: int
    reason: str
    """Why the last try failed."""


@dataclass(frozen=True)
class Past:
    """What a sweep had done when it was broken off; nothing of one that begins."""

    ended: tuple[TrialRecord, ...] = ()
    """Trainings, finalists' too, in the order in which they ended."""
    cut: tuple[Trial, ...] = ()
    """Those that had begun and not ended: they are trained again."""
    lost: tuple[Trial, ...] = ()
    """Those that had been complete, and whose learned numbers are asked for and lost: they are trained again, whole."""
    runs: Mapping[tuple[str, int], str] = field(default_factory=dict)
    """Ids of runs, by the trial's name and which attempt at it."""
    openings: Mapping[str, int] = field(default_factory=dict)
    """How often the test set was opened for each family."""

    def of(self, family: str, *kinds: Kind) -> tuple[list[TrialRecord], list[Trial], list[Trial]]:
        """What had ended, what was cut and what is lost of one family."""
        return (
            [each for each in self.ended if each.trial.family == family and each.trial.kind in kinds],
            [each for each in self.cut if each.family == family and each.kind in kinds],
            [each for each in self.lost if each.family == family and each.kind in kinds],
        )


class Tracker(Protocol):
    """Hears what happens in a sweep."""

    run_id: str
    past: Past

    def trial_started(self, trial: Trial) -> None:
        """A worker has begun with a trial."""

    def epoch_ended(self, trial: Trial, metrics: EpochMetrics) -> None:
        """A trial has finished an epoch."""

    def trial_ended(self, record: TrialRecord) -> None:
        """A trial is over."""

    def attempt_ended(self, trial: Trial, reason: str) -> None:
        """A trial was broken off for a reason that says nothing of it; it will be started again."""

    def run_of(self, trial: Trial) -> str:
        """The id of a trial's run, once it is written."""

    def measured(self, trial: Trial, metrics: Mapping[str, float]) -> None:
        """What was found out about a trained network after its training."""

    def test_opened(self, family: str, opening: Opening) -> None:
        """The sealed test set was opened for a family."""

    def check(self) -> None:
        """Raises DigitsweepError where records can be kept no more, or another coordinator has taken the sweep over."""

    def settle(self) -> None:
        """Comes back when everything so far is written. Raises DigitsweepError where the server takes nothing for too
        long."""

    def backlog(self) -> Backlog | None:
        """What waits because the server does not take it; None where all goes well."""

    def notices(self) -> Iterable[str]:
        """What a person should know, each said once."""

    def compared(self, comparison: Comparison, files: Mapping[str, bytes]) -> None:
        """The answer, and files to stand beside it, by name."""

    def ended(self, state: str) -> None:
        """The sweep is COMPLETE, INTERRUPTED or FAILED. Waits until everything is written."""


class NoTracker:
    """Records nothing."""

    run_id = ""
    past = Past()

    def trial_started(self, trial: Trial) -> None: ...
    def epoch_ended(self, trial: Trial, metrics: EpochMetrics) -> None: ...
    def trial_ended(self, record: TrialRecord) -> None: ...
    def attempt_ended(self, trial: Trial, reason: str) -> None: ...
    def run_of(self, trial: Trial) -> str:
        return ""

    def measured(self, trial: Trial, metrics: Mapping[str, float]) -> None: ...
    def test_opened(self, family: str, opening: Opening) -> None: ...
    def check(self) -> None: ...
    def settle(self) -> None: ...
    def backlog(self) -> Backlog | None:
        return None

    def notices(self) -> Iterable[str]:
        return ()

    def compared(self, comparison: Comparison, files: Mapping[str, bytes]) -> None: ...
    def ended(self, state: str) -> None: ...
