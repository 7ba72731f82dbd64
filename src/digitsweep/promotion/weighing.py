"""A challenger and the champion before the same test images: their figures, and the difference between them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from digitsweep.asking import ask, open_test
from digitsweep.comparison import Opening
from digitsweep.data import Split
from digitsweep.evidence import evidence
from digitsweep.lookup import Found
from digitsweep.promotion.decision import Figures
from digitsweep.statistics import Difference, difference
from digitsweep.testset import NAME, TEST_DIGEST, dataset_of, load_for

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Weighed:
    """What a gate decides by."""

    data: str
    """The data's name."""
    challenger: Figures
    champion: Figures | None
    difference: Difference | None
    """The challenger's accuracy minus the champion's."""
    opening: Opening


def weigh(challenger: Found, champion: Found | None, data: Path | None) -> Weighed:
    """Asks both about the test images that the challenger was made for; the gate knows whether the champion was, too.

    Raises InputError where the images cannot be found again, or where a model takes others."""
    dataset = dataset_of([challenger], data)
    found = [each for each in (challenger, champion) if each is not None]
    models = [load_for(each, dataset) for each in found]
    test, opening = open_test(dataset, f"promote {', '.join(each.label for each in found)}")
    told = [_ask(each, model, test, dataset.training.classes) for each, model in zip(found, models, strict=True)]
    name = challenger.tags.get(NAME, dataset.name)
    (first, said), *rest = told
    if not rest:
        return Weighed(name, first, None, None, opening)
    ((second, said_before),) = rest
    apart = difference(test.labels, said_before, said, (second.label, first.label))
    return Weighed(name, first, second, apart, opening)


def _ask(found: Found, model: keras.Model, test: Split, classes: int) -> tuple[Figures, NDArray[np.uint8]]:
    asked = ask(model, test)
    recalls = evidence(test.labels, {found.label: asked.probabilities}, classes, shown=0).classes
    worst = min(recalls, key=lambda each: each.recalls[found.label].accuracy)
    figures = Figures(
        label=found.label,
        accuracy=asked.share,
        worst_class=worst.label,
        worst_recall=worst.recalls[found.label],
        latency_p95=next(each.p95 for each in asked.latencies if each.batch == 1),
        weights=int(model.count_params()),
        data=found.tags.get(TEST_DIGEST, ""),
        commit=found.tags.get("digitsweep.commit", ""),
        dirty=found.tags.get("digitsweep.dirty", "false") != "false",
    )
    return figures, asked.predicted()
