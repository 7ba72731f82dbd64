"""What each choice costs in the training loop: seconds of an epoch on one thread, against the same network without it."""
# ruff: noqa: E402  # what TensorFlow reads at its import is set before it

from __future__ import annotations

import os

os.environ |= {
    **{f"TF_NUM_{name}_THREADS": "1" for name in ("INTRAOP", "INTEROP")},
    "OMP_NUM_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "CUDA_VISIBLE_DEVICES": "-1",
}

from digitsweep.training.startup import import_tensorflow_quietly

import_tensorflow_quietly()  # it reads the variables above when it is imported

import statistics
from functools import partial
from typing import Any

import numpy as np
from common import mnist_folder, report

from digitsweep.data import TrainingData
from digitsweep.data.sources import load_dataset
from digitsweep.families import parse_params
from digitsweep.training import loop as training

IMAGES = 12_800
EPOCHS = 4
COMMON = {"batch_size": 128, "optimizer": "adamw", "learning_rate": 0.003, "schedule": "one_cycle"}
BASES: dict[str, dict[str, Any]] = {
    "ann": {"hidden_layers": 2, "units": [512, 256], **COMMON},
    "cnn": {"blocks": 3, "filters": [16, 32, 64], "padding": "same", **COMMON},
}
CHOICES: list[tuple[str, dict[str, Any]]] = [
    ("ann", {}),
    ("ann", {"augmentation": "shift"}),
    ("ann", {"augmentation": "affine"}),
    ("ann", {"activation": "gelu"}),
    ("ann", {"normalization": "batch"}),
    ("ann", {"normalization": "layer"}),
    ("ann", {"dropout": 0.1}),
    ("ann", {"label_smoothing": 0.05}),
    ("ann", {"schedule": "constant"}),
    ("ann", {"optimizer": "sgd"}),
    ("ann", {"batch_size": 32}),
    ("cnn", {}),
    ("cnn", {"augmentation": "shift"}),
    ("cnn", {"augmentation": "affine"}),
    ("cnn", {"activation": "gelu"}),
    ("cnn", {"activation": "silu"}),
    ("cnn", {"normalization": "batch"}),
    ("cnn", {"normalization": "layer"}),
    ("cnn", {"dropout": 0.1}),
    ("cnn", {"kernel_size": 5}),
    ("cnn", {"pooling": "stride"}),
    ("cnn", {"pooling": "average"}),
    ("cnn", {"padding": "valid"}),
    ("cnn", {"filters": [20, 36, 62]}),
    ("cnn", {"filters": [32, 64, 128]}),
    ("cnn", {"batch_size": 32}),
]


def epoch_seconds(family: str, choice: dict[str, Any], data: TrainingData) -> float:
    """The median of the epochs after the first, which traces the graph."""
    params = parse_params(family, {**BASES[family], **choice})
    return statistics.median(
        [each.metrics.epoch_seconds for each in training.train(params, data, seed=0, epochs=EPOCHS)][1:]
    )


def main() -> None:
    whole = load_dataset(mnist_folder(), validation=10_000, seed=0).training
    data = TrainingData(whole.train.take(np.arange(IMAGES)), whole.validation, whole.classes)
    rows: list[list[object]] = []
    bases: dict[tuple[str, str], float] = {}
    for precision in ("float32", training.fastest_precision()):
        training.fastest_precision = partial(str, precision)
        for family in BASES:
            seconds = bases[family, precision] = epoch_seconds(family, {}, data)
            rows.append([family, precision, f"{seconds:.2f}", f"{seconds / bases[family, 'float32']:.2f}"])
    for family, choice in CHOICES:
        if choice:
            seconds = epoch_seconds(family, choice, data)
            text = ", ".join(f"{name} {value}" for name, value in choice.items())
            rows.append([family, text, f"{seconds:.2f}", f"{seconds / bases[family, precision]:.2f}"])
    faster = {family: bases[family, "float32"] / bases[family, precision] for family in BASES}
    headline = f"step: {precision} {faster['ann']:.2f} times as fast for the ANN, {faster['cnn']:.2f} for the CNN"
    report("step", headline, ["network", "choice", f"s for {IMAGES:,} images", "of the base"], rows)


if __name__ == "__main__":
    main()
