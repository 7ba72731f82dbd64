"""TensorFlow, without what it says while it is imported."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path


def import_tensorflow_quietly() -> None:
    """Imports TensorFlow; its C++ writes of missing GPUs to standard error, whatever its log level, and is not heard."""
    if "tensorflow" in sys.modules:
        return
    # Each trial is a graph of its own: that functions are traced anew is meant.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    sys.stderr.flush()
    saved = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nothing:
            os.dup2(nothing.fileno(), 2)
        import tensorflow  # noqa: F401
    finally:
        os.dup2(saved, 2)
        os.close(saved)
