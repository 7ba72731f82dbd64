"""The engine ray: beside local workers, beside Ray Tune, with a thousand simulated workers, and with 64 actors.

`--part` runs some of the four parts. The last two need no data and no TensorFlow."""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Read by Ray at its import: it starts more slowly on a busy machine than it allows.
os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_raylet_start_wait_time_s": "120"}

import numpy as np
import psutil
import ray
from common import folder, mnist_folder, report, run
from quality import PEERS
from ray._private.internal_api import get_memory_info_reply, get_state_from_address
from ray.cluster_utils import Cluster
from scale import MNIST, PREDICTIONS, events_a_second
from throughput import EPOCHS, TRIALS, Timed, last_trial, ours

from digitsweep.config.experiment import Budget, WorkersSpec
from digitsweep.config.experiment_file import load_experiment
from digitsweep.data import Split, TrainingData
from digitsweep.families.outside import Origin
from digitsweep.sweeping.ray import Node, RayWorkers, _Worker
from digitsweep.sweeping.workers import EpochEnded, Event
from digitsweep.training.remote import Message, RemoteWorker
from digitsweep.training.worker import READY, STOP
from digitsweep.trial import Epoch, EpochMetrics, TrialResult, TrialState

WANTED_LOCAL, WANTED_TUNE = 1.1, 2.5
"""At most so many times the time of local workers; at least so many times as fast as Ray Tune."""


@contextmanager
def cluster(*cpus: int) -> Iterator[str]:
    """The address of a cluster whose head has no processors, and that has a node with so many for each number."""
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        for each in cpus:
            made.add_node(num_cpus=each)
        yield str(made.address)
    finally:
        made.shutdown()


def compared(names: Sequence[str], sides: Sequence[Timed]) -> list[list[object]]:
    """A row for each trial's accuracy, and two for the times."""
    rows: list[list[object]] = [[name, *(f"{each.accuracies[name]:.2f} %" for each in sides)] for name in names]
    rows.append(["seconds until the last trial was recorded", *(f"{each.until_last_trial:.1f}" for each in sides)])
    rows.append(["seconds until the process ended", *(f"{each.until_exit:.1f}" for each in sides)])
    return rows


def ratios(outer: Sequence[Timed], inner: Timed) -> tuple[float, float]:
    """How many times as long as the mean of the two others one took, until the last trial and until the end."""
    last = 2 * inner.until_last_trial / sum(each.until_last_trial for each in outer)
    return last, 2 * inner.until_exit / sum(each.until_exit for each in outer)


# Real trainings


def nodes(given: argparse.Namespace) -> None:
    """The list of bench-throughput on two local workers, on two nodes of one core each, and on local workers again."""
    data = mnist_folder()

    def local() -> Timed:
        with folder() as place:
            return ours(place, data, "--workers", "2", epochs=given.epochs)

    def on_nodes() -> Timed:
        with cluster(1, 1) as address, folder() as place:
            return ours(place, data, "--engine", "ray", "--address", address, epochs=given.epochs)

    before, there, after = local(), on_nodes(), local()
    assert before.accuracies == there.accuracies == after.accuracies, "the engines give different values"
    last, whole = ratios((before, after), there)
    headline = (
        f"cluster-nodes: two nodes take {last:.2f} times as long as two local workers until the last trial, {whole:.2f} "
        f"times until the end (wanted: at most {WANTED_LOCAL}), with {given.epochs} epochs a trial and the same values"
    )
    names = [str(each["name"]) for each in TRIALS]
    header = ["", "two local workers", "two nodes of Ray", "two local workers again"]
    report("cluster-nodes", headline, header, compared(names, (before, there, after)))


def ray_tune(place: Path, data: Path) -> Timed:
    """The list with Ray Tune and its MLflow logger."""
    if not PEERS.exists():
        raise SystemExit(f"{PEERS} is missing; `make bench-peers` installs it")
    (place / "trials.json").write_text(json.dumps([{**trial, "epochs": EPOCHS} for trial in TRIALS]))
    here = str(Path(__file__).parent)
    begun = time.time()
    command = (str(PEERS), "-m", "peers.fixed_list", str(data), "trials.json", "out.json")
    path = os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])
    seconds, _ = run(*command, cwd=place, PYTHONPATH=path)
    accuracies = json.loads((place / "out.json").read_text())
    return Timed(last_trial(place, "tune") - begun, seconds, accuracies)


def tune(given: argparse.Namespace) -> None:
    """The list of bench-throughput with our engine, with Ray Tune, and with ours again; both start Ray for two workers."""
    data = mnist_folder()

    def with_ours() -> Timed:
        with folder() as place:
            return ours(place, data, "--engine", "ray", "--address", "local", "--workers", "2")

    before = with_ours()
    with folder() as place:
        theirs = ray_tune(place, data)
    after = with_ours()
    last, whole = ratios((before, after), theirs)
    headline = (
        f"cluster-tune: {last:.2f} times as fast as Ray Tune with its MLflow logger until the last trial, {whole:.2f} times "
        f"with our judging (wanted: at least {WANTED_TUNE})"
    )
    names = [str(each["name"]) for each in TRIALS]
    header = ["", "digitsweep, engine ray", "Ray Tune", "digitsweep again"]
    report("cluster-tune", headline, header, compared(names, (before, theirs, after)))


# Simulated trainings


class Sleeper(RemoteWorker):
    """A worker that sleeps where another would train. Everything else of it is as it is in a sweep."""

    def __init__(self, epoch_seconds: float) -> None:
        self._epoch_seconds = epoch_seconds
        nothing = Split(np.zeros((0, 28, 28, 1), np.uint8), np.zeros(0, np.uint8))
        super().__init__({}, TrainingData(nothing, nothing, 10), {})

    def _run(self, data: TrainingData, origins: Mapping[str, Origin]) -> None:
        self.send(READY)
        while True:
            trial = self.recv()
            if trial == STOP:
                continue
            epochs: list[EpochMetrics] = []
            while len(epochs) < trial.epochs and not (self.poll() and self.recv() == STOP):
                time.sleep(self._epoch_seconds)
                accuracy = 1.0 - (0.01 + trial.seed % 1000 / 5000) / (len(epochs) + 1)
                # The search does not look at the training loss: here it is when the epoch ended.
                epochs.append(EpochMetrics(len(epochs) + 1, time.time(), 0.9, 0.1, accuracy, 0.001, self._epoch_seconds))
                self.send(Epoch(epochs[-1], PREDICTIONS))
            state = TrialState.COMPLETE if len(epochs) == trial.epochs else TrialState.PRUNED
            self.send(TrialResult(state, tuple(epochs), PREDICTIONS, train_seconds=0.001))


class Sleepers:
    """An actor with several of them."""

    def __init__(self, count: int, epoch_seconds: float) -> None:
        self._workers = [Sleeper(epoch_seconds) for _ in range(count)]

    def exchange(self, index: int, messages: Sequence[Message], received: int) -> tuple[int, list[Message]]:
        return self._workers[index].exchange(messages, received)


@dataclass(frozen=True)
class Seat:
    """One of the workers of an actor, called as if it were an actor: `seat.exchange.remote(messages, received)`."""

    actor: Any
    index: int

    @property
    def exchange(self) -> Seat:
        return self

    def remote(self, messages: Sequence[Message], received: int) -> Any:
        return self.actor.exchange.remote(self.index, messages, received)


class SleepingWorkers(RayWorkers):
    """The engine as it is, but its workers sleep, and several may share an actor."""

    def __init__(self, data: TrainingData, spec: WorkersSpec, in_each: int, epoch_seconds: float) -> None:
        """in_each: how many workers share an actor."""
        self._in_each, self._epoch_seconds = in_each, epoch_seconds
        self._seats: list[Seat] = []
        self.happened = 0
        self.delays: list[float] = []
        """Of each epoch: seconds from its end in the worker until it reached the coordinator."""
        super().__init__(data, spec, None)

    def _create(self, node: Node) -> _Worker:
        if not self._seats:
            options = {"num_cpus": self._spec.cpus * self._in_each, "max_concurrency": 2 * self._in_each + 8}
            actor = ray.remote(Sleepers).options(**options, **self._cluster.on(node))
            made = actor.remote(self._in_each, self._epoch_seconds)
            self._seats = [Seat(made, index) for index in range(self._in_each)]
        worker = _Worker(self._seats.pop(), node)
        worker.ask()
        return worker

    def events(self, timeout: float) -> Sequence[Event]:
        found = super().events(timeout)
        now = time.time()
        self.happened += len(found)
        self.delays += [now - each.epoch.metrics.train_loss for each in found if isinstance(each, EpochEnded)]
        return found


@dataclass(frozen=True)
class Simulation:
    """What a sweep with simulated workers took."""

    until_ready: float
    """Seconds until all workers were."""
    idle_cores: float
    """The coordinator's processor seconds for each second in which nothing happens."""
    events: int
    seconds: float
    processor_seconds: float
    """Of the coordinator's process, its threads included."""
    asking_seconds: float
    delays: Sequence[float]
    object_store: int
    """Bytes in use, on all nodes."""
    actor_bytes: float
    """Memory of an actor that it does not share, the median."""

    def rows(self) -> list[list[object]]:
        return [
            ["seconds until all workers were ready", f"{self.until_ready:.1f}"],
            ["of a core, while all wait", f"{100 * self.idle_cores:.0f} %"],
            ["events", f"{self.events:,}"],
            ["seconds", f"{self.seconds:.1f}"],
            ["events a second", f"{self.events / self.seconds:,.0f}"],
            ["core seconds of the coordinator", f"{self.processor_seconds:.1f}"],
            ["of these asking for the next trial", f"{self.asking_seconds:.1f}"],
            ["core milliseconds for an event, asking apart", f"{1000 * self.event_seconds():.2f}"],
            ["delay of an epoch, median, seconds", f"{statistics.median(self.delays):.2f}"],
            ["and of the slowest in a hundred", f"{np.quantile(self.delays, 0.99):.2f}"],
            ["object store, MiB", f"{self.object_store / 2**20:.0f}"],
            ["memory of an actor, MiB", f"{self.actor_bytes / 2**20:.0f}"],
        ]

    def event_seconds(self) -> float:
        return (self.processor_seconds - self.asking_seconds) / self.events


def simulated(workers: int, in_each: int, epoch_seconds: float, trials: int, idle_seconds: float = 20.0) -> Simulation:
    """A search of experiments/mnist.yaml whose workers sleep; trials: of each family."""
    generator = np.random.default_rng(0)
    train, validation = (generator.integers(0, 256, (count, 28, 28, 1), np.uint8) for count in (50_000, 10_000))
    labels = [generator.integers(0, 10, len(each)).astype(np.uint8) for each in (train, validation)]
    data = TrainingData(Split(train, labels[0]), Split(validation, labels[1]), 10)
    experiment = load_experiment(MNIST).model_copy(update={"budget": Budget(trials=trials, epochs=6, seconds=1e9)})
    cpus = 1.0 if in_each == 1 else 1 / workers  # Ray starts a process for each processor
    with cluster(round(cpus * workers)) as address:
        begun = time.perf_counter()
        made = SleepingWorkers(data, WorkersSpec(engine="ray", address=address, cpus=cpus), in_each, epoch_seconds)
        try:
            while made.free() < workers:
                made.events(0.5)
            until_ready = time.perf_counter() - begun
            begun, used = time.perf_counter(), time.process_time()
            while time.perf_counter() - begun < idle_seconds:
                made.events(0.5)
            idle = (time.process_time() - used) / (time.perf_counter() - begun)
            store = get_memory_info_reply(get_state_from_address(address)).store_stats.object_store_bytes_used
            actors = [each.memory_full_info().uss for each in psutil.process_iter() if is_actor(each)]
            used = time.process_time()
            events, seconds, asking = events_a_second(experiment, made)
            core = time.process_time() - used
        finally:
            made.close()
    assert "tensorflow" not in sys.modules
    return Simulation(until_ready, idle, events, seconds, core, asking, made.delays, int(store), statistics.median(actors))


def is_actor(process: psutil.Process) -> bool:
    try:
        return process.cmdline()[:1] != [] and process.cmdline()[0].startswith("ray::Sleepers")
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return False


def messages(given: argparse.Namespace) -> None:
    """A thousand simulated workers, of which many share an actor, with an epoch every ten seconds, and every second."""
    found = {
        seconds: simulated(given.workers, given.workers // given.actors, seconds, given.trials) for seconds in (10.0, 1.0)
    }
    slow, fast = found.values()
    rows = [[name, one, other] for (name, one), (_, other) in zip(slow.rows(), fast.rows(), strict=True)]
    headline = (
        f"cluster-messages: {given.workers:,} simulated workers in {given.actors} actors, {fast.events / fast.seconds:,.0f} "
        f"events a second, {1000 * fast.event_seconds():.1f} ms of a core for each, "
        f"object store {fast.object_store / 2**20:.0f} MiB"
    )
    report("cluster-messages", headline, ["", *(f"an epoch takes {seconds:g} s" for seconds in found)], rows)


def actors(given: argparse.Namespace) -> None:
    """An actor for each simulated worker, without TensorFlow."""
    found = simulated(given.processes, 1, 1.0, max(1, given.trials // 10))
    headline = (
        f"cluster-actors: {given.processes} actors, ready after {found.until_ready:.0f} s, "
        f"{found.events / found.seconds:,.0f} events a second, {1000 * found.event_seconds():.1f} ms of a core for each"
    )
    report("cluster-actors", headline, ["", f"{given.processes} actors, an epoch takes 1 s"], found.rows())


PARTS = {"nodes": nodes, "tune": tune, "messages": messages, "actors": actors}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--epochs", type=int, default=12, help="of each trial of the part `nodes`")
    parser.add_argument("--workers", type=int, default=1000, help="of the part `messages`")
    parser.add_argument("--actors", type=int, default=8, help="that these share")
    parser.add_argument("--trials", type=int, default=1000, help="of each family, in the part `messages`")
    parser.add_argument("--processes", type=int, default=64, help="of the part `actors`")
    given = parser.parse_args()
    logging.getLogger("ray").setLevel(logging.ERROR)
    for name in given.part:
        PARTS[name](given)


if __name__ == "__main__":
    main()
