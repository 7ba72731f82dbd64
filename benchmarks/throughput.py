"""An identical list of eight trials, ours and the plain loop's, one after the other: the ratio of their wall-clock times.

Both are whole processes, from start to exit, with all logging on a fresh SQLite store."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import yaml
from common import digitsweep, folder, mnist_folder, report, run

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


def ours(place: Path, data: Path) -> tuple[float, dict[str, float]]:
    """The list as baselines of an experiment without a search."""
    families: dict[str, dict[str, dict[str, object]]] = {"ann": {"baselines": {}}, "cnn": {"baselines": {}}}
    for trial in TRIALS:
        families[str(trial["family"])]["baselines"][str(trial["name"])] = {"params": trial["params"]}
    experiment = {
        "name": "throughput",
        "question": "How long do eight trials take?",
        "data": {"source": "mnist", "validation": 10_000},
        "budget": {"trials": 0, "epochs": EPOCHS, "seconds": 1},
        "register_models": False,
        "families": families,
    }
    (place / "throughput.yaml").write_text(yaml.safe_dump(experiment))
    seconds, output = digitsweep("sweep", "throughput.yaml", "--data", str(data), cwd=place)
    found = re.findall(r"^(?:ann|cnn)-\d+ (\S+): .*COMPLETE.*validation ([\d.]+)%", output, re.MULTILINE)
    return seconds, {name: float(accuracy) for name, accuracy in found}


def plain(place: Path, data: Path) -> tuple[float, dict[str, float]]:
    """The list with Keras `fit`, one after another."""
    (place / "trials.json").write_text(json.dumps([{**trial, "epochs": EPOCHS} for trial in TRIALS]))
    script = str(Path(__file__).with_name("plain_loop.py"))
    seconds, _ = run(sys.executable, script, str(data), "trials.json", "out.json", cwd=place, MPLBACKEND="agg")
    trials = json.loads((place / "out.json").read_text())["trials"]
    return seconds, {trial["name"]: 100 * trial["accuracy"] for trial in trials}


def main() -> None:
    data = mnist_folder()
    with folder() as place:
        our_seconds, our_accuracies = ours(place, data)
    with folder() as place:
        plain_seconds, plain_accuracies = plain(place, data)
    names = [str(trial["name"]) for trial in TRIALS]
    rows: list[list[object]] = [[name, f"{our_accuracies[name]:.2f} %", f"{plain_accuracies[name]:.2f} %"] for name in names]
    means = [sum(each[name] for name in names) / len(names) for each in (our_accuracies, plain_accuracies)]
    rows.append(["mean validation accuracy", f"{means[0]:.2f} %", f"{means[1]:.2f} %"])
    rows.append(["seconds, start to exit", f"{our_seconds:.1f}", f"{plain_seconds:.1f}"])
    headline = (
        f"throughput: {plain_seconds / our_seconds:.2f} times the plain loop, accuracy {means[0] - means[1]:+.2f} points"
    )
    report("throughput", headline, ["", "digitsweep", "plain loop"], rows)


if __name__ == "__main__":
    main()
