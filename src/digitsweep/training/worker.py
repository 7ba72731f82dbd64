"""The loop of a worker: trials come in through a pipe, epochs and results go out."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Generator, Mapping
from functools import partial
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

from digitsweep.data import TrainingData
from digitsweep.families.outside import Origin, register_all
from digitsweep.training.startup import import_tensorflow_quietly
from digitsweep.trial import Epoch, Kind, TrialResult, failed

READY = "ready"
STOP = "stop"


class Pipe(Protocol):
    """What a worker uses of a `multiprocessing.connection.Connection`."""

    def send(self, message: Any, /) -> None: ...

    def recv(self) -> Any: ...

    def poll(self) -> bool: ...


def serve(pipe: Connection, folder: Path, classes: int, origins: Mapping[str, Origin]) -> None:
    """The life of a worker process, whose images are in a folder; origins: as for `train_all`."""
    threading.Thread(target=_die_with_parent, daemon=True).start()
    train_all(pipe, lambda: TrainingData.load(folder, classes), origins)


def train_all(pipe: Pipe, load: Callable[[], TrainingData], origins: Mapping[str, Origin]) -> None:
    """Trains each Trial that the pipe brings until the pipe closes. Knows neither Optuna nor MLflow.

    origins: the families that are not built in, as the coordinator read them."""
    import_tensorflow_quietly(alone=True)
    register_all(origins)
    from digitsweep.training.loop import forget, settle, train

    settle()
    data = load()
    try:
        pipe.send(READY)
        while True:
            trial = pipe.recv()
            if trial == STOP:  # for a trial that has ended since
                continue
            images = data.joined() if trial.kind is Kind.REFIT else data
            stopped = partial(_told_to_stop, pipe)
            epochs = train(
                trial.params, images, seed=trial.seed, epochs=trial.epochs, val_losses=trial.val_losses, stopped=stopped
            )
            pipe.send(_trained(pipe, epochs))
            del epochs, images
            forget()
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the coordinator has gone


def _told_to_stop(pipe: Pipe) -> bool:
    """Nothing but STOP is sent to a worker that trains."""
    return pipe.poll() and pipe.recv() == STOP


def _trained(pipe: Pipe, epochs: Generator[Epoch, None, TrialResult]) -> TrialResult:
    """Sends each epoch, and returns the result."""
    sent: list[Epoch] = []
    begun = time.perf_counter()
    try:
        while True:
            sent.append(next(epochs))
            pipe.send(sent[-1])
    except StopIteration as end:
        result: TrialResult = end.value
        return result
    except (EOFError, BrokenPipeError, ConnectionResetError):
        raise
    except Exception as error:  # whatever a configuration does wrong is that trial's failure, not the worker's
        reason = " ".join(str(error).split())[:300]
        return failed(sent, f"{type(error).__name__}: {reason}", time.perf_counter() - begun)


def _die_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
