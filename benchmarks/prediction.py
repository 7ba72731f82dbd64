"""Fits SECONDS, of which `Params.epoch_seconds` consists, to the trainings of search_table.json.gz, and says how good
predictions are.

Trains nothing. What it prints belongs in digitsweep/families/hyperparameters.py. Only the top rung counts: in shorter
trainings, what every training takes and the evaluations weigh more."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from common import report
from scipy.optimize import lsq_linear
from search import TABLE, images

from digitsweep.families.hyperparameters import SECONDS, Shape
from digitsweep.search.budget import START_SECONDS

DATA: dict[str, tuple[Shape, int]] = {
    "letters": ((28, 28, 1), 6800),
    "mnist": ((28, 28, 1), 16_000),
    "digits": ((8, 8, 1), 1078),
}
"""The shape and the number of the training images."""
TOP = 2
LEAST = {"value, dropout": 3.8e-9, "pixel, shift": 8e-9, "pixel, affine": 1.4e-8}
"""At least so much, as `make bench-step` measures: the table can hardly tell these from what they go with."""


@dataclass(frozen=True)
class Measured:
    """A training of the table."""

    family: str
    data: str
    parts: Counter[str]
    """`Params.work` of all its images together."""
    predicted: float
    seconds: float


def measured(row: dict[str, Any]) -> Measured:
    shape, count = DATA[row["data"]]
    params = images().families[row["family"]].space.suggest(lambda name, _: row["drawn"][name])
    each = Counter({name: value * count * row["epochs"] for name, value in params.work(shape).items() if name in SECONDS})
    predicted = row["epochs"] * params.epoch_seconds(shape, count)
    return Measured(row["family"], row["data"], each, predicted, row["seconds"] - START_SECONDS)


def fitted(trainings: list[Measured]) -> dict[str, float]:
    """The constants with the least squares of the relative errors: a long training counts for no more than a short one."""
    names = sorted({name for each in trainings for name in each.parts})
    matrix = np.array([[each.parts[name] / each.seconds for name in names] for each in trainings])
    scale = matrix.max(axis=0)
    least = np.array([LEAST.get(name, 0.0) for name in names]) * scale
    found = lsq_linear(matrix / scale, np.ones(len(trainings)), (least, np.inf)).x / scale
    return dict(zip(names, map(float, found), strict=True))


def main() -> None:
    rows = json.loads(gzip.decompress(TABLE.read_bytes()))
    trainings = [measured(row) for row in rows if row["rung"] == TOP and row["state"] == "COMPLETE"]
    constants = fitted(trainings)
    for name, value in constants.items():
        print(f"{name}: {value:.2g}")
    table = []
    for family, data in sorted({(each.family, each.data) for each in trainings}):
        chosen = [each for each in trainings if (each.family, each.data) == (family, data)]
        again = [sum(constants[name] * value for name, value in each.parts.items()) for each in chosen]
        row: list[object] = [family, data, len(chosen)]
        for predicted in ([each.predicted for each in chosen], again):
            logarithms = np.log([a / b.seconds for a, b in zip(predicted, chosen, strict=True)])
            row += [f"{np.exp(np.median(logarithms)):.2f}", f"{np.exp(logarithms.std()):.2f}"]
        table.append(row)
    header = ["family", "data", "trainings", "predicted / measured", "spread", "fitted again", "spread"]
    what = "median of predicted / measured seconds, and by what factor it varies (one standard deviation)"
    report("prediction", what, header, table)


if __name__ == "__main__":
    main()
