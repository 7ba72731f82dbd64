"""The experiment's images, read as a sweep reads them, and what it selects by."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from digitsweep.data import Dataset
from digitsweep.doctor.finding import Finding, ok, warning, wrong
from digitsweep.errors import InputError
from digitsweep.experiment import Experiment
from digitsweep.options import Options
from digitsweep.progress import NoDisplay
from digitsweep.results import EpochMetrics
from digitsweep.sweep import prepare


def images(path: Path, options: Options) -> tuple[Finding, Dataset | None]:
    """Whether every image can be had and is whole, and the images; MNIST is downloaded where it is nowhere."""
    name = "data"
    try:
        experiment, dataset = prepare(path, options, NoDisplay())
    except InputError as error:
        return wrong(name, " ".join(str(error).split()), "mend that, or name other data with --data"), None
    training, test = dataset.training, dataset.test
    found = (
        f"{dataset.name}: {len(training.train):,} training, {len(training.validation):,} validation, {len(test):,} test "
        f"images of {training.side}x{training.side}, {training.classes} classes"
    )
    if experiment.path is not None and experiment.path.resolve() != path.resolve():
        return (
            warning(
                name,
                f"cannot be had; {experiment.path.name} would run instead, on {found}",
                "name a folder with --data or DIGITSWEEP_DATA, or run `digitsweep data fetch` where there is a network",
            ),
            dataset,
        )
    return ok(name, found), dataset


def metric(experiment: Experiment) -> Finding:
    """Whether every epoch gives what the search selects by."""
    wanted, given = experiment.objective, {field.name for field in dataclasses.fields(EpochMetrics)}
    if wanted.metric in given:
        return ok("objective", f"{wanted.direction} {wanted.metric}, which every epoch gives")
    return wrong("objective", f"no epoch gives {wanted.metric}", f"one of {', '.join(sorted(given))}")


def image_bytes(dataset: Dataset) -> int:
    """Bytes of all images."""
    training = dataset.training
    count = len(training.train) + len(training.validation) + len(dataset.test)
    return count * training.side * training.side
