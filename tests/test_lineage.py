"""Which records of a ledger count."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import PROPERTY

from digitsweep.registry.ledger import Action, Record, State, replay


def record(
    place: int,
    came_from: str | None,
    to: str | None,
    action: Action = Action.PROMOTE,
    state: State = State.DONE,
    attempt: str = "",
) -> Record:
    return Record(
        attempt or f"id{place}", action, came_from, to, "me", "2026-11-20T10:00:00Z", "c", state=state, place=place
    )


PENDING, DONE = State.PENDING, State.DONE
FIRST = record(1, None, "1")
CASES = {
    "no record": ([], None, None, []),
    "a refusal changes nothing, a rollback goes back one champion": (
        [
            *(FIRST, record(2, "1", "2"), record(3, "2", "9", Action.REFUSE), record(4, "2", "3")),
            record(5, "3", "2", Action.ROLLBACK),
        ],
        *("2", "1", ["done", "done", "refused", "done", "done"]),
    ),
    "a second rollback goes back further": (
        [
            *(FIRST, record(2, "1", "2"), record(3, "2", "3"), record(4, "3", "2", Action.ROLLBACK)),
            record(5, "2", "1", Action.ROLLBACK),
        ],
        *("1", None, ["done"] * 5),
    ),
    "the first in line wins, in whichever order they are read": (
        [*(record(place, "1", str(place), state=PENDING) for place in (4, 2, 3)), FIRST],
        *("2", "1", ["done", "pending", "lost", "lost"]),
    ),
    "a record is done once another was decided against its champion": (
        [record(1, None, "1", state=PENDING), record(2, "1", "2", state=PENDING)],
        *("2", "1", ["done", "pending"]),
    ),
    "a record that was sent twice counts once": (
        [record(1, None, "1", attempt="a"), record(2, None, "1", attempt="a"), record(3, "1", "2")],
        *("2", "1", ["done", "done"]),
    ),
    "what was done after a deleted record still counts": ([FIRST, record(3, "2", "3")], "3", "2", ["done", "done"]),
    "a record that lost does not win after the winner was deleted": (
        [FIRST, record(3, "1", "3", state=State.LOST), record(4, "2", "4")],
        *("4", "2", ["done", "lost", "done"]),
    ),
    "a void record leaves the champion": (
        [FIRST, record(2, "1", "2", state=State.VOID), record(3, "1", "3")],
        *("3", "1", ["done", "void", "done"]),
    ),
    "without an alias there is no champion": ([FIRST, record(2, "1", None, Action.OUTSIDE)], None, "1", ["done", "done"]),
    "the champion before a removed alias is not its own predecessor": (
        [FIRST, record(2, "1", "2"), record(3, "2", None, Action.OUTSIDE), record(4, None, "2")],
        *("2", "1", ["done"] * 4),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_line_is_read(name: str) -> None:
    """Each case says what is true of its records: the champion, the one before, and what became of each record."""
    records, champion, previous, states = CASES[name]
    lineage = replay(records)
    assert (lineage.champion, lineage.previous()) == (champion, previous)
    assert [each.state.value for each in lineage.records] == states


def test_what_a_reader_is_told() -> None:
    """A lost record names the one that came first, and the places of deleted records are known, those of copies not."""
    lineage = replay([FIRST, record(2, "1", "2"), record(3, "1", "3", state=PENDING)])
    assert "record 2" in lineage.records[2].note
    assert replay([FIRST, record(3, "2", "3")]).missing == (2,)
    assert replay([record(1, None, "1", attempt="a"), record(2, None, "1", attempt="a"), record(3, "1", "2")]).missing == ()


versions = st.sampled_from([None, "1", "2", "3"])
actions = st.sampled_from([Action.PROMOTE, Action.ROLLBACK, Action.REFUSE, Action.OUTSIDE])
lines = st.lists(st.tuples(versions, versions, actions), max_size=12).map(
    lambda rows: [record(place, *row, State.PENDING) for place, row in enumerate(rows, start=1)]
)


@PROPERTY
@given(lines, st.randoms())
def test_those_that_count_are_a_chain(records: list[Record], shuffle: Random) -> None:
    """In any ledger each record that counts starts at the champion before it, at most the last is pending, and the order of
    reading does not matter."""
    line = replay(records)
    counting = [each for each in line.records if each.state in (State.DONE, State.PENDING)]
    champion = None
    for each in counting:
        assert each.came_from == champion
        champion = each.to
    assert line.champion == champion
    assert [each for each in counting if each.state is State.PENDING] == counting[-1:]
    mixed = list(records)
    shuffle.shuffle(mixed)
    assert replay(mixed) == line


@PROPERTY
@given(lines)
def test_to_mark_changes_nothing(records: list[Record]) -> None:
    """Marking records leads to the same champions."""
    line = replay(records)
    marks = {State.DONE: State.DONE, State.PENDING: State.DONE, State.LOST: State.LOST}
    marked = [replace(each, state=marks.get(each.state, State.PENDING)) for each in line.records]
    assert replay(marked).champions == line.champions


@PROPERTY
@given(lines, st.integers(0, 12))
def test_what_was_told_stays_true(records: list[Record], seen: int) -> None:
    """Appending records never changes whether an earlier one has lost."""
    before, after = replay(records[:seen]), replay(records)
    for early, late in zip(before.records, after.records, strict=False):
        assert (early.state is State.LOST) == (late.state is State.LOST)
