"""What runs in a worker process: tasks come in through a pipe, epochs and results go out."""

from __future__ import annotations

import os
import sys
import threading
from dataclasses import dataclass
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from pathlib import Path

from digitsweep.params import Params
from digitsweep.results import TrialResult, TrialState

STOP = "stop"


@dataclass(frozen=True)
class Start:
    """Train this."""

    params: Params
    seed: int
    epochs: int


def serve(pipe: Connection, folder: Path, classes: int) -> None:
    """Trains what it is sent until the pipe closes. Knows neither Optuna nor MLflow."""
    threading.Thread(target=_die_with_parent, daemon=True).start()
    _silence_import_noise()
    from digitsweep.data import TrainingData
    from digitsweep.training import train

    data = TrainingData.load(folder, classes)
    while True:
        try:
            task = pipe.recv()
        except EOFError:
            return
        if task == STOP:  # for a trial that had ended by then
            continue
        pipe.send(_trained(pipe, task, data, train))


def _trained(pipe: Connection, task: Start, data, train) -> TrialResult:  # type: ignore[no-untyped-def]
    told: list[str] = []

    def stopped() -> bool:
        while not told and pipe.poll():
            told.append(pipe.recv())
        return bool(told)

    try:
        epochs = train(task.params, data, seed=task.seed, epochs=task.epochs, stopped=stopped)
        while True:
            pipe.send(next(epochs))
    except StopIteration as end:
        result: TrialResult = end.value
        return result
    except (EOFError, BrokenPipeError):
        raise SystemExit(0) from None
    except Exception as error:  # whatever a configuration does wrong is that trial's failure, not the worker's
        return TrialResult(TrialState.FAIL, reason=f"{type(error).__name__}: {_one_line(error)}")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _die_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _silence_import_noise() -> None:
    """TensorFlow's C++ writes of missing GPUs to standard error while it is imported, whatever its log level."""
    saved = os.dup(2)
    with open(os.devnull, "wb") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        import tensorflow  # noqa: F401
    finally:
        sys.stderr.flush()
        os.dup2(saved, 2)
        os.close(saved)
