"""Who hears what happens in a sweep: every Listener, and among them the Tracker, which keeps it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Self

from digitsweep.config.experiment import Experiment
from digitsweep.data import Dataset
from digitsweep.evaluation.comparison import Comparison, Opening
from digitsweep.tracking.provenance import Commit
from digitsweep.trial import EpochMetrics, Kind, Trial, TrialRecord


class Listener:
    """Hears the events of a sweep. Each method does nothing here; a listener overrides those that it needs.

    All calls come from the coordinator's thread, and workers wait for new trials meanwhile: return soon."""

    def images_read(self, done: int, total: int) -> None:
        """So many of so many image files have been read: first 0, in the end all. Not said if the cache has them."""

    def sweep_started(self, experiment: Experiment, dataset: Dataset, workers: int) -> None:
        """Workers and records are ready."""

    def trial_restored(self, record: TrialRecord) -> None:
        """A trial of the search had ended before the sweep was interrupted."""

    def trial_started(self, trial: Trial) -> None:
        """A worker has begun a trial."""

    def epoch_ended(self, trial: Trial, metrics: EpochMetrics) -> None:
        """A trial has finished an epoch."""

    def attempt_ended(self, trial: Trial, reason: str, seconds: float) -> None:
        """A trial has lost its worker after this many training seconds; it will be started again."""

    def trial_ended(self, record: TrialRecord) -> None:
        """A trial is over."""

    def progressed(self, seconds_left: float, workers: str = "") -> None:
        """The coordinator has handled all events so far.

        seconds_left: inf while nobody can know; workers: how many there are, and where, as `Workers.status` says."""

    def nearly_done(self) -> None:
        """A worker has nothing left to train, or will not have in ten seconds. Said once."""

    def note(self, text: str) -> None:
        """A sentence for the person at the terminal."""


@dataclass(frozen=True)
class Past:
    """What a sweep had done when it was interrupted; empty for a new sweep."""

    ended: tuple[TrialRecord, ...] = ()
    """Trainings, finalists' too, in the order in which they ended."""
    cut: tuple[Trial, ...] = ()
    """Those that had begun and not ended: they are trained again."""
    lost: tuple[Trial, ...] = ()
    """Those that had been complete, but whose weights are needed and lost: they are trained again, whole."""
    runs: Mapping[tuple[str, int], str] = field(default_factory=dict)
    """Run ids, by the trial's name and the number of the attempt."""
    openings: Mapping[str, int] = field(default_factory=dict)
    """How often the test set was opened for each family."""
    commits: Mapping[str, Commit] = field(default_factory=dict)
    """Of the code that trained what had ended, by the trial's name."""
    attempt_seconds: Mapping[str, float] = field(default_factory=dict)
    """Training seconds of the searched trials' attempts that did not end, by family."""
    elapsed: float = 0.0
    """Seconds, by the clock, in which anything was trained."""

    def of(self, family: str, *kinds: Kind) -> tuple[list[TrialRecord], list[Trial], list[Trial]]:
        """What had ended, what was cut and what is lost of one family."""
        return (
            [each for each in self.ended if each.trial.family == family and each.trial.kind in kinds],
            [each for each in self.cut if each.family == family and each.kind in kinds],
            [each for each in self.lost if each.family == family and each.kind in kinds],
        )

    def has_finalists(self, family: str) -> bool:
        """Whether the training of a family's finalists had begun: nothing more is drawn then."""
        trials = [*(each.trial for each in self.ended), *self.cut, *self.lost]
        return any(each.family == family and each.kind is not Kind.TRIAL for each in trials)


class Tracker(Listener):
    """The listener that keeps what it hears. This one keeps nothing: it is the base of those that do.

    A `with` block ends the records, whatever happens in it: INTERRUPTED by KeyboardInterrupt, FAILED by other exceptions."""

    run_id: str = ""
    """Of the sweep's run; empty until it is open."""
    past: Past = Past()
    state: str = "COMPLETE"
    """How the sweep ends if its block ends without an exception: COMPLETE or INTERRUPTED."""

    def run_of(self, trial: Trial) -> str:
        """The id of a trial's run, once it is written."""
        return ""

    def measured(self, trial: Trial, metrics: Mapping[str, float]) -> None:
        """What was found out about a trained network after its training."""

    def test_opened(self, family: str, opening: Opening) -> None:
        """The sealed test set was opened for a family."""

    def check(self) -> None:
        """Raises DigitsweepError if records can no longer be kept, or another coordinator has taken the sweep over."""

    def settle(self) -> None:
        """Returns when everything so far is written. Raises DigitsweepError if the server takes nothing for too long."""

    def notices(self) -> Iterable[str]:
        """What the person should know, each sentence once."""
        return ()

    def compared(self, comparison: Comparison, files: Mapping[str, bytes]) -> None:
        """The answer, and the files that go with it, by name."""

    def ended(self, state: str) -> None:
        """The sweep is COMPLETE, INTERRUPTED or FAILED. Returns when everything is written."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.ended(self.state)
        else:
            self.ended("INTERRUPTED" if issubclass(kind, KeyboardInterrupt) else "FAILED")
