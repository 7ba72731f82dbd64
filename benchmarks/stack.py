"""What sign-in, PostgreSQL and containers cost: a trial's records on the stack of docker-compose.yml and on a bare server.

Needs the stack: `make up`, with MLFLOW_TRACKING_URI and the two variables beside it set as that says."""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path

from common import folder, report
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from overhead import server

TRIALS = 60
WARM_UP = 5
EPOCHS = 10
NAMES = (
    *("train_loss", "train_accuracy", "val_loss", "val_accuracy", "val_balanced_accuracy", "val_macro_f1"),
    *("learning_rate", "epoch_seconds"),
)
FILES = {"matrix.png": 40_000, "curves.png": 40_000, "report.json": 2000, "report.txt": 800, "matrix.json": 900}
"""A trial's files: bytes, about."""


def seconds_of_a_trial(client: MlflowClient, experiment_id: str, files: Path) -> float:
    """Seconds for the calls with which `tracking/` records one trial of ten epochs, its five files included."""
    begun = time.perf_counter()
    now = time.time_ns() // 1_000_000
    tags = {f"tag-{number}": "value" for number in range(8)}
    run_id = client.create_run(experiment_id, tags=tags).info.run_id
    client.log_batch(run_id, params=[Param(f"param_{number}", str(number)) for number in range(15)])
    client.log_batch(run_id, metrics=[Metric(name, 0.5, now, epoch) for epoch in range(1, EPOCHS + 1) for name in NAMES])
    last = [Metric(name, 0.5, now, EPOCHS) for name in ("weights", "train_seconds")]
    client.log_batch(run_id, metrics=last, tags=[RunTag("digitsweep.trial", "x" * 600)])
    client.log_artifacts(run_id, str(files))
    client.set_terminated(run_id)
    return time.perf_counter() - begun


def main() -> None:
    address = os.environ.get("MLFLOW_TRACKING_URI", "")
    if not address.startswith("http"):
        raise SystemExit("bench-stack measures a running stack: `make up`, then set the variables that it names")
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    with folder() as place, server(place) as (bare, _):
        files = place / "trial"
        files.mkdir()
        for name, size in FILES.items():
            (files / name).write_bytes(os.urandom(size))
        seconds: dict[str, list[float]] = {"bare server": [], "stack": []}
        name = f"bench-{time.time_ns()}"
        clients = {"bare server": MlflowClient(bare), "stack": MlflowClient(address)}
        experiments = {where: client.create_experiment(name) for where, client in clients.items()}
        try:
            for number in range(WARM_UP + TRIALS):  # interleaved: a machine that slows down slows both
                for where, client in clients.items():
                    took = seconds_of_a_trial(client, experiments[where], files)
                    if number >= WARM_UP:
                        seconds[where].append(took)
        finally:
            clients["stack"].delete_experiment(experiments["stack"])
    middle = {where: statistics.median(each) for where, each in seconds.items()}
    rows = [
        [where, *(f"{1000 * value:.0f}" for value in (min(each), middle[where], statistics.quantiles(each, n=10)[8]))]
        for where, each in seconds.items()
    ]
    times = middle["stack"] / middle["bare server"]
    headline = f"stack: a trial's records cost {times:.2f} times what they cost on a bare server"
    report("stack", headline, ["server", "least ms", "median ms", "nine of ten ms"], rows)


if __name__ == "__main__":
    main()
