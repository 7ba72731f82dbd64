"""An identical list of eight trials, ours, the plain loop's and ours again: the ratio of their wall-clock times.

All are processes with all logging on a fresh SQLite store, timed twice: from the start until the last trial's run has been
closed in MLflow, which is the same work on both sides, and until they exit. By then ours has opened the test set, timed
eight models and drawn the comparison; the plain loop does nothing more."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import yaml
from common import digitsweep, folder, mnist_folder, report, run
from mlflow import MlflowClient
from mlflow.entities import Run

EPOCHS = 4
TRIALS = [
    {"name": "784-10", "family": "ann", "params": {"hidden_layers": 0, "units": [], "batch_size": 128}},
    {"name": "100", "family": "ann", "params": {"hidden_layers": 1, "units": [100], "batch_size": 128}},
    {"name": "128-32", "family": "ann", "params": {"hidden_layers": 2, "units": [128, 32], "batch_size": 128}},
    {"name": "512-256", "family": "ann", "params": {"hidden_layers": 2, "units": [512, 256], "batch_size": 128}},
    *(
        {
            "name": f"conv-{'-'.join(map(str, filters))}{f'-batch-{batch}' if batch != 128 else ''}",
            "family": "cnn",
            "params": {"blocks": len(filters), "filters": filters, "dense_units": 100, "batch_size": batch},
        }
        for filters, batch in (([32], 128), ([16, 32], 128), ([32, 64], 128), ([32, 64], 64))
    ),
]


@dataclass(frozen=True)
class Timed:
    """One side."""

    until_last_trial: float
    until_exit: float
    """Both in seconds since the command."""
    accuracies: dict[str, float]


def ours(place: Path, data: Path, *arguments: str, epochs: int = EPOCHS) -> Timed:
    """The list as baselines of an experiment without a search; arguments: more of `digitsweep sweep`."""
    families: dict[str, dict[str, dict[str, object]]] = {"ann": {"baselines": {}}, "cnn": {"baselines": {}}}
    for trial in TRIALS:
        families[str(trial["family"])]["baselines"][str(trial["name"])] = {"params": trial["params"]}
    experiment = {
        "name": "throughput",
        "question": "How long do eight trials take?",
        "data": {"source": "mnist", "validation": 10_000},
        "budget": {"trials": 0, "epochs": epochs, "seconds": 1},
        "register_models": False,
        "families": families,
    }
    (place / "throughput.yaml").write_text(yaml.safe_dump(experiment))
    begun = time.time()
    seconds, _ = digitsweep("sweep", "throughput.yaml", "--data", str(data), *arguments, cwd=place)
    accuracies = {
        each.data.tags["baseline"]: 100 * each.data.metrics["val_accuracy"] for each in trials_of(place, "digitsweep")
    }
    return Timed(last_trial(place, "digitsweep") - begun, seconds, accuracies)


def plain(place: Path, data: Path) -> Timed:
    """The list with Keras `fit`, one after another."""
    (place / "trials.json").write_text(json.dumps([{**trial, "epochs": EPOCHS} for trial in TRIALS]))
    script = str(Path(__file__).with_name("plain_loop.py"))
    begun = time.time()
    seconds, _ = run(sys.executable, script, str(data), "trials.json", "out.json", cwd=place, MPLBACKEND="agg")
    trials = json.loads((place / "out.json").read_text())["trials"]
    accuracies = {trial["name"]: 100 * trial["accuracy"] for trial in trials}
    return Timed(last_trial(place, "plain") - begun, seconds, accuracies)


def last_trial(place: Path, experiment: str) -> float:
    """When the last trial's run was closed, in seconds since 1970."""
    return float(max(each.info.end_time for each in trials_of(place, experiment))) / 1000


def trials_of(place: Path, experiment: str) -> list[Run]:
    """The runs of the list's trials."""
    client = MlflowClient(f"sqlite:///{place}/mlflow.db")
    (found,) = (each for each in client.search_experiments() if each.name == experiment)
    runs = client.search_runs([found.experiment_id], max_results=1000)
    below = [each for each in runs if "mlflow.parentRunId" in each.data.tags]
    trials = below or list(runs)  # some loggers have no run above the trials
    assert len(trials) == len(TRIALS)
    return trials


def main() -> None:
    data = mnist_folder()
    sides = []
    for side in (ours, plain, ours):  # ours before and after: a machine that changes its speed meanwhile says so
        with folder() as place:
            sides.append(side(place, data))
    before, looped, after = sides
    names = [str(trial["name"]) for trial in TRIALS]
    rows: list[list[object]] = [[name, *(f"{each.accuracies[name]:.2f} %" for each in sides)] for name in names]
    means = [sum(each.accuracies[name] for name in names) / len(names) for each in sides]
    rows.append(["mean validation accuracy", *(f"{mean:.2f} %" for mean in means)])
    rows.append(["seconds until the last trial was recorded", *(f"{each.until_last_trial:.1f}" for each in sides)])
    rows.append(["seconds until the process ended", *(f"{each.until_exit:.1f}" for each in sides)])
    trials = 2 * looped.until_last_trial / (before.until_last_trial + after.until_last_trial)
    whole = 2 * looped.until_exit / (before.until_exit + after.until_exit)
    headline = (
        f"throughput: {trials:.2f} times the plain loop ({whole:.2f} with our judging), "
        f"accuracy {(means[0] + means[2]) / 2 - means[1]:+.2f} points"
    )
    report("throughput", headline, ["", "digitsweep", "plain loop", "digitsweep again"], rows)


if __name__ == "__main__":
    main()
