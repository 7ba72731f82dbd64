"""What the coordinator asks of whoever hands out a family's trainings: its study, and then its finalists."""

from __future__ import annotations

import enum
import hashlib
from typing import Protocol

from digitsweep.results import Epoch, Trial, TrialRecord, TrialResult

INTERRUPTED = "the sweep was interrupted"
SPENT = "the family's seconds were spent"
CUT_OFF = "the sweep failed while the trial ran"


def trial_seed(seed: int, family: str, number: int | str) -> int:
    """A trial's own seed: a function of the sweep's seed, the family and the number (or what stands for it) alone."""
    digest = hashlib.sha256(f"{seed}/{family}/{number}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


class Verdict(enum.Enum):
    """What is to be done about an epoch."""

    GO_ON = enum.auto()
    STOP = enum.auto()
    TOO_LATE = enum.auto()
    """The trial was told to stop before: the epoch does not count."""


class Source(Protocol):
    """One family's trainings: what is next, and what is to be done about each of their epochs."""

    def urgency(self) -> float:
        """How soon the next training should start, beside those of the other family; 0 where it is one of a search."""

    def share(self) -> float:
        """How much of what is to be done has begun, 0 to 1."""

    def next_trial(self) -> Trial | None:
        """The training to start now; None where there is none."""

    def seconds_left(self) -> float:
        """Training seconds that are still to come, as far as can be known."""

    def epoch(self, trial: Trial, epoch: Epoch) -> Verdict:
        """Notes an epoch; what is to be done about it."""

    def overdrawn(self) -> list[Trial]:
        """The trainings that should stop now; each is named once."""

    def ended(self, trial: Trial, result: TrialResult) -> TrialRecord:
        """Notes how a training ended."""
