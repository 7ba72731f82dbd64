"""How much the scores that choose a winner flatter it: ten sweeps of smoke.yaml, each with its own seed. The scores of the
search and of the selection seeds, against the confirmation seeds, which chose nothing."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from common import digitsweep, folder, report
from mlflow import MlflowClient

SEEDS = 10
SMOKE = Path(__file__).parent.parent / "experiments" / "smoke.yaml"


def swept(seed: int) -> dict[str, Any]:
    """The comparison of one sweep."""
    with folder() as place:
        digitsweep("sweep", str(SMOKE), "--seed", str(seed), cwd=place)
        client = MlflowClient(f"sqlite:///{place}/mlflow.db")
        experiments = [each.experiment_id for each in client.search_experiments()]
        (run,) = client.search_runs(experiments, "tags.`digitsweep.kind` = 'sweep'")
        path = client.download_artifacts(run.info.run_id, "comparison/comparison.json", str(place))
        found: dict[str, Any] = json.loads(Path(path).read_text())
        return found


def main() -> None:
    rows: list[list[object]] = []
    optimism: list[float] = []
    selected: list[float] = []
    openings = set()
    for seed in range(SEEDS):
        comparison = swept(seed)
        openings |= {each["number"] for each in comparison["openings"]}
        tests = {each["family"]: each["test"]["accuracy"] for each in comparison["entries"] if each["role"] == "best"}
        for each in (each for each in comparison["finalists"] if each["won"]):
            confirmed = each["confirmation_val_accuracy"]
            optimism.append(100 * each["optimism"])
            selected.append(100 * (each["selection_val_accuracy"] - confirmed))
            figures = [each["search_val_accuracy"], each["selection_val_accuracy"], confirmed, tests[each["family"]]]
            gaps = [f"{optimism[-1]:+.2f}", f"{selected[-1]:+.2f}"]
            rows.append([seed, each["family"], *(f"{100 * value:.2f} %" for value in figures), *gaps])
    mean, most, of_selection = statistics.fmean(optimism), max(optimism), statistics.fmean(selected)
    rows.append(["mean", "", "", "", "", "", f"{mean:+.2f}", f"{of_selection:+.2f}"])
    once = "once" if openings == {1} else f"up to {max(openings)} times"
    headline = (
        f"optimism: the search {mean:+.2f} points on average, {most:+.2f} at most; the selection seeds {of_selection:+.2f}; "
        f"the test set was opened {once} a family"
    )
    columns = [
        "seed",
        "family",
        "search",
        "selection seeds",
        "confirmation seeds",
        "test",
        "optimism, points",
        "of selection",
    ]
    report("optimism", headline, columns, rows)


if __name__ == "__main__":
    main()
