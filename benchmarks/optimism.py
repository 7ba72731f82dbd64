"""How much the score of the picked flatters: ten sweeps of smoke.yaml, each with its own seed; search, fresh seeds, test."""

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
    openings = set()
    for seed in range(SEEDS):
        comparison = swept(seed)
        openings |= {each["number"] for each in comparison["openings"]}
        tests = {each["family"]: each["test"]["accuracy"] for each in comparison["entries"] if each["role"] == "best"}
        for each in (each for each in comparison["finalists"] if each["won"]):
            optimism.append(100 * (each["search"] - each["mean"]))
            figures = [each["search"], each["mean"], tests[each["family"]]]
            rows.append([seed, each["family"], *(f"{100 * value:.2f} %" for value in figures), f"{optimism[-1]:+.2f}"])
    mean, most = statistics.fmean(optimism), max(optimism)
    rows.append(["mean", "", "", "", "", f"{mean:+.2f}"])
    once = "once" if openings == {1} else f"up to {max(openings)} times"
    headline = f"optimism: {mean:+.2f} points on average, {most:+.2f} at most; the test set was opened {once} a family"
    report("optimism", headline, ["seed", "family", "search", "fresh seeds", "test", "optimism, points"], rows)


if __name__ == "__main__":
    main()
