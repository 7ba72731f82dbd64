"""Repairs what a crash left: runs that are RUNNING without a process, records that wait on this machine, missing pictures.

What is repaired once needs nothing the second time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from mlflow import MlflowClient
from mlflow.entities import Run

from digitsweep.errors import DigitsweepError
from digitsweep.tracking.client import all_runs, children, no_hidden_retries, open_store, server_errors
from digitsweep.tracking.lock import sweep_id_of
from digitsweep.tracking.resume import derive_missing, next_coordinator
from digitsweep.tracking.sender import Sender
from digitsweep.tracking.spool import Spool, discard, records_folder
from digitsweep.tracking.sweep_run import SweepRun, open_pending_runs
from digitsweep.trial import Kind


def reconcile() -> Iterator[str]:
    """A line for each thing that is repaired at the tracking server that MLflow resolves, or left alone since it lives.

    Raises DigitsweepError where the server cannot be used."""
    no_hidden_retries()
    with server_errors("cannot be repaired"):
        client = open_store()
        yield from open_pending_runs(client)
        for sweep in list(all_runs(client, "tags.`digitsweep.kind` = 'sweep'")):
            if _needs_repair(client, sweep):
                yield from _repaired(client, sweep)
            for run in children(client, sweep.info.experiment_id, sweep.info.run_id):
                if run.info.status != "RUNNING" and run.data.tags.get("digitsweep.kind") in list(Kind):
                    for name in derive_missing(client, run):
                        yield f"{_shown(run)}: {name} was missing and has been made again"


def _needs_repair(client: MlflowClient, sweep: Run) -> bool:
    runs = [sweep, *children(client, sweep.info.experiment_id, sweep.info.run_id)]
    return any(each.info.status == "RUNNING" for each in runs) or any(records_folder(sweep_id_of(sweep)).glob("*.zip"))


def _repaired(client: MlflowClient, sweep: Run) -> Iterator[str]:
    """Takes over a sweep that has no coordinator, sends what waits on this machine, and ends it."""
    try:
        with next_coordinator(client, sweep.info.run_id) as (run, spool):
            for notice in spool.notices:
                yield f"{_shown(sweep)}: {notice}"
            if _needs_repair(client, client.get_run(run.run_id)):
                run.claim()
                for line in _ended(run, spool):
                    yield f"{_shown(sweep)}: {line}"
                run.release()
            discard(run.sweep_id)
    except DigitsweepError as error:
        yield f"{_shown(sweep)}: left alone, {error}"


def _ended(run: SweepRun, spool: Spool) -> Iterator[str]:
    if count := len(spool):
        with closing(Sender(run.sweep_id, spool, lambda: run)) as sender:
            sender.wait()
        yield f"{count} records that waited on this machine were sent"
    for name, status in run.close_trials():
        yield f"{name} was RUNNING without a process, and is {status} now"
    if run.client.get_run(run.run_id).info.status == "RUNNING":
        run.close("INTERRUPTED")
        yield f"it was RUNNING without a process, and is KILLED now; digitsweep sweep --resume {run.run_id}"


def _shown(run: Run) -> str:
    return f"{run.info.run_name} ({run.info.run_id})"
