"""Registered models on the test images that they share: compared on a page like a sweep's, or weighed by a gate."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from digitsweep.config.experiment import SOURCES
from digitsweep.data import Dataset
from digitsweep.data.sources import load_dataset
from digitsweep.data.splits import has_names
from digitsweep.errors import InputError
from digitsweep.evaluation.comparison import Comparison, Entry, Opening
from digitsweep.evaluation.cost import Cost
from digitsweep.evaluation.imbalance import class_averages
from digitsweep.evaluation.mistakes import find_mistakes
from digitsweep.evaluation.opening import Evaluation, Predictions, evaluate
from digitsweep.evaluation.statistics import Difference, difference, differences
from digitsweep.registry.gate import Figures, Unmeasured
from digitsweep.registry.models import DATA, DEFAULT_DATA, NamedModel, find, load
from digitsweep.registry.openings import openings_of
from digitsweep.registry.recipe import wanted_by
from digitsweep.report.page import report
from digitsweep.report.sentences import verdict
from digitsweep.tracking.client import TEST_DIGEST, patiently
from digitsweep.tracking.provenance import COMMIT_TAG, COMMITS_TAG, DIRTY_TAG
from digitsweep.tracking.records import record_comparison

if TYPE_CHECKING:
    import keras

SOURCE, NAME = "digitsweep.data.source", DATA


def compare_models(named: Sequence[str], data: Path | None) -> Comparison:
    """Compares each pair of models.

    Raises InputError if a model does not exist, if they were made for different test images, or if these cannot be found."""
    begun = time.monotonic()
    found = [find(each) for each in named]
    if len({each.uri for each in found}) < len(found):
        raise InputError(f"{' '.join(named)}: these are {found[0].label} twice; name different models")
    labels = [each.label for each in found]
    dataset = dataset_of(found, data)
    before = patiently(lambda: openings_of(dataset.test.digest))
    tested = _evaluate(found, dataset, f"compare {', '.join(labels)}")
    differing = differences(tested.labels, {label: tested.predictions[label].predicted for label in labels})
    probabilities = {label: tested.predictions[label].probabilities for label in labels}
    comparison = Comparison(
        experiment="comparison",
        question=f"Which is better, {' or '.join(labels)}?",
        digest="",
        metric="test_accuracy",
        state="COMPLETE",
        data={
            "name": dataset.name,
            "source": dataset.source,
            "digests": {"test": dataset.test.digest},
            "images": {"train": 0, "validation": 0, "test": len(tested.labels)},
            **dataset.about(),
        },
        budget={},
        spent={},
        entries=tuple(_entry(each, tested.predictions[each.label], dataset.training.classes) for each in found),
        verdict=verdict(*differing),
        difference=differing[0] if len(found) == 2 else None,
        differences=differing if len(found) > 2 else (),
        mistakes=find_mistakes(tested.labels, probabilities, dataset.training.classes),
        costs=tuple(_cost(each, tested.predictions[each.label]) for each in found),
        openings=(tested.opening,),
        opened_before=before.times,
        models_before=len(before.models),
        duplicates=dataset.duplicates(),
        seconds=time.monotonic() - begun,
    )
    return record_comparison(comparison, lambda shown: report(shown, tested.images), [each.uri for each in found])


@dataclass(frozen=True)
class Weighed:
    """What a gate decides by."""

    data: str
    """The data's name."""
    challenger: Figures
    champion: Figures | Unmeasured | None
    difference: Difference | None
    """The challenger's accuracy minus the champion's; None unless both were evaluated."""
    opening: Opening


def weigh(challenger: NamedModel, champion: NamedModel | None, data: Path | None) -> Weighed:
    """Evaluates both on the test images that the challenger was made for. Whether the champion was made for them too is one
    of the gate's rules. A champion of other images, or of another number of classes, is not evaluated.

    Raises InputError if the images cannot be found, or if the challenger was made for others."""
    dataset = dataset_of([challenger], data)
    models = {challenger.label: load_for(challenger, dataset)}
    why = ""
    if champion is not None:
        beside = load(champion.uri)
        why = _unfit(beside, dataset)
        models |= {} if why else {champion.label: beside}
    tested = evaluate(dataset, f"promote {', '.join(models)}", models.items())
    name = challenger.tags.get(NAME, dataset.name)
    now = tested.predictions[challenger.label]
    figures = _figures(challenger, now, dataset.class_names)
    if champion is None:
        return Weighed(name, figures, None, None, tested.opening)
    if why:
        unmeasured = Unmeasured(champion.label, why, champion.tags.get(TEST_DIGEST, ""))
        return Weighed(name, figures, unmeasured, None, tested.opening)
    before = tested.predictions[champion.label]
    apart = difference(tested.labels, before.predicted, now.predicted, (champion.label, challenger.label))
    return Weighed(name, figures, _figures(champion, before, dataset.class_names), apart, tested.opening)


def dataset_of(found: Sequence[NamedModel], data: Path | None) -> Dataset:
    """The data whose test images all of them were made for. Its training images are not split, since each model had a split
    of its own.

    Raises InputError if the models were made for different test images, or if these cannot be found."""
    digests = {each.tags[TEST_DIGEST] for each in found if TEST_DIGEST in each.tags}
    if len(digests) > 1:
        made = ", ".join(f"{each.label} for {each.tags.get(NAME, '?')}" for each in found)
        raise InputError(f"these models were made for different test images ({made}); name models of the same data")
    known = next((each for each in found if {NAME, SOURCE} <= each.tags.keys()), None)
    if data is not None:
        dataset = load_dataset(data, validation=None, wanted=wanted_by(known or found[0]))
    elif known is not None:
        dataset = _tagged(known)
    else:
        names = ", ".join(each.label for each in found)
        raise InputError(
            f"{names}: needs both tags {NAME} and {SOURCE} for its data to be found; name the folder or file with --data"
        )
    if digests and dataset.test.digest not in digests:
        where = dataset.source if data is None else f"--data {data}"
        raise InputError(f"{where}: its test images are not those that {found[0].label} was made for")
    return dataset


def _tagged(known: NamedModel) -> Dataset:
    """The data that a model's tags name: MNIST from the folder that the model was made from, or else from anywhere else."""
    name, source = known.tags[NAME], Path(known.tags[SOURCE])
    if name == DEFAULT_DATA:
        with suppress(InputError):
            dataset = load_dataset(source, validation=None, wanted=wanted_by(known))
            if dataset.test.digest == known.tags.get(TEST_DIGEST):
                return dataset
    return load_dataset(name if name in SOURCES else source, validation=None, wanted=wanted_by(known))


def _evaluate(found: Sequence[NamedModel], dataset: Dataset, by: str) -> Evaluation:
    """Of models by their labels. They are loaded and checked before the test set is opened."""
    return evaluate(dataset, by, [(each.label, load_for(each, dataset)) for each in found])


def load_for(found: NamedModel, dataset: Dataset) -> keras.Model:
    """A model that takes the images of a dataset.

    Raises InputError if it takes others, or knows another number of classes."""
    model = load(found.uri)
    if why := _unfit(model, dataset):
        raise InputError(f"{found.label}: {why} as in {dataset.name}; name its own data with --data")
    return model


def _unfit(model: keras.Model, dataset: Dataset) -> str:
    """Why a model cannot be evaluated on the images of a dataset; empty if it can."""
    shape, classes = dataset.training.shape, dataset.training.classes
    if model.input_shape[1:] != shape:
        return f"takes images of shape {model.input_shape[1:]}, not {shape}"
    if model.output_shape[-1] != classes:
        return f"knows {model.output_shape[-1]} classes, not {classes}"
    return ""


def _entry(found: NamedModel, predictions: Predictions, classes: int) -> Entry:
    return Entry(
        family=found.tags.get("family", ""),
        role="best",
        trial=found.label,
        network=found.tags.get("network", ""),
        params={},
        seed=int(found.tags.get("seed", 0)),
        epochs=float(found.tags.get("epochs", 0)),
        trained_on=int(found.tags.get("trained_on", 0)),
        weights=predictions.weights,
        train_seconds=float(found.tags.get("train_seconds", 0.0)),
        test=predictions.accuracy,
        averages=class_averages(predictions.labels, predictions.predicted, classes),
        model=found.uri,
    )


def _cost(found: NamedModel, predictions: Predictions) -> Cost:
    return Cost(
        name=found.label,
        family=found.tags.get("family", ""),
        accuracy=predictions.accuracy.accuracy,
        weights=predictions.weights,
        train_seconds=float(found.tags.get("train_seconds", 0.0)),
        latencies=predictions.latencies,
    )


def _figures(found: NamedModel, predictions: Predictions, names: Sequence[str]) -> Figures:
    recalls = find_mistakes(predictions.labels, {found.label: predictions.probabilities}, len(names), shown=0).classes
    worst = min(recalls, key=lambda each: each.recalls[found.label].accuracy)
    return Figures(
        label=found.label,
        accuracy=predictions.accuracy,
        worst_class=worst.label,
        class_name=names[worst.label] if has_names(names) else "",
        worst_recall=worst.recalls[found.label],
        latency_p95=next(each.p95 for each in predictions.latencies if each.batch == 1),
        weights=predictions.weights,
        data=found.tags.get(TEST_DIGEST, ""),
        commit=found.tags.get(COMMIT_TAG, ""),
        dirty=found.tags.get(DIRTY_TAG, "false") != "false",
        commits=tuple(found.tags.get(COMMITS_TAG, "").split()),
    )
