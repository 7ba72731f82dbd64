"""The searches of a recorded sweep as an Optuna journal, which optuna-dashboard and Optuna's own functions read."""

from __future__ import annotations

import datetime
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection

from digitsweep.config.experiment import Experiment
from digitsweep.config.space import Space
from digitsweep.search.sampler import fixed_trial
from digitsweep.trial import TrialRecord, TrialState


@dataclass(frozen=True)
class RecordedTrial:
    """A searched trial that has ended, and its run."""

    record: TrialRecord
    run_id: str
    began: int
    """Milliseconds since 1970."""
    ended: int
    """Likewise."""


@dataclass(frozen=True)
class RecordedSearches:
    """What a sweep searched."""

    run_id: str
    experiment: Experiment
    about: Mapping[str, str]
    """The sweep's state, and the name of its data."""
    trials: tuple[RecordedTrial, ...]
    """Of all families. Baselines are left out, because no search proposed them."""


def journal(searches: RecordedSearches) -> bytes:
    """An Optuna journal with a study for each family, in which each configuration is one trial.

    If a configuration was trained on several rungs, the trial shows the completed training on the highest rung: its values,
    state and times. The values on all rungs are user attributes. A training from scratch does not continue the curve of
    another one, and counting a configuration once for each rung would distort the importances."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    experiment = searches.experiment
    about = {"sweep": searches.run_id, **searches.about, "question": experiment.question, "digest": experiment.digest()}
    with tempfile.TemporaryDirectory(prefix="digitsweep-") as folder:
        path = Path(folder, "journal.log")
        storage = JournalStorage(JournalFileBackend(str(path)))
        direction = StudyDirection[experiment.objective.direction.upper()]
        for family, each in experiment.families.items():
            study_id = storage.create_new_study([direction], f"{experiment.name}-{family}")
            storage.set_study_system_attr(study_id, "study:metric_names", [experiment.objective.metric])
            for name, value in about.items():
                storage.set_study_user_attr(study_id, name, value)
            for trainings in _by_configuration(searches.trials, family):
                storage.create_new_trial(study_id, _frozen(trainings, each.space, experiment.objective.metric))
        return path.read_bytes()


def _by_configuration(trials: Sequence[RecordedTrial], family: str) -> list[list[RecordedTrial]]:
    """For each configuration of a family, in the order of the numbers: its trainings, from the lowest rung."""
    found: dict[int, list[RecordedTrial]] = {}
    ours = [each for each in trials if each.record.trial.family == family]
    for each in sorted(ours, key=lambda each: (each.record.trial.number, each.record.trial.rung)):
        found.setdefault(each.record.trial.number, []).append(each)
    return list(found.values())


def _frozen(trainings: Sequence[RecordedTrial], space: Space, metric: str) -> optuna.trial.FrozenTrial:
    """A configuration as a trial of Optuna."""
    complete = [each for each in trainings if each.record.result.state is TrialState.COMPLETE]
    shown = (complete or trainings)[-1]
    trial, result = shown.record.trial, shown.record.result
    values = {each.epoch: float(getattr(each, metric)) for each in result.epochs}
    fixed = fixed_trial(space, trial.drawn)
    attributes: dict[str, Any] = {
        "name": trial.name,
        "network": trial.params.describe(),
        "rung": trial.rung if trial.proposed_by else None,
        "proposed_by": trial.proposed_by,
        "epochs": trial.epochs,
        "seconds": round(result.train_seconds, 3),
        "weights": result.weight_count,
        "seed": trial.seed,
        "mlflow_run_id": shown.run_id,
        "reason": result.reason,
    }
    if len(trainings) > 1:
        attributes["seconds_all_rungs"] = round(sum(each.record.result.train_seconds for each in trainings), 3)
    if trial.proposed_by:
        for each in complete:
            attributes[f"{metric}_rung_{each.record.trial.rung}"] = each.record.result.last(metric)
    return optuna.trial.FrozenTrial(
        number=-1,
        trial_id=-1,
        state=optuna.trial.TrialState[result.state.value],
        # As in Optuna, a pruned trial has its last value.
        value=None if result.state is TrialState.FAIL or not values else list(values.values())[-1],
        datetime_start=_moment(shown.began),
        datetime_complete=_moment(shown.ended),
        params=fixed.params,
        distributions=fixed.distributions,
        user_attrs={name: value for name, value in attributes.items() if value not in (None, "")},
        system_attrs={},
        intermediate_values=values,
    )


def _moment(milliseconds: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.UTC)
