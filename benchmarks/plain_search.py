"""The plain way to search mnist.yaml's CNN space: one process, Keras `fit`, Optuna's default sampler, no pruning.

`plain_search.py DATA SECONDS OUT.json` writes (seconds, validation accuracy) of each trial that ended in time."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import keras
import mlflow
import numpy as np
import optuna

from digitsweep.data.sources import load_dataset
from digitsweep.experiment_file import load_experiment
from digitsweep.models import build
from digitsweep.params import CnnParams, parse_params
from digitsweep.schedules import epoch_rates

MNIST = Path(__file__).parent.parent / "experiments" / "mnist.yaml"


def main(data: str, seconds: str, out: str) -> None:
    training = load_dataset(Path(data), validation=10_000, seed=0).training
    train, validation = training.train, training.validation
    experiment = load_experiment(MNIST)
    space, epochs = experiment.families["cnn"].space, experiment.budget.epochs
    augmentation = keras.Sequential(
        [
            keras.layers.RandomRotation(10 / 360, fill_mode="constant"),
            keras.layers.RandomTranslation(2 / 28, 2 / 28, fill_mode="constant"),
            keras.layers.RandomZoom(0.1, 0.1, fill_mode="constant"),
        ]
    )
    begun = time.perf_counter()
    found: list[tuple[float, float]] = []

    class Deadline(keras.callbacks.Callback):  # type: ignore[misc]
        def on_train_batch_end(self, batch: int, logs: object = None) -> None:
            self.model.stop_training = time.perf_counter() - begun > float(seconds)

    def objective(trial: optuna.Trial) -> float:
        params = parse_params("cnn", space.suggest(trial))
        assert isinstance(params, CnnParams)
        network = build(params, 28, 10)
        image = keras.Input((28, 28, 1))
        model = keras.Model(image, network(augmentation(image)))
        steps = len(train) // params.batch_size
        rates = np.concatenate([epoch_rates(params, epoch, epochs, steps, []) for epoch in range(1, epochs + 1)])

        class Rate(keras.callbacks.Callback):  # type: ignore[misc]
            def on_train_batch_begin(self, batch: int, logs: object = None) -> None:
                step = min(int(self.model.optimizer.iterations), len(rates) - 1)
                self.model.optimizer.learning_rate = float(rates[step])

        model.compile(
            keras.optimizers.AdamW(1e-3, weight_decay=params.weight_decay),
            keras.losses.SparseCategoricalCrossentropy(),
            metrics=["accuracy"],
        )
        with mlflow.start_run(nested=True):
            mlflow.log_params(trial.params)
            history = model.fit(
                train.images.astype(np.float32),
                train.labels,
                batch_size=params.batch_size,
                epochs=epochs,
                validation_data=(validation.images.astype(np.float32), validation.labels),
                callbacks=[Rate(), Deadline()],
                verbose=0,
            )
            accuracies = history.history["val_accuracy"]
            mlflow.log_metric("val_accuracy", accuracies[-1])
        if len(accuracies) == epochs and time.perf_counter() - begun <= float(seconds):
            found.append((time.perf_counter() - begun, float(accuracies[-1])))
        else:
            trial.study.stop()
        return float(accuracies[-1])

    mlflow.set_experiment("plain")
    with mlflow.start_run():
        optuna.create_study(direction="maximize").optimize(objective)
    Path(out).write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
