"""Sweeps that were broken off: which there are, and what it takes to go on with one."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from digitsweep.errors import DigitsweepError, InputError
from digitsweep.experiment import Experiment
from digitsweep.experiment_file import find_experiment, load_experiment
from digitsweep.options import Options
from digitsweep.store import NOT_THERE, all_runs, first_line, open_store, quiet_mlflow, server_errors, shown_uri
from digitsweep.tracking.lock import TAG, Coordinating, at_work, taken
from digitsweep.tracking.spool import room, state_folder

LAST = "last"


@dataclass(frozen=True)
class Unfinished:
    """A sweep to go on with."""

    run_id: str
    experiment: Experiment
    """As it was recorded, with the options of then."""
    options: Options
    data_digest: str
    is_copy: bool = False
    """Whether it was read from the copy that the sweep kept: what the file names does not lie beside that."""


def find_unfinished(named: str) -> Unfinished:
    """The sweep of a run's id, or the newest that has not come to its end and is not at work, for `last`.

    Raises InputError where there is none, or it is complete, and DigitsweepError where all that there are run."""
    quiet_mlflow()
    with server_errors("could not be asked"):
        client = open_store()
        run = _last(client) if named == LAST else _sweep(client, named)
        run_id, tags = str(run.info.run_id), run.data.tags
        if tags.get("digitsweep.state") == "COMPLETE":
            raise InputError(
                f"sweep {run_id} is complete: there is nothing to resume; `digitsweep compare {run_id}` shows it"
            )
        options = Options(
            trials=_given(run, "trials", int),
            seconds=_given(run, "seconds", float),
            workers=_given(run, "workers", int),
            data=_given(run, "data", Path),
            seed=_given(run, "seed", int),
        )
        folder = state_folder(run_id)
        with room(folder):
            folder.mkdir(parents=True, exist_ok=True)
        kept = Path(client.download_artifacts(run_id, "experiment.yaml", str(folder)))
    path = _original(kept, run.data.params.get("experiment", ""))
    # A sweep that goes on has its data and keeps to it: it never runs the fallback, which may be gone with the original.
    experiment = options.applied(load_experiment(path, fallback=False))
    if experiment.digest() != tags.get("digitsweep.digest"):
        raise InputError(
            f"sweep {run_id} was begun by a version of digitsweep that reads its experiment otherwise; start it anew"
        )
    return Unfinished(run_id, experiment, options, tags.get("digitsweep.data.digest", ""), is_copy=path == kept)


def unfinished_like(client: MlflowClient, experiment: Experiment) -> str:
    """A sentence about the newest sweep of the same experiment that was broken off; empty where there is none."""
    for run in _unfinished(client, f"and tags.`digitsweep.digest` = '{experiment.digest()}'"):
        if _at_work(run) is not None:
            continue
        begun = datetime.datetime.fromtimestamp(run.info.start_time / 1000).astimezone()
        return (
            f"A sweep of this experiment that began on {begun:%Y-%m-%d at %H:%M} has not come to its end; to go on with it "
            f"instead: digitsweep sweep --resume {run.info.run_id}"
        )
    return ""


def _unfinished(client: MlflowClient, more: str = "and tags.`digitsweep.digest` != ''") -> Iterator[Run]:
    """The newest first. One that was killed before it had its digest had not begun to train."""
    experiments = [each.experiment_id for each in client.search_experiments()]
    asked = f"tags.`digitsweep.kind` = 'sweep' and tags.`digitsweep.state` != 'COMPLETE' {more}"
    return all_runs(client, experiments, asked)


def _last(client: MlflowClient) -> Run:
    running = []
    for run in _unfinished(client):
        holder = _at_work(run)
        if holder is None:
            return run
        running.append(taken(run.info.run_id, holder))
    if running:
        raise DigitsweepError(running[0])
    raise InputError(f"no sweep at {shown_uri()} waits to be resumed: all have come to their end")


def _at_work(run: Run) -> Coordinating | None:
    """Who runs a sweep now; None where nobody does."""
    holder = Coordinating.from_tag(run.data.tags.get(TAG))
    return holder if run.info.status == "RUNNING" and at_work(run.info.run_id, holder) else None


def _sweep(client: MlflowClient, run_id: str) -> Run:
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code not in NOT_THERE:
            raise
        raise InputError(f"no sweep {run_id} at {shown_uri()}: {first_line(error)}; name a sweep's run, or `last`") from None
    if run.data.tags.get("digitsweep.kind") != "sweep":
        raise InputError(f"run {run_id} is not a sweep's; name the run that its trials are below of, or `last`")
    return run


def _given(run: Run, name: str, kind: Any) -> Any:
    value = run.data.params.get(name, "auto")
    return None if value in ("auto", "None") else kind(value)


def _original(kept: Path, named: str) -> Path:
    """The file that the experiment was read from, where it is here and still the same, since what it names lies beside it;
    else the copy that the sweep kept."""
    with suppress(InputError, OSError):
        text = kept.read_bytes()
        for path in (found := find_experiment(named), *sorted(found.parent.glob("*.yaml"))):
            if path.read_bytes() == text:
                return path
    return kept
