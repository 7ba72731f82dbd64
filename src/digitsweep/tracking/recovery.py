"""What a sweep had done when it was broken off, from its MLflow runs: they hold all that its studies are rebuilt from."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from digitsweep.comparison import best_of
from digitsweep.results import EpochMetrics, Kind, Trial, TrialRecord, TrialResult, TrialState
from digitsweep.source import CUT_OFF, INTERRUPTED
from digitsweep.store import OPENED, attempt_of, children, run_tags
from digitsweep.tracker import Past
from digitsweep.tracking.trial_record import restored_trial, restored_weights

BROKEN_OFF = "the sweep was broken off while it ran"
LOST = "its learned numbers are lost"
FIGURES = tuple(each.name for each in dataclasses.fields(EpochMetrics) if each.name != "epoch")
STATUS = {TrialState.COMPLETE: "FINISHED", TrialState.PRUNED: "KILLED", TrialState.FAIL: "FAILED"}


def given_up(reason: str) -> dict[str, str]:
    """Tags of a run whose training was broken off, and which is none of the sweep's trials any more."""
    return {"digitsweep.kind": "attempt", "trial.state": TrialState.FAIL.value, "trial.reason": reason}


def recover(client: MlflowClient, experiment_id: str, sweep_run: str, metric: str) -> Past:
    """What the runs below a sweep's tell. Those that never came to their end are closed: what they were is trained again.

    metric: the experiment's objective."""
    found: dict[str, tuple[Run, TrialRecord]] = {}
    cut: dict[str, Trial] = {}
    lost: dict[str, Trial] = {}
    runs = {}
    for run in children(client, experiment_id, sweep_run):
        runs[str(run.info.run_name), attempt_of(run)] = str(run.info.run_id)
        if "digitsweep.trial" not in run.data.tags:
            _close(client, run, "FAILED")
            continue
        values = json.loads(run.data.tags["digitsweep.trial"])
        trial = restored_trial(values)
        if run.data.tags.get("digitsweep.kind") == "attempt":
            _close(client, run, "FAILED")
            (lost if run.data.tags.get("trial.reason") == LOST else cut)[trial.name] = trial
            continue
        record = _record(client, run, trial, values, metric) if "state" in values else None
        if record is None or record.result.reason in (INTERRUPTED, CUT_OFF):
            reason = BROKEN_OFF if record is None else record.result.reason
            client.log_batch(run.info.run_id, tags=run_tags(given_up(reason)))
            _close(client, run, "FAILED")
            cut[trial.name] = trial
        else:
            _close(client, run, STATUS[record.result.state])
            found[trial.name] = run, record
    _load_weights(client, found, lost, metric)
    ended = sorted(found.values(), key=lambda each: (each[0].info.end_time or 0, each[1].trial.number))
    return Past(
        ended=tuple(record for _, record in ended),
        cut=_to_train(cut, {*found, *lost}),
        lost=_to_train(lost, found),
        runs=runs,
        openings=_openings(client.get_run(sweep_run).data.tags),
    )


def _to_train(trials: Mapping[str, Trial], known: Collection[str]) -> tuple[Trial, ...]:
    """Those that are not known by their names, in order."""
    return tuple(sorted((each for name, each in trials.items() if name not in known), key=lambda trial: trial.number))


def closed(client: MlflowClient, run: Run) -> str:
    """Ends a run that nobody trains any more, as what it says it came to, or else as an attempt; its status then."""
    state = json.loads(run.data.tags.get("digitsweep.trial", "{}")).get("state")
    status = STATUS[TrialState(state)] if state else "FAILED"
    if not state and run.data.tags.get("digitsweep.kind") in [each.value for each in Kind]:
        client.log_batch(run.info.run_id, tags=run_tags(given_up(BROKEN_OFF)))
    client.set_terminated(run.info.run_id, status)
    return status


def curves(client: MlflowClient, run: Run) -> tuple[EpochMetrics, ...]:
    """A run's figures after each epoch."""
    found = {figure: _series(client, run, figure) for figure in FIGURES if figure in run.data.metrics}
    count = min(map(len, found.values()), default=0)
    return tuple(_epoch(number + 1, {figure: values[number] for figure, values in found.items()}) for number in range(count))


def _record(client: MlflowClient, run: Run, trial: Trial, values: Mapping[str, Any], metric: str) -> TrialRecord:
    series = values["values"]
    if series is None:
        series = _series(client, run, metric)
    epochs = [_epoch(number, {metric: value}) for number, value in enumerate(series, start=1)]
    if epochs:
        epochs[-1] = _epoch(len(epochs), run.data.metrics)
    tags = run.data.tags
    result = TrialResult(
        state=TrialState(values["state"]),
        epochs=tuple(epochs),
        weight_count=values["weights"],
        train_seconds=values["seconds"],
        precision=tags.get("digitsweep.precision", ""),
        reason=tags.get("trial.reason", ""),
    )
    return TrialRecord(trial, result)


def _load_weights(
    client: MlflowClient, found: dict[str, tuple[Run, TrialRecord]], lost: dict[str, Trial], metric: str
) -> None:
    """Gives back what will be asked and drawn again: the learned numbers and the whole curves of baselines and finalists,
    and of each family's best. Where the numbers are lost, it is trained again."""
    complete = [record for _, record in found.values() if record.result.state is TrialState.COMPLETE]
    searched = [each for each in complete if each.trial.kind is Kind.TRIAL]
    best = [best_of([each for each in searched if each.trial.family == family], metric) for family in ("ann", "cnn")]
    for record in complete:
        needed = record.trial.kind is not Kind.TRIAL or record.trial.baseline is not None
        if not needed and not any(record is each for each in best):
            continue
        name = record.trial.name
        run = found[name][0]
        try:
            with tempfile.TemporaryDirectory(prefix="digitsweep-") as folder:
                path = client.download_artifacts(run.info.run_id, "weights.npz", folder)
                weights = restored_weights(Path(path).read_bytes())
        except (MlflowException, OSError, ValueError):
            client.log_batch(run.info.run_id, tags=run_tags(given_up(LOST)))
            lost[name] = record.trial
            del found[name]
            continue
        result = dataclasses.replace(record.result, epochs=curves(client, run), weights=weights)
        found[name] = run, TrialRecord(record.trial, result)


def _series(client: MlflowClient, run: Run, figure: str) -> Sequence[float]:
    """A metric after each epoch; one that was sent twice is the same twice."""
    by_epoch = {each.step: float(each.value) for each in client.get_metric_history(run.info.run_id, figure)}
    return [by_epoch[step] for step in sorted(by_epoch)]


def _epoch(number: int, figures: Mapping[str, float]) -> EpochMetrics:
    return EpochMetrics(number, **{name: float(figures.get(name, math.nan)) for name in FIGURES})


def _close(client: MlflowClient, run: Run, status: str) -> None:
    if run.info.status == "RUNNING":
        client.set_terminated(run.info.run_id, status)


def _openings(tags: Mapping[str, str]) -> dict[str, int]:
    """How often the test set was opened for each family."""
    found = {}
    for family in ("ann", "cnn"):
        counted = re.search(r"opening (\d+)$", tags.get(f"{OPENED}{family}", ""))
        if counted is not None:
            found[family] = int(counted[1])
    return found
