"""Models that somebody names, compared on the test images that they share: the same page as a sweep's."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from digitsweep.asking import Asked, ask, open_test
from digitsweep.comparison import Comparison, Entry
from digitsweep.cost import Cost
from digitsweep.data import duplicates
from digitsweep.errors import InputError
from digitsweep.evidence import evidence
from digitsweep.lookup import Found, find
from digitsweep.report import report
from digitsweep.statistics import difference
from digitsweep.testset import dataset_of, load_for
from digitsweep.tracking.records import record_comparison
from digitsweep.verdict import verdict


def compare_models(named: Sequence[str], data: Path | None) -> Comparison:
    """Compares the first model with the best of the others; all of them stand on the page. Who of several is the best is
    told by the test images themselves: the difference allows for that.

    Raises InputError where a model does not exist, where they were made for different test images, or where these cannot be
    found again."""
    begun = time.monotonic()
    found = [find(each) for each in named]
    if len({each.uri for each in found}) < len(found):
        raise InputError(f"{' '.join(named)}: these are {found[0].label} twice; name different models")
    dataset = dataset_of(found, data)
    by = f"compare {', '.join(each.label for each in found)}"
    models = [load_for(each, dataset) for each in found]
    test, opening = open_test(dataset, by)
    asked = [ask(model, test) for model in models]
    first, *others = range(len(found))
    second = max(others, key=lambda index: asked[index].share.hits)
    labels = {index: each.label for index, each in enumerate(found)}
    answers, names = (asked[first].predicted(), asked[second].predicted()), (labels[first], labels[second])
    told = difference(test.labels, *answers, names, rivals=len(others))
    weights = [model.count_params() for model in models]
    chosen = {labels[index]: asked[index].probabilities for index in (first, second)}
    comparison = Comparison(
        experiment="comparison",
        question=f"Which is better, {' or '.join(labels.values())}?",
        digest="",
        metric="test_accuracy",
        state="COMPLETE",
        data={
            "name": dataset.name,
            "source": dataset.source,
            "digests": {"test": dataset.test.digest},
            "images": {"train": 0, "validation": 0, "test": len(test)},
        },
        budget={},
        spent={},
        entries=tuple(_entry(*each) for each in zip(found, weights, asked, strict=True)),
        verdict=verdict(told),
        difference=told,
        evidence=evidence(test.labels, chosen, dataset.training.classes),
        costs=tuple(
            Cost(each.label, _family(each), said.share.accuracy, count, _seconds(each), said.latencies)
            for each, count, said in zip(found, weights, asked, strict=True)
        ),
        openings=(opening,),
        duplicates=duplicates(dataset),
        seconds=time.monotonic() - begun,
    )
    return record_comparison(comparison, lambda shown: report(shown, test.images), [each.uri for each in found])


def _entry(found: Found, weights: int, asked: Asked) -> Entry:
    return Entry(
        family=_family(found),
        role="best",
        trial=found.label,
        network=found.tags.get("network", ""),
        params={},
        seed=int(found.tags.get("seed", 0)),
        epochs=int(found.tags.get("epochs", 0)),
        weights=weights,
        train_seconds=_seconds(found),
        validation=None,
        test=asked.share,
        model=found.uri,
    )


def _family(found: Found) -> str:
    return found.tags.get("family", "")


def _seconds(found: Found) -> float:
    return float(found.tags.get("train_seconds", 0.0))
