"""What bfloat16 costs in accuracy: eight seeds trained in float32 and in bfloat16, and each network asked in both."""
# ruff: noqa: E402  # what TensorFlow reads at its import is set before it

from __future__ import annotations

import os

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}

from digitsweep.training.startup import import_tensorflow_quietly

import_tensorflow_quietly()  # it reads the variables above when it is imported

from typing import Any

import numpy as np
from common import mnist_folder, report
from scipy.stats import t

from digitsweep.data import TrainingData
from digitsweep.data.sources import load_dataset
from digitsweep.families import parse_params
from digitsweep.training import loop as training

SEEDS, EPOCHS = 8, 4
COMMON = {"batch_size": 128, "optimizer": "adamw", "learning_rate": 0.003, "schedule": "one_cycle", "augmentation": "affine"}
NETWORKS: dict[str, dict[str, Any]] = {
    "ann": {"hidden_layers": 2, "units": [512, 256], **COMMON},
    "cnn": {"blocks": 3, "filters": [16, 32, 64], "padding": "same", **COMMON},
}


def trained(family: str, precision: str, seed: int, data: TrainingData) -> tuple[float, float]:
    """Validation accuracy as the trial computes it, and of the same weights in float32."""
    training.fastest_precision = lambda: precision
    params = parse_params(family, NETWORKS[family])
    epochs = training.train(params, data, seed=seed, epochs=EPOCHS)
    while True:
        try:
            next(epochs)
        except StopIteration as end:
            result = end.value
            break
    model = training.trained_model(params, data.shape, data.classes, result.weights)
    asked = training.probabilities(model, data.validation.images).argmax(axis=1)
    training.forget()
    return result.epochs[-1].val_accuracy, float(np.mean(asked == data.validation.labels))


def interval(differences: list[float]) -> tuple[float, float, float]:
    """Mean of paired differences with Student's 95 % interval."""
    mean = float(np.mean(differences))
    half = float(t.ppf(0.975, len(differences) - 1) * np.std(differences, ddof=1) / np.sqrt(len(differences)))
    return mean, mean - half, mean + half


def main() -> None:
    training_data = load_dataset(mnist_folder(), validation=10_000, seed=0).training
    faster = training.fastest_precision()
    rows: list[list[object]] = []
    headlines = []
    for family in NETWORKS:
        found = {
            precision: [trained(family, precision, seed, training_data) for seed in range(SEEDS)]
            for precision in ("float32", faster)
        }
        for precision, accuracies in found.items():
            asked = [100 * each[1] for each in accuracies]
            apart = max(abs(own - other) for own, other in accuracies)
            rows.append([family, precision, f"{np.mean(asked):.3f} %", f"{np.std(asked, ddof=1):.3f}", f"{100 * apart:.2f}"])
        mean, low, high = interval(
            [100 * (new[1] - old[1]) for new, old in zip(found[faster], found["float32"], strict=True)]
        )
        headlines.append(f"{family} {mean:+.3f} points ({low:+.3f} to {high:+.3f})")
    headline = f"precision: {faster} against float32, {SEEDS} seeds: {', '.join(headlines)}"
    columns = ["network", "trained in", "mean validation accuracy, asked in float32", "std", "most between asking in either"]
    report("precision", headline, columns, rows)


if __name__ == "__main__":
    main()
