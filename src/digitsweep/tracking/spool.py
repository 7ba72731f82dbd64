"""What is still to be written to MLflow, on disk: a server that is away, or a process that is killed, loses nothing.

    <state>/<id of the sweep's run>/
        lock                    whoever holds it is the sweep's coordinator
        records/000017.zip      one RunUpdate: update.json, and the files to be logged under files/

An update is there, whole, before anything is sent; it goes when the server has taken it. Sending one twice changes nothing,
so that one of which nobody knows whether it arrived is sent again. One that cannot be read, since the disk lost some of it,
would keep all others waiting for good: it is set aside as `.damaged`, and said.
"""

from __future__ import annotations

import dataclasses
import json
import os
import zipfile
import zlib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from digitsweep.errors import DigitsweepError

Figure = tuple[str, float, int, int]
"""A metric's name, value, time in milliseconds, and step."""


@dataclass(frozen=True)
class RunUpdate:
    """What is to be written to one run of a sweep, all of it or again."""

    run: str
    """The trial's name; empty for the sweep's own run."""
    attempt: int = 1
    """Which training of that trial, where workers died or a sweep was broken off."""
    started: int | None = None
    """Milliseconds since 1970; given where the run is to be made first."""
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Sequence[Figure] = field(default_factory=list)
    files: Mapping[str, bytes] = field(default_factory=dict)
    """By their paths among the run's artifacts."""
    status: str | None = None
    """MLflow's, where the run has ended."""
    ended: int | None = None
    """Milliseconds since 1970."""


class Spool:
    """Updates in the order in which they were put, in a folder. One thread may put while another one takes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with room(folder):
            folder.mkdir(parents=True, exist_ok=True)
            for half_written in folder.glob("*.part"):
                half_written.unlink()
            there = sorted(folder.glob("*.zip"))
            damaged = [path for path in there if not _is_whole(path)]
            for path in damaged:
                path.replace(path.with_suffix(".damaged"))
        self._waiting = deque(path for path in there if path not in damaged)
        self._last = int(there[-1].stem) if there else 0
        self.notice = f"Records that waited in {folder} were damaged and are left out: {len(damaged)}." if damaged else ""
        """What a person should know of what was found."""

    def put(self, update: RunUpdate) -> None:
        """Keeps an update.

        Raises DigitsweepError where there is no room for it."""
        path = self._folder / f"{self._last + 1:09d}.zip"
        part = path.with_suffix(".part")
        values = dataclasses.asdict(dataclasses.replace(update, files={}))
        with room(self._folder):
            with part.open("wb") as file:
                with zipfile.ZipFile(file, "w") as archive:
                    archive.writestr("update.json", json.dumps(values))
                    for name, content in update.files.items():
                        archive.writestr(f"files/{name}", content)
                file.flush()
                os.fsync(file.fileno())  # or the name may be on the disk before what it names, when the power goes
            part.replace(path)
        self._last += 1
        self._waiting.append(path)

    def first(self) -> RunUpdate | None:
        """The oldest update; None where there is none."""
        if not self._waiting:
            return None
        return _read(self._waiting[0])

    def taken(self) -> None:
        """The oldest update has arrived."""
        self._waiting[0].unlink()
        self._waiting.popleft()

    def __len__(self) -> int:
        return len(self._waiting)


def _read(path: Path) -> RunUpdate:
    with zipfile.ZipFile(path) as archive:
        values = json.loads(archive.read("update.json"))
        files = {each.removeprefix("files/"): archive.read(each) for each in archive.namelist() if each != "update.json"}
    return RunUpdate(**{**values, "metrics": [tuple(each) for each in values["metrics"]], "files": files})


def _is_whole(path: Path) -> bool:
    try:
        _read(path)
    except (zipfile.BadZipFile, EOFError, KeyError, TypeError, ValueError, NotImplementedError, RuntimeError, zlib.error):
        return False
    return True


@contextmanager
def room(folder: Path) -> Iterator[None]:
    """Within this, what cannot be kept on disk is one clear line."""
    try:
        yield
    except OSError as error:
        raise DigitsweepError(
            f"nothing can be kept in {folder}: {error.strerror or error}; make room there, or name another folder with "
            "DIGITSWEEP_STATE"
        ) from error


def state_folder(run_id: str) -> Path:
    """Where this machine keeps what belongs to a sweep until it has ended; DIGITSWEEP_STATE moves it."""
    import platformdirs

    return Path(os.environ.get("DIGITSWEEP_STATE") or platformdirs.user_state_path("digitsweep")) / run_id
