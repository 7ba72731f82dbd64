"""How far networks of one family, and of two, err on the same test images: what the simulations of `claims.py` copy."""
# ruff: noqa: E402  # what TensorFlow reads at its import is set before it

from __future__ import annotations

import math
import os

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}

from digitsweep.training.startup import import_tensorflow_quietly

import_tensorflow_quietly()  # it reads the variables above when it is imported

from itertools import combinations
from typing import Any

import numpy as np
from common import mnist_folder, report
from numpy.typing import NDArray

from digitsweep.data import TrainingData
from digitsweep.data.sources import load_dataset
from digitsweep.families import parse_params
from digitsweep.training import loop as training

SEEDS = 4
COMMON = {"batch_size": 128, "optimizer": "adamw", "learning_rate": 0.003, "schedule": "one_cycle", "augmentation": "affine"}
NETWORKS: dict[str, tuple[int, dict[str, Any]]] = {
    "ann": (12, {"hidden_layers": 2, "units": [512, 256], **COMMON}),
    "cnn": (4, {"blocks": 3, "filters": [32, 64, 128], "padding": "same", **COMMON}),
}
"""Epochs and hyperparameters."""


def wrong(
    family: str, seed: int, data: TrainingData, images: NDArray[np.uint8], labels: NDArray[np.uint8]
) -> NDArray[np.bool_]:
    """Which of the images a network gets wrong."""
    epochs, values = NETWORKS[family]
    params = parse_params(family, values)
    trained = training.train(params, data, seed=seed, epochs=epochs)
    while True:
        try:
            next(trained)
        except StopIteration as end:
            weights = end.value.weights
            break
    model = training.trained_model(params, data.shape, data.classes, weights)
    predicted = training.probabilities(model, images).argmax(axis=1)
    training.forget()
    return np.asarray(predicted != labels)


def main() -> None:
    dataset = load_dataset(mnist_folder(), validation=10_000, seed=0)
    test = dataset.test.open(by="make bench-agreement")
    summarise(
        {
            family: np.array([wrong(family, seed, dataset.training, test.images, test.labels) for seed in range(SEEDS)])
            for family in NETWORKS
        }
    )


def summarise(found: dict[str, NDArray[np.bool_]]) -> None:
    """Reports what share of their errors two networks have in common."""
    pairs = {
        **{f"two {family}s": list(combinations(networks, 2)) for family, networks in found.items()},
        "one of each": [(first, second) for first in found["ann"] for second in found["cnn"]],
    }
    rows: list[list[object]] = []
    shares = {}
    for name, networks in pairs.items():
        together = float(np.mean([(first & second).sum() for first, second in networks]))
        errors = float(np.mean([math.sqrt(first.sum() * second.sum()) for first, second in networks]))
        apart = float(np.mean([(first ^ second).sum() for first, second in networks]))
        shares[name] = together / errors
        rows.append([name, f"{errors:.1f}", f"{together:.1f}", f"{shares[name]:.2f}", f"{apart:.1f}"])
    headline = f"agreement: of their errors, {', '.join(f'{name} share {value:.2f}' for name, value in shares.items())}"
    columns = ["networks", "images one gets wrong", "both get wrong", "share", "exactly one gets wrong"]
    report("agreement", headline, columns, rows)


if __name__ == "__main__":
    main()
