"""What a ledger's records lead to: who was champion when, and what became of each attempt. Pure: records to a Lineage.

Records stand in a line. One that would change the champion names the champion that it was decided against, and counts only
if that is who the records before it lead to. So of several that were decided against the same champion the first in line
counts, whoever reads the line, and nobody has to be asked."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Action(StrEnum):
    """What a record would do."""

    PROMOTE = "promote"
    ROLLBACK = "rollback"
    PUBLISH = "publish"
    """As promote, but what is promoted has come from another registry, where it was champion."""
    REFUSE = "refuse"
    """Nothing: a promotion that was refused."""
    OUTSIDE = "outside"
    """Nothing: it notes that the alias was set or removed outside of the ledger, in MLflow's UI for instance."""


class State(StrEnum):
    """What is written on a record about itself; it alone changes, from INTENT to one of the others."""

    INTENT = "intent"
    DONE = "done"
    """The alias has been set."""
    LOST = "lost"
    """Another one came first."""
    VOID = "void"
    """It can never be carried out: the version does not exist any more."""


@dataclass(frozen=True)
class Record:
    """One attempt to change who is champion."""

    id: str
    """Of the attempt. A record that stands in the ledger twice, because a request was sent twice, counts once."""
    action: Action
    came_from: str | None
    """The champion's version that it was decided against; None where there was no champion."""
    to: str | None
    """The version that is to be champion; of a refusal the one that was refused."""
    who: str
    at: str
    """ISO 8601, UTC."""
    reason: str
    forced: bool = False
    commit: str = ""
    """Of the digitsweep that wrote it."""
    decision: str = ""
    """The Decision as JSON; empty where no gate was asked."""
    state: State = State.INTENT
    place: int = 0
    """In the line, from 1; 0 before it stands there."""


class Outcome(StrEnum):
    """What became of a record."""

    DONE = "done"
    PENDING = "pending"
    """It counts, and nobody has noted that the alias was set."""
    REFUSED = "refused"
    LOST = "lost"
    VOID = "void"


@dataclass(frozen=True)
class Standing:
    """A record, and what became of it."""

    record: Record
    outcome: Outcome
    note: str = ""


@dataclass(frozen=True)
class Lineage:
    """What all records of a ledger lead to."""

    standings: tuple[Standing, ...] = ()
    """In the order of the line."""
    champions: tuple[str | None, ...] = ()
    """Who was champion, the present one last; what a rollback took back is not in it."""
    missing: tuple[int, ...] = ()
    """Places whose records somebody has deleted."""

    @property
    def champion(self) -> str | None:
        return self.champions[-1] if self.champions else None

    @property
    def last(self) -> Record | None:
        """The last record that counts."""
        counts = (Outcome.DONE, Outcome.PENDING)
        return next((each.record for each in reversed(self.standings) if each.outcome in counts), None)

    @property
    def pending(self) -> Record | None:
        """The record that counts and is not known to be carried out; only the last can be."""
        return next((each.record for each in self.standings if each.outcome is Outcome.PENDING), None)

    def previous(self) -> str | None:
        """The champion before the present one; None where there was none."""
        return next((each for each in reversed(self.champions[:-1]) if each not in (None, self.champion)), None)

    def of(self, attempt: str) -> Standing:
        """The standing of an attempt, by its id."""
        return next(each for each in self.standings if each.record.id == attempt)


def lineage(records: Sequence[Record]) -> Lineage:
    """Reads the line from its beginning."""
    champions: list[str | None] = []
    standings: list[Standing] = []
    last: int | None = None
    """Where the last record that counts stands in `standings`."""
    seen: set[str] = set()
    for record in sorted(records, key=lambda each: each.place):
        if record.id in seen:
            continue
        seen.add(record.id)
        champion = champions[-1] if champions else None
        if record.action is Action.REFUSE:
            standings.append(Standing(record, Outcome.REFUSED))
        elif record.state is State.VOID:
            standings.append(Standing(record, Outcome.VOID, f"version {record.to} was deleted before it could be champion"))
        elif _counts(record, champion):
            if last is not None:  # somebody has seen it carried out, or would not have decided against it
                standings[last] = dataclasses.replace(standings[last], outcome=Outcome.DONE)
            if record.came_from != champion:
                champions.append(record.came_from)
            _step(champions, record)
            last = len(standings)
            standings.append(Standing(record, Outcome.DONE if record.state is State.DONE else Outcome.PENDING))
        else:
            first = standings[last].record if last is not None else None
            standings.append(Standing(record, Outcome.LOST, _before(first, champion)))
    places = {each.place for each in records}
    missing = tuple(place for place in range(1, max(places, default=0)) if place not in places)
    return Lineage(tuple(standings), tuple(champions), missing)


def _counts(record: Record, champion: str | None) -> bool:
    """Whether it is its turn; what has been done, or told that it has lost, stays so whatever was deleted since."""
    return record.state is State.DONE or (record.state is State.INTENT and record.came_from == champion)


def _step(champions: list[str | None], record: Record) -> None:
    if record.action is Action.ROLLBACK and record.to in champions:
        while champions[-1] != record.to:
            champions.pop()
    else:
        champions.append(record.to)


def _before(first: Record | None, champion: str | None) -> str:
    if first is None:
        return "there was no champion when its turn came"
    now = f"version {champion}" if champion else "none"
    return f"another one came first: after record {first.place}, {first.action} by {first.who}, champion is {now}"
