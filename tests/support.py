"""What several tests use: an IDX writer that shares nothing with the reader, small images, one small experiment."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from numpy.typing import NDArray

from digitsweep.data.splits import Split
from digitsweep.errors import InputError

Result = TypeVar("Result")

PROPERTY = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)  # derandomized: a test that turns red does so because of a change, not because of the day
"""How property-based tests run."""

IDX_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")

SMALL_EXPERIMENT = """\
name: small
question: Does it load?
seed: 0
data: {source: digits, validation: 0.25}
budget: {trials: 2, epochs: 3, seconds: 20}
objective: {metric: val_accuracy, direction: maximize}
families:
  ann:
    baselines:
      softmax: {params: {hidden_layers: 0, batch_size: 32}}
      dense: {params: {hidden_layers: 2, units: 64}, epochs: 2}
    space:
      hidden_layers: {type: int, low: 0, high: 2}
      units: {type: int, low: 16, high: 64, log: true, per: hidden_layers}
      learning_rate: {type: float, low: 1.0e-3, high: 1.0e-1, log: true}
      schedule: {type: categorical, choices: [constant, cosine]}
      batch_size: 32
"""

MINUTES_EXPERIMENT = """\
name: minutes
question: Does it hold its minutes?
seed: 0
data: {source: digits, validation: 0.25}
budget: {minutes: 0.5}
families:
  ann:
    baselines:
      softmax: {params: {hidden_layers: 0, batch_size: 32}, epochs: 3}
    space:
      hidden_layers: {type: int, low: 1, high: 3, prior: 2}
      units: {type: int, low: 16, high: 128, log: true, per: hidden_layers}
      learning_rate: {type: float, low: 1.0e-4, high: 1.0e-1, log: true, prior: {value: 0.003, sure: high}}
      schedule: {type: categorical, choices: [constant, cosine, one_cycle], prior: {value: cosine, sure: low}}
      warmup: {type: float, low: 0.05, high: 0.5}
      batch_size: {type: categorical, choices: [32, 64]}
    first:
      - {hidden_layers: 1, units: 32, learning_rate: 0.01, schedule: cosine, batch_size: 32}
      - {hidden_layers: 2, units: [64, 32], learning_rate: 0.003, schedule: constant, batch_size: 64}
  cnn:
    baselines:
      conv: {params: {blocks: 1, filters: 8, padding: same, dense_units: 32, batch_size: 32}, epochs: 2}
    space:
      blocks: {type: int, low: 1, high: 2}
      filters: {type: int, low: 8, high: 24, step: 8, per: blocks}
      padding: same
      learning_rate: {type: float, low: 1.0e-3, high: 1.0e-1, log: true}
      batch_size: 64
"""
"""An experiment whose budget is in minutes, with priors and known configurations."""


def idx_bytes(values: NDArray[np.uint8]) -> bytes:
    """An array as an IDX file holds it."""
    sizes = b"".join(size.to_bytes(4, "big") for size in values.shape)
    return bytes([0, 0, 8, values.ndim]) + sizes + values.tobytes()


def made_split(count: int, *, side: int = 4, classes: int = 3, seed: int = 0) -> Split:
    """Random images; every class in turn."""
    images = np.random.default_rng(seed).integers(0, 256, (count, side, side, 1), dtype=np.uint8)
    return Split(images, (np.arange(count) % classes).astype(np.uint8))


def idx_contents(train: Split, test: Split) -> dict[str, bytes]:
    """The four files of a data set, by name."""
    arrays = (train.images[..., 0], train.labels, test.images[..., 0], test.labels)
    return {name: idx_bytes(values) for name, values in zip(IDX_FILES, arrays, strict=True)}


def write_idx_folder(folder: Path, train: Split, test: Split, *, zipped: bool = False) -> Path:
    """A folder with the four IDX files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in idx_contents(train, test).items():
        if zipped:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)
    return folder


def write_npz(path: Path, train: Split, test: Split) -> Path:
    """A file in the layout of `mnist.npz`."""
    np.savez(
        path,
        x_train=train.images[..., 0],
        y_train=train.labels.astype(np.int64),
        x_test=test.images[..., 0],
        y_test=test.labels.astype(np.int64),
    )
    return path


def only_line(error: pytest.ExceptionInfo[InputError], *parts: object) -> str:
    """The error's message, which must be one line that holds every part."""
    message = str(error.value)
    assert len(message.splitlines()) == 1, message
    for part in parts:
        assert str(part) in message, f"{part!s} is missing in: {message}"
    return message


def outcome(read: Callable[[], Result]) -> Result | str:
    """What a reader gives, or the message that it refuses with."""
    try:
        return read()
    except InputError as error:
        return str(error)
