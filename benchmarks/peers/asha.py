"""Ray Tune: configurations from OptunaSearch (TPE), stopped early by ASHA, in two workers of one core each.

`python -m peers.asha EXPERIMENT DATA MINUTES SEED OUT`"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

# Read by Ray at its import, and by TensorFlow in the workers.
os.environ |= {
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    **{f"TF_NUM_{name}_THREADS": "1" for name in ("INTRAOP", "INTEROP")},
}

import keras
import optuna
import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from digitsweep.config.space import Space, drawn_by
from digitsweep.families import Params
from digitsweep.families.build import network
from peers.fitting import compiled, fit
from peers.task import Found, Network, Share, Task

WORKERS = 2
METRIC = "val_accuracy"
WEIGHTS = "network.weights.h5"


class Report(keras.callbacks.Callback):  # type: ignore[misc]
    """Tells Ray of each epoch, with the network's weights."""

    def __init__(self, params: Params) -> None:
        super().__init__()
        self._family = params.family

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        with tempfile.TemporaryDirectory() as folder:
            self.model.get_layer(self._family).save_weights(Path(folder) / WEIGHTS)
            tune.report({METRIC: (logs or {})[METRIC]}, checkpoint=tune.Checkpoint.from_directory(folder))


class TimedSearch(OptunaSearch):  # type: ignore[misc]
    """OptunaSearch that proposes nothing once the time is over; what runs then ends itself."""

    def __init__(self, share: Share) -> None:
        super().__init__(partial(draw, share.space), metric=METRIC, mode="max", seed=share.seed)
        self._ends = share.ends

    def suggest(self, trial_id: str) -> Any:
        return Searcher.FINISHED if time.time() > self._ends else super().suggest(trial_id)


def draw(space: Space, trial: optuna.Trial) -> None:
    """Draws a configuration, which Ray notes by the trial's values."""
    space.suggest(drawn_by(trial))


def params_of(config: Mapping[str, Any], share: Share) -> Params:
    return share.params(lambda name, _: config[name])


def train(config: Mapping[str, Any], share: Share) -> None:
    """One trial, in a worker."""
    if time.time() > share.ends:  # it was proposed before; Ray does not take a trial without a result
        tune.report({METRIC: 0.0})
        return
    keras.backend.clear_session()
    keras.utils.set_random_seed(share.seed)
    params = params_of(config, share)
    fit(compiled(params, share), params, share, callbacks=[Report(params)])


def search(share: Share) -> Found:
    with tempfile.TemporaryDirectory() as folder:
        tuner = tune.Tuner(
            tune.with_resources(tune.with_parameters(train, share=share), {"cpu": 1}),
            tune_config=tune.TuneConfig(
                metric=METRIC,
                mode="max",
                search_alg=TimedSearch(share),
                scheduler=ASHAScheduler(max_t=share.epochs, grace_period=1, reduction_factor=3),
                num_samples=-1,
                max_concurrent_trials=WORKERS,
                reuse_actors=True,  # or every trial would import TensorFlow
            ),
            run_config=tune.RunConfig(
                storage_path=folder,
                name=share.family,
                checkpoint_config=tune.CheckpointConfig(num_to_keep=1),
                verbose=0,
            ),
        )
        results = tuner.fit()
        reported = [each for each in results if each.checkpoint is not None]
        trainings = sorted((float(each.metrics["timestamp"]), float(each.metrics[METRIC])) for each in reported)
        if not reported:
            return Found([], None)
        best = results.get_best_result()
        params = params_of(best.config, share)
        trained = network(params, share.data.shape, share.data.classes)
        with best.checkpoint.as_directory() as checkpoint:
            trained.load_weights(Path(checkpoint) / WEIGHTS)
        return Found(trainings, Network(params, trained.get_weights(), float(best.metrics[METRIC])))


def main() -> None:
    task = Task.given()
    shares = task.shares()
    ray.init("local", num_cpus=WORKERS, include_dashboard=False, log_to_driver=False)
    found = [search(each) for each in shares]
    ray.shutdown()
    task.answer(shares, found)


if __name__ == "__main__":
    main()
