"""The plain way to sweep: Optuna's fixed list, Keras `fit`, MLflow's fluent calls, one trial after another.

What one would write from the three libraries' tutorials, with the same logging as digitsweep: parameters, metrics by epoch,
report, confusion matrix and curves of each trial. Run as a process of its own: `plain_loop.py DATA TRIALS.json OUT.json`.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import keras
import matplotlib.pyplot as plt
import mlflow
import numpy as np
import optuna
from sklearn.metrics import ConfusionMatrixDisplay, classification_report

from digitsweep.data.sources import load_dataset

LAYERS = keras.layers


def build(trial: dict[str, Any]) -> keras.Model:
    """A network as the Keras guides write it."""
    params = trial["params"]
    model = keras.Sequential([keras.Input((28, 28, 1)), LAYERS.Rescaling(1 / 255)])
    if trial["family"] == "cnn":
        for filters in params["filters"]:
            model.add(LAYERS.Conv2D(filters, 3, activation="relu"))
            model.add(LAYERS.MaxPooling2D(2))
        model.add(LAYERS.Flatten())
        model.add(LAYERS.Dense(params["dense_units"], activation="relu"))
    else:
        model.add(LAYERS.Flatten())
        for units in params["units"]:
            model.add(LAYERS.Dense(units, activation="relu"))
    model.add(LAYERS.Dense(10, activation="softmax"))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


class LogEpochs(keras.callbacks.Callback):  # type: ignore[misc]
    """Logs each epoch's metrics as it ends."""

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        mlflow.log_metrics({name: float(value) for name, value in (logs or {}).items()}, step=epoch + 1)


def main(data: str, trials_path: str, out: str) -> None:
    begun = time.perf_counter()
    trials = json.loads(Path(trials_path).read_text())
    training = load_dataset(Path(data), validation=10_000, seed=0).training
    train, validation = training.train, training.validation
    found = []

    def objective(optuna_trial: optuna.Trial) -> float:
        trial = trials[optuna_trial.suggest_int("index", 0, len(trials) - 1)]
        with mlflow.start_run(run_name=trial["name"], nested=True):
            mlflow.log_params(trial["params"] | {"epochs": trial["epochs"]})
            model = build(trial)
            history = model.fit(
                train.images,
                train.labels,
                batch_size=trial["params"]["batch_size"],
                epochs=trial["epochs"],
                validation_data=(validation.images, validation.labels),
                callbacks=[LogEpochs()],
                verbose=0,
            )
            predicted = model.predict(validation.images, verbose=0).argmax(axis=1)
            mlflow.log_dict(classification_report(validation.labels, predicted, output_dict=True), "report.json")
            mlflow.log_text(classification_report(validation.labels, predicted), "report.txt")
            matrix = ConfusionMatrixDisplay.from_predictions(validation.labels, predicted)
            mlflow.log_figure(matrix.figure_, "confusion_matrix.png")
            plt.close("all")
            figure, axes = plt.subplots(1, 2)
            axes[0].plot(history.history["loss"])
            axes[0].plot(history.history["val_loss"])
            axes[1].plot(history.history["accuracy"])
            axes[1].plot(history.history["val_accuracy"])
            mlflow.log_figure(figure, "learning_curves.png")
            plt.close("all")
            accuracy = float(np.mean(predicted == validation.labels))
            found.append({"name": trial["name"], "accuracy": accuracy})
            keras.backend.clear_session()
            return accuracy

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize")
    for index in range(len(trials)):
        study.enqueue_trial({"index": index})
    mlflow.set_experiment("plain")
    with mlflow.start_run(run_name="plain loop"):
        study.optimize(objective, n_trials=len(trials))
    Path(out).write_text(json.dumps({"seconds": time.perf_counter() - begun, "trials": found}))


if __name__ == "__main__":
    main(*sys.argv[1:])
