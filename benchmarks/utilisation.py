"""Which share of the workers' time between the first trial's start and the last one's end is spent inside training."""

from __future__ import annotations

from pathlib import Path

from common import digitsweep, folder, mnist_folder, report
from mlflow import MlflowClient

EXPERIMENT = Path(__file__).parent.parent / "experiments" / "mnist.yaml"
WORKERS = 2
SECONDS = 60


def main() -> None:
    data = mnist_folder()
    with folder() as place:
        arguments = ["--data", str(data), "--workers", str(WORKERS), "--seconds", str(SECONDS)]
        digitsweep("sweep", str(EXPERIMENT), *arguments, cwd=place)
        client = MlflowClient(f"sqlite:///{place}/mlflow.db")
        (experiment,) = (each for each in client.search_experiments() if each.name == "digitsweep")
        runs = client.search_runs([experiment.experiment_id], "tags.`digitsweep.kind` = 'trial'", max_results=1000)
        begun = min(run.info.start_time for run in runs)
        ended = max(run.info.end_time for run in runs)
        trained = sum(run.data.metrics["train_seconds"] for run in runs)
    wall = (ended - begun) / 1000
    share = trained / (WORKERS * wall)
    rows = [[len(runs), f"{wall:.1f}", f"{trained:.1f}", f"{share:.1%}"]]
    report(
        "utilisation", f"utilisation: {share:.1%}", ["trials", "wall s", "training s, added up", "share of 2 workers"], rows
    )


if __name__ == "__main__":
    main()
