"""Seconds to `--help`, and from the command to the first step of the first trial."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

from common import digitsweep, folder, report
from mlflow import MlflowClient

REPEATS = 5
SMOKE = Path(__file__).parent.parent / "experiments" / "smoke.yaml"


def first_step(place: Path) -> float:
    """From the start of the process to the first trial's first step, by the clock of its first epoch's metrics."""
    begun = time.time()
    digitsweep("sweep", str(SMOKE), "--trials", "0", cwd=place)
    client = MlflowClient(f"sqlite:///{place}/mlflow.db")
    (experiment,) = (each for each in client.search_experiments() if each.name == "digitsweep")
    starts = []
    for run in client.search_runs([experiment.experiment_id], "tags.`digitsweep.kind` = 'trial'"):
        seconds, losses = (client.get_metric_history(run.info.run_id, name) for name in ("epoch_seconds", "val_loss"))
        starts.append(losses[0].timestamp / 1000 - seconds[0].value)
    return min(starts) - begun


def main() -> None:
    with folder() as place:
        helps = [digitsweep("--help", cwd=place)[0] for _ in range(REPEATS)]
    firsts = []
    for _ in range(REPEATS):
        with folder() as place:
            firsts.append(first_step(place))
    rows = [
        [name, *(f"{value:.2f}" for value in (min(each), statistics.median(each), max(each)))]
        for name, each in (("--help", helps), ("first trial trains", firsts))
    ]
    headline = (
        f"startup: --help {statistics.median(helps):.2f} s, first trial trains after {statistics.median(firsts):.1f} s"
    )
    report("startup", headline, ["seconds to", "least", "median", "most"], rows)


if __name__ == "__main__":
    main()
