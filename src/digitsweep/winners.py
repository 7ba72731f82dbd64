"""Who won in a family, frozen before the test set is opened, and in the registry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from digitsweep.comparison import best_of
from digitsweep.data import Dataset
from digitsweep.experiment import Experiment
from digitsweep.finalists import Finals
from digitsweep.provenance import Commit
from digitsweep.registry import Registered, log_model, register
from digitsweep.results import Kind, TrialRecord, TrialState
from digitsweep.store import patiently
from digitsweep.tracker import Tracker


@dataclass(frozen=True)
class Winner:
    """A family's best configuration, and the training of it that is put to work."""

    search: TrialRecord
    """The trial that found it."""
    repetitions: tuple[TrialRecord, ...]
    """Of fresh seeds; none where there were no finalists."""
    trained: TrialRecord
    """What is registered: the refit; else the first fresh seed, which nobody chose; else the trial itself."""

    @property
    def refitted(self) -> bool:
        return self.trained.trial.kind is Kind.REFIT

    def fresh_mean(self) -> float | None:
        """Validation accuracy over the fresh seeds."""
        return fmean(each.result.last("val_accuracy") for each in self.repetitions) if self.repetitions else None


def winner_of(records: Sequence[TrialRecord], finals: Finals | None, metric: str) -> Winner | None:
    """The winner of the finals; where there were none, or they did not end, the best trial of the search."""
    candidate = finals.winner() if finals else None
    if finals is not None and candidate is not None:
        return Winner(candidate.search, candidate.repetitions, finals.refit() or candidate.repetitions[0])
    best = best_of(records, metric)
    return Winner(best, (), best) if best is not None and best.result.weights is not None else None


def register_winner(
    experiment: Experiment, dataset: Dataset, winner: Winner, finals: Finals | None, tracker: Tracker, commit: Commit
) -> Registered:
    """Logs the model of each finalist on its own run, and makes the winner's the newest version of its name."""
    training = dataset.training
    name = f"{dataset.name}-{winner.search.trial.family}"

    def logged(record: TrialRecord) -> tuple[str, str]:
        assert record.result.weights is not None
        weights, run_id = record.result.weights, tracker.run_of(record.trial)
        tags = _tags(experiment, dataset, record, tracker, commit)
        side, classes = training.side, training.classes
        return patiently(
            lambda: log_model(name, record.trial.params, weights, side=side, classes=classes, run_id=run_id, tags=tags)
        )

    for each in finals.records if finals is not None else ():
        if each is not winner.trained and each.result.state is TrialState.COMPLETE:
            logged(each)
    trial, (uri, model_id), run_id = winner.search.trial, logged(winner.trained), tracker.run_of(winner.trained.trial)
    tags = {
        **_tags(experiment, dataset, winner.trained, tracker, commit),
        "val_accuracy": f"{winner.fresh_mean() or winner.search.result.last('val_accuracy'):.6f}",
    }
    description = f"{trial.params.describe()}, the best {trial.family.upper()} of sweep {tracker.run_id}."
    return patiently(lambda: register(name, uri, model_id, run_id=run_id, tags=tags, description=description))


def _tags(experiment: Experiment, dataset: Dataset, record: TrialRecord, tracker: Tracker, commit: Commit) -> dict[str, str]:
    return {
        **commit.tags(),
        "digitsweep.data": dataset.name,
        "digitsweep.data.source": dataset.source,
        "digitsweep.data.digest": dataset.digest(),
        "digitsweep.data.digest.test": dataset.digests()["test"],
        "digitsweep.digest": experiment.digest(),
        "digitsweep.sweep": tracker.run_id,
        "digitsweep.kind": record.trial.kind.value,
        "family": record.trial.family,
        "seed": str(record.trial.seed),
        "network": record.trial.params.describe(),
        "epochs": str(len(record.result.epochs)),
        "train_seconds": f"{record.result.train_seconds:.1f}",
    }
