"""Workers as processes of this machine: one CPU thread or one GPU each, and a pipe of its own."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import distributions
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType

from digitsweep.config.experiment import Experiment
from digitsweep.config.options import Options
from digitsweep.data import TrainingData
from digitsweep.errors import DigitsweepError
from digitsweep.families.outside import ORIGINS
from digitsweep.report.format import plural
from digitsweep.sweeping.workers import EpochEnded, Event, TrialEnded
from digitsweep.training.worker import READY, STOP, serve
from digitsweep.trial import Epoch, Trial, TrialResult, failed

END_SECONDS = 5.0
"""How long a worker may take to end before it is killed."""
MOST_TRIALS = 40
"""After this many trials a worker is replaced: TensorFlow leaks half a MiB with each. A fork takes a third of a second."""
PAUSES = (0.1, 0.5, 2.0)
"""Seconds between attempts to fork a worker."""


@dataclass(frozen=True)
class Place:
    """What one worker may use."""

    gpu: str | None
    """The device that is visible to it; None is the CPU."""

    def environment(self) -> dict[str, str]:
        """The variables that TensorFlow reads before it starts."""
        return {
            # -1 hides every device; a worker that sees one GPU cannot take another worker's.
            "CUDA_VISIBLE_DEVICES": "-1" if self.gpu is None else self.gpu,
            "TF_FORCE_GPU_ALLOW_GROWTH": "true",
            "TF_NUM_INTRAOP_THREADS": "1",
            "TF_NUM_INTEROP_THREADS": "1",
            "OMP_NUM_THREADS": "1",
        }


def places_for(experiment: Experiment, options: Options) -> list[Place]:
    """A place for each worker of a sweep on this machine."""
    # Without CUDA's libraries beside it (`tensorflow[and-cuda]`) TensorFlow sees no GPU.
    has_cuda = any((each.name or "").startswith("nvidia-cudnn") for each in distributions())
    gpus = visible_gpus(os.environ.get("CUDA_VISIBLE_DEVICES")) if has_cuda else []
    return places(options.workers, gpus, experiment.workers.per_gpu, cores())


def expected_workers(experiment: Experiment, options: Options) -> int:
    """How many workers a sweep will have, as far as this machine knows: the nodes of a Ray cluster are not asked."""
    spec = experiment.workers
    if spec.engine == "local":
        return len(places_for(experiment, options))
    return options.workers or (int(cores() // spec.cpus) or 1 if spec.address == "local" else 1)


def places(workers: int | None, gpus: Sequence[str], per_gpu: int, cores: int) -> list[Place]:
    """A place for each worker: on the GPUs in turn, where there are any, else on the CPU.

    workers: how many; None means `per_gpu` for each GPU, or one for each core."""
    if not gpus:
        return [Place(None)] * (workers or cores)
    return [Place(gpus[index % len(gpus)]) for index in range(workers or per_gpu * len(gpus))]


def visible_gpus(chosen: str | None, drivers: Path = Path("/proc/driver/nvidia/gpus")) -> list[str]:
    """The NVIDIA devices, as CUDA counts them; `chosen` is CUDA_VISIBLE_DEVICES, if it is set."""
    if chosen is not None:
        return [each.strip() for each in chosen.split(",") if each.strip() not in ("", "-1")]
    return [str(index) for index, _ in enumerate(drivers.iterdir())] if drivers.is_dir() else []


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    place: Place
    ready: bool = False
    """Whether it has imported TensorFlow."""
    trial: Trial | None = None
    """None while it waits for one."""
    trials: int = 0
    """How many it has finished."""
    epochs: tuple[Epoch, ...] = ()
    """Those of its trial so far."""
    memory: int = 0
    """Resident bytes when last measured."""
    why_killed: str = ""

    @property
    def is_free(self) -> bool:
        return self.ready and self.trial is None


class LocalWorkers:
    """A worker process for each place. The images lie in one folder that all of them map into memory."""

    def __init__(self, data: TrainingData, places: Sequence[Place]) -> None:
        """Raises DigitsweepError if the workers cannot be started, such as on a full disk."""
        self._context = _context(places)
        self._classes, self._origins = data.classes, dict(ORIGINS)
        self._workers: list[_Worker] = []
        self._retired: list[BaseProcess] = []
        self._stillborn = 0
        """Workers in a row that died before they were ready."""
        with _start_errors():
            self.folder = Path(tempfile.mkdtemp(prefix="digitsweep-"))
            try:
                data.save(self.folder)
                self._workers = [self._spawn(place) for place in places]
            except BaseException:
                self.close()
                raise

    def count(self) -> int:
        return len(self._workers)

    def free(self) -> int:
        return sum(worker.is_free for worker in self._workers)

    def start(self, trial: Trial, needs_weights: Callable[[TrialResult], bool] = lambda result: True) -> None:
        worker = next(each for each in self._workers if each.is_free)
        worker.trial, worker.epochs = trial, ()
        with suppress(OSError):  # it has died, which `events` will see as the end of its pipe
            worker.pipe.send(trial)

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
        listened = {worker.pipe: worker for worker in self._workers}
        found: list[Event] = []
        for worker in self._workers:
            worker.memory = resident_memory(worker.process.pid) or worker.memory
        for pipe in wait(list(listened), timeout):
            worker = listened[pipe]  # type: ignore[index]
            try:
                while not worker.pipe.closed and worker.pipe.poll():
                    found += self._received(worker, worker.pipe.recv())
            except (EOFError, OSError):
                found += self._died(worker)
        return found

    def status(self) -> str:
        return plural(self.count(), "worker")

    def notices(self) -> Sequence[str]:
        return ()

    def pids(self) -> list[int]:
        """The process ids of the current workers."""
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
            if worker.trials >= MOST_TRIALS:
                worker.pipe.close()  # at which it ends
                self._retired.append(worker.process)
                self._replace(worker)
            return [TrialEnded(trial, message)]
        assert isinstance(message, Epoch)
        worker.epochs = (*worker.epochs, message)
        return [EpochEnded(trial, message)]

    def _died(self, worker: _Worker) -> list[Event]:
        worker.process.join(END_SECONDS)
        code = worker.process.exitcode
        how = f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}"
        worker.pipe.close()
        self._stillborn += not worker.ready
        if self._stillborn > len(self._workers):
            raise DigitsweepError(f"workers cannot start: the last one ended with {how}; see its output above")
        self._replace(worker)
        if worker.trial is None:
            return []
        died = worker.why_killed or f"its worker died ({how})"
        reason = f"{died} after epoch {len(worker.epochs)}, with {worker.memory / 2**20:,.0f} MiB"
        return [TrialEnded(worker.trial, failed(worker.epochs, reason), lost=True)]

    def _replace(self, worker: _Worker) -> None:
        """Starts a worker in place of one that has ended. What killed it may just be killing the process that workers are
        forked from as well, which is started anew once it is gone."""
        index = self._workers.index(worker)
        for pause in PAUSES:
            try:
                self._workers[index] = self._spawn(worker.place)
            except (OSError, EOFError):
                time.sleep(pause)
            else:
                return
        self._workers[index] = self._spawn(worker.place)

    def _spawn(self, place: Place) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=serve,
            args=(theirs, self.folder, self._classes, self._origins),
            name="digitsweep-worker",
            daemon=True,
        )
        with _environment_of_a_worker(place):
            process.start()
        theirs.close()  # so that the worker's death is the end of the pipe
        return _Worker(process, ours, place)


@contextmanager
def _start_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DigitsweepError(f"the workers could not be started: {error.strerror or error}") from None


def start_importing(places: Sequence[Place]) -> None:
    """Starts the imports of workers that can be forked, before there are workers: they take seconds."""
    context = _context(places)
    if isinstance(context, ForkServerContext):
        with _environment_of_a_worker(places[0]):
            forkserver.ensure_running()


def _context(places: Sequence[Place]) -> ForkServerContext | SpawnContext:
    """How workers are made.

    On Linux they are forked from one process that has imported TensorFlow, so that they start at once and share its memory.
    Importing it starts no thread and no device, which makes the fork safe. The drivers of GPUs do not survive a fork, so
    with GPUs, and on other systems, workers are spawned."""
    # Starting it unblocks SIGINT, which `_environment_of_a_worker` blocks: it must have been started before.
    resource_tracker.ensure_running()
    if sys.platform != "linux" or any(place.gpu is not None for place in places):
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["digitsweep.training.preloaded"])
    return context


@contextmanager
def _environment_of_a_worker(place: Place) -> Iterator[None]:
    """What a spawned process inherits: the variables of its place, no MLflow run, no Ctrl-C, which only the coordinator
    handles, and no main module: a script that calls `digitsweep.sweep` would be run again by each worker."""
    changed: dict[str, str | None] = {
        **place.environment(),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "KERAS_BACKEND": "tensorflow",
        "MLFLOW_RUN_ID": None,  # whatever starts a run in a child would resume the parent's
    }
    before = {name: os.environ.get(name) for name in changed}
    main = sys.modules["__main__"]
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        _set(changed)
        sys.modules["__main__"] = ModuleType("__main__")
        yield
    finally:
        sys.modules["__main__"] = main
        _set(before)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _set(variables: dict[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def resident_memory(pid: int | None) -> int:
    """Bytes of a process that are in memory; 0 if the system does not say."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
