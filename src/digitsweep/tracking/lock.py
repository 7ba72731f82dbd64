"""One coordinator at a time for each sweep: a file lock on its own machine, and a claim on the sweep's run for all others.

Each coordinator that takes a sweep over is one generation later than the last. Its claim is a parameter of the sweep's run,
named by the generation. MLflow's stores never change a parameter, so of two that claim the same generation exactly one
succeeds, without clocks. Clocks only decide when a silent coordinator counts as gone; one that wakes up after that finds the
later claim and stops.
"""

from __future__ import annotations

import dataclasses
import datetime
import fcntl
import functools
import hashlib
import json
import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from mlflow.entities import Run

from digitsweep.errors import DigitsweepError
from digitsweep.tracking.spool import disk_errors, state_folder, whole

ID = "digitsweep.id"
"""Tag of the sweep's run: the sweep's id, which names it before its run is open."""
TAG = "digitsweep.coordinator"
"""Tag of the sweep's run: its coordinator's latest heartbeat. `TAG.<generation>` is the parameter that claims the sweep."""
HEARTBEAT_SECONDS = 20.0
SILENT_SECONDS = 75.0
"""A coordinator without a heartbeat for so long has gone."""
IDS = (Path("/etc/machine-id"), Path("/proc/sys/kernel/random/boot_id"))
"""Copies of a machine share its name and the first id, containers on it the second: together they tell most apart."""


@dataclass(frozen=True)
class Claim:
    """Who coordinates a sweep, as the sweep's run and the file lock say it."""

    host: str
    process: int
    at: str
    """The latest heartbeat: ISO 8601, UTC."""
    machine: str
    """Tells hosts of the same name apart."""
    generation: int
    """How often the sweep has been claimed, from 1."""
    spool: str
    """The id of the folder that it keeps records in."""
    since: int
    """The first of the generations, up to its own, that kept their records in that folder, one after another. What an
    earlier one has left on any machine is stale."""
    released: bool = False
    """Whether it has given the sweep up."""

    @classmethod
    def here(cls, sweep_id: str, after: Claim | None = None) -> Claim:
        """This process, now, which must hold the sweep's lock; after: the latest claim."""
        generation, spool = after.generation + 1 if after else 1, _folder_id(sweep_id)
        since = 0 if after is None else after.since if after.spool == spool else generation
        return cls(socket.gethostname(), os.getpid(), _now(), this_machine(), generation, spool, since)

    @classmethod
    def from_tag(cls, tag: str | None) -> Claim | None:
        """Of the tag's value; None where that is no claim. Fields that later versions add are ignored."""
        known = {each.name for each in dataclasses.fields(cls)}
        with suppress(TypeError, ValueError, AttributeError):
            return cls(**{name: value for name, value in json.loads(tag or "").items() if name in known})
        return None

    def tag(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    def alive(self, *, released: bool = False) -> Claim:
        """The same, with a heartbeat now."""
        return dataclasses.replace(self, at=_now(), released=released)

    def is_same(self, other: Claim) -> bool:
        """Whether two claims are one coordinator's."""
        return (self.generation, self.spool, self.process) == (other.generation, other.spool, other.process)

    def is_gone(self, sweep_id: str) -> bool:
        """Whether its coordinator is no longer at work, provided that no other process holds the sweep's lock here."""
        if self.released or (self.machine == this_machine() and self.spool == _folder_id(sweep_id)):
            return True
        silent = datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(self.at)
        return silent.total_seconds() > SILENT_SECONDS


def sweep_id_of(run: Run) -> str:
    """The sweep's id, from its run; that of the run where it has no other."""
    return str(run.data.tags.get(ID, run.info.run_id))


def latest_claim(run: Run) -> Claim | None:
    """The latest claim on a sweep, from its run.

    Usually that is the tag. A coordinator that slept while another one claimed the sweep may still overwrite the tag once,
    but not the parameter."""
    values = [value for name, value in run.data.params.items() if name.startswith(f"{TAG}.")]
    claims = [Claim.from_tag(each) for each in (run.data.tags.get(TAG), *values)]
    return max((each for each in claims if each is not None), key=lambda each: each.generation, default=None)


def next_claim(run: Run) -> Claim:
    """This process as the next coordinator of a sweep whose lock it holds.

    Raises DigitsweepError where another coordinator may be at work."""
    sweep_id, latest = sweep_id_of(run), latest_claim(run)
    if latest is not None and not latest.is_gone(sweep_id):
        raise DigitsweepError(is_run_by(run.info.run_id, latest))
    return Claim.here(sweep_id, latest)


def claim_at_work(run: Run) -> Claim | None:
    """The claim of the coordinator that runs a sweep now, if one does; for a process that does not hold its lock."""
    sweep_id, latest = sweep_id_of(run), latest_claim(run)
    if run.info.status != "RUNNING" or latest is None or (latest.is_gone(sweep_id) and not is_locked(sweep_id)):
        return None
    return latest


@contextmanager
def locked(sweep_id: str, named: str = "") -> Iterator[None]:
    """Holds the lock of a sweep on this machine. The system releases it when the process ends, however it ends.

    named: what a message calls the sweep instead of its id. Raises DigitsweepError, with the holder, where another process
    holds it."""
    path = _lock_file(sweep_id)
    with disk_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="utf-8")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise DigitsweepError(is_run_by(named or sweep_id, Claim.from_tag(file.read()))) from None
        with disk_errors(path.parent):
            if not _folder_id(sweep_id):
                with whole(path.with_name("id")) as id_file:
                    id_file.write(uuid.uuid4().hex.encode())
            file.truncate(0)
            file.write(Claim.here(sweep_id).tag())
            file.flush()
        yield


def is_locked(sweep_id: str) -> bool:
    """Whether a process of this machine holds the lock of a sweep."""
    try:
        with _lock_file(sweep_id).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def is_run_by(named: str, claim: Claim | None) -> str:
    """The line that says that a sweep has its coordinator already."""
    who = f"process {claim.process} on {claim.host}" if claim else "another process on this machine"
    return f"sweep {named} is being run by {who}; stop that one first, or wait for its end"


@functools.cache
def this_machine() -> str:
    """Tells this machine from others, and from itself after a restart: a digest of its name, of its installation's id and of
    its boot's, which are not for others to see."""
    parts = [socket.gethostname()]
    for path in IDS:
        with suppress(OSError):
            parts.append(path.read_text(encoding="ascii").strip())
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _lock_file(sweep_id: str) -> Path:
    return state_folder(sweep_id) / "lock"


def _folder_id(sweep_id: str) -> str:
    """The id of a sweep's folder on this machine; empty where nobody has locked it yet."""
    with suppress(FileNotFoundError):
        return (state_folder(sweep_id) / "id").read_text(encoding="ascii")
    return ""


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
