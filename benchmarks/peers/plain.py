"""A plain loop: Optuna's TPE, Keras `fit` in one process on all cores, MLflow's fluent calls. Every training is whole.

`python -m peers.plain EXPERIMENT DATA MINUTES SEED OUT`"""

from __future__ import annotations

import time
from collections.abc import Mapping

import keras
import mlflow
import optuna

from digitsweep.config.space import drawn_by
from peers.fitting import answer, compiled, fit, weights_of
from peers.task import Found, Network, Share


class LogEpochs(keras.callbacks.Callback):  # type: ignore[misc]
    """Logs every epoch's figures to the active run."""

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        mlflow.log_metrics(dict(logs or {}), step=epoch)


def search(share: Share) -> Found:
    trainings: list[tuple[float, float]] = []
    best: Network | None = None

    def objective(trial: optuna.Trial) -> float:
        nonlocal best
        params = share.params(drawn_by(trial))
        model = compiled(params, share)
        with mlflow.start_run(nested=True):
            mlflow.log_params(trial.params)
            accuracy = fit(model, params, share, callbacks=[LogEpochs()])["val_accuracy"][-1]
        trainings.append((time.time(), accuracy))
        if best is None or accuracy > best.val_accuracy:
            best = Network(params, weights_of(model, params), accuracy)
        keras.backend.clear_session()
        if time.time() > share.ends:
            trial.study.stop()
        return accuracy

    mlflow.set_experiment("plain")
    with mlflow.start_run(run_name=share.family):
        sampler = optuna.samplers.TPESampler(seed=share.seed)
        optuna.create_study(direction="maximize", sampler=sampler).optimize(objective)
    return Found(trainings, best)


if __name__ == "__main__":
    answer(search)
