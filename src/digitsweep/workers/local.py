"""Workers as processes of this machine, each with one thread and a pipe of its own."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from pathlib import Path

from digitsweep.data import TrainingData
from digitsweep.errors import DigitsweepError
from digitsweep.results import Epoch, Kind, Trial, TrialResult, failed
from digitsweep.workers import EpochEnded, Event, TrialEnded
from digitsweep.workers.placement import Place
from digitsweep.workers.process import READY, STOP, Start, serve

END_SECONDS = 5.0
LEAST_MEMORY = 2 * 2**30
"""Bytes that a worker may hold whatever the machine has: TensorFlow alone takes 0.7 GiB."""
MOST_TRIALS = 40
"""After so many a worker is replaced by a fresh one: TensorFlow keeps half a MiB of each for good, and forking a worker
takes a third of a second."""
PAUSES = (0.1, 0.5, 2.0)
"""Seconds between tries to fork a worker."""
MEMORY_SHARE = 0.8
"""Of the machine's memory that all workers together may hold."""


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    place: Place
    ready: bool = False
    """Whether it has imported TensorFlow and waits for a trial, or has one."""
    trial: Trial | None = None
    trials: int = 0
    """How many have ended in it."""
    epochs: tuple[Epoch, ...] = ()
    memory: int = 0
    """Bytes that it held when it was looked at last."""
    why_killed: str = ""


class LocalWorkers:
    """As many processes as asked for. The images lie in one folder that all of them map into memory."""

    def __init__(self, data: TrainingData, places: Sequence[Place]) -> None:
        self._context = _context(places)
        self.folder = Path(tempfile.mkdtemp(prefix="digitsweep-"))
        """Where the shared images lie."""
        self._classes = data.classes
        self._workers: list[_Worker] = []
        self._retired: list[BaseProcess] = []
        self.memory_limit = max(LEAST_MEMORY, MEMORY_SHARE * _physical_memory() / max(len(places), 1))
        """Bytes. A worker that holds more when a trial ends is replaced, as one that has had MOST_TRIALS is."""
        self._stillborn = 0
        """Workers in a row that died before they were ready."""
        try:
            data.save(self.folder)
            self._workers = [self._spawn(place) for place in places]
        except BaseException:
            self.close()
            raise

    def free(self) -> int:
        return sum(worker.ready and worker.trial is None for worker in self._workers)

    def start(self, trial: Trial) -> None:
        worker = next(each for each in self._workers if each.ready and each.trial is None)
        worker.trial, worker.epochs = trial, ()
        with suppress(OSError):  # it has died: the end of its pipe tells so in `events`
            worker.pipe.send(Start(trial.params, trial.seed, trial.epochs, trial.kind is Kind.REFIT))

    def stop(self, trial: Trial) -> None:
        for worker in self._workers:
            if worker.trial == trial:
                with suppress(OSError):  # as above
                    worker.pipe.send(STOP)

    def kill(self, trial: Trial, why: str) -> None:
        for worker in self._workers:
            if worker.trial == trial:
                worker.why_killed = why
                worker.process.kill()

    def events(self, timeout: float) -> Sequence[Event]:
        heard = {worker.pipe: worker for worker in self._workers}
        found: list[Event] = []
        for worker in self._workers:
            worker.memory = resident_memory(worker.process.pid) or worker.memory
        for pipe in wait(list(heard), timeout):
            worker = heard[pipe]  # type: ignore[index]
            try:
                while not worker.pipe.closed and worker.pipe.poll():
                    found += self._received(worker, worker.pipe.recv())
            except (EOFError, OSError):
                found += self._died(worker)
        return found

    def pids(self) -> list[int]:
        """The process ids of the workers there are."""
        return [worker.process.pid for worker in self._workers if worker.process.pid is not None]

    def close(self) -> None:
        processes = [*self._retired, *(worker.process for worker in self._workers)]
        for process in processes:
            process.terminate()
        for process in processes:
            process.join(END_SECONDS)
            if process.is_alive():
                process.kill()
                process.join()
        for worker in self._workers:
            worker.pipe.close()
        self._workers.clear()
        self._retired.clear()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _received(self, worker: _Worker, message: object) -> list[Event]:
        if message == READY:
            worker.ready = True
            self._stillborn = 0
            return []
        trial = worker.trial
        assert trial is not None
        if isinstance(message, TrialResult):
            worker.trial = None
            worker.trials += 1
            if worker.trials >= MOST_TRIALS or resident_memory(worker.process.pid) > self.memory_limit:
                self._retire(worker)
            return [TrialEnded(trial, message)]
        assert isinstance(message, Epoch)
        worker.epochs = (*worker.epochs, message)
        return [EpochEnded(trial, message)]

    def _died(self, worker: _Worker) -> list[Event]:
        """The trial of a dead worker has failed; another worker takes the dead one's place."""
        worker.process.join(END_SECONDS)
        code = worker.process.exitcode
        how = f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}"
        worker.pipe.close()
        self._stillborn += not worker.ready
        if self._stillborn > len(self._workers):
            raise DigitsweepError(f"workers cannot start: the last one ended with {how}; what it said stands above")
        self._workers[self._workers.index(worker)] = self._spawn_again(worker.place)
        if worker.trial is None:
            return []
        died = worker.why_killed or f"its worker died ({how})"
        reason = f"{died} after epoch {len(worker.epochs)}, with {worker.memory / 2**20:,.0f} MiB"
        return [TrialEnded(worker.trial, failed(worker.epochs, reason), lost=True)]

    def _retire(self, worker: _Worker) -> None:
        """A worker that has had its time ends by itself, as its pipe does; a fresh one takes its place."""
        worker.pipe.close()
        self._retired.append(worker.process)
        self._workers[self._workers.index(worker)] = self._spawn_again(worker.place)

    def _spawn_again(self, place: Place) -> _Worker:
        """In place of one that has gone: what killed it may be killing the process that workers are forked from, too, which
        is started anew once it is gone."""
        for pause in PAUSES:
            try:
                return self._spawn(place)
            except (OSError, EOFError):
                time.sleep(pause)
        return self._spawn(place)

    def _spawn(self, place: Place) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=serve, args=(theirs, self.folder, self._classes), name="digitsweep-worker", daemon=True
        )
        with _environment_of_a_worker(place):
            process.start()
        theirs.close()  # so that the worker's death is the end of the pipe
        return _Worker(process, ours, place)


def start_importing(places: Sequence[Place]) -> None:
    """Lets the workers' imports begin, if they can be forked, before there are workers; they take seconds."""
    context = _context(places)
    if isinstance(context, ForkServerContext):
        with _environment_of_a_worker(places[0]):
            forkserver.ensure_running()


def _context(places: Sequence[Place]) -> ForkServerContext | SpawnContext:
    """How workers are made: forked from one process that has imported TensorFlow, so that they start at once and share its
    memory; where there are GPUs, whose drivers do not survive a fork, or no such thing, as processes of their own.

    Importing TensorFlow starts no thread and no device, which is what makes the fork safe."""
    # Starting it unblocks SIGINT, which `_environment_of_a_worker` blocks: it must have been started before.
    resource_tracker.ensure_running()
    if sys.platform != "linux" or any(place.gpu is not None for place in places):
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["digitsweep.workers.preloaded"])
    return context


@contextmanager
def _environment_of_a_worker(place: Place) -> Iterator[None]:
    """What a spawned process inherits: its place, no run of MLflow's, and a Ctrl-C that is the coordinator's alone."""
    changed: dict[str, str | None] = {
        **place.environment(),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "KERAS_BACKEND": "tensorflow",
        "MLFLOW_RUN_ID": None,  # whatever starts a run in a child would resume the parent's
    }
    before = {name: os.environ.get(name) for name in changed}
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        _set(changed)
        yield
    finally:
        _set(before)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def resident_memory(pid: int | None) -> int:
    """Bytes of a process that are in memory; 0 where the system does not say."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def _physical_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _set(variables: dict[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
