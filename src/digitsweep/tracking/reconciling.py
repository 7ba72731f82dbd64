"""Repairs what a crash left at the tracking server: runs that say they are running and are not, records that wait on this
machine, pictures that can be drawn again. What is repaired once needs nothing the second time."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from mlflow import MlflowClient
from mlflow.entities import Run

from digitsweep.errors import DigitsweepError
from digitsweep.store import children, open_store, quiet_mlflow, run_tags, server_errors
from digitsweep.tracking.lock import TAG, Coordinating, coordinating, taken
from digitsweep.tracking.records import log_files
from digitsweep.tracking.recovery import closed, curves
from digitsweep.tracking.spool import Spool, state_folder
from digitsweep.tracking.trial_record import drawn_again
from digitsweep.tracking.writer import Writer, no_hidden_retries

SILENT_SECONDS = 3600.0
"""A sweep of a version that does not say that it lives has gone when nothing of it began or ended for so long."""


def reconcile() -> Iterator[str]:
    """What is repaired, a line each, at the tracking server that MLflow resolves; also what is left alone, since it lives.

    Raises DigitsweepError where the server cannot be used."""
    quiet_mlflow()
    no_hidden_retries()
    with server_errors("cannot be repaired"):
        client = open_store()
        for sweep in _sweeps(client):
            below = children(client, sweep.info.experiment_id, sweep.info.run_id)
            if _is_open(sweep, below) or _waiting(sweep):
                yield from _ended(client, sweep)
                below = children(client, sweep.info.experiment_id, sweep.info.run_id)
            for run in below:
                if run.info.status != "RUNNING":
                    yield from _redrawn(client, run)


def _sweeps(client: MlflowClient) -> list[Run]:
    experiments = [each.experiment_id for each in client.search_experiments()]
    return list(client.search_runs(experiments, "tags.`digitsweep.kind` = 'sweep'", max_results=50_000))


def _is_open(sweep: Run, below: list[Run]) -> bool:
    return any(each.info.status == "RUNNING" for each in [sweep, *below])


def _waiting(sweep: Run) -> bool:
    return any((state_folder(sweep.info.run_id) / "records").glob("*.zip"))


def _ended(client: MlflowClient, sweep: Run) -> Iterator[str]:
    """Ends a sweep that has no coordinator."""
    run_id, name = str(sweep.info.run_id), f"{sweep.info.run_name} ({sweep.info.run_id})"
    try:
        with coordinating(run_id):
            holder = Coordinating.from_tag(sweep.data.tags.get(TAG))
            if not _is_gone(client, sweep, holder):
                why = taken(run_id, holder) if holder else "something of it began or ended within the last hour"
                yield f"{name}: left alone, {why}"
                return
            if _waiting(sweep):
                spool = Spool(state_folder(run_id) / "records")
                if spool.notice:
                    yield f"{name}: {spool.notice}"
                count = len(spool)
                with closing(Writer(client, sweep.info.experiment_id, run_id, spool)) as writer:
                    writer.wait()
                yield f"{name}: {count} records that waited on this machine were sent"
            for run in children(client, sweep.info.experiment_id, run_id):
                if run.info.status == "RUNNING":
                    status = closed(client, run)
                    yield f"{name}: {run.info.run_name} was RUNNING without a process, and is {status} now"
            if client.get_run(run_id).info.status == "RUNNING":
                client.log_batch(run_id, tags=run_tags({"digitsweep.state": "INTERRUPTED"}))
                client.set_terminated(run_id, "KILLED")
                yield f"{name}: it was RUNNING without a process, and is KILLED now; digitsweep sweep --resume {run_id}"
            shutil.rmtree(state_folder(run_id), ignore_errors=True)  # everything has been sent
    except DigitsweepError as error:
        yield f"{name}: left alone, {error}"


def _is_gone(client: MlflowClient, sweep: Run, holder: Coordinating | None) -> bool:
    if holder is not None:
        return holder.is_gone(str(sweep.info.run_id))
    runs = [sweep, *children(client, sweep.info.experiment_id, sweep.info.run_id)]
    moments = [(each.info.start_time, each.info.end_time) for each in runs]
    newest = max(each or 0 for pair in moments for each in pair)
    return time.time() - newest / 1000 > SILENT_SECONDS


def _redrawn(client: MlflowClient, run: Run) -> Iterator[str]:
    """Draws what is missing of a run and can be drawn from what it has."""
    if run.data.tags.get("digitsweep.kind") not in ("trial", "finalist", "refit"):
        return
    there = {each.path for each in client.list_artifacts(run.info.run_id)}
    epochs = curves(client, run) if "learning_curves.png" not in there else ()
    matrix: Any = None
    if "confusion_matrix.json" in there and "confusion_matrix.png" not in there:
        with tempfile.TemporaryDirectory(prefix="digitsweep-") as folder:
            path = client.download_artifacts(run.info.run_id, "confusion_matrix.json", folder)
            matrix = np.array(json.loads(Path(path).read_text(encoding="utf-8")))
    files = drawn_again(str(run.info.run_name), epochs, matrix)
    log_files(client, run.info.run_id, files)
    for name in files:
        yield f"{run.info.run_name} ({run.info.run_id}): {name} was missing and is drawn again"
