"""Workers train; the coordinator hands them tasks and hears their events. It never asks them anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from digitsweep.results import Epoch, Trial, TrialResult


@dataclass(frozen=True)
class EpochEnded:
    """A trial has finished an epoch and, unless it is told to stop, is in its next one."""

    trial: Trial
    epoch: Epoch


@dataclass(frozen=True)
class TrialEnded:
    """A trial is over; its worker is free. A worker that died is told of here too, as FAIL with the reason."""

    trial: Trial
    result: TrialResult
    lost: bool = False
    """Whether its worker died, which may say nothing of the trial."""


Event = EpochEnded | TrialEnded


class Workers(Protocol):
    """Some processes that train, wherever they are."""

    def free(self) -> int:
        """How many trials could start now: none while workers still get ready."""

    def start(self, trial: Trial) -> None:
        """Hands a trial to a free worker."""

    def stop(self, trial: Trial) -> None:
        """Asks a trial to stop soon; its TrialEnded follows. One that has ended meanwhile stays as it is."""

    def kill(self, trial: Trial, why: str) -> None:
        """Ends the worker of a trial that does not answer; its TrialEnded follows, lost, with this reason."""

    def events(self, timeout: float) -> Sequence[Event]:
        """What has happened, in the order of each trial; waits up to `timeout` seconds for a first event."""

    def close(self) -> None:
        """Ends all workers at once, whatever they do."""
