"""Models that somebody names, compared on the test images that they share: the same page as a sweep's."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from digitsweep.asking import Asked, ask, open_test
from digitsweep.comparison import Comparison, Entry
from digitsweep.cost import Cost
from digitsweep.data import Dataset, duplicates
from digitsweep.data.sources import load_dataset
from digitsweep.errors import InputError
from digitsweep.evidence import evidence
from digitsweep.records import record_comparison
from digitsweep.registry import Found, find, load
from digitsweep.report import report
from digitsweep.statistics import difference
from digitsweep.verdict import verdict

TEST_DIGEST, SOURCE, NAME = "digitsweep.data.digest.test", "digitsweep.data.source", "digitsweep.data"


def compare_models(named: Sequence[str], data: Path | None) -> Comparison:
    """Compares the first model with the best of the others; all of them stand on the page.

    Raises InputError where a model does not exist, where they were made for different test images, or where these cannot be
    found again."""
    begun = time.monotonic()
    found = [find(each) for each in named]
    if len({each.uri for each in found}) < len(found):
        raise InputError(f"{' '.join(named)}: these are {found[0].label} twice; name different models")
    dataset = _dataset(found, data)
    by = f"compare {', '.join(each.label for each in found)}"
    models = [load(each.uri) for each in found]
    for each, model in zip(found, models, strict=True):
        side = dataset.training.side
        if model.input_shape[1:3] != (side, side):
            raise InputError(f"{each.label}: takes images of {model.input_shape[1:3]} pixels, but {dataset.name} has {side}")
    test, opening = open_test(dataset, by)
    asked = [ask(model, test) for model in models]
    first, *others = range(len(found))
    second = max(others, key=lambda index: asked[index].share.hits)
    labels = {index: each.label for index, each in enumerate(found)}
    told = difference(test.labels, asked[first].predicted(), asked[second].predicted(), (labels[first], labels[second]))
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


def _dataset(found: Sequence[Found], data: Path | None) -> Dataset:
    """The data whose test images all of them were made for."""
    digests = {each.tags[TEST_DIGEST] for each in found if TEST_DIGEST in each.tags}
    if len(digests) > 1:
        made = ", ".join(f"{each.label} for {each.tags.get(NAME, '?')}" for each in found)
        raise InputError(f"these models were made for different test images ({made}); name models of the same data")
    known = next((each.tags for each in found if SOURCE in each.tags), None)
    source: str | Path | None = data
    if source is None and known is not None:
        source = known[NAME] if known[NAME] in ("mnist", "digits") else Path(known[SOURCE])
    if source is None:
        raise InputError("these models do not say which data they were made for; name it with --data")
    dataset = load_dataset(source, validation=0.1, seed=0)
    if digests and dataset.test.digest not in digests:
        raise InputError(f"--data {source}: its test images are not those that {found[0].label} was made for")
    return dataset


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
