"""Resident memory of the coordinator and of each worker over 300 small trials."""

from __future__ import annotations

import os
import statistics
import sys

import yaml
from common import folder, report

from digitsweep.config.experiment import Experiment
from digitsweep.config.options import Options
from digitsweep.data import TrainingData
from digitsweep.sweeping.processes import LocalWorkers, places_for, resident_memory
from digitsweep.sweeping.run import sweep
from digitsweep.tracking.tracker import Listener
from digitsweep.trial import TrialRecord

TRIALS = 150
"""Of each family."""
WARM = 30
EXPERIMENT = {
    "name": "memory",
    "question": "Does memory grow with the number of trials?",
    "data": {"source": "digits", "validation": 0.25},
    "budget": {"trials": TRIALS, "epochs": 2, "seconds": 100_000},
    "pruner": {"type": "none"},
    "register_models": False,
    "families": {
        "ann": {
            "space": {
                "hidden_layers": {"type": "int", "low": 1, "high": 3},
                "units": {"type": "int", "low": 16, "high": 512, "per": "hidden_layers"},
                "learning_rate": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True},
            }
        },
        "cnn": {
            "space": {
                "blocks": {"type": "int", "low": 1, "high": 2},
                "filters": {"type": "int", "low": 8, "high": 64, "per": "blocks"},
                "padding": "same",
                "normalization": {"type": "categorical", "choices": ["none", "batch"]},
                "learning_rate": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True},
            }
        },
    },
}


def resident(pid: int) -> float:
    """Mebibytes of a process that are in memory."""
    return resident_memory(pid) / 2**20


class Watch(Listener):
    """Looks at the processes each time that a trial ends."""

    def __init__(self) -> None:
        self.workers: LocalWorkers | None = None
        self.coordinator_sizes: list[float] = []
        self.worker_sizes: list[float] = []
        self.searching = 0
        """Trials that ended before the coordinator imported TensorFlow, which it does ten seconds before the search ends,
        however many trials there were."""

    def make_workers(self, data: TrainingData, experiment: Experiment, options: Options) -> LocalWorkers:
        self.workers = LocalWorkers(data, places_for(experiment, options))
        return self.workers

    def trial_ended(self, record: TrialRecord) -> None:
        assert self.workers is not None
        self.searching += "tensorflow" not in sys.modules
        self.coordinator_sizes.append(resident(os.getpid()))
        self.worker_sizes.append(max(resident(pid) for pid in self.workers.pids()))


def main() -> None:
    watch = Watch()
    with folder() as place:
        os.chdir(place)
        (place / "memory.yaml").write_text(yaml.safe_dump(EXPERIMENT))
        sweep(place / "memory.yaml", Options(workers=2), watch, start_workers=watch.make_workers)
        os.chdir("/")
    rows, growths = [], {}
    until = watch.searching
    for name, sizes in (("coordinator", watch.coordinator_sizes), ("largest worker", watch.worker_sizes)):
        after_warm, end = statistics.median(sizes[WARM : 2 * WARM]), statistics.median(sizes[until - WARM : until])
        growths[name] = end / after_warm - 1
        rows.append(
            [name, f"{sizes[0]:.0f}", f"{after_warm:.0f}", f"{end:.0f}", f"{max(sizes):.0f}", f"{growths[name]:+.1%}"]
        )
    header = [
        "MiB resident",
        "first trial",
        f"trials {WARM} to {2 * WARM}",
        f"trials {until - WARM} to {until}",
        "most",
        "growth",
    ]
    growth = ", ".join(f"{name} {value:+.1%}" for name, value in growths.items())
    report("memory", f"memory: over {2 * TRIALS} trials, after the first {WARM}: {growth}", header, rows)


if __name__ == "__main__":
    main()
