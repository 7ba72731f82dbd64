"""Resuming a sweep that was broken off: finding it, taking it over, and rebuilding from its MLflow runs what it had done."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import hashlib
import json
import math
import re
import tempfile
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from numpy.typing import NDArray

from digitsweep.config.experiment import SOURCES, Experiment
from digitsweep.config.experiment_file import load_experiment
from digitsweep.config.options import Options
from digitsweep.errors import DigitsweepError, InputError
from digitsweep.search.finalists import candidates_among
from digitsweep.search.journal import RecordedSearches, RecordedTrial
from digitsweep.tracking import records
from digitsweep.tracking.client import (
    NOT_THERE,
    OPENED,
    all_runs,
    artifact,
    attempt_of,
    children,
    first_line,
    last_sweep,
    log_files,
    open_store,
    patiently,
    server_errors,
    shown_uri,
)
from digitsweep.tracking.lock import ID, claim_at_work, is_run_by, locked, next_claim, sweep_id_of
from digitsweep.tracking.provenance import UNKNOWN, Commit
from digitsweep.tracking.sender import Sender
from digitsweep.tracking.spool import Spool, disk_errors, records_folder, state_folder
from digitsweep.tracking.sweep_run import (
    BROKEN_OFF,
    FAMILY,
    SweepRun,
    family_copy,
    make_attempt,
    open_pending_runs,
    trained_seconds,
)
from digitsweep.tracking.tracker import Past
from digitsweep.trial import CUT_OFF, INTERRUPTED, EpochMetrics, Kind, Trial, TrialRecord, TrialResult, TrialState, best_of

LAST = "last"
LOST = "its weights are lost"
SHA256 = re.compile("[0-9a-f]{64}")
CURVES = tuple(each.name for each in dataclasses.fields(EpochMetrics) if each.name != "epoch")
"""Metrics of each epoch."""


# Finding it.


@dataclass(frozen=True)
class Unfinished:
    """A sweep to resume."""

    run_id: str
    experiment: Experiment
    """As it was recorded, with the options it was begun with."""
    options: Options
    data_digest: str


def find_unfinished(named: str) -> Unfinished:
    """The sweep of a run's id, or of its own id where its run was not open yet; for `last`, the newest that has not come to
    its end and is not at work.

    Raises InputError where there is none, or it is complete, and DigitsweepError where all that there are run."""
    with server_errors("could not be asked"):
        client = open_store()
        list(open_pending_runs(client))
        run = _last(client) if named == LAST else _named(client, named)
        run_id, tags = str(run.info.run_id), run.data.tags
        if tags.get("digitsweep.state") == "COMPLETE":
            raise InputError(
                f"sweep {run_id} is complete: there is nothing to resume; `digitsweep compare {run_id}` shows it"
            )
        folder = state_folder(sweep_id_of(run))
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        experiment, options = recorded_experiment(client, run, folder)
    if options.data is None and experiment.data.source not in SOURCES:
        experiment = experiment.model_copy(update={"images": Path(tags["digitsweep.data.source"])})
    elif options.data is not None and not options.data.is_absolute():  # from the folder it was started in
        options = dataclasses.replace(options, data=Path(tags["digitsweep.data.source"]))
    return Unfinished(run_id, experiment, options, tags.get("digitsweep.data.digest", ""))


def recorded_experiment(client: MlflowClient, run: Run, folder: Path) -> tuple[Experiment, Options]:
    """The experiment of a sweep's run, with the options that the sweep was started with. Its file is written to a folder.

    Raises InputError if this version of digitsweep reads it differently, or finds another family in place of one of the
    sweep's."""
    run_id, tags = run.info.run_id, run.data.tags
    options = Options.restored(run.data.params)
    path = Path(client.download_artifacts(run_id, "experiment.yaml", str(folder)))
    # A sweep that is resumed keeps to its data: it never runs the fallback, which does not lie beside the copy.
    experiment = options.applied(load_experiment(path, fallback=False, copies=_copies(client, run)))
    for name, each in experiment.families.items():
        recorded = tags.get(f"{FAMILY}{name}")
        if each.build is not None and each.build.identity != recorded:
            raise InputError(
                f"sweep {run_id} needs the family {name} of {recorded}, but here it is of {each.build.identity}"
            )
    if experiment.digest() != tags.get("digitsweep.digest"):
        raise InputError(
            f"sweep {run_id} was begun by a version of digitsweep that reads its experiment differently; use that version, "
            "or start the sweep anew"
        )
    return experiment, options


def _copies(client: MlflowClient, run: Run) -> dict[str, str]:
    """By name, the recorded text of each family's file.

    Raises InputError if a copy is not the file that the sweep was begun with."""
    found = {}
    for tag, digest in run.data.tags.items():
        name = tag.removeprefix(FAMILY)
        if name == tag or not SHA256.fullmatch(digest):
            continue
        content = artifact(client, run, family_copy(name))
        if hashlib.sha256(content).hexdigest() != digest:
            raise InputError(f"run {run.info.run_id}: {family_copy(name)} was changed since the sweep began; it is not run")
        found[name] = content.decode()
    return found


def unfinished_like(client: MlflowClient, experiment: Experiment) -> str:
    """A sentence about the newest sweep of the same experiment that was broken off; empty where there is none."""
    for run in _unfinished(client, f"and tags.`digitsweep.digest` = '{experiment.digest()}'"):
        if claim_at_work(run) is None:
            moment = datetime.datetime.fromtimestamp(run.info.start_time / 1000).astimezone()
            return (
                f"A sweep of this experiment that began on {moment:%Y-%m-%d at %H:%M} is not complete; to resume it "
                f"instead: digitsweep sweep --resume {run.info.run_id}"
            )
    return ""


def _unfinished(client: MlflowClient, more: str = "and tags.`digitsweep.digest` != ''") -> Iterator[Run]:
    """The newest first. One whose run has no digest was killed on another machine while it was opened."""
    return all_runs(client, f"tags.`digitsweep.kind` = 'sweep' and tags.`digitsweep.state` != 'COMPLETE' {more}")


def _last(client: MlflowClient) -> Run:
    at_work = ""
    for run in _unfinished(client):
        claim = claim_at_work(run)
        if claim is None:
            return run
        at_work = at_work or is_run_by(run.info.run_id, claim)
    if at_work:
        raise DigitsweepError(at_work)
    raise InputError(f"no sweep at {shown_uri()} can be resumed: all are complete")


def _named(client: MlflowClient, named: str) -> Run:
    try:
        by_id = all_runs(client, f"tags.`{ID}` = '{named}'") if named.isalnum() else iter(())
        run = next(by_id, None) or client.get_run(named)
    except MlflowException as error:
        if error.error_code not in NOT_THERE:
            raise
        why = first_line(error)
        raise InputError(f"no sweep {named} at {shown_uri()}: {why}; name a sweep's run, or `last`") from None
    if run.data.tags.get("digitsweep.kind") != "sweep":
        raise InputError(f"run {named} is not a sweep's; name the run above it, or `last`")
    return run


def recorded_searches(named: str) -> RecordedSearches:
    """What a sweep searched, finished or not; `last` is the newest that came to a comparison.

    Raises InputError if there is no such sweep, or if this version of digitsweep cannot read its experiment."""
    run_id = last_sweep() if named == LAST else named
    with server_errors("could not be asked"), tempfile.TemporaryDirectory(prefix="digitsweep-") as folder:
        client = open_store()
        run = _named(client, run_id)
        experiment, _ = recorded_experiment(client, run, Path(folder))
        trials = []
        for each in children(client, run.info.experiment_id, run.info.run_id):
            values = json.loads(each.data.tags.get(records.TRIAL, "{}"))
            if each.data.tags.get("digitsweep.kind") != Kind.TRIAL or "state" not in values:
                continue
            record = _record(client, each, records.restored_trial(values), values, experiment.objective.metric)
            if record.trial.baseline is None and each.info.end_time:
                trials.append(RecordedTrial(record, each.info.run_id, each.info.start_time, each.info.end_time))
    tags = {name: run.data.tags.get(f"digitsweep.{name}", "") for name in ("state", "data")}
    return RecordedSearches(run.info.run_id, experiment, tags, tuple(trials))


# Taking it over.


@dataclass(frozen=True)
class Resumed:
    """A sweep that this process has taken over."""

    run: SweepRun
    spool: Spool
    sender: Sender
    past: Past


@contextmanager
def next_coordinator(client: MlflowClient, run_id: str) -> Iterator[tuple[SweepRun, Spool]]:
    """Holds a sweep's lock; its run, still to be claimed, and what waits on this machine to be sent to it.

    Raises DigitsweepError where another coordinator may be at work."""
    sweep_id = sweep_id_of(client.get_run(run_id))
    with locked(sweep_id, run_id):
        run = client.get_run(run_id)
        claim = next_claim(run)
        spool = Spool(records_folder(sweep_id), claim.generation, claim.since)
        yield SweepRun(client, run.info.experiment_id, run_id, sweep_id, claim), spool


def take_over(experiment: Experiment, run_id: str, held: ExitStack) -> Resumed:
    """Takes over a sweep that was broken off, with what it had done. `held` gets its lock and its sender.

    Raises DigitsweepError where the server cannot be used, or another coordinator may be at work."""
    with server_errors("cannot be used"):
        run, spool = held.enter_context(next_coordinator(open_store(), run_id))
        run.claim()
        sender = Sender(run.sweep_id, spool, lambda: run)
        held.callback(sender.close)
        sender.wait()  # for what the last coordinator could not send
        most = experiment.finalists.top if experiment.finalists else 1
        past = recover(run.client, run.experiment_id, run_id, experiment.objective.metric, most)
        sender.runs |= past.runs
        run.reopen(experiment)
    return Resumed(run, spool, sender, past)


# What it had done.


def recover(client: MlflowClient, experiment_id: str, sweep_run: str, metric: str, most: int = 1) -> Past:
    """What the runs below a sweep's tell. Those that never came to their end are closed as attempts, to be trained again.

    metric: the experiment's objective; most: configurations of a family that become finalists."""
    found: dict[str, tuple[Run, TrialRecord]] = {}
    cut: dict[str, Trial] = {}
    lost: dict[str, Trial] = {}
    runs: dict[tuple[str, int], str] = {}
    attempts: list[tuple[Trial, float]] = []
    spans: list[tuple[float, float]] = []
    """When each training began, and its seconds."""
    for run in children(client, experiment_id, sweep_run):
        if records.TRIAL not in run.data.tags:
            _close(client, run, "FAILED")
            continue
        values = json.loads(run.data.tags[records.TRIAL])
        trial = records.restored_trial(values)
        runs[trial.name, attempt_of(run)] = str(run.info.run_id)
        record = _record(client, run, trial, values, metric) if "state" in values else None
        if run.data.tags.get("digitsweep.kind") == "attempt":
            seconds = trained_seconds(client, run)
            attempts.append((trial, seconds))
            _close(client, run, "FAILED")
            (lost if run.data.tags.get("trial.reason") == LOST else cut)[trial.name] = trial
        elif record is None or record.result.reason in (INTERRUPTED, CUT_OFF):
            seconds = make_attempt(client, run, record.result.reason if record else BROKEN_OFF)
            attempts.append((trial, seconds))
            _close(client, run, "FAILED")
            cut[trial.name] = trial
        else:
            if run.info.status == "RUNNING":
                derive_missing(client, run)
            _close(client, run, records.TRIAL_STATUS[record.result.state])
            found[trial.name] = run, record
            seconds = record.result.train_seconds
        spans.append((run.info.start_time / 1000, seconds))
    for name in _load_weights(client, found, metric):
        run, record = found.pop(name)
        attempts.append((record.trial, make_attempt(client, run, LOST)))
        lost[name] = record.trial
    _load_curves(client, found, metric, most)
    # Those that had no end yet were the last: their pictures were still being drawn.
    ended = sorted(found.values(), key=lambda each: (each[0].info.end_time or math.inf, each[1].trial.number))
    return Past(
        ended=tuple(record for _, record in ended),
        cut=_to_train(cut, {*found, *lost}),
        lost=_to_train(lost, found),
        runs=runs,
        openings=_openings(client.get_run(sweep_run).data.tags),
        commits={name: Commit.from_tags(run.data.tags) or UNKNOWN for name, (run, _) in found.items()},
        attempt_seconds=_searched(attempts),
        elapsed=_covered(spans),
    )


def _covered(spans: Sequence[tuple[float, float]]) -> float:
    """Seconds in any of the spans, each with its beginning and its length. What was trained side by side counts once."""
    total, end = 0.0, -math.inf
    for begun, seconds in sorted(spans):
        total += max(0.0, begun + seconds - max(begun, end))
        end = max(end, begun + seconds)
    return total


def _searched(attempts: Sequence[tuple[Trial, float]]) -> dict[str, float]:
    """Seconds of the attempts at searched trials, by family: baselines and finalists cost no budget."""
    found: dict[str, float] = {}
    for trial, seconds in attempts:
        if trial.kind is Kind.TRIAL and trial.baseline is None:
            found[trial.family] = found.get(trial.family, 0.0) + seconds
    return found


def _to_train(trials: Mapping[str, Trial], known: Collection[str]) -> tuple[Trial, ...]:
    """Those whose names are not known, in order."""
    return tuple(sorted((each for name, each in trials.items() if name not in known), key=lambda trial: trial.number))


def derive_missing(client: MlflowClient, run: Run) -> list[str]:
    """Makes what is missing among a trial's files that follow from its metrics and its confusion matrix; their names."""
    title = records.title_of_run(run)
    there = {each.path for each in client.list_artifacts(run.info.run_id)}
    wanted = set(records.FROM_CURVES) if run.data.metrics.keys() & set(CURVES) else set()
    wanted |= set(records.FROM_MATRIX) if records.MATRIX in there else set()
    if title is None or wanted <= there:
        return []
    matrix = artifact(client, run, records.MATRIX) if records.MATRIX in there else None
    files = records.derived(title, curves(client, run), matrix)
    missing = {name: content for name, content in files.items() if name not in there}
    log_files(client, run.info.run_id, missing)
    return list(missing)


def curves(client: MlflowClient, run: Run) -> tuple[EpochMetrics, ...]:
    """A run's metrics after each epoch. Older versions recorded `val_macro_f1` only after the last."""
    found = {name: _series(client, run, name) for name in CURVES if name in run.data.metrics}
    whole = [set(series) for name, series in found.items() if name != "val_macro_f1"]
    numbers = sorted(set.intersection(*whole)) if whole else []
    return tuple(
        _epoch(number, {name: series[number] for name, series in found.items() if number in series}) for number in numbers
    )


def _record(client: MlflowClient, run: Run, trial: Trial, values: Mapping[str, Any], metric: str) -> TrialRecord:
    series = values["values"]
    if series is None:
        series = _series(client, run, metric).values()
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
    return TrialRecord(trial, result, values["used"])


def _load_weights(client: MlflowClient, found: dict[str, tuple[Run, TrialRecord]], metric: str) -> list[str]:
    """Loads what is needed again: the weights and whole curves of baselines and finalists, and of each family's best. The
    names of those whose weights are lost: they are trained again."""
    complete = [record for _, record in found.values() if record.result.state is TrialState.COMPLETE]
    searched = [each for each in complete if each.trial.kind is Kind.TRIAL]
    families = {each.trial.family for each in searched}
    best = [best_of([each for each in searched if each.trial.family == family], metric) for family in families]
    gone = []
    for record in complete:
        is_searched = record.trial.kind is Kind.TRIAL and record.trial.baseline is None
        if is_searched and not any(record is each for each in best):
            continue
        name = record.trial.name
        run = found[name][0]
        weights = patiently(functools.partial(_weights, client, run))
        if weights is None:
            gone.append(name)
            continue
        result = dataclasses.replace(record.result, epochs=curves(client, run), weights=weights)
        found[name] = run, dataclasses.replace(record, result=result)
    return gone


def _load_curves(client: MlflowClient, found: dict[str, tuple[Run, TrialRecord]], metric: str, most: int) -> None:
    """Loads the whole curves of the trials that become finalists: the winner's are drawn, and its refit may follow them."""
    searched = [record for _, record in found.values() if record.trial.kind is Kind.TRIAL]
    for family in {each.trial.family for each in searched}:
        for record in candidates_among([each for each in searched if each.trial.family == family], metric, most):
            if record.result.weights is not None:  # which came with the curves
                continue
            run, _ = found[record.trial.name]
            result = dataclasses.replace(record.result, epochs=curves(client, run))
            found[record.trial.name] = run, dataclasses.replace(record, result=result)


def _weights(client: MlflowClient, run: Run) -> tuple[NDArray[np.float32], ...] | None:
    """The weights of a run; None where its artifacts do not have them, or have them damaged.

    Raises DigitsweepError where the server does not answer: only an answer can tell that they are lost."""
    with server_errors(f"did not return the weights of {run.info.run_name}"):
        if records.WEIGHTS not in [each.path for each in client.list_artifacts(run.info.run_id)]:
            return None
        content = artifact(client, run, records.WEIGHTS)
    try:
        return records.restored_weights(content)
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None


def _series(client: MlflowClient, run: Run, name: str) -> dict[int, float]:
    """A metric by epoch, in order; one that was sent twice counts once."""
    by_epoch = {each.step: float(each.value) for each in client.get_metric_history(run.info.run_id, name)}
    return dict(sorted(by_epoch.items()))


def _epoch(number: int, metrics: Mapping[str, float]) -> EpochMetrics:
    return EpochMetrics(number, **{name: float(metrics.get(name, math.nan)) for name in CURVES})


def _close(client: MlflowClient, run: Run, status: str) -> None:
    if run.info.status == "RUNNING":
        client.set_terminated(run.info.run_id, status)


def _openings(tags: Mapping[str, str]) -> dict[str, int]:
    """How often the test set was opened for each family."""
    opened = {name.removeprefix(OPENED): text for name, text in tags.items() if name.startswith(OPENED)}
    return {family: int(counted[1]) for family, text in opened.items() if (counted := re.search(r"opening (\d+)$", text))}
