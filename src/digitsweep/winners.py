"""Who won in a family, in the registry before the test set is opened."""

from __future__ import annotations

from digitsweep.data import Dataset
from digitsweep.experiment import Experiment
from digitsweep.finalists import Finals, Winner
from digitsweep.provenance import Commit
from digitsweep.registry import Registered, log_model, register
from digitsweep.results import TrialRecord, TrialState
from digitsweep.store import patiently
from digitsweep.tracker import Tracker


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
