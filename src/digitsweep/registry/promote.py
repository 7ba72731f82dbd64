"""From challenger to champion, and back.

`gate` decides, `ledger` carries the decision out safely; this puts them in order."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from digitsweep.errors import InputError, RefusedError
from digitsweep.registry.gate import Attempt, Decision, decide, load_gate
from digitsweep.registry.ledger import Action, Ledger, Lineage, Record, State, new_record
from digitsweep.registry.models import CHALLENGER, CHAMPION, find, versions_of
from digitsweep.registry.openings import Openings, openings_of
from digitsweep.registry.versions import Registered, describe_version, write_decision
from digitsweep.tracking.client import OPENED, TEST_DIGEST, adopt_run, patiently, quiet_mlflow

MOST_REASON = 1000
"""Characters of a reason."""


def promote(
    name: str,
    version: str | None = None,
    *,
    gate: Path | None = None,
    data: Path | None = None,
    dry_run: bool = False,
    force: str | None = None,
    show: Callable[[Decision], None] = lambda decision: None,
) -> Decision:
    """Makes the challenger (or a version) of a registered model its champion, if it passes the gate.

    `force` is the reason to promote it whatever the gate says. `dry_run` decides, and changes nothing except that the
    opening of the test set is recorded. `show` gets the decision before it is carried out. Every attempt that was no dry run
    is in the ledger afterwards. Raises RefusedError if the gate refuses, if the version is champion already, or if another
    promotion came first."""
    rules = load_gate(gate)
    _check(name, force)
    challenger = find(f"{name}/{version}" if version else f"{name}@{CHALLENGER}")
    adopt_run({"digitsweep.kind": "promotion", "digitsweep.models": challenger.uri})
    number = challenger.uri.rpartition("/")[2]
    ledger = Ledger(name)
    if dry_run:
        lineage, before = ledger.look()
    else:
        lineage = ledger.settled()
        before = lineage.champion
    record = new_record(Action.PROMOTE, before, number)
    if before == number:
        reason = f"{challenger.label} is champion already"
        if not dry_run:
            ledger.submit(replace(record, action=Action.REFUSE, reason=reason))
        raise RefusedError(reason)
    from digitsweep.registry.compare import weigh  # imports TensorFlow, which a refusal above does without

    champion = find(f"{name}/{before}") if before else None
    weighed = weigh(challenger, champion, data)
    registered = Registered(name, number)
    opening = weighed.opening
    opened = f"{opening.at} for {opening.by}, sha256 {opening.digest}"
    describe_version(registered, {f"{OPENED}{record.id[:8]}": opened})  # each attempt has a tag of its own
    # Counted after it is written: of two that decide at the same time, at least one counts the other.
    known = _openings(name, lineage, opening.digest)
    attempt = Attempt(known.attempt(challenger.uri, champion.uri if champion else None), known.times)
    decision = decide(rules.on(weighed.data), weighed.challenger, weighed.champion, weighed.difference, attempt, force)
    show(decision)
    if not dry_run:
        write_decision(registered, decision.to_json(), f"{record.at} by {record.who}: {decision.text()}")
        action = Action.PROMOTE if decision.promotes else Action.REFUSE
        forced = force is not None
        ledger.submit(replace(record, action=action, reason=decision.reason, decision=decision.to_json(), forced=forced))
    if not decision.promotes:
        raise RefusedError(decision.reason)
    return decision


def rollback(name: str, reason: str | None = None) -> Record:
    """Gives the alias champion back to the version that had it before: the record of it.

    Raises RefusedError if there was none before, or if somebody else changes it at the same time."""
    _check(name, reason)
    ledger = Ledger(name)
    lineage = ledger.settled()
    before = lineage.previous()
    if before is None:
        raise RefusedError(f"{name}: there is no earlier champion to go back to; see `digitsweep history {name}`")
    find(f"{name}/{before}")  # it may have been deleted
    change = f"back from version {lineage.champion or 'none'} to {before}{f': {reason}' if reason else ''}"
    return ledger.submit(new_record(Action.ROLLBACK, lineage.champion, before, change))


@dataclass(frozen=True)
class History:
    """Everything in a ledger."""

    name: str
    champion: str | None
    """The version that the alias names."""
    records: tuple[Record, ...]
    notes: tuple[str, ...]
    """What else a reader must know."""
    test_digest: str = ""
    """Of the champion's test images, or of the newest version's; empty if unknown."""
    openings: Openings = field(default_factory=Openings)
    """Of these images."""

    def values(self) -> dict[str, Any]:
        """For JSON."""
        records = [{**asdict(each), "decision": _decided(each)} for each in self.records]
        for each in records:
            each["from"], each["outcome"] = each.pop("came_from"), each.pop("state")
        test = {"digest": self.test_digest, "openings": self.openings.times, "models": len(self.openings.models)}
        return {"name": self.name, "champion": self.champion, "test": test, "records": records, "notes": list(self.notes)}


def history(name: str) -> History:
    """Who was champion of a registered model, why, and what was refused; changes nothing."""
    _check(name, None)
    lineage, alias = Ledger(name).look()
    carried_out = lineage.pending if lineage.pending and lineage.pending.to == alias else None
    records = tuple(replace(each, state=State.DONE) if each is carried_out else each for each in lineage.records)
    versions = versions_of(name)
    newest = next((each for each in versions if str(each.version) == alias), versions[-1] if versions else None)
    digest = newest.tags.get(TEST_DIGEST, "") if newest else ""
    known = _openings(name, lineage, digest) if digest else Openings()
    return History(name, alias, records, tuple(_notes(name, lineage, alias)), digest, known)


def _notes(name: str, lineage: Lineage, alias: str | None) -> list[str]:
    notes = []
    pending, last = lineage.pending, lineage.last
    if pending is not None and pending.to != alias:
        now = f"names version {alias}" if alias else "is not set"
        notes.append(
            f"Record {pending.place} is decided and not carried out: the alias {CHAMPION} {now}. It may be under way. If "
            "its process has died, the next promotion or rollback carries it out."
        )
    elif pending is None and alias != lineage.champion:
        where = f"after record {last.place}" if last else "and no record says so"
        how = f"was set to version {alias}" if alias else "was removed"
        notes.append(f"The alias {CHAMPION} {how} outside of the ledger, {where}; the next promotion or rollback notes it.")
    if lineage.missing:
        places = ", ".join(map(str, lineage.missing))
        notes.append(f"Somebody has deleted versions of {name}-ledger: records {places} are missing.")
    return notes


def _openings(name: str, lineage: Lineage, digest: str) -> Openings:
    """The openings of the test images, with those of versions in the ledger that somebody has deleted since."""
    known = patiently(lambda: openings_of(digest, name))
    asked = (f"models:/{name}/{each.to}" for each in lineage.records if _test_digest(each) == digest)
    gone = [uri for uri in asked if uri not in known.keys]
    return replace(known, times=known.times + len(gone), models=known.models | {known.key(uri) for uri in gone})


def _test_digest(record: Record) -> str | None:
    """Of the test images of a decision, if the record has one."""
    try:
        digest: str = _decided(record)["challenger"]["data"]
    except (KeyError, TypeError):
        return None
    return digest


def _decided(record: Record) -> Any:
    """A record's decision in JSON; None if it has none, or somebody else's text."""
    try:
        return json.loads(record.decision)
    except ValueError:
        return None


def _check(name: str, reason: str | None) -> None:
    quiet_mlflow()
    if not name or any(mark in name for mark in "@/:"):
        raise InputError(f"{name}: write only the name of a registered model, without a version or an alias")
    if reason is not None and (not reason.strip() or len(reason) > MOST_REASON or not reason.isprintable()):
        raise InputError(f"--reason: must be one line of 1 to {MOST_REASON:,} characters")
