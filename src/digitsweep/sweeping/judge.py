"""After the search: register the winners, open the test set, compare, report. `sweep()` calls these functions in turn."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from digitsweep.config.experiment import Baseline, Experiment, MinutesBudget
from digitsweep.data import Dataset
from digitsweep.errors import InputError
from digitsweep.evaluation.comparison import Comparison, Entry, Finalist, Scores, spent
from digitsweep.evaluation.cost import Cost
from digitsweep.evaluation.imbalance import class_averages
from digitsweep.evaluation.metrics import classification_metrics
from digitsweep.evaluation.mistakes import find_mistakes
from digitsweep.evaluation.opening import Evaluation, Predictions, evaluate
from digitsweep.evaluation.statistics import SEEDS_NEEDED, FamilyDifference, Share, differences, family_differences
from digitsweep.families import title_of
from digitsweep.prediction.browser import network_of, page_of
from digitsweep.prediction.reference import FILE, reference_of
from digitsweep.registry.models import load
from digitsweep.registry.openings import Openings, openings_of
from digitsweep.registry.recipe import image_tags, recipe_of
from digitsweep.registry.versions import Registered, describe_version, log_model, register
from digitsweep.report import plots
from digitsweep.report.card import card, cards
from digitsweep.report.drawing import DRAWING, Examples
from digitsweep.report.format import cell, percent, plural
from digitsweep.report.page import report
from digitsweep.report.sentences import family_verdict, verdict
from digitsweep.search.finalists import Finalists, Succession, Winner
from digitsweep.tracking.client import patiently
from digitsweep.tracking.provenance import COMMITS_TAG, DIRTY_TAG, Commit
from digitsweep.tracking.tracker import Tracker
from digitsweep.training.loop import trained_model
from digitsweep.trial import Kind, TrialRecord, TrialState

EXAMPLES = 24
"""Test images on the page to draw on, at most."""
MOST_DRAWN_WEIGHTS = 10_000_000
"""Of all networks on the page to draw on: 27 MB, which a browser still opens in seconds."""


@dataclass(frozen=True, eq=False)
class Searched:
    """What a sweep has trained, and the winner of each family that has one."""

    experiment: Experiment
    dataset: Dataset
    families: Mapping[str, Succession]
    winners: Mapping[str, Winner]
    tracker: Tracker
    commit: Commit
    """Of the code that runs now; an interrupted sweep may have trained with another."""


@dataclass(frozen=True, eq=False)
class Judged:
    """One family on the opened test set."""

    winner: Winner
    registered: Registered | None
    baselines: Sequence[TrialRecord]
    evaluation: Evaluation
    """Of the winner, its confirmation networks and the baselines, by the names of their trials."""

    def of(self, record: TrialRecord) -> Predictions:
        return self.evaluation.predictions[record.trial.name]

    @property
    def best(self) -> Predictions:
        return self.of(self.winner.trained)


def register_winners(searched: Searched) -> dict[str, Registered]:
    """Registers each family's winner, by family; none if the experiment registers no models."""
    if not searched.experiment.register_models:
        return {}
    return {family: _register_winner(searched, family) for family in searched.winners}


def _register_winner(searched: Searched, family: str) -> Registered:
    """Logs the model of each training that followed the search on its own run, and makes the winner's the newest version of
    its name."""
    dataset, tracker, winner = searched.dataset, searched.tracker, searched.winners[family]
    training, name = dataset.training, f"{dataset.name}-{family}"

    def trained_by(record: TrialRecord) -> Commit:
        """The commit that trained this: the one that runs now, unless the training had ended before a resume."""
        return tracker.past.commits.get(record.trial.name, searched.commit)

    def tags_of(record: TrialRecord) -> dict[str, str]:
        return {
            **trained_by(record).tags(),
            "digitsweep.data": dataset.name,
            "digitsweep.data.source": dataset.source,
            "digitsweep.data.digest": dataset.digest(),
            "digitsweep.data.digest.test": dataset.digests()["test"],
            **image_tags(dataset),
            "digitsweep.digest": searched.experiment.digest(),
            "digitsweep.sweep": tracker.run_id,
            "digitsweep.kind": record.trial.kind.value,
            "family": family,
            "seed": str(record.trial.seed),
            "network": record.trial.params.describe(),
            "epochs": f"{_epochs(record):g}",
            "trained_on": str(_trained_on(dataset, record)),
            "train_seconds": f"{record.result.train_seconds:.1f}",
        }

    reference = reference_of(training) if recipe_of(dataset).kind == "digits" else None
    files = {FILE: reference.png()} if reference is not None else {}

    def log(record: TrialRecord) -> tuple[str, str]:
        """Logs a model on its training's run: its URI and its id."""
        params, weights = record.trial.params, record.result.weights
        tags, run_id = tags_of(record), tracker.run_of(record.trial)
        assert weights is not None
        return patiently(
            lambda: log_model(
                name, params, weights, shape=training.shape, classes=training.classes, run_id=run_id, tags=tags, files=files
            )
        )

    followed = searched.families[family].followed
    for each in followed:
        if each is not winner.trained and each.result.state is TrialState.COMPLETE:
            log(each)
    uri, model_id = log(winner.trained)
    run_id = tracker.run_of(winner.trained.trial)
    commits = {searched.commit, *map(trained_by, [*searched.families[family].search.records, *followed])}
    tags = {
        **tags_of(winner.trained),
        COMMITS_TAG: " ".join(sorted({each.sha for each in commits})),
        DIRTY_TAG: str(any(each.dirty for each in commits)).lower(),
    }
    network = cell(winner.search.trial.params.describe())
    description = f"{network}, the best {title_of(family)} of sweep {tracker.run_id}."
    return patiently(lambda: register(name, uri, model_id, run_id=run_id, tags=tags, description=description))


def evaluate_winners(searched: Searched, registered: Mapping[str, Registered]) -> dict[str, Judged]:
    """Opens the test set once for each family: for its registered model, loaded back from the registry, for the winner's
    confirmation networks, and for the baselines."""
    return {family: _evaluate_winner(searched, family, registered.get(family)) for family in searched.winners}


def _evaluate_winner(searched: Searched, family: str, registered: Registered | None) -> Judged:
    """Evaluates each network of a family once, also a baseline that won."""
    dataset, tracker, winner = searched.dataset, searched.tracker, searched.winners[family]

    def network(record: TrialRecord) -> Any:
        """A Keras model."""
        if record is winner.trained and registered is not None:
            return patiently(lambda: load(registered.uri))
        assert record.result.weights is not None
        return trained_model(record.trial.params, dataset.training.shape, dataset.training.classes, record.result.weights)

    records = searched.families[family].search.records
    complete = (each for each in records if each.trial.baseline is not None and each.result.state is TrialState.COMPLETE)
    baselines = sorted(complete, key=lambda each: each.trial.number)
    trained = {each.trial.name: each for each in (winner.trained, *winner.confirmations, *baselines)}
    evaluation = evaluate(
        dataset,
        f"sweep {tracker.run_id or searched.experiment.name}: best {title_of(family)}",
        ((name, network(record)) for name, record in trained.items()),
        untimed={each.trial.name for each in winner.confirmations if each is not winner.trained},
        before=tracker.past.openings.get(family, 0),
        opened=lambda opening: tracker.test_opened(family, opening),
    )
    for name, record in trained.items():
        tracker.measured(record.trial, {"test_accuracy": evaluation.predictions[name].accuracy.accuracy})
    return Judged(winner, registered, baselines, evaluation)


def compare(searched: Searched, judged: Mapping[str, Judged], *, seconds: float) -> Comparison:
    """The families side by side.

    judged: by family; seconds: that the sweep has taken."""
    experiment, dataset, tracker, families = searched.experiment, searched.dataset, searched.tracker, searched.families
    named = {title_of(family): each for family, each in judged.items()}
    tests = [each.evaluation for each in judged.values()]
    found = differences(tests[0].labels, {name: each.best.predicted for name, each in named.items()})
    between, alone = _between(named)
    before = Openings()
    if tracker.run_id:
        before = patiently(lambda: openings_of(dataset.test.digest, apart_from=tracker.run_id))
    training = dataset.training
    entry = functools.partial(_entry, experiment, dataset)
    return Comparison(
        experiment=experiment.name,
        question=experiment.question,
        digest=experiment.digest(),
        metric=experiment.objective.metric,
        state=tracker.state,
        data={
            "name": dataset.name,
            "source": dataset.source,
            "digests": dataset.digests(),
            "images": {"train": len(training.train), "validation": len(training.validation), "test": len(tests[0].labels)},
            **dataset.about(),
        },
        budget=experiment.budget.model_dump(exclude_none=True),
        spent={
            family: spent(each.search.records, each.followed, each.search.attempt_seconds())
            for family, each in families.items()
        },
        entries=(
            *(entry(each, None) for each in judged.values()),
            *(entry(each, baseline) for each in judged.values() for baseline in each.baselines),
        ),
        verdict=verdict(*found),
        difference=found[0] if len(named) == 2 else None,
        family_verdict=(
            family_verdict(*between, alone=alone, in_minutes=isinstance(experiment.budget, MinutesBudget)) if found else ""
        ),
        family_difference=between[0] if between and len(named) == 2 else None,
        differences=found if len(named) > 2 else (),
        family_differences=between if len(named) > 2 else (),
        finalists=tuple(
            finalist
            for family, each in judged.items()
            for finalist in finalists_of(
                each.winner,
                families[family].finalists,
                [each.of(record).accuracy.accuracy for record in each.winner.confirmations],
            )
        ),
        mistakes=find_mistakes(
            tests[0].labels,
            {name: each.best.probabilities for name, each in named.items()},
            training.classes,
        ),
        costs=tuple(cost for each in judged.values() for cost in _costs(each)),
        history={family: each.search.history() for family, each in families.items()},
        openings=tuple(each.opening for each in tests),
        opened_before=before.times,
        models_before=len(before.models),
        duplicates=dataset.duplicates(),
        precisions=tuple(
            sorted(
                {
                    record.result.precision
                    for each in families.values()
                    for record in (*each.search.records, *each.followed)
                    if record.result.precision
                }
            )
        ),
        run_id=tracker.run_id,
        seconds=seconds,
    )


def _between(named: Mapping[str, Judged]) -> tuple[tuple[FamilyDifference, ...], list[str]]:
    """The families compared by their confirmation networks; and those of three or more that have too few of them."""
    correct = {
        name: np.stack([each.of(record).correct for record in each.winner.confirmations])
        for name, each in named.items()
        if len(each.winner.confirmations) >= (SEEDS_NEEDED if len(named) > 2 else 1)
    }
    return family_differences(correct), [name for name in named if name not in correct]


def describe_versions(judged: Mapping[str, Judged], comparison: Comparison) -> None:
    """Writes what was measured to the registered versions."""
    for entry, each in zip(comparison.best(), judged.values(), strict=True):
        if each.registered is not None:
            _describe(each.registered, comparison, entry)


def report_files(searched: Searched, judged: Mapping[str, Judged], comparison: Comparison) -> dict[str, bytes]:
    """The files that show the comparison, by name."""
    evaluations = [each.evaluation for each in judged.values()]
    drawn = pictures(
        searched.dataset.name,
        [record for each in searched.families.values() for record in each.search.records],
        {each.winner.search.trial.name for each in judged.values()},
        evaluations[0].labels,
        {title_of(family): each.best.predicted for family, each in judged.items()},
        searched.dataset.class_names,
    )
    return {**drawn, **report(comparison, evaluations[0].images), **cards(comparison)}


def drawing_files(
    searched: Searched, judged: Mapping[str, Judged], note: Callable[[str], None] = lambda text: None
) -> dict[str, bytes]:
    """The page to draw on, of the winners, by its file name. If the page cannot compute one of them, there is none, and
    `note` is told why."""
    dataset, networks = searched.dataset, []
    training = dataset.training
    weights = sum(each.winner.trained.result.weight_count for each in judged.values())
    if weights > MOST_DRAWN_WEIGHTS:
        note(f"There is no {DRAWING}: the networks have {weights:,} weights, and the page takes {MOST_DRAWN_WEIGHTS:,}.")
        return {}
    for family, each in judged.items():
        trained = each.winner.trained
        assert trained.result.weights is not None
        model = trained_model(trained.trial.params, training.shape, training.classes, trained.result.weights)
        try:
            networks.append(network_of(model, title_of(family)))
        except InputError as error:
            note(f"There is no {DRAWING}: {error}")
            return {}
    best, evaluation = [each.best for each in judged.values()], next(iter(judged.values())).evaluation
    wrong = np.flatnonzero(~np.any([each.correct for each in best], axis=0))
    sure = np.mean([each.probabilities.max(axis=1) for each in best], axis=0)
    chosen = wrong[np.argsort(-sure[wrong], kind="stable")][:EXAMPLES]
    examples = Examples([int(each) for each in chosen], evaluation.images[chosen], evaluation.labels[chosen])
    return {DRAWING: page_of(networks, dataset.class_names, recipe_of(dataset), dataset.name, examples)}


def finalists_of(winner: Winner, finals: Finalists | None, test_accuracies: Sequence[float]) -> list[Finalist]:
    """A family's finalists, the winner first; `test_accuracies` are those of its confirmation networks. If none finished its
    seeds, the search decided, and none has won."""
    if finals is None:
        return []

    def values(records: Sequence[TrialRecord], metric: str = "val_accuracy") -> tuple[float, ...]:
        return tuple(each.result.last(metric) for each in records)

    found, metric = [], finals.metric
    for each in finals.candidates():
        won = winner.finalist and each.search is winner.search
        if not (each.selection or won):
            continue
        confirmations = winner.confirmations if won else ()
        scores = Scores(
            metric, each.search.result.last(metric), values(each.selection, metric), values(confirmations, metric)
        )
        found.append(
            Finalist(
                family=each.search.trial.family,
                trial=each.search.trial.name,
                network=each.search.trial.params.describe(),
                proposed_by=each.search.trial.proposed_by,
                weights=each.search.result.weight_count,
                search_epochs=_epochs(each.search),
                epochs=_epochs((*each.selection, *winner.confirmations, winner.trained)[0]),
                search_val_accuracy=each.search.result.last("val_accuracy"),
                selection_seeds=tuple(record.trial.seed for record in each.selection),
                selection_val_accuracies=values(each.selection),
                confirmation_seeds=tuple(record.trial.seed for record in confirmations),
                confirmation_val_accuracies=values(confirmations),
                confirmation_test_accuracies=tuple(test_accuracies) if won else (),
                won=won,
                scores=scores if metric != "val_accuracy" else None,
            )
        )
    return found


def _entry(experiment: Experiment, dataset: Dataset, judged: Judged, baseline: TrialRecord | None) -> Entry:
    """A line of the comparison: a baseline, or, without one, the family's best."""
    source, trained = (baseline, baseline) if baseline else (judged.winner.search, judged.winner.trained)
    trial, validation, metric = source.trial, len(dataset.training.validation), experiment.objective.metric
    tested = judged.of(trained)
    spec = experiment.families[trial.family].baselines.get(trial.baseline or "")
    return Entry(
        family=trial.family,
        role="baseline" if baseline else "best",
        trial=trial.name,
        network=trial.params.describe(),
        params=trial.params.flat(),
        seed=trained.trial.seed,
        epochs=_epochs(trained),
        trained_on=_trained_on(dataset, trained),
        weights=source.result.weight_count,
        train_seconds=trained.result.train_seconds,
        search_val_accuracy=None if baseline else source.result.last("val_accuracy"),
        validation=Share(round(source.result.last("val_accuracy") * validation), validation) if baseline else None,
        test=tested.accuracy,
        averages=None if baseline else class_averages(tested.labels, tested.predicted, dataset.training.classes),
        score=None if metric == "val_accuracy" else source.result.last(metric),
        model=judged.registered.uri if judged.registered and not baseline else "",
        published_accuracy=spec.published_accuracy if spec and _is_own_data(experiment, dataset) else None,
        note=_note(experiment, trained, spec) if spec else "",
    )


def _costs(judged: Judged) -> list[Cost]:
    winner = judged.winner
    named = [(f"best {title_of(winner.search.trial.family)}", winner.trained)]
    named += [(str(each.trial.baseline), each) for each in judged.baselines]
    return [
        Cost(
            name=name,
            family=record.trial.family,
            accuracy=judged.of(record).accuracy.accuracy,
            weights=judged.of(record).weights,
            train_seconds=record.result.train_seconds,
            latencies=judged.of(record).latencies,
        )
        for name, record in named
    ]


def _note(experiment: Experiment, trained: TrialRecord, baseline: Baseline) -> str:
    """On a baseline: why it differs from what was published."""
    planned = experiment.baseline_epochs(baseline)
    if trained.trial.epochs >= planned:
        return baseline.note
    shortened = f"the sweep's minutes paid for {plural(trained.trial.epochs, 'epoch')} instead of {planned}"
    return f"{shortened}; {baseline.note}" if baseline.note else shortened


def _epochs(record: TrialRecord) -> float:
    """That a training took; the last of a complete one may be a part of one."""
    return record.trial.epochs if record.result.state is TrialState.COMPLETE else len(record.result.epochs)


def _trained_on(dataset: Dataset, record: TrialRecord) -> int:
    """The number of images that a network was fitted to."""
    training = dataset.training
    return len(training.train) + (len(training.validation) if record.trial.kind is Kind.REFIT else 0)


def _is_own_data(experiment: Experiment, dataset: Dataset) -> bool:
    """Whether these are the images that the experiment's published figures are about, not others (`--data`)."""
    return str(experiment.source()) in (dataset.name, dataset.source)


def _describe(registered: Registered, comparison: Comparison, entry: Entry) -> None:
    """Writes what was measured to the registered version, with its model card as the description."""
    tags = {name: f"{value:.6f}" for name, value in comparison.accuracies(entry).items()}
    patiently(lambda: describe_version(registered, tags, card(comparison, entry)))


def pictures(
    data: str,
    records: Sequence[TrialRecord],
    best: Collection[str],
    labels: NDArray[np.uint8],
    predicted: Mapping[str, NDArray[np.uint8]],
    class_names: Sequence[str],
) -> dict[str, bytes]:
    """PNG files beside the page: the learning curves of the best trials (by name) and the baselines, and a confusion matrix
    for each model's predicted labels, (n,). `class_names` are those of the training images; a test set may lack one."""
    curves = [
        plots.Curve(
            " ".join(
                filter(None, [title_of(each.trial.family), each.trial.baseline, "(best, in the search)" if won else None])
            ),
            each.trial.family,
            won,
            each.result.epochs,
        )
        for each in records
        if (won := each.trial.name in best) or (each.trial.baseline and each.result.state is TrialState.COMPLETE)
    ]
    matrices = {}
    for name, each in predicted.items():
        found = classification_metrics(labels, each, class_names)
        matrices[f"best {name}, {percent(found.accuracy)}"] = found.confusion
    return {
        "training_curves.png": plots.png(plots.training_curves(curves, f"Validation error by epoch, {data}")),
        "confusion_matrices.png": plots.png(plots.confusion_matrices(matrices, f"Test images of {data}", class_names)),
    }
