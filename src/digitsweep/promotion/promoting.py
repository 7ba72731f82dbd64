"""From challenger to champion, and back: weigh, decide, write down, carry out.

What is decided is in `promotion`, how it is carried out safely in `ledger`; this puts them in order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from digitsweep.errors import InputError, RefusedError
from digitsweep.lookup import CHALLENGER, find
from digitsweep.promotion.decision import Decision, decide
from digitsweep.promotion.gate import find_gate
from digitsweep.promotion.ledger import CHAMPION, Ledger, new_record
from digitsweep.promotion.lineage import Action, Lineage, Outcome, Record, Standing
from digitsweep.registry import Registered, write_decision, write_opening
from digitsweep.store import adopt_run, quiet_mlflow

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
    """Makes the challenger (or a version) of a registered model its champion, if the gate lets it.

    `force` is the reason to promote it whatever the gate says. `dry_run` weighs and decides, and changes nothing but the
    note that the test set was opened. `show` gets the decision before it is carried out. Every attempt that was no dry run
    stands in the ledger afterwards. Raises RefusedError where the gate refuses, where the version is champion already, or
    where another promotion came first."""
    rules = find_gate(gate)
    _check(name, force)
    challenger = find(f"{name}/{version}" if version else f"{name}@{CHALLENGER}")
    adopt_run({"digitsweep.kind": "promotion", "digitsweep.models": challenger.uri})
    number = challenger.uri.rpartition("/")[2]
    ledger = Ledger(name)
    before = ledger.look()[1] if dry_run else ledger.settled().champion
    if before == number:
        _refuse(ledger, before, number, f"{challenger.label} is champion already", dry_run=dry_run)
    from digitsweep.promotion.weighing import weigh  # TensorFlow, which the other commands do without

    attempt = new_record(Action.PROMOTE, before, number)
    weighed = weigh(challenger, find(f"{name}/{before}") if before else None, data)
    registered = Registered(name, number)
    write_opening(registered, attempt.id, weighed.opening)
    decision = decide(rules.on(weighed.data), weighed.challenger, weighed.champion, weighed.difference, force)
    show(decision)
    if not dry_run:
        write_decision(registered, decision.to_json(), f"{attempt.at} by {attempt.who}: {decision.text()}")
        record = replace(attempt, reason=decision.reason, decision=decision.to_json(), forced=force is not None)
        ledger.submit(record if decision.promotes else replace(record, action=Action.REFUSE))
    if not decision.promotes:
        raise RefusedError(decision.reason)
    return decision


def rollback(name: str, reason: str | None = None) -> Record:
    """Gives the alias champion back to the version that had it before: the record of it.

    Raises RefusedError where there was none before, or where somebody else changes it at the same time."""
    _check(name, reason)
    ledger = Ledger(name)
    line = ledger.settled()
    before = line.previous()
    if before is None:
        raise RefusedError(f"{name}: there is no earlier champion to go back to; `digitsweep history {name}` tells")
    find(f"{name}/{before}")  # it may have been deleted
    said = f"back from version {line.champion or 'none'} to {before}{f': {reason}' if reason else ''}"
    return ledger.submit(new_record(Action.ROLLBACK, line.champion, before, reason=said))


@dataclass(frozen=True)
class History:
    """All that a ledger tells."""

    name: str
    champion: str | None
    """The version that the alias names."""
    standings: tuple[Standing, ...]
    notes: tuple[str, ...]
    """What a reader must know besides."""

    def values(self) -> dict[str, Any]:
        """For JSON."""
        import json

        records = []
        for each in self.standings:
            record = each.record
            told = {
                key: getattr(record, key)
                for key in ("place", "id", "at", "who", "action", "to", "forced", "reason", "commit")
            }
            decision = json.loads(record.decision) if record.decision else None
            records.append(
                {**told, "from": record.came_from, "outcome": each.outcome, "note": each.note, "decision": decision}
            )
        return {"name": self.name, "champion": self.champion, "records": records, "notes": list(self.notes)}


def history(name: str) -> History:
    """Who was champion of a registered model, why, and what was refused; changes nothing."""
    _check(name, None)
    line, alias = Ledger(name).look()
    standings = tuple(_seen(each, alias) for each in line.standings)
    return History(name, alias, standings, tuple(_notes(name, line, alias)))


def _seen(standing: Standing, alias: str | None) -> Standing:
    """A pending record that the alias bears out is done."""
    if standing.outcome is Outcome.PENDING and standing.record.to == alias:
        return replace(standing, outcome=Outcome.DONE)
    return standing


def _notes(name: str, line: Lineage, alias: str | None) -> list[str]:
    notes = []
    now = f"names version {alias}" if alias else "is not set"
    if line.pending is not None and line.pending.to != alias:
        notes.append(
            f"Record {line.pending.place} is decided and not carried out: the alias {CHAMPION} {now}. "
            "Either it is under way, or its process has died: then the next promotion or rollback carries it out."
        )
    elif line.pending is None and alias != line.champion:
        last = f"after record {line.last.place}" if line.last else "and no record says so"
        how = f"was set to version {alias}" if alias else "was removed"
        notes.append(f"The alias {CHAMPION} {how} outside of the ledger, {last}; the next promotion or rollback notes it.")
    if line.missing:
        places = ", ".join(map(str, line.missing))
        notes.append(f"Somebody has deleted versions of {name}-ledger: records {places} are missing.")
    return notes


def _refuse(ledger: Ledger, champion: str | None, version: str, reason: str, *, dry_run: bool) -> None:
    """Writes the refusal down, and raises it."""
    if not dry_run:
        ledger.submit(new_record(Action.REFUSE, champion, version, reason=reason))
    raise RefusedError(reason)


def _check(name: str, reason: str | None) -> None:
    quiet_mlflow()
    if not name or any(mark in name for mark in "@/:"):
        raise InputError(f"{name}: write the name of a registered model alone, as mnist-cnn")
    if reason is not None and (not reason.strip() or len(reason) > MOST_REASON or not reason.isprintable()):
        raise InputError(f"--reason: is one line of at most {MOST_REASON:,} characters, and not empty")
