"""What runs in a worker process: tasks come in through a pipe, epochs and results go out."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Generator
from dataclasses import dataclass
from functools import partial
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from pathlib import Path

from digitsweep.params import Params
from digitsweep.quiet import import_tensorflow_quietly
from digitsweep.results import Epoch, TrialResult, failed

READY = "ready"
STOP = "stop"


@dataclass(frozen=True)
class Start:
    """Train this."""

    params: Params
    seed: int
    epochs: int
    joined: bool
    """On training and validation images together."""


def serve(pipe: Connection, folder: Path, classes: int) -> None:
    """Trains what it is sent until the pipe closes. Knows neither Optuna nor MLflow."""
    threading.Thread(target=_die_with_parent, daemon=True).start()
    import_tensorflow_quietly(alone=True)
    from digitsweep.data import TrainingData
    from digitsweep.training import forget, settle, train

    settle()
    data = TrainingData.load(folder, classes)
    try:
        pipe.send(READY)
        while True:
            task = pipe.recv()
            if task != STOP:  # which was for a trial that had ended by then
                images = data.joined() if task.joined else data
                epochs = train(task.params, images, seed=task.seed, epochs=task.epochs, stopped=partial(_told_to_stop, pipe))
                pipe.send(_trained(pipe, epochs))
                del epochs, images
                forget()
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the coordinator has gone


def _told_to_stop(pipe: Connection) -> bool:
    """Nothing but STOP is sent to a worker that trains."""
    return pipe.poll() and pipe.recv() == STOP


def _trained(pipe: Connection, epochs: Generator[Epoch, None, TrialResult]) -> TrialResult:
    told: list[Epoch] = []
    begun = time.perf_counter()
    try:
        while True:
            told.append(next(epochs))
            pipe.send(told[-1])
    except StopIteration as end:
        result: TrialResult = end.value
        return result
    except (EOFError, BrokenPipeError, ConnectionResetError):
        raise
    except Exception as error:  # whatever a configuration does wrong is that trial's failure, not the worker's
        return failed(told, f"{type(error).__name__}: {_one_line(error)}", time.perf_counter() - begun)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _die_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
