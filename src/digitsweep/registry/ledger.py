"""The ledger: the append-only history of a registered model's champions, and the only writer of the alias champion.

MLflow sets an alias unconditionally: there is no compare-and-swap. What it does atomically is to number the versions of a
registered model. So the ledger of NAME is a registered model of its own, NAME-ledger, with one record per version: the
number is the record's place in line, the tags are the record, and both become visible at once. A version gets the number
after the highest that is visible, and two cannot have the same (it is the table's primary key), so whoever sees a record
sees all that will ever stand before it. A record names the champion that it was decided against, and counts only if the
records before it lead to that champion (`replay`). So of several promotions that were decided against the same champion, the
first in line wins, whoever reads the line.

A promotion takes five steps: (1) append the record; (2) read the line: if another record came first, this one has lost; (3)
set the alias; (4) mark the record done; (5) read the line again, and follow it if it has gone on.

A process may be killed at any time:

- before (1): nothing has happened, the old champion stands.
- between (1) and (3): the old champion stands, and the record is PENDING. The next promotion or rollback gives its owner
  PATIENCE seconds, then carries it out. A record that counts is never taken back, so nobody has to guess by a clock whether
  its owner is dead or slow.
- between (3) and (4): the new champion stands. The next promotion or rollback marks the record.
- after (4): nothing is missing.

The alias goes from one existing version to another in one write, so it is never gone. A request that is sent again, because
its answer was lost, may append a record twice: both have the same id, and only the first counts.

An owner that was stopped for longer than PATIENCE between (2) and (3), and overtaken by a whole other promotion, sets an
outdated alias, and corrects it in (5). If it is killed just there, the alias names a former champion. Then alias and line
disagree with nothing pending, as when somebody sets the alias by hand. In both cases the alias is the truth, since it is
what serves: `history` says so, and the next promotion or rollback first appends a record, OUTSIDE, that brings the line up
to it."""

from __future__ import annotations

import datetime
import random
import socket
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    INTERNAL_ERROR,
    PERMISSION_DENIED,
    RESOURCE_DOES_NOT_EXIST,
    TEMPORARILY_UNAVAILABLE,
    ErrorCode,
)

from digitsweep.errors import DigitsweepError, RefusedError, printable
from digitsweep.registry.models import CHAMPION, aliases_of, versions_of
from digitsweep.registry.versions import create_registered_model, point_alias
from digitsweep.tracking.client import open_store, server_errors, user
from digitsweep.tracking.provenance import current_commit

PATIENCE = 2.0
"""Seconds that a promotion under way has for its next step before somebody else takes it; taking it twice does no harm."""
PAUSE = 0.1
"""Seconds between two looks."""
ATTEMPTS = 8
"""To append a record: MLflow itself gives up after three if many append at once."""
SOURCE = "digitsweep:/ledger"
"""Of every record, since MLflow requires one. `models:/…` would list it among the model's own versions."""
TRANSIENT = tuple(ErrorCode.Name(each) for each in (TEMPORARILY_UNAVAILABLE, INTERNAL_ERROR))
_PREFIX = "digitsweep.ledger."
_NONE = "none"
"""What a tag says for no version."""
_INTENT = "intent"
"""What the tag `state` says until a record is marked."""


class Action(StrEnum):
    """What a record would do."""

    PROMOTE = "promote"
    ROLLBACK = "rollback"
    PUBLISH = "publish"
    """As PROMOTE, for a version that came from another registry, where it was champion."""
    REFUSE = "refuse"
    """Nothing: a promotion was refused."""
    OUTSIDE = "outside"
    """Nothing: the alias was set or removed outside of the ledger, for example in MLflow's UI."""


class State(StrEnum):
    """What became of a record. DONE, LOST and VOID are also marked on it."""

    PENDING = "pending"
    """It counts, but is not known to be carried out."""
    DONE = "done"
    """The alias has been set."""
    REFUSED = "refused"
    LOST = "lost"
    """Another record came first."""
    VOID = "void"
    """It can never be carried out: the version was deleted."""


@dataclass(frozen=True)
class Record:
    """One attempt to change who is champion."""

    id: str
    action: Action
    came_from: str | None
    """The champion's version that it was decided against; None if there was none."""
    to: str | None
    """The version that becomes champion, or that was refused."""
    who: str
    at: str
    """ISO 8601, UTC."""
    commit: str
    """Of the digitsweep that wrote it."""
    reason: str = ""
    forced: bool = False
    decision: str = ""
    """The Decision as JSON; empty if no gate was asked."""
    place: int = 0
    """In the line, from 1; 0 before it stands there."""
    state: State = State.PENDING
    note: str = ""
    """Why it is LOST or VOID."""


@dataclass(frozen=True)
class Lineage:
    """What the records of a ledger lead to."""

    records: tuple[Record, ...] = ()
    """In the order of the line, with what became of each."""
    champions: tuple[str | None, ...] = ()
    """Who was champion, the present one last; without those that a rollback took back."""
    missing: tuple[int, ...] = ()
    """Places whose records somebody has deleted."""

    @property
    def champion(self) -> str | None:
        return self.champions[-1] if self.champions else None

    @property
    def last(self) -> Record | None:
        """The last record that counts."""
        return next((each for each in reversed(self.records) if each.state in (State.DONE, State.PENDING)), None)

    @property
    def pending(self) -> Record | None:
        """The last record that counts, if it is not known to be carried out."""
        return self.last if self.last and self.last.state is State.PENDING else None

    def previous(self) -> str | None:
        """The champion before the present one; None if there was none."""
        return next((each for each in reversed(self.champions[:-1]) if each not in (None, self.champion)), None)

    def of(self, record: Record) -> Record:
        """A record as it stands in the line."""
        return next(each for each in self.records if each.id == record.id)


def replay(records: Sequence[Record]) -> Lineage:
    """Reads the line from its beginning."""
    champions: list[str | None] = []
    read: dict[str, Record] = {}
    last: Record | None = None
    for record in sorted(records, key=lambda each: each.place):
        if record.id in read:
            continue
        champion = champions[-1] if champions else None
        if record.action is Action.REFUSE:
            record = replace(record, state=State.REFUSED)
        elif record.state is State.VOID:
            record = replace(record, note=f"version {record.to} was deleted before it could be champion")
        # What is marked stays so, whatever was deleted since.
        elif record.state is State.DONE or (record.state is State.PENDING and record.came_from == champion):
            if last is not None:  # whoever decided against its champion has seen it carried out
                read[last.id] = replace(last, state=State.DONE)
            if record.came_from != champion:
                champions.append(record.came_from)
            if record.action is Action.ROLLBACK and record.to in champions:
                del champions[len(champions) - champions[::-1].index(record.to) :]
            else:
                champions.append(record.to)
            last = record
        else:
            note = "there was no champion when its turn came"
            if last is not None:
                now = f"champion is {f'version {champion}' if champion else 'none'}"
                note = f"another one came first: after record {last.place}, {last.action} by {last.who}, {now}"
            record = replace(record, state=State.LOST, note=note)
        read[record.id] = record
    places = {each.place for each in records}
    missing = tuple(place for place in range(1, max(places, default=0)) if place not in places)
    return Lineage(tuple(read.values()), tuple(champions), missing)


class Ledger:
    """The ledger of one registered model, in the registry that MLflow resolves."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.book = f"{name}-ledger"
        """The registered model that holds the records."""
        with server_errors("could not be asked"):
            self._client = open_store()

    def look(self) -> tuple[Lineage, str | None]:
        """The lineage and the version that the alias names, both as of one moment."""
        with server_errors(f"did not give the ledger of {self.name}"):
            before = self._read()
            for _ in range(100):
                alias, after = self._alias(), self._read()
                if after == before:
                    return after, alias
                before = after
        raise DigitsweepError(f"{self.name}: its champion keeps changing; try again")

    def settled(self) -> Lineage:
        """The lineage when nothing is under way and the alias agrees with it. Where that is not so, waits for whoever is at
        work, then carries out what is pending, or notes what the alias says."""
        since = time.monotonic()
        seen: tuple[Record | None, str | None, str | None] | None = None
        while True:
            lineage, alias = self.look()
            pending = lineage.pending
            if pending is None and alias == lineage.champion:
                return lineage
            if seen != (pending, alias, lineage.champion):
                since, seen = time.monotonic(), (pending, alias, lineage.champion)
            waited = time.monotonic() - since > PATIENCE
            if pending is not None and (waited or alias == pending.to):
                self._follow()
            elif waited:
                self._note_outside(lineage.champion, alias)
            else:
                time.sleep(PAUSE)

    def submit(self, record: Record) -> Record:
        """Appends a record and carries it out: the record, with its place.

        Raises RefusedError if another one came first."""
        with server_errors(f"may not have taken a record of {self.name} (`digitsweep history {self.name}` says)"):
            self._append(record)
            found = self._read().of(record)
        if found.state is State.LOST:
            with server_errors(f"did not take a record of {self.name}"):
                self._mark(found, State.LOST)
            raise RefusedError(f"{self.name}: champion is not changed: {found.note}")
        if found.state is not State.REFUSED and self._follow().of(record).state is State.VOID:
            raise RefusedError(f"{self.name}: champion is not changed: version {record.to} does not exist any more")
        return found

    def _follow(self) -> Lineage:
        """Points the alias to where the line leads, until the line has not gone on meanwhile. It ends alike whoever does it,
        and however often."""
        with server_errors(f"did not change the champion of {self.name}; `digitsweep history {self.name}` says what holds"):
            followed = ""
            while True:
                lineage = self._read()
                last = lineage.last
                if last is None or last.id == followed:
                    return lineage
                if last.action is not Action.OUTSIDE and last.to is not None and self._alias() != last.to:
                    try:
                        point_alias(self._client, self.name, CHAMPION, last.to)
                    except MlflowException as error:
                        if error.error_code != ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
                            raise
                        if last.state is State.PENDING:
                            self._mark(last, State.VOID)
                        return self._read()
                if last.state is State.PENDING:
                    self._mark(last, State.DONE)
                followed = last.id

    def _note_outside(self, champion: str | None, alias: str | None) -> None:
        change = f"was set to version {alias}" if alias else "was removed"
        try:
            self.submit(new_record(Action.OUTSIDE, champion, alias, f"the alias {change} outside of the ledger"))
        except RefusedError:
            return  # somebody else has noted it, or has changed it again

    def _read(self) -> Lineage:
        return replay([_record(each) for each in versions_of(self.book) if f"{_PREFIX}id" in each.tags])

    def _alias(self) -> str | None:
        return aliases_of(self.name).get(CHAMPION)

    def _append(self, record: Record) -> None:
        description = (
            f"The history of `{self.name}@{CHAMPION}`, one record per version, written by digitsweep. It holds no models. "
            f"Read it with `digitsweep history {self.name}`."
        )
        create_registered_model(self._client, self.book, description)
        for attempt in range(ATTEMPTS):
            try:
                self._client.create_model_version(
                    self.book, SOURCE, tags=_tags(record), description=record.reason[:1000], await_creation_for=0
                )
                return
            except MlflowException as error:
                if error.error_code == ErrorCode.Name(PERMISSION_DENIED):
                    raise DigitsweepError(
                        f"{self.name}: promoting needs MANAGE on the registered model {self.name} and EDIT on {self.book}; "
                        "an admin of the tracking server can grant both"
                    ) from error
                # Many append at once, the database is locked, or an answer was lost: the id says whether it is there.
                if error.error_code not in TRANSIENT or attempt == ATTEMPTS - 1:
                    raise
                time.sleep(random.uniform(0.0, PAUSE * 2**attempt))
                if any(each.id == record.id for each in self._read().records):
                    return

    def _mark(self, record: Record, state: State) -> None:
        self._client.set_model_version_tag(self.book, str(record.place), f"{_PREFIX}state", state.value)


def new_record(action: Action, came_from: str | None, to: str | None, reason: str = "") -> Record:
    """A record of now, by this user, with an id of its own."""
    commit = current_commit()
    return Record(
        id=uuid.uuid4().hex,
        action=action,
        came_from=came_from,
        to=to,
        who=f"{user()}@{socket.gethostname()}",
        at=f"{datetime.datetime.now(datetime.UTC):%Y-%m-%dT%H:%M:%SZ}",
        commit=f"{commit.sha}{' (changed since)' if commit.dirty else ''}",
        reason=reason,
    )


def _tags(record: Record) -> dict[str, str]:
    values = {
        **{key: getattr(record, key) for key in ("id", "action", "who", "at", "reason", "commit", "decision")},
        "from": record.came_from or _NONE,
        "to": record.to or _NONE,
        "forced": str(record.forced).lower(),
        "state": _INTENT,
    }
    return {f"{_PREFIX}{key}": str(value) for key, value in values.items() if value}


def _record(version: ModelVersion) -> Record:
    """A record as it is shown: whoever may write to the ledger may have written control characters."""
    raw = {key.removeprefix(_PREFIX): value for key, value in version.tags.items()}
    tags = {key: printable(value) for key, value in raw.items()}
    state = tags.get("state", _INTENT)
    return Record(
        id=tags["id"],
        action=Action(tags["action"]),
        came_from=None if tags.get("from", _NONE) == _NONE else tags["from"],
        to=None if tags.get("to", _NONE) == _NONE else tags["to"],
        who=tags.get("who", ""),
        at=tags.get("at", ""),
        commit=tags.get("commit", ""),
        reason=tags.get("reason", ""),
        forced=tags.get("forced") == "true",
        decision=raw.get("decision", ""),
        place=int(version.version),
        state=State.PENDING if state == _INTENT else State(state),
    )
