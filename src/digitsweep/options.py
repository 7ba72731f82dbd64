"""What a person may set for one sweep, over the experiment file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from digitsweep.experiment import Experiment


@dataclass(frozen=True)
class Options:
    """None: as the experiment file says."""

    trials: int | None = None
    seconds: float | None = None
    workers: int | None = None
    data: Path | None = None
    seed: int | None = None

    def applied(self, experiment: Experiment) -> Experiment:
        """The experiment with these budget and seed."""
        return experiment.changed(trials=self.trials, seconds=self.seconds, seed=self.seed)
