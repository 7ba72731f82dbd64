"""Which share of the workers' time between the first trial's start and the last one's end is spent inside training."""

from __future__ import annotations

from pathlib import Path

import yaml
from common import digitsweep, folder, mnist_folder, report
from mlflow import MlflowClient

MNIST = Path(__file__).parent.parent / "experiments" / "mnist.yaml"
WORKERS = 2
SECONDS = 60


def main() -> None:
    data = mnist_folder()
    experiment = yaml.safe_load(MNIST.read_text())
    del experiment["finalists"], experiment["data"]["fallback"]  # the search alone: it is what is measured
    with folder() as place:
        (place / "utilisation.yaml").write_text(yaml.safe_dump(experiment))
        arguments = ["--data", str(data), "--workers", str(WORKERS), "--seconds", str(SECONDS)]
        digitsweep("sweep", "utilisation.yaml", *arguments, cwd=place)
        client = MlflowClient(f"sqlite:///{place}/mlflow.db")
        (found,) = (each for each in client.search_experiments() if each.name == "digitsweep")
        runs = client.search_runs([found.experiment_id], "tags.`digitsweep.kind` = 'trial'", max_results=1000)
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
