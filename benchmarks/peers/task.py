"""What a searcher is given, and what it answers."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray

from digitsweep.config.experiment_file import load_experiment
from digitsweep.config.space import Choice, Space
from digitsweep.data import Dataset, TrainingData
from digitsweep.data.sources import load_dataset
from digitsweep.families import Params

IMAGES_A_MINUTE = {"ann": 17_000, "cnn": 7_000}
"""Images that a whole training sees, repetitions included, for each minute of the benchmark. A person chooses epochs so that
about ten trainings fit into the time; this does the same."""
FEWEST_EPOCHS = 3
"""With fewer there is nothing to stop early."""


@dataclass(frozen=True)
class Answer:
    """What a searcher reached in one family."""

    seconds: float
    """Wall-clock, that the family had: half of the time with all cores, or all of it with half of them."""
    command_seconds: float
    """Wall-clock, that the command took for all families, its test of the answer included."""
    trainings: list[tuple[float, float]]
    """(seconds since the family's time began, validation accuracy) of each training that ended."""
    val_accuracy: float | None
    """Of the final answer. A peer's is the best of its trainings, which flatters it; digitsweep's is the mean of its winner
    over fresh seeds."""
    test_accuracy: float | None
    """Of the network that it hands over."""
    fresh_test_accuracy: float | None = None
    """Mean of the winner's networks from fresh seeds, where there are any."""


def write(path: Path, answers: dict[str, Answer]) -> None:
    """Keeps the answers of one command, by family."""
    path.write_text(json.dumps({family: dataclasses.asdict(each) for family, each in answers.items()}, indent=1))


def read(path: Path) -> dict[str, Answer]:
    """What `write` wrote."""
    return {family: Answer(**each) for family, each in json.loads(path.read_text()).items()}


@dataclass(frozen=True, eq=False)
class Network:
    """A trained network."""

    params: Params
    weights: list[NDArray[np.float32]]
    """In Keras' order."""
    val_accuracy: float


@dataclass(frozen=True, eq=False)
class Found:
    """What a search has trained."""

    trainings: list[tuple[float, float]]
    """(Unix time, validation accuracy) of each training that ended."""
    network: Network | None
    """The one that it hands over."""


@dataclass(frozen=True, eq=False)
class Share:
    """One family of a task, and the time that it has."""

    family: str
    space: Space
    first: Sequence[Params]
    """The configurations that the experiment says to try first."""
    data: TrainingData
    seed: int
    epochs: int
    """Of a whole training."""
    begins: float
    ends: float
    """Unix times."""

    def params(self, choose: Choice) -> Params:
        """A configuration. One that would shrink the images to nothing gets padding instead, or every peer would fail with
        one CNN in nine."""
        params = self.space.suggest(choose)
        if params.smallest_image() > self.data.side:
            return params.model_copy(update={"padding": "same"})
        return params


@dataclass(frozen=True, eq=False)
class Task:
    """A peer's command line: `EXPERIMENT DATA MINUTES SEED OUT`."""

    experiment: Path
    dataset: Dataset
    """Split as `digitsweep sweep --seed SEED` does."""
    minutes: float
    seed: int
    out: Path

    @classmethod
    def given(cls) -> Task:
        """The task on this process's command line."""
        experiment, data, minutes, seed, out = sys.argv[1:]
        validation = load_experiment(Path(experiment)).data.validation
        dataset = load_dataset(Path(data), validation=validation, seed=int(seed))
        return cls(Path(experiment), dataset, float(minutes), int(seed), Path(out))

    def shares(self, *, at_once: bool = False) -> list[Share]:
        """Each family in turn for its part of the time; or all of them for all of it, on a part of the cores. The time
        begins with this process, before its imports."""
        begun, seconds = psutil.Process().create_time(), 60.0 * self.minutes
        families = load_experiment(self.experiment).families
        part = seconds if at_once else seconds / len(families)
        shares = []
        for place, (name, family) in enumerate(families.items()):
            begins = begun if at_once else begun + place * part
            epochs = round(IMAGES_A_MINUTE[name] * self.minutes / len(self.dataset.training.train))
            shares.append(
                Share(
                    family=name,
                    space=family.space,
                    first=family.first,
                    data=self.dataset.training,
                    seed=self.seed,
                    epochs=max(FEWEST_EPOCHS, epochs),
                    begins=begins,
                    ends=begins + part,
                )
            )
        return shares

    def answer(self, shares: Sequence[Share], found: Sequence[Found]) -> None:
        """Opens the test set for the networks that are handed over, and writes what was reached."""
        from digitsweep.training.loop import probabilities, trained_model

        test = self.dataset.test.open("bench-quality")
        answers = {}
        for share, each in zip(shares, found, strict=True):
            accuracy = None
            if each.network is not None:
                model = trained_model(each.network.params, share.data.shape, share.data.classes, each.network.weights)
                accuracy = float(np.mean(probabilities(model, test.images).argmax(axis=1) == test.labels))
            answers[share.family] = Answer(
                seconds=share.ends - share.begins,
                command_seconds=time.time() - psutil.Process().create_time(),
                trainings=[(min(at, share.ends) - share.begins, value) for at, value in each.trainings],
                val_accuracy=each.network.val_accuracy if each.network else None,
                test_accuracy=accuracy,
            )
        write(self.out, answers)
