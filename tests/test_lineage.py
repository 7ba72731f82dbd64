"""Which records of a ledger count."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from support import PROPERTY

from digitsweep.promotion.lineage import Action, Lineage, Outcome, Record, State, lineage


def record(
    place: int,
    came_from: str | None,
    to: str | None,
    action: Action = Action.PROMOTE,
    state: State = State.DONE,
    attempt: str = "",
) -> Record:
    return Record(attempt or f"id{place}", action, came_from, to, "me", "2026-11-20T10:00:00Z", "", state=state, place=place)


def outcomes(line: Lineage) -> list[str]:
    return [each.outcome.value for each in line.standings]


def test_an_empty_ledger() -> None:
    """Without records there is no champion, and none before."""
    line = lineage([])
    assert (line.champion, line.previous(), line.pending, line.last) == (None, None, None, None)


def test_promotions_and_rollbacks() -> None:
    """A rollback goes back one champion, a second one goes back further, and a refusal changes nothing."""
    records = [
        record(1, None, "1"),
        record(2, "1", "2"),
        record(3, "2", "9", Action.REFUSE),
        record(4, "2", "3"),
        record(5, "3", "2", Action.ROLLBACK),
    ]
    line = lineage(records)
    assert (line.champion, line.previous()) == ("2", "1")
    assert outcomes(line) == ["done", "done", "refused", "done", "done"]
    line = lineage([*records, record(6, "2", "1", Action.ROLLBACK)])
    assert (line.champion, line.previous()) == ("1", None)


def test_the_first_in_line_counts() -> None:
    """Of records that were decided against the same champion the first counts, whatever order they are read in."""
    first, *others = [record(place, "1", str(place), state=State.INTENT) for place in (2, 3, 4)]
    line = lineage([*reversed(others), first, record(1, None, "1")])
    assert line.champion == "2"
    assert line.pending == first
    assert outcomes(line) == ["done", "pending", "lost", "lost"]
    assert "record 2" in line.standings[2].note


def test_one_that_was_decided_upon_is_done() -> None:
    """A record whose mark is missing is done once another one was decided against the champion that it made."""
    line = lineage([record(1, None, "1", state=State.INTENT), record(2, "1", "2", state=State.INTENT)])
    assert outcomes(line) == ["done", "pending"]


def test_a_record_that_was_sent_twice_counts_once() -> None:
    """The same attempt twice in the ledger is one record, the first."""
    line = lineage([record(1, None, "1", attempt="a"), record(2, None, "1", attempt="a"), record(3, "1", "2")])
    assert [each.record.place for each in line.standings] == [1, 3]
    assert line.champion == "2"
    assert line.missing == ()


def test_a_deleted_record_is_missed_and_does_no_harm() -> None:
    """Where somebody has deleted a record, that is told, and what was done afterwards still counts."""
    line = lineage([record(1, None, "1"), record(3, "2", "3")])
    assert line.missing == (2,)
    assert outcomes(line) == ["done", "done"]
    assert (line.champion, line.previous()) == ("3", "2")


def test_one_that_has_lost_never_counts() -> None:
    """Who was told that it has lost does not count even after the record that won was deleted."""
    line = lineage([record(1, None, "1"), record(3, "1", "3", state=State.LOST), record(4, "2", "4")])
    assert outcomes(line) == ["done", "lost", "done"]
    assert line.champion == "4"


def test_a_void_record_leads_nowhere() -> None:
    """A record that can never be carried out leaves the champion."""
    line = lineage([record(1, None, "1"), record(2, "1", "2", state=State.VOID), record(3, "1", "3")])
    assert outcomes(line) == ["done", "void", "done"]
    assert line.champion == "3"


def test_an_alias_that_was_removed() -> None:
    """After somebody has removed the alias there is no champion, and the one before can be had back."""
    line = lineage([record(1, None, "1"), record(2, "1", None, Action.OUTSIDE)])
    assert (line.champion, line.previous()) == (None, "1")
    line = lineage([record(1, None, "1"), record(2, "1", None, Action.OUTSIDE), record(3, None, "1", Action.ROLLBACK)])
    assert line.champion == "1"
    line = lineage([record(1, None, "1"), record(2, "1", "2"), record(3, "2", None, Action.OUTSIDE), record(4, None, "2")])
    assert (line.champion, line.previous()) == ("2", "1")  # not to itself


versions = st.sampled_from([None, "1", "2", "3"])
actions = st.sampled_from([Action.PROMOTE, Action.ROLLBACK, Action.REFUSE, Action.OUTSIDE])
lines = st.lists(st.tuples(versions, versions, actions), max_size=12).map(
    lambda rows: [record(place, *row, State.INTENT) for place, row in enumerate(rows, start=1)]
)


@PROPERTY
@given(lines, st.randoms())
def test_those_that_count_are_a_chain(records: list[Record], shuffle: Random) -> None:
    """Whatever stands in a ledger: each record that counts comes from where the one before led, at most the last is pending,
    and nobody reads it otherwise."""
    line = lineage(records)
    counting = [each for each in line.standings if each.outcome in (Outcome.DONE, Outcome.PENDING)]
    champion = None
    for each in counting:
        assert each.record.came_from == champion
        champion = each.record.to
    assert line.champion == champion
    assert [each for each in counting if each.outcome is Outcome.PENDING] == counting[-1:]
    mixed = list(records)
    shuffle.shuffle(mixed)
    assert lineage(mixed) == line


@PROPERTY
@given(lines)
def test_to_mark_changes_nothing(records: list[Record]) -> None:
    """Marks tell a person what is so anyway: with them the line leads to the same champions."""
    line = lineage(records)
    marks = {Outcome.DONE: State.DONE, Outcome.PENDING: State.DONE, Outcome.LOST: State.LOST}
    marked = [replace(each.record, state=marks.get(each.outcome, State.INTENT)) for each in line.standings]
    assert lineage(marked).champions == line.champions


@PROPERTY
@given(lines, st.integers(0, 12))
def test_what_was_told_stays_true(records: list[Record], seen: int) -> None:
    """A record that has lost, or counts, in the part of a ledger that somebody saw does so for ever: it is append-only."""
    before, after = lineage(records[:seen]), lineage(records)
    lost = Outcome.LOST
    for early, late in zip(before.standings, after.standings, strict=False):
        assert (early.outcome is lost) == (late.outcome is lost)
