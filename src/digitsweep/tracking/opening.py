"""A sweep's run is opened, anew or where it was broken off, by the one coordinator that it has."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from mlflow import MlflowClient

from digitsweep.data import Dataset
from digitsweep.errors import DigitsweepError
from digitsweep.experiment import Experiment
from digitsweep.provenance import Commit
from digitsweep.store import open_store, server_errors
from digitsweep.tracker import Past
from digitsweep.tracking.lock import TAG, Coordinating, coordinating, taken
from digitsweep.tracking.recovery import recover
from digitsweep.tracking.spool import Spool, state_folder
from digitsweep.tracking.sweep_run import describe_run, open_run, reopen_run
from digitsweep.tracking.unfinished import unfinished_like
from digitsweep.tracking.writer import Writer


@dataclass(frozen=True)
class Opened:
    """A sweep's run, and what writes to it."""

    client: MlflowClient
    run_id: str
    writer: Writer
    past: Past = field(default_factory=Past)
    notice: str = ""
    """What a person should know of it."""


def begin(
    experiment: Experiment, dataset: Dataset, commit: Commit, options: Mapping[str, Any], held: ExitStack, begun: int
) -> Opened:
    """The run of a sweep that began then (ms since 1970); `held` gets its lock.

    Raises DigitsweepError where the server cannot be used."""
    with server_errors("cannot be used"):
        client = open_store()
        notice = unfinished_like(client, experiment)
        experiment_id, run_id = open_run(client, experiment, options, begun)
        try:
            describe_run(client, run_id, experiment, dataset, commit)
            return Opened(client, run_id, _take(client, experiment_id, run_id, held)[0], notice=notice)
        except BaseException:
            client.set_terminated(run_id, "FAILED")
            raise


def go_on(experiment: Experiment, run_id: str, held: ExitStack) -> Opened:
    """The run of a sweep that was broken off, with what it had done; `held` gets its lock.

    Raises DigitsweepError where the server cannot be used, or another coordinator runs that sweep."""
    with server_errors("cannot be used"):
        client = open_store()
        experiment_id = client.get_run(run_id).info.experiment_id
        writer, notice = _take(client, experiment_id, run_id, held)
        try:
            writer.wait()  # what the last coordinator kept and could not send
            past = recover(client, experiment_id, run_id, experiment.objective.metric)
            for (name, attempt), run in past.runs.items():
                writer.know(name, attempt, run)
            reopen_run(client, run_id, experiment)
        except BaseException:
            writer.close()
            raise
    return Opened(client, run_id, writer, past, notice)


def _take(client: MlflowClient, experiment_id: str, run_id: str, held: ExitStack) -> tuple[Writer, str]:
    """Becomes the sweep's one coordinator; what writes to its run, and what a person should know of what waited here.

    Raises DigitsweepError where another one may be at work."""
    held.enter_context(coordinating(run_id))
    holder = Coordinating.from_tag(client.get_run(run_id).data.tags.get(TAG))
    if holder is not None and not holder.is_gone(run_id):
        raise DigitsweepError(taken(run_id, holder))
    client.set_tag(run_id, TAG, Coordinating.here(run_id).tag())
    spool = Spool(state_folder(run_id) / "records")
    return Writer(client, experiment_id, run_id, spool), spool.notice
