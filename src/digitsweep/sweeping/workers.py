"""The protocol between the coordinator and its workers. The coordinator hands out trials and receives events; it never waits
for an answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from digitsweep.trial import Epoch, Trial, TrialResult


@dataclass(frozen=True)
class EpochEnded:
    """A trial has finished an epoch and goes on unless it is stopped."""

    trial: Trial
    epoch: Epoch


@dataclass(frozen=True)
class TrialEnded:
    """A trial is over and its worker is free."""

    trial: Trial
    result: TrialResult
    lost: bool = False
    """Whether the worker died, which need not be the trial's fault. The result is then FAIL, with the reason."""


Event = EpochEnded | TrialEnded


class Workers(Protocol):
    """Processes that train, wherever they run."""

    def count(self) -> int:
        """How many there are meant to be, at least 1; estimates of time use it."""

    def free(self) -> int:
        """How many trials could start now; 0 while workers are still importing."""

    def start(self, trial: Trial, needs_weights: Callable[[TrialResult], bool]) -> None:
        """Hands a trial to a free worker.

        needs_weights: whether the weights of a COMPLETE result are needed. Where it says no, the result may lack them."""

    def stop(self, trial: Trial) -> None:
        """Asks a trial to stop soon; its TrialEnded follows. A trial that has just ended keeps its result."""

    def kill(self, trial: Trial, why: str) -> None:
        """Kills the worker of a trial that does not answer; its TrialEnded follows, lost, with this reason."""

    def events(self, timeout: float) -> Sequence[Event]:
        """What has happened, each trial's events in order; waits up to `timeout` seconds for the first one."""

    def status(self) -> str:
        """How many there are, and on how many nodes if there may be several: `3 of 4 workers on 2 nodes`."""

    def notices(self) -> Sequence[str]:
        """What a person should know of the workers, each sentence once: such as that none is left."""

    def close(self) -> None:
        """Ends all workers at once, whatever they are doing."""
