"""How long an epoch may take before its worker counts as hung: from what epochs have taken so far."""

from __future__ import annotations

import math

from digitsweep.results import EpochMetrics, Trial

LEAST_SECONDS = 120.0
"""The first step of a network is compiled, and a machine may be busy with something else."""
TIMES = 20.0
"""How much slower than the slowest so far an epoch may be."""


class Pace:
    """The slowest epoch so far, as seconds for each operation of its network."""

    def __init__(self, side: int, least: float = LEAST_SECONDS) -> None:
        """side: of the images, pixels; least: seconds that every epoch may take."""
        self._side, self._least = side, least
        self._slowest = 0.0

    def note(self, trial: Trial, metrics: EpochMetrics) -> None:
        """An epoch has ended."""
        self._slowest = max(self._slowest, metrics.epoch_seconds / trial.params.operations(self._side))

    def limit(self, trial: Trial) -> float:
        """Seconds that an epoch of a trial may take; infinite while none has been measured."""
        if not self._slowest:
            return math.inf
        return max(self._least, TIMES * self._slowest * trial.params.operations(self._side))
