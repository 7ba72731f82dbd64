"""A thousand simulated workers: events a second through the coordinator; the time to ask at 10,000 trials. No TensorFlow."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import optuna
from common import report

from digitsweep.config.experiment import Budget, Experiment
from digitsweep.config.experiment_file import load_experiment
from digitsweep.config.space import drawn_by
from digitsweep.search.sampler import Sampler
from digitsweep.search.study import Study
from digitsweep.sweeping.coordinator import Coordinator, Interruption
from digitsweep.sweeping.workers import EpochEnded, Event, TrialEnded, Workers
from digitsweep.tracking.tracker import Tracker
from digitsweep.trial import Epoch, EpochMetrics, Trial, TrialResult, TrialState

WORKERS = 1_000
TRIALS = 1_000
"""Of each family."""
ASK_AT = (100, 1_000, 10_000)
ASKS = 10
MNIST = Path(__file__).parent.parent / "experiments" / "mnist.yaml"
PREDICTIONS = np.zeros(10_000, np.uint8)


class SimulatedWorkers:
    """Every running trial finishes an epoch each time that anybody listens; how well it does depends on its seed."""

    def __init__(self) -> None:
        self.running: dict[str, tuple[Trial, list[EpochMetrics]]] = {}
        self.stopped: set[str] = set()
        self.happened = 0

    def free(self) -> int:
        return WORKERS - len(self.running)

    def count(self) -> int:
        return WORKERS

    def status(self) -> str:
        return ""

    def notices(self) -> Sequence[str]:
        return ()

    def start(self, trial: Trial, needs_weights: Callable[[TrialResult], bool]) -> None:
        self.running[trial.name] = (trial, [])

    def stop(self, trial: Trial) -> None:
        self.stopped.add(trial.name)

    def kill(self, trial: Trial, why: str) -> None:
        """Nothing hangs here."""

    def events(self, timeout: float) -> Sequence[Event]:
        found: list[Event] = []
        for name, (trial, epochs) in list(self.running.items()):
            if name in self.stopped or len(epochs) == trial.epochs:
                state = TrialState.PRUNED if name in self.stopped else TrialState.COMPLETE
                del self.running[name]
                found.append(TrialEnded(trial, TrialResult(state, tuple(epochs), PREDICTIONS, train_seconds=0.001)))
            else:
                accuracy = 1.0 - (0.01 + trial.seed % 1000 / 5000) / (len(epochs) + 1)
                epochs.append(EpochMetrics(len(epochs) + 1, 0.1, 0.9, 0.1, accuracy, 0.001, 0.0001))
                found.append(EpochEnded(trial, Epoch(epochs[-1], PREDICTIONS)))
        self.happened += len(found)
        return found

    def close(self) -> None:
        self.running.clear()


class CountedWorkers(Workers, Protocol):
    """Workers that count their events."""

    happened: int


def events_a_second(experiment: Experiment, workers: CountedWorkers) -> tuple[int, float, float]:
    """Events, seconds that the coordinator took for them, and the processor seconds of asking for trials."""
    asking = [0.0]

    class TimedStudy(Study):
        def next_trial(self) -> Trial | None:
            begun = time.thread_time()
            try:
                return super().next_trial()
            finally:
                asking[0] += time.thread_time() - begun

    studies: dict[str, Study] = {family: TimedStudy(experiment, family, (28, 28, 1)) for family in experiment.families}
    coordinator = Coordinator(workers, (28, 28, 1), Tracker(), [], Interruption())
    begun = time.perf_counter()
    coordinator.run(studies)
    return workers.happened, time.perf_counter() - begun, asking[0]


def ask_seconds(experiment: Experiment, trials: int, running: int = 0) -> list[float]:
    """Seconds of some asks when a study holds so many trials that ended, and some that run."""
    sampler = Sampler(experiment, "cnn")
    tpe, sampler.study.sampler = sampler.study.sampler, optuna.samplers.RandomSampler(seed=1)
    space = experiment.families["cnn"].space
    generator = np.random.default_rng(0)
    for _ in range(trials):
        trial = sampler.study.ask()
        space.suggest(drawn_by(trial))
        sampler.study.tell(trial, float(generator.random()))
    sampler.study.sampler = tpe
    for number in range(running):
        sampler.draw(number)
    found = []
    for number in range(running, running + ASKS):
        begun = time.perf_counter()
        sampler.draw(number)
        found.append(time.perf_counter() - begun)
    return found


def main() -> None:
    budget = Budget(trials=TRIALS, epochs=6, seconds=1e9)
    experiment = load_experiment(MNIST).model_copy(update={"budget": budget})
    count, seconds, asking = events_a_second(experiment, SimulatedWorkers())
    rows: list[list[object]] = [
        [f"{WORKERS:,} workers, {2 * TRIALS:,} trials: events", f"{count:,}"],
        ["seconds in the coordinator", f"{seconds:.1f}"],
        ["of these asking", f"{asking:.1f}"],
        ["events a second, asking included", f"{count / seconds:,.0f}"],
        ["events a second, asking apart", f"{count / (seconds - asking):,.0f}"],
    ]
    asks = {trials: statistics.median(ask_seconds(experiment, trials)) for trials in ASK_AT}
    rows += [[f"an ask at {trials:,} trials, ms", f"{1000 * value:.0f}"] for trials, value in asks.items()]
    busy = statistics.median(ask_seconds(experiment, ASK_AT[-1], WORKERS))
    rows.append([f"and while {WORKERS:,} run, ms", f"{1000 * busy:.0f}"])
    assert "tensorflow" not in sys.modules
    last = 1000 * asks[ASK_AT[-1]]
    headline = f"scale: {count / seconds:,.0f} events a second, an ask at {ASK_AT[-1]:,} trials {last:.0f} ms"
    report("scale", headline, ["", "measured"], rows)


if __name__ == "__main__":
    main()
