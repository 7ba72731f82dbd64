"""Copies a champion to another registry: its files, tags and decision become a version there.

There it is a challenger, to be judged by the gate of that registry. Only on request does it become champion at once, which
the ledger there records."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import mlflow
import yaml

from digitsweep.errors import InputError, RefusedError
from digitsweep.registry.ledger import Action, Ledger, new_record
from digitsweep.registry.models import CHALLENGER, CHAMPION, find, versions_of
from digitsweep.registry.versions import Registered, create_registered_model, point_alias
from digitsweep.tracking.client import (
    EXPERIMENT_NAME,
    experiment_named,
    open_store,
    quiet_mlflow,
    server_errors,
    shown_uri,
    without_secrets,
)

DIGEST = "digitsweep.published.digest"
"""Tag of a published version, by which it is recognised: SHA-256 of its files."""
_OURS = ("mlflow.", "digitsweep.published")
"""Tags about the registry that they are in, which are not copied."""


@dataclass(frozen=True)
class Published:
    """A published champion."""

    source: Registered
    there: Registered
    new: bool
    """False if it was there already."""
    alias: str
    """The alias that it was published under."""


def publish(name: str, to: str, *, champion: bool = False) -> Published:
    """Copies a registered model's champion to the registry at another tracking URI, unless it is there already.

    There it gets the alias challenger, unless a later version has it; with `champion`, the alias champion, through the
    ledger there. Raises RefusedError if there is no champion."""
    quiet_mlflow()
    if to.rstrip("/") == mlflow.get_registry_uri().rstrip("/"):
        raise InputError(f"--to {without_secrets(to)}: this is the registry of the champion itself; name another server")
    lineage, version = Ledger(name).look()
    if version is None:
        raise RefusedError(f"{name}: has no champion to publish; `digitsweep promote {name}` makes one")
    source, found = Registered(name, version), find(f"{name}/{version}")
    came = f"{found.label} of {shown_uri()}"
    with tempfile.TemporaryDirectory(prefix="digitsweep-") as folder:
        with server_errors(f"did not give the files of {source.uri}"):
            described = open_store().get_model_version(name, version).description or ""
            files = Path(mlflow.artifacts.download_artifacts(source.uri, dst_path=folder))
        tags = {
            **{key: value for key, value in found.tags.items() if not key.startswith(_OURS)},
            "digitsweep.published": came,
            DIGEST: _digest(files),
        }
        last = lineage.last
        if last is not None and last.to == version:
            record = f"record {last.place}, {last.action} by {last.who}, {last.at}: {last.reason}"
            tags["digitsweep.published.record"] = record
        with _at(to), server_errors(f"did not take {found.label}"):
            there, new = _copy(name, files, tags, described)
            if champion:
                _make_champion(there, came)
            else:
                _make_challenger(there)
    return Published(source, there, new, CHAMPION if champion else CHALLENGER)


def _copy(name: str, files: Path, tags: Mapping[str, str], described: str) -> tuple[Registered, bool]:
    """The version that holds the files, and whether it is new."""
    client = open_store()
    create_registered_model(client, name)
    for each in versions_of(name):
        if each.tags.get(DIGEST) == tags[DIGEST]:
            return Registered(name, str(each.version)), False
    # Digitsweep's own experiment, since MLflow's variables name one of this registry.
    model = client.create_logged_model(experiment_named(client, EXPERIMENT_NAME), name=name)
    about = files / "MLmodel"
    values = {**yaml.safe_load(about.read_text()), "model_id": model.model_id, "artifact_path": model.artifact_location}
    values.pop("run_id", None)  # the run is not there
    about.write_text(yaml.safe_dump(values, sort_keys=False))
    client.log_model_artifacts(model.model_id, str(files))
    client.finalize_logged_model(model.model_id, "READY")
    made = client.create_model_version(
        name, f"models:/{model.model_id}", tags=dict(tags), description=described, model_id=model.model_id
    )
    return Registered(name, str(made.version)), True


def _make_challenger(there: Registered) -> None:
    client = open_store()
    present = client.get_registered_model(there.name).aliases.get(CHALLENGER)
    if present is None or int(present) < int(there.version):
        point_alias(client, there.name, CHALLENGER, there.version)


def _make_champion(there: Registered, came: str) -> None:
    ledger = Ledger(there.name)
    before = ledger.settled().champion
    if before != there.version:
        ledger.submit(new_record(Action.PUBLISH, before, there.version, f"published as champion, from {came}"))


def _digest(folder: Path) -> str:
    """SHA-256 of all files, by their paths."""
    whole = hashlib.sha256()
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        content = path.read_bytes()
        whole.update(f"{path.relative_to(folder).as_posix()} {len(content)}\n".encode() + content)
    return whole.hexdigest()


@contextmanager
def _at(uri: str) -> Iterator[None]:
    """Makes MLflow use another server: its SQL store reads models only from the one that is set."""
    tracking, registry = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    apart = registry != tracking  # otherwise the registry follows the tracking URI by itself
    mlflow.set_tracking_uri(uri)
    if apart:
        mlflow.set_registry_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(tracking)
        if apart:
            mlflow.set_registry_uri(registry)
