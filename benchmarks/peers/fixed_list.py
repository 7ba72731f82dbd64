"""Ray Tune over a fixed list of trials, with its MLflow logger, in two workers of one core each.

`python -m peers.fixed_list DATA TRIALS.json OUT.json`. As plain_loop.py, but it draws no pictures and writes no report."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Read by Ray at its import, and by TensorFlow in the workers.
os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", **{f"TF_NUM_{name}_THREADS": "1" for name in ("INTRAOP", "INTEROP")}}

import keras
import ray
from plain_loop import build
from ray import tune
from ray.air.integrations.mlflow import MLflowLoggerCallback

from digitsweep.data import TrainingData
from digitsweep.data.sources import load_dataset

WORKERS = 2


class Report(keras.callbacks.Callback):  # type: ignore[misc]
    """Tells Ray of each epoch."""

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        tune.report({name: float(value) for name, value in (logs or {}).items()})


def train(config: Mapping[str, Any], data: TrainingData) -> None:
    """One trial, in a worker."""
    keras.backend.clear_session()
    trial = config["trial"]
    build(trial).fit(
        data.train.images,
        data.train.labels,
        batch_size=trial["params"]["batch_size"],
        epochs=trial["epochs"],
        validation_data=(data.validation.images, data.validation.labels),
        callbacks=[Report()],
        verbose=0,
    )


def main(data: str, trials_path: str, out: str) -> None:
    trials = json.loads(Path(trials_path).read_text())
    ray.init("local", num_cpus=WORKERS, include_dashboard=False, log_to_driver=False)
    training = load_dataset(Path(data), validation=10_000, seed=0).training
    logger = MLflowLoggerCallback(f"sqlite:///{Path('mlflow.db').resolve()}", experiment_name="tune", save_artifact=True)
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(train, data=training), {"cpu": 1}),
        param_space={"trial": tune.grid_search(trials)},
        tune_config=tune.TuneConfig(reuse_actors=True),  # or every trial would import TensorFlow
        run_config=tune.RunConfig(storage_path=str(Path("results").resolve()), verbose=0, callbacks=[logger]),
    )
    results = tuner.fit()
    found = {each.config["trial"]["name"]: 100 * float(each.metrics["val_accuracy"]) for each in results}
    Path(out).write_text(json.dumps(found))
    ray.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
