"""After the search: register the winners, open the test set once, and say what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from digitsweep import plots
from digitsweep.comparison import Comparison, Entry, best_of, spent
from digitsweep.data import Dataset, Split
from digitsweep.evaluation import evaluate
from digitsweep.experiment import Experiment
from digitsweep.provenance import Commit
from digitsweep.registry import Registered, describe_version, load, register
from digitsweep.results import TrialRecord, TrialState
from digitsweep.statistics import Share, difference
from digitsweep.tracking import Tracker
from digitsweep.training import probabilities, trained_model
from digitsweep.verdict import verdict


@dataclass(frozen=True)
class _Judged:
    """A trial that is judged."""

    record: TrialRecord
    role: str
    registered: Registered | None


def judge(
    experiment: Experiment,
    dataset: Dataset,
    records: Mapping[str, Sequence[TrialRecord]],
    tracker: Tracker,
    commit: Commit,
    *,
    state: str,
    seconds: float,
) -> tuple[Comparison, dict[str, bytes]]:
    """The comparison, and its pictures by file name.

    The winners are chosen on validation and registered before the test set is opened; then each registered model, loaded
    back from the registry, and each baseline classifies the test images, once."""
    finished = _candidates(experiment, dataset, records, tracker, commit)
    by = f"sweep {tracker.run_id or experiment.name}"
    test = dataset.test.open(by)
    tracker.test_opened(by, dataset.test.digest)
    predictions = _predictions(finished, dataset, test.images)
    entries = []
    for each, predicted in zip(finished, predictions, strict=True):
        entry = _entry(experiment, dataset, each, Share(int((predicted == test.labels).sum()), len(test)))
        entries.append(entry)
        if each.registered is not None:
            _describe(each.registered, experiment, entry)
    winners = {
        each.record.trial.family: predicted
        for each, predicted in zip(finished, predictions, strict=True)
        if each.role == "best"
    }
    found = difference(test.labels, winners["ann"], winners["cnn"]) if len(winners) == 2 else None
    training = dataset.training
    comparison = Comparison(
        experiment=experiment.name,
        question=experiment.question,
        digest=experiment.digest(),
        metric=experiment.objective.metric,
        state=state,
        data={
            "name": dataset.name,
            "source": dataset.source,
            "digests": dataset.digests(),
            "images": {"train": len(training.train), "validation": len(training.validation), "test": len(test)},
        },
        budget=experiment.budget.model_dump(),
        spent={family: spent(each) for family, each in records.items()},
        entries=tuple(entries),
        difference=found,
        verdict=verdict(found) if found else "",
        run_id=tracker.run_id,
        seconds=seconds,
    )
    return comparison, _pictures(dataset, finished, winners, test)


def _candidates(
    experiment: Experiment,
    dataset: Dataset,
    records: Mapping[str, Sequence[TrialRecord]],
    tracker: Tracker,
    commit: Commit,
) -> list[_Judged]:
    """The best of each family, registered, and then the baselines in the order of the experiment file."""
    best = [found for each in records.values() if (found := best_of(each, experiment.objective.metric)) is not None]
    baselines = [
        record
        for each in records.values()
        for record in sorted(each, key=lambda record: record.trial.number)
        if record.trial.baseline is not None and record.result.state is TrialState.COMPLETE
    ]
    winners = []
    for record in best:
        registered = _register(experiment, dataset, record, tracker, commit) if experiment.register_models else None
        winners.append(_Judged(record, "best", registered))
    return winners + [_Judged(record, "baseline", None) for record in baselines]


def _pictures(
    dataset: Dataset, finished: Sequence[_Judged], winners: Mapping[str, NDArray[np.uint8]], test: Split
) -> dict[str, bytes]:
    curves: list[plots.Curve] = []
    for each in finished:
        trial, best = each.record.trial, each.role == "best"
        words = [trial.family, trial.baseline, "(best)" if best else None]
        curve = plots.Curve(" ".join(filter(None, words)), trial.family, best, each.record.result.epochs)
        if not any(curve.epochs is drawn.epochs for drawn in curves):  # a baseline that is its family's best is drawn once
            curves.append(curve)
    matrices = {
        f"best {family.upper()}, {np.mean(predicted == test.labels):.2%}": evaluate(
            test.labels, predicted, dataset.training.classes
        ).confusion
        for family, predicted in winners.items()
    }
    figures = {
        "training_curves.png": plots.training_curves(curves, f"Validation error by epoch, {dataset.name}"),
        "confusion_matrices.png": plots.confusion_matrices(matrices, f"Test images of {dataset.name}"),
    }
    return {name: plots.png(figure) for name, figure in figures.items()}


def _register(experiment: Experiment, dataset: Dataset, best: TrialRecord, tracker: Tracker, commit: Commit) -> Registered:
    trial, result = best.trial, best.result
    assert result.weights is not None
    return register(
        f"{dataset.name}-{trial.family}",
        trial.params,
        result.weights,
        side=dataset.training.side,
        classes=dataset.training.classes,
        run_id=tracker.run_of(trial),
        tags={
            **commit.tags(),
            "digitsweep.data": dataset.name,
            "digitsweep.data.digest": dataset.digest(),
            "digitsweep.digest": experiment.digest(),
            "digitsweep.sweep": tracker.run_id,
            "family": trial.family,
            "seed": str(trial.seed),
            "val_accuracy": f"{result.last('val_accuracy'):.6f}",
        },
        description=f"{trial.params.describe()}, the best {trial.family.upper()} of sweep {tracker.run_id}.",
    )


def _describe(registered: Registered, experiment: Experiment, entry: Entry) -> None:
    assert entry.test is not None
    low, high = entry.test.interval
    describe_version(
        registered,
        {"test_accuracy": f"{entry.test.accuracy:.6f}"},
        f"{entry.network}: {entry.test.accuracy:.2%} of {entry.test.total:,} test images "
        f"(95 % interval {low:.2%} to {high:.2%}), {entry.weights:,} weights. "
        f"The best {entry.family.upper()} of experiment {experiment.name}, chosen on validation "
        f"({entry.validation.accuracy:.2%}). Takes raw uint8 images, 0 to 255; gives probabilities.",
    )


def _predictions(finished: Sequence[_Judged], dataset: Dataset, images: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Of each; a baseline that is its family's best is asked once."""
    found: dict[str, NDArray[np.uint8]] = {}
    for each in finished:
        name = each.record.trial.name
        found[name] = found[name] if name in found else _predict(each, dataset, images)
    return [found[each.record.trial.name] for each in finished]


def _predict(finished: _Judged, dataset: Dataset, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    record = finished.record
    if finished.registered is not None:
        model = load(finished.registered.uri)
    else:
        assert record.result.weights is not None
        training = dataset.training
        model = trained_model(record.trial.params, training.side, training.classes, record.result.weights)
    predictions: NDArray[np.uint8] = probabilities(model, images).argmax(axis=1).astype(np.uint8)
    return predictions


def _entry(experiment: Experiment, dataset: Dataset, finished: _Judged, test: Share) -> Entry:
    trial, result = finished.record.trial, finished.record.result
    total = len(dataset.training.validation)
    published = experiment.families[trial.family].baselines.get(trial.baseline or "")  # type: ignore[index]
    return Entry(
        family=trial.family,
        role=finished.role,
        trial=trial.name,
        network=trial.params.describe(),
        params=trial.params.flat(),
        seed=trial.seed,
        epochs=len(result.epochs),
        weights=result.weight_count,
        train_seconds=result.train_seconds,
        validation=Share(round(result.last("val_accuracy") * total), total),
        test=test,
        model=finished.registered.uri if finished.registered else "",
        published_accuracy=published.published_accuracy if published else None,
        note=published.note if published else "",
    )
