"""One coordinator at a time for a sweep: a lock on this machine, and a word on the sweep's run for all others."""

from __future__ import annotations

import dataclasses
import datetime
import fcntl
import functools
import hashlib
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from digitsweep.errors import DigitsweepError
from digitsweep.tracking.spool import room, state_folder

TAG = "digitsweep.coordinator"
"""Of the sweep's run: who coordinates it, and when they said so last."""
BEAT_SECONDS = 20.0
"""How often a coordinator says that it lives."""
SILENT_SECONDS = 75.0
"""A coordinator that has said nothing for so long has gone."""
IDS = (Path("/etc/machine-id"), Path("/proc/sys/kernel/random/boot_id"))
"""Copies of a machine have its name and its first id, containers on it the second: together they tell most apart."""


@dataclass(frozen=True)
class Coordinating:
    """Who coordinates a sweep."""

    host: str
    process: int
    lock: str
    """The file on that host that it holds."""
    at: str
    """When it said that it lives: ISO 8601, UTC."""
    machine: str = ""
    """What tells that host from others of its name; empty in records of versions that went by the name alone."""

    @classmethod
    def here(cls, run_id: str) -> Coordinating:
        """This process, now."""
        now = datetime.datetime.now(datetime.UTC)
        at = now.isoformat(timespec="seconds")
        return cls(socket.gethostname(), os.getpid(), str(_lock(run_id)), at, this_machine())

    @classmethod
    def from_tag(cls, tag: str | None) -> Coordinating | None:
        """Of the tag's value; None where it says nothing that can be understood."""
        with suppress(TypeError, ValueError):
            return cls(**json.loads(tag or ""))
        return None

    def tag(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    def is_me(self) -> bool:
        return self._is_here() and self.process == os.getpid()

    def is_gone(self, run_id: str) -> bool:
        """Whether it cannot be at work any more: its lock is held here, or it has been silent for long."""
        if self._is_here() and self.lock == str(_lock(run_id)):
            return True
        said = datetime.datetime.fromisoformat(self.at)
        return (datetime.datetime.now(datetime.UTC) - said).total_seconds() > SILENT_SECONDS

    def _is_here(self) -> bool:
        return self.machine == this_machine() if self.machine else self.host == socket.gethostname()


@functools.cache
def this_machine() -> str:
    """What stays the same on a machine until it is started anew, and no other one has: of its name, of its installation's id
    and of its start's, as far as it tells them; as a digest, since an installation's id is not for others."""
    told = [socket.gethostname()]
    for path in IDS:
        with suppress(OSError):
            told.append(path.read_text(encoding="ascii").strip())
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:16]


@contextmanager
def coordinating(run_id: str) -> Iterator[None]:
    """Holds a sweep's lock on this machine. The system takes it from a process that ends, however it ends.

    Raises DigitsweepError, with the holder's process, where another one has it."""
    path = _lock(run_id)
    with room(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="utf-8")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = Coordinating.from_tag(file.read())
            raise DigitsweepError(taken(run_id, holder)) from None
        with room(path.parent):
            file.truncate(0)
            file.write(Coordinating.here(run_id).tag())
            file.flush()
        yield


def at_work(run_id: str, holder: Coordinating | None) -> bool:
    """Whether a sweep has its coordinator now; for who does not hold its lock. `holder`: what the sweep's run says."""
    return holder is not None and (not holder.is_gone(run_id) or _is_held(_lock(run_id)))


def _is_held(lock: Path) -> bool:
    try:
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # nobody has made it
        return False
    return False


def taken(run_id: str, holder: Coordinating | None) -> str:
    """That a sweep has its coordinator already."""
    who = f"process {holder.process} on {holder.host}" if holder else "another process on this machine"
    return f"sweep {run_id} is being run by {who}; stop that one first, or wait for its end"


def _lock(run_id: str) -> Path:
    return state_folder(run_id).absolute() / "lock"
