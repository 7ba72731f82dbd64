"""Before TensorFlow runs: which precision suits the processor, and an import that is quiet and light."""

from __future__ import annotations

import gc
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BFLOAT16 = {"avx512_bf16", "amx_bf16"}
"""Processor flags without which bfloat16 is emulated, and slow."""
OPTIONAL = ("matplotlib", "pandas", "scipy", "sklearn")
"""Libraries that Keras imports if they are installed, for functions that training does not use."""


def processor_precision(information: Path = Path("/proc/cpuinfo")) -> str:
    """`mixed_bfloat16` if this processor computes in it, else `float32`."""
    try:
        text = information.read_text(encoding="ascii", errors="ignore")
    except OSError:
        return "float32"
    flags = next((line.split() for line in text.splitlines() if line.startswith("flags")), [])
    return "float32" if BFLOAT16.isdisjoint(flags) else "mixed_bfloat16"


def import_tensorflow_quietly(*, alone: bool = False) -> None:
    """Imports TensorFlow without the messages on missing GPUs that its C++ writes to standard error at any log level.

    `alone` leaves out the OPTIONAL libraries, for a process that only trains: this saves a third of the time and 150 MiB."""
    if "tensorflow" in sys.modules:
        return
    # It warns that functions are traced often, but each trial needs a graph of its own.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    with standard_error_away(), no_collections(), _hidden(OPTIONAL if alone else ()):
        import tensorflow  # noqa: F401


@contextmanager
def standard_error_away() -> Iterator[None]:
    """Silences C++ on standard error. What Python writes there, in any thread, is unaffected."""
    sys.stderr.flush()
    saved, python = os.dup(2), sys.stderr
    sys.stderr = os.fdopen(saved, "w", buffering=1, encoding=python.encoding, errors="backslashreplace", closefd=False)
    try:
        with Path(os.devnull).open("wb") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        sys.stderr = python  # `saved` stays open: another thread may still hold its stream


@contextmanager
def no_collections() -> Iterator[None]:
    """Disables garbage collection. An import makes a million objects and no garbage, and would be a third slower."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


@contextmanager
def _hidden(names: tuple[str, ...]) -> Iterator[None]:
    """Makes these libraries look as if they were not installed, unless they are imported already."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None makes an import fail
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
