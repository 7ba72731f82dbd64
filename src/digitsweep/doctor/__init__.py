"""Before a long sweep: is everything there that it takes? Each check is a function that gives a Finding and changes nothing.

    findings = examine(Path("experiments/mnist.yaml"), Options())

`quick` is the half that costs next to nothing, which every sweep runs by itself.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from mlflow import get_tracking_uri

from digitsweep.doctor import data, database, environment, machine, rehearsal, room, server
from digitsweep.doctor.finding import Finding, State, warning, wrong
from digitsweep.experiment import Experiment
from digitsweep.experiment_file import load_experiment
from digitsweep.options import Options
from digitsweep.progress import Display
from digitsweep.store import patience_seconds, quiet_mlflow, without_secrets
from digitsweep.tracking.spool import state_folder
from digitsweep.workers.placement import places_for, visible_gpus

__all__ = ["Finding", "State", "examine", "note_trouble", "quick"]

SERVERS, DATABASES = ("http", "https"), ("sqlite", "postgresql", "mysql", "mssql")
"""What the tracking address may begin with; a database's may name its driver behind a plus."""


def quick(experiment: Experiment, options: Options) -> list[Finding]:
    """What can be said without reading images, loading TensorFlow or writing to MLflow."""
    return [*_machine(experiment, options, room.USUAL_IMAGES), *_tracking(get_tracking_uri())]


def note_trouble(experiment: Experiment, options: Options, display: Display) -> None:
    """Tells a person what is wrong or strange, by the quick half, before a sweep begins.

    Raises InputError where DIGITSWEEP_PATIENCE is wrong, which nothing else asks for before training is over."""
    patience_seconds()
    for finding in quick(experiment, options):
        if finding.state is not State.OK:
            display.note(finding.line())


def examine(path: Path, options: Options) -> list[Finding]:
    """Everything: the quick half, the images, and a throw-away run on the tracking server.

    Raises InputError where the experiment file is wrong."""
    quiet_mlflow()
    experiment = options.applied(load_experiment(path))
    images, dataset = data.images(path, options)
    uri = get_tracking_uri()
    tracking = _tracking(uri)
    if _scheme(uri) in DATABASES and not _wrong(tracking):
        tracking.append(database.schema(uri))
    if not _wrong(tracking):  # or the rest would fail for the reason that stands there already
        tracking += [rehearsal.artifact(), rehearsal.registry()]
    size = room.USUAL_IMAGES if dataset is None else data.image_bytes(dataset)
    return [*_machine(experiment, options, size), images, *tracking]


def _machine(experiment: Experiment, options: Options, images: int) -> list[Finding]:
    """What is here; `images` are bytes."""
    places = places_for(experiment, options)
    plan = room.plan_of(experiment, len(places), images)
    found = [
        environment.python(),
        environment.packages(),
        machine.processor(),
        machine.gpus(places, visible_gpus(os.environ.get("CUDA_VISIBLE_DEVICES"))),
        room.memory(plan, len(places), room.free_memory()),
        room.disk("temporary files", Path(tempfile.gettempdir()), plan.temporary),
    ]
    waiting = room.disk("waiting records", state_folder("").parent, plan.records)
    # Other stores than a file keep the records on a disk that is not seen from here.
    records = [room.disk("records", Path.cwd(), plan.records)] if _scheme(get_tracking_uri()) == "sqlite" else []
    return [*found, *records, waiting, data.metric(experiment)]


def _tracking(uri: str) -> list[Finding]:
    """What two requests, or a look at a file, tell of where the records go."""
    scheme = _scheme(uri)
    if scheme in SERVERS:
        return server.server_findings(uri)
    if scheme == "sqlite":
        return [database.writable(uri)]
    if scheme in DATABASES:
        return []  # to connect is not quick: `examine` does
    if scheme in ("", "file"):
        return [
            wrong(
                database.NAME,
                f"{without_secrets(uri)} is a folder, and MLflow keeps no sweeps in folders",
                "set MLFLOW_TRACKING_URI to sqlite:///mlflow.db or http://HOST:PORT",
            )
        ]
    return [
        warning(
            database.NAME,
            f"nobody has tried a sweep with {without_secrets(uri)}",
            "set MLFLOW_TRACKING_URI to an MLflow server or a database where it fails",
        )
    ]


def _scheme(uri: str) -> str:
    """`postgresql` of `postgresql+psycopg://…`; empty for a bare path."""
    before, colon, _ = uri.partition(":")
    return before.partition("+")[0] if colon else ""


def _wrong(findings: list[Finding]) -> bool:
    return any(each.state is State.WRONG for each in findings)
