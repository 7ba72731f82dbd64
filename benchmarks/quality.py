"""How good the networks are that digitsweep finds, and others in the same wall-clock time: real trainings on two cores.

    quality.py [--data FOLDER ...] [--minutes M] [--seeds SEED ...] [--searchers NAME ...] [--experiment FILE]

A run is one searcher on one data set with one seed; its figures stay in build/bench-quality/, and it is not repeated. The
report is made from all runs that are there, so that some can be added later; without a name after `--searchers` it is made
again, and nothing is run. The folders are by default those in DIGITSWEEP_BENCH_DATA, or that folder itself, or MNIST's."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

from common import digitsweep, folder, mnist_folder, report, run
from mlflow import MlflowClient
from peers.task import Answer, read, write

from digitsweep.evaluation.comparison import comparison_from

HERE = Path(__file__).parent
RAW = HERE.parent / "build" / "bench-quality"
PEERS = HERE.parent / "build" / "bench-peers" / "bin" / "python"
"""Of the virtual environment that KerasTuner and Ray live in."""
IMAGES = HERE.parent / "experiments" / "images.yaml"
CORES = 2
AT = (0.1, 0.25, 0.5, 1.0)
"""Parts of the time after which the best validation accuracy is shown."""


@dataclass(frozen=True)
class Run:
    """One searcher on one data set with one seed."""

    experiment: Path
    data: Path
    minutes: float
    searcher: str
    seed: int

    @property
    def folder(self) -> Path:
        return RAW / f"{self.experiment.stem}-{self.data.name}-{self.minutes:g}min"

    @property
    def path(self) -> Path:
        return self.folder / f"{self.searcher}-{self.seed}.json"


def ours(wanted: Run) -> None:
    """Runs a sweep, and writes what its records say."""
    with folder() as place:
        begun = time.time()
        arguments = ("--minutes", f"{wanted.minutes}", "--data", str(wanted.data), "--seed", f"{wanted.seed}")
        took, _ = digitsweep("sweep", str(wanted.experiment), *arguments, "--workers", f"{CORES}", cwd=place)
        client = MlflowClient(f"sqlite:///{place}/mlflow.db")
        (found,) = (each for each in client.search_experiments() if each.name == "digitsweep")
        kept = "tags.`digitsweep.kind` = 'trial' and tags.`trial.state` = 'COMPLETE'"
        runs = client.search_runs([found.experiment_id], kept, max_results=10_000)
        comparison = comparison_from(json.loads(next(place.rglob("comparison.json")).read_text()))
        answers = {}
        for best in comparison.best():
            accuracies = comparison.accuracies(best)
            answers[best.family] = Answer(
                seconds=60.0 * wanted.minutes,
                command_seconds=took,
                trainings=sorted(
                    (each.info.end_time / 1000 - begun, each.data.metrics["val_accuracy"])
                    for each in runs
                    if each.data.tags["family"] == best.family
                ),
                val_accuracy=accuracies.get("confirmation_val_accuracy", accuracies.get("search_val_accuracy")),
                test_accuracy=accuracies["test_accuracy"],
                fresh_test_accuracy=accuracies.get("confirmation_test_accuracy"),
            )
        write(wanted.path, answers)


def peer(module: str, python: str) -> Callable[[Run], None]:
    """What runs a module of `peers`."""

    def begin(wanted: Run) -> None:
        if not Path(python).exists():
            raise SystemExit(f"{python} is missing; `make bench-peers` installs it")
        with folder() as place:
            arguments = (str(wanted.experiment), str(wanted.data), f"{wanted.minutes}", f"{wanted.seed}", str(wanted.path))
            run(python, "-m", f"peers.{module}", *arguments, cwd=place, PYTHONPATH=str(HERE))

    return begin


SEARCHERS: dict[str, tuple[str, Callable[[Run], None]]] = {
    "digitsweep": ("digitsweep", ours),
    "portfolio": ("its first configurations, no search", peer("portfolio", sys.executable)),
    "plain": ("Optuna and Keras, a plain loop", peer("plain", sys.executable)),
    "hyperband": ("KerasTuner, Hyperband", peer("hyperband", str(PEERS))),
    "asha": ("Ray Tune, ASHA", peer("asha", str(PEERS))),
}
"""By name: what the report calls it, and what runs it."""


def best_by(answer: Answer, part: float) -> float | None:
    """The best validation accuracy after a part of the time."""
    return max((value for at, value in answer.trainings if at <= part * answer.seconds), default=None)


def passed(answer: Answer, value: float) -> float | None:
    """The part of the time after which a training reached this validation accuracy."""
    return min((at / answer.seconds for at, reached in answer.trainings if reached >= value), default=None)


def average(values: Sequence[float | None]) -> str:
    """Mean and, of several, standard deviation. If some seeds have no value, there is no mean that compares."""
    found = [each for each in values if each is not None]
    if not found or len(found) < len(values):
        return f"in {len(found)} of {len(values)}" if found else "—"
    spread = f" ± {100 * stdev(found):.2f}" if len(found) > 1 else ""
    return f"{mean(found):.2%}{spread}"


def rows_of(family: str, answers: dict[str, dict[int, Answer]]) -> list[list[str]]:
    """The table's rows of one family, from the answers by searcher and seed."""
    rows = []
    for searcher, (title, _) in SEARCHERS.items():
        found = list(answers.get(searcher, {}).values())
        if found:
            rows.append(
                [
                    f"{family.upper()}: {title}",
                    str(len(found)),
                    f"{mean(each.command_seconds for each in found) / 60.0:.1f}",
                    f"{mean(len(each.trainings) for each in found):.0f}",
                    *(average([best_by(each, part) for each in found]) for part in AT),
                    average([each.val_accuracy for each in found]),
                    average([each.test_accuracy for each in found]),
                    average([each.fresh_test_accuracy for each in found]),
                ]
            )
    return rows


def passing(family: str, answers: dict[str, dict[int, Answer]]) -> str:
    """When ours reached what the plain loop had in the end, by seed: both have the same images with a seed."""
    ours, plain = answers.get("digitsweep", {}), answers.get("plain", {})
    parts = []
    for seed in sorted(ours.keys() & plain.keys()):
        final = plain[seed].val_accuracy
        part = passed(ours[seed], final) if final is not None else 0.0
        parts.append("never" if part is None else f"{part:.0%}")
    return f"{family.upper()} {', '.join(parts) or 'not compared'}"


def show(runs: Sequence[Run]) -> None:
    """Reports on each data set, from the results that there are."""
    for experiment, data, minutes in dict.fromkeys((each.experiment, each.data, each.minutes) for each in runs):
        place = Run(experiment, data, minutes, "", 0).folder
        answers: dict[str, dict[str, dict[int, Answer]]] = {}
        for path in sorted(place.glob("*.json")):
            searcher, _, seed = path.stem.rpartition("-")
            for family, answer in read(path).items():
                answers.setdefault(family, {}).setdefault(searcher, {})[int(seed)] = answer
        header = ["searcher", "seeds", "minutes", "trainings", *(f"validation at {part:.0%}" for part in AT)]
        header += ["final validation", "test, handed over", "test, fresh seeds"]
        rows = [row for family, found in answers.items() for row in rows_of(family, found)]
        told = "; ".join(passing(family, found) for family, found in answers.items())
        what = f"{data.name}, {experiment.name}, {minutes:g} minutes on {CORES} cores"
        reached = "time after which digitsweep reached the plain loop's final validation accuracy, by seed"
        report(f"quality-{data.name}", f"quality: {what}; {reached}: {told}", header, rows)


def data_sets() -> list[Path]:
    """The folders in DIGITSWEEP_BENCH_DATA, or that folder itself; else MNIST's."""
    given = os.environ.get("DIGITSWEEP_BENCH_DATA")
    if not given:
        return [mnist_folder()]
    return sorted(each for each in Path(given).iterdir() if each.is_dir()) or [Path(given)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", metavar="FOLDER")
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--searchers", nargs="*", choices=list(SEARCHERS), default=list(SEARCHERS))
    parser.add_argument("--experiment", type=Path, default=IMAGES)
    given = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])  # and of all processes that this one starts
    runs = [
        Run(given.experiment.resolve(), data.resolve(), given.minutes, searcher, seed)
        for data in given.data or data_sets()
        for seed in given.seeds
        for searcher in SEARCHERS
    ]
    for each in runs:
        if each.searcher in given.searchers and not each.path.exists():
            each.folder.mkdir(parents=True, exist_ok=True)
            print(f"{each.data.name}, seed {each.seed}: {each.searcher}", flush=True)
            SEARCHERS[each.searcher][1](each)
    show(runs)


if __name__ == "__main__":
    main()
