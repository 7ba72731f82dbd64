"""What waits to be sent: in order, whole, and still there in the next process."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import PROPERTY

from digitsweep.errors import DigitsweepError
from digitsweep.tracking.lock import Claim, locked, this_machine
from digitsweep.tracking.spool import RunUpdate, Spool

TEXTS = st.text(max_size=20)
NAMES = st.from_regex(r"[a-z]{1,8}(\.png|/[a-z]{1,5}\.json)", fullmatch=True)
UPDATES = st.builds(
    RunUpdate,
    run=TEXTS,
    attempt=st.integers(1, 9),
    started=st.none() | st.integers(0, 2**41),
    params=st.dictionaries(TEXTS, TEXTS, max_size=3),
    tags=st.dictionaries(TEXTS, TEXTS, max_size=3),
    metrics=st.lists(st.tuples(TEXTS, st.floats(allow_nan=False), st.integers(0, 2**41), st.integers(0, 99)), max_size=3),
    files=st.dictionaries(NAMES, st.binary(max_size=50), max_size=3),
    status=st.none() | st.just("FINISHED"),
    ended=st.none() | st.integers(0, 2**41),
)


@PROPERTY
@given(st.lists(UPDATES, max_size=4), st.integers(0, 4))
def test_nothing_changes_on_disk(updates: list[RunUpdate], reopened_after: int) -> None:
    """What was put comes out as it was, in that order, until it was taken, whenever another process opens the folder."""
    with tempfile.TemporaryDirectory() as folder:
        spool = Spool(Path(folder))
        for number, update in enumerate(updates):
            if number == reopened_after:
                spool = Spool(Path(folder))
            spool.put(update)
        for number, update in enumerate(updates):
            spool = Spool(Path(folder))
            assert len(spool) == len(updates) - number
            assert spool.first() == spool.first() == update
            spool.taken()
        assert spool.first() is None
        assert not list(Path(folder).iterdir())


def test_a_file_half_written_is_no_update(tmp_path: Path) -> None:
    """What a process that was killed while it wrote has left is not sent, and goes."""
    (tmp_path / "000000001.part").write_bytes(b"PK half")
    assert Spool(tmp_path).first() is None
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("damage", ["empty", "zeros", "half", "a byte", "no zip", "other values"])
def test_what_the_disk_lost_keeps_nothing_waiting(damage: str, tmp_path: Path) -> None:
    """A record that cannot be read is set aside and told of once; those before and after it are sent, and what is put next
    comes last."""
    spool = Spool(tmp_path)
    assert spool.notices == []
    for name in ("one", "two", "three"):
        spool.put(RunUpdate(name, files={"a.txt": b"what it says"}))
    path = tmp_path / "000000002.zip"
    content = path.read_bytes()
    if damage == "other values":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("update.json", '{"run": "two"}')
    else:
        changed = {
            "empty": b"",
            "zeros": bytes(len(content)),
            "half": content[: len(content) // 2],
            "a byte": content.replace(b"what it says", b"what it sayz"),
            "no zip": b"nothing",
        }
        path.write_bytes(changed[damage])
    spool = Spool(tmp_path)
    assert spool.notices == [f"1 damaged records in {tmp_path} were set aside as .damaged."]
    assert Spool(tmp_path).notices == []
    spool.put(RunUpdate("four"))
    found = []
    while (first := spool.first()) is not None:
        found.append(first.run)
        spool.taken()
    assert found == ["one", "three", "four"]
    assert [each.name for each in tmp_path.iterdir()] == ["000000002.damaged"]


def test_a_record_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or a power cut could leave the name of a record and nothing in it."""
    synced: list[tuple[list[str], int]] = []
    monkeypatch.setattr(
        os, "fsync", lambda file: synced.append(([each.name for each in tmp_path.iterdir()], os.fstat(file).st_size))
    )
    Spool(tmp_path).put(RunUpdate("one"))
    assert synced == [(["000000001.part"], (tmp_path / "000000001.zip").stat().st_size)]


def test_a_folder_that_takes_nothing_is_one_line(tmp_path: Path) -> None:
    """Where the spool cannot be kept, the line names the folder, the reason and the variable that moves it."""
    (tmp_path / "file").write_text("")
    with pytest.raises(DigitsweepError) as error:
        Spool(tmp_path / "file" / "records")
    (line,) = str(error.value).splitlines()
    for part in (str(tmp_path / "file"), "Not a directory", "DIGITSWEEP_STATE"):
        assert part in line


HOLD = """
import sys
from digitsweep.tracking.lock import locked
with locked("a-sweep"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lock_is_held_once_and_dies_with_its_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second process is refused with the first one's id and host; when the first is killed, the lock is free."""
    monkeypatch.setenv("DIGITSWEEP_STATE", str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(DigitsweepError, match=f"run by process {holder.pid} on {os.uname().nodename}"),
            locked("a-sweep"),
        ):
            pass
        with locked("another-sweep"):
            pass
        holder.kill()
        holder.wait()
        with locked("a-sweep"):
            pass


def test_who_is_silent_has_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A coordinator with this machine's lock has gone when somebody else holds that lock. One of another machine, also of a
    copy of this one, or with another folder, is at work until its heartbeat is too old or it releases the sweep."""
    monkeypatch.setenv("DIGITSWEEP_STATE", str(tmp_path))
    with locked("a-sweep"):
        here = Claim.here("a-sweep")
    assert Claim.from_tag(here.tag()) == here
    assert here.is_gone("a-sweep")
    for elsewhere in (dataclasses.replace(here, machine="a copy"), dataclasses.replace(here, spool="another folder")):
        assert not elsewhere.is_gone("a-sweep")
        assert elsewhere.alive(released=True).is_gone("a-sweep")
        assert dataclasses.replace(elsewhere, at="2026-01-01T00:00:00+00:00").is_gone("a-sweep")


def test_what_a_machine_is_known_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the machine tells of itself: another installation or another start is another machine, and nothing that it
    tells can be read from the record."""
    paths = (tmp_path / "machine-id", tmp_path / "boot_id")
    monkeypatch.setattr("digitsweep.tracking.lock.IDS", paths)
    known = [this_machine.__wrapped__()]
    for number, path in enumerate((*paths, *paths)):
        path.write_text(f"an id {number}\n")
        known.append(this_machine.__wrapped__())
    assert len(set(known)) == 5
    assert this_machine.__wrapped__() == known[-1]
    assert all(re.fullmatch("[0-9a-f]{16}", each) for each in known)


@pytest.mark.parametrize("tag", [None, "", "{}", "nonsense", "[1]", '{"host": "a"}'])
def test_a_tag_that_says_nothing(tag: str | None) -> None:
    """Whatever stands in the tag, it is understood or ignored."""
    assert Claim.from_tag(tag) is None
