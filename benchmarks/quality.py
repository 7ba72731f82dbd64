"""The best validation accuracy against seconds: ours, ours without pruning, and the plain loop on the same space and clock.

The CNN family of mnist.yaml, whose trials cost most. The plain loop is one process with all cores, Keras `fit`, Optuna's
default sampler and no pruning; all three stop at the same wall-clock time."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import yaml
from common import digitsweep, folder, mnist_folder, report, run
from mlflow import MlflowClient

SECONDS = 180
"""Wall-clock, of each."""
WORKERS = 2
AT = (30, 60, 120, 180)
MNIST = Path(__file__).parent.parent / "experiments" / "mnist.yaml"


def ours(data: Path, pruner: str) -> list[tuple[float, float]]:
    """(seconds since the start, validation accuracy) of each complete trial."""
    experiment = yaml.safe_load(MNIST.read_text())
    experiment["families"] = {"cnn": {"space": experiment["families"]["cnn"]["space"]}}
    experiment["budget"] |= {"trials": 1000, "seconds": SECONDS * WORKERS}
    experiment["pruner"]["type"] = pruner
    experiment["register_models"] = False
    del experiment["finalists"], experiment["data"]["fallback"]
    with folder() as place:
        (place / "quality.yaml").write_text(yaml.safe_dump(experiment))
        arguments = ("--data", str(data), "--workers", str(WORKERS))
        digitsweep("sweep", "quality.yaml", *arguments, cwd=place)
        client = MlflowClient(f"sqlite:///{place}/mlflow.db")
        (found,) = (each for each in client.search_experiments() if each.name == "digitsweep")
        runs = client.search_runs([found.experiment_id], "tags.`digitsweep.kind` = 'trial'", max_results=1000)
        begun = min(each.info.start_time for each in runs)
        return [
            ((each.info.end_time - begun) / 1000, each.data.metrics["val_accuracy"])
            for each in runs
            if each.data.tags["trial.state"] == "COMPLETE"
        ]


def plain(data: Path) -> list[tuple[float, float]]:
    """The same of the plain loop."""
    with folder() as place:
        script = str(Path(__file__).with_name("plain_search.py"))
        run(sys.executable, script, str(data), str(SECONDS), "out.json", cwd=place)
        return [(seconds, accuracy) for seconds, accuracy in json.loads((place / "out.json").read_text())]


def best_by(trials: list[tuple[float, float]], seconds: float) -> str:
    best = max((accuracy for at, accuracy in trials if at <= seconds), default=None)
    return f"{best:.2%}" if best is not None else "none yet"


def main() -> None:
    data = mnist_folder()
    sweeps = {
        "digitsweep": ours(data, "successive_halving"),
        "digitsweep, no pruning": ours(data, "none"),
        "plain loop": plain(data),
    }
    rows = [[name, len(trials), *(best_by(trials, seconds) for seconds in AT)] for name, trials in sweeps.items()]
    finals = ", ".join(f"{name} {best_by(trials, 1.1 * SECONDS)}" for name, trials in sweeps.items())
    header = ["best validation accuracy", "complete trials", *(f"after {seconds} s" for seconds in AT)]
    report("quality", f"quality: after {SECONDS} s {finals}", header, rows)


if __name__ == "__main__":
    main()
