"""TensorFlow, without what it says and what it takes along while it is imported."""

from __future__ import annotations

import gc
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TAKEN_ALONG = ("matplotlib", "pandas", "scipy", "sklearn")
"""Libraries that Keras imports where it finds them, for uses that training has none of."""


def import_tensorflow_quietly(*, alone: bool = False) -> None:
    """Imports TensorFlow; its C++ writes of missing GPUs to standard error, whatever its log level, and is not heard.

    `alone` leaves out what Keras takes along: a third of the time and 150 MiB. That is for a process that only trains."""
    if "tensorflow" in sys.modules:
        return
    # Each trial is a graph of its own: that functions are traced anew is meant.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    with _standard_error_away(), no_collections(), _hidden(TAKEN_ALONG if alone else ()):
        import tensorflow  # noqa: F401


@contextmanager
def _standard_error_away() -> Iterator[None]:
    """What C++ writes to standard error goes nowhere; what Python writes, in another thread too, goes where it went."""
    sys.stderr.flush()
    saved, python = os.dup(2), sys.stderr
    sys.stderr = os.fdopen(saved, "w", buffering=1, encoding=python.encoding, errors="backslashreplace", closefd=False)
    try:
        with Path(os.devnull).open("wb") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        sys.stderr = python  # `saved` stays open: another thread may hold what stood here until now


@contextmanager
def no_collections() -> Iterator[None]:
    """An import makes a million objects and no garbage: looking for it takes a quarter of the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


@contextmanager
def _hidden(names: tuple[str, ...]) -> Iterator[None]:
    """As if these libraries were not installed, but for those that are imported already."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None there is how an import is refused
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
