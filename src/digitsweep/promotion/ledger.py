"""The ledger: the append-only history of who was champion of a registered model, and the only writer of the alias champion.

MLflow sets an alias unconditionally: there is no compare-and-swap. What it does atomically is to number the versions of a
registered model. So the ledger of NAME is a registered model of its own, NAME-ledger, with a record a version: the number is
the record's place in line, the tags are the record, and both become visible at once. A version gets the number after the
highest that is visible, and two cannot have the same (it is the table's primary key), so whoever sees a record sees all that
will ever stand before it. Which records count follows from the line alone (`lineage`): of two promotions that were decided
against the same champion, the first in line.

Steps of a promotion: (1) append the record; (2) read the line: if another one came first, it has lost, and is told; (3) set
the alias; (4) mark the record done; (5) read the line again, and follow it if it has gone on.

A process may be killed at any time:
- before (1): nothing has happened, the old champion stands.
- between (1) and (3): the old champion stands, the record is PENDING, and history says that it is decided and not carried
  out. Whoever comes next waits PATIENCE seconds for its owner, then carries it out: a record that counts is never taken
  back, so nobody has to guess by a clock whether its owner is dead or slow.
- between (3) and (4): the new champion stands. Record and alias agree, so history says done; whoever comes next marks it.
- after (4): nothing is missing.
The alias goes from one existing version to another in one write, so it is never gone. A request that is sent again, because
its answer was lost, may append a record twice: both bear the id of the attempt, and the first counts alone.

An owner that was stopped for longer than PATIENCE between (2) and (3), and overtaken by a whole other promotion, sets an
alias that is out of date, and puts it right in (5). Should it be killed just there, the alias names a former champion: then,
as when somebody sets the alias by hand, alias and line disagree with nothing pending. Then the alias is the truth; it is
what serves. `history` says so, and the next promotion or rollback first appends a record, `outside`, that brings the
line up to it."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Mapping
from dataclasses import asdict, replace

from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, RESOURCE_DOES_NOT_EXIST, TEMPORARILY_UNAVAILABLE, ErrorCode

from digitsweep.errors import DigitsweepError, RefusedError
from digitsweep.lookup import aliases_of, versions_of
from digitsweep.promotion.lineage import Action, Lineage, Outcome, Record, State, lineage
from digitsweep.registry import create_registered_model, point_alias
from digitsweep.store import open_store, server_errors
from digitsweep.tracking.records import user

CHAMPION = "champion"
PATIENCE = 2.0
"""Seconds that a promotion which is under way has for its next step before somebody else takes it; to take it twice does
no harm."""
PAUSE = 0.1
"""Seconds between two looks."""
ATTEMPTS = 8
"""To append a record: MLflow gives up after three where many append at once."""
SOURCE = "digitsweep:/ledger"
"""Of every record: MLflow wants one. `models:/…` would list it among the model's own versions."""
TRANSIENT = tuple(ErrorCode.Name(each) for each in (TEMPORARILY_UNAVAILABLE, INTERNAL_ERROR))
_PREFIX = "digitsweep.ledger."
_NONE = "none"
"""What a tag says for no version."""


class Ledger:
    """The ledger of one registered model, in the registry that MLflow resolves."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.book = f"{name}-ledger"
        """The registered model that holds the records."""
        with server_errors("could not be asked"):
            self._client = open_store()

    def look(self) -> tuple[Lineage, str | None]:
        """The line and the version that the alias names, both as of one moment."""
        with server_errors(f"did not give the ledger of {self.name}"):
            before = self._read()
            for _ in range(100):
                alias, after = self._alias(), self._read()
                if after == before:
                    return after, alias
                before = after
        raise DigitsweepError(f"{self.name}: its champion changes all the time; try again")

    def settled(self) -> Lineage:
        """The line when nothing is under way and the alias agrees with it; brings both about where that is not so."""
        since, seen = time.monotonic(), ""
        while True:
            line, alias = self.look()
            pending = line.pending
            if pending is None and alias == line.champion:
                return line
            now = f"{pending.id if pending else ''} {alias} {line.champion}"
            if now != seen:
                since, seen = time.monotonic(), now
            if pending is not None and (alias == pending.to or time.monotonic() - since > PATIENCE):
                self._follow()
            elif time.monotonic() - since < PATIENCE:
                time.sleep(PAUSE)
            else:
                self._note_outside(line.champion, alias)

    def submit(self, record: Record) -> Record:
        """Appends a record and carries it out: the record, with its place.

        Raises RefusedError where another one came first."""
        with server_errors(f"may not have taken a record of {self.name} (`digitsweep history {self.name}` says)"):
            self._append(record)
            standing = self._read().of(record.id)
        if standing.outcome is Outcome.LOST:
            with server_errors(f"did not take a record of {self.name}"):
                self._mark(standing.record, State.LOST)
            raise RefusedError(f"{self.name}: champion is not changed: {standing.note}")
        if standing.outcome is not Outcome.REFUSED and self._follow().of(record.id).outcome is Outcome.VOID:
            raise RefusedError(f"{self.name}: champion is not changed: version {record.to} does not exist any more")
        return standing.record

    def _follow(self) -> Lineage:
        """Makes the alias what the line leads to, until the line has not gone on meanwhile; whoever does it, and however
        often, it ends alike."""
        with server_errors(f"did not change the champion of {self.name}; `digitsweep history {self.name}` says what holds"):
            followed = ""
            while True:
                line = self._read()
                last = line.last
                if last is None or last.id == followed:
                    return line
                if last.action is not Action.OUTSIDE and last.to is not None and self._alias() != last.to:
                    try:
                        point_alias(self._client, self.name, CHAMPION, last.to)
                    except MlflowException as error:
                        if error.error_code != ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
                            raise
                        if last.state is not State.DONE:
                            self._mark(last, State.VOID)
                        return self._read()
                if last.state is not State.DONE:
                    self._mark(last, State.DONE)
                followed = last.id

    def _note_outside(self, champion: str | None, alias: str | None) -> None:
        said = f"was set to version {alias}" if alias else "was removed"
        record = new_record(Action.OUTSIDE, champion, alias, reason=f"the alias {said} outside of the ledger")
        try:
            self.submit(record)
        except RefusedError:
            return  # somebody else has noted it, or has changed it again

    def _read(self) -> Lineage:
        return lineage([_record(each) for each in versions_of(self.book) if f"{_PREFIX}id" in each.tags])

    def _alias(self) -> str | None:
        return aliases_of(self.name).get(CHAMPION)

    def _append(self, record: Record) -> None:
        create_registered_model(
            self._client,
            self.book,
            f"The history of `{self.name}@{CHAMPION}`, a record a version, written by digitsweep: no models. "
            f"Read it with `digitsweep history {self.name}`.",
        )
        for attempt in range(ATTEMPTS):
            try:
                self._client.create_model_version(
                    self.book,
                    SOURCE,
                    tags=_tags(record),
                    description=record.reason[:1000],
                    await_creation_for=0,
                )
                return
            except MlflowException as error:
                # Many append at once, the database is locked, or an answer was lost: the id says whether it is there.
                if error.error_code not in TRANSIENT or attempt == ATTEMPTS - 1:
                    raise
                time.sleep(random.uniform(0.0, PAUSE * 2**attempt))
                if any(each.record.id == record.id for each in self._read().standings):
                    return

    def _mark(self, record: Record, state: State) -> None:
        self._client.set_model_version_tag(self.book, str(record.place), f"{_PREFIX}state", state.value)


def new_record(action: Action, came_from: str | None, to: str | None, **given: str | bool) -> Record:
    """A record of now, by whoever runs this, for an attempt of its own."""
    import datetime
    import uuid

    from digitsweep.provenance import current_commit

    commit = current_commit()
    at = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%dT%H:%M:%SZ}"
    who = f"{user()}@{socket.gethostname()}"
    values = {"reason": "", "id": uuid.uuid4().hex, "commit": f"{commit.sha}{' (changed since)' if commit.dirty else ''}"}
    return replace(Record("", action, came_from, to, who, at, ""), **{**values, **given})  # type: ignore[arg-type]


def _tags(record: Record) -> dict[str, str]:
    values = {**asdict(record), "from": record.came_from}
    left_out = ("place", "came_from")
    return {
        f"{_PREFIX}{key}": str(value).lower() if isinstance(value, bool) else _NONE if value is None else str(value)
        for key, value in values.items()
        if key not in left_out and value != ""
    }


def _record(version: ModelVersion) -> Record:
    tags: Mapping[str, str] = {key.removeprefix(_PREFIX): value for key, value in version.tags.items()}

    def model_version(key: str) -> str | None:
        return None if tags.get(key, _NONE) == _NONE else tags[key]

    return Record(
        id=tags["id"],
        action=Action(tags["action"]),
        came_from=model_version("from"),
        to=model_version("to"),
        who=tags.get("who", ""),
        at=tags.get("at", ""),
        reason=tags.get("reason", ""),
        forced=tags.get("forced") == "true",
        commit=tags.get("commit", ""),
        decision=tags.get("decision", ""),
        state=State(tags.get("state", State.INTENT)),
        place=int(version.version),
    )
