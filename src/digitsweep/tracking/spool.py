"""Updates of MLflow runs that wait on disk: neither an absent server nor a killed process loses one.

    <state>/<the sweep's id>/
        lock                    held by the sweep's coordinator
        id                      which folder this is; on another machine the same sweep has a folder with another id
        sweep.json              what the sweep's run is opened with, until MLflow has all of it
        records/000000017.zip   one RunUpdate: update.json, and the files to be logged under files/

An update is on disk, whole, before it is sent, and is deleted once the server has taken it. Sending one twice changes
nothing, so an update that may have arrived is sent again. Two kinds are set aside instead of sent: those that cannot be read
(`.damaged`), and those of a coordinator that has lost the sweep (`.stale`), which would overwrite its successor's.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import threading
import zipfile
import zlib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from digitsweep.errors import DigitsweepError

Figure = tuple[str, float, int, int]
"""A metric's name, value, time in milliseconds, and step."""
ASIDE = {
    ".damaged": "{count} damaged records in {folder} were set aside as .damaged.",
    ".stale": "{count} records in {folder} were set aside as .stale: another coordinator has the sweep since, and "
    "they would overwrite its records.",
}


@dataclass(frozen=True)
class RunUpdate:
    """What is to be written to one run of a sweep."""

    run: str
    """The trial's name; empty for the sweep's own run."""
    attempt: int = 1
    """Which training of that trial this is, from 1."""
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
    generation: int = 0
    """Of the coordinator that wrote it; the spool fills it in."""


class Spool:
    """Updates in the order in which they were put, in a folder. Any thread may put one while another takes them."""

    def __init__(self, folder: Path, generation: int = 0, since: int = 0) -> None:
        """generation: of the coordinator that puts updates here; since: the first whose updates may be sent."""
        self._folder, self._generation = folder, generation
        self.changed = threading.Condition()
        """Notified when an update is put or taken."""
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            for half_written in folder.glob("*.part"):
                half_written.unlink()
            there = sorted(folder.glob("*.zip"))
            aside = {path: suffix for path in there if (suffix := _aside(path, since))}
            for path, suffix in aside.items():
                path.replace(path.with_suffix(suffix))
        self._waiting = deque(path for path in there if path not in aside)
        self._last = int(there[-1].stem) if there else 0
        counts = [(list(aside.values()).count(suffix), text) for suffix, text in ASIDE.items()]
        self.notices = [text.format(count=count, folder=folder) for count, text in counts if count]
        """What a person should know about the updates that were found here."""

    def put(self, update: RunUpdate) -> None:
        """Keeps an update.

        Raises DigitsweepError where the disk does not take it."""
        values = dataclasses.asdict(dataclasses.replace(update, files={}, generation=self._generation))
        with self.changed:
            path = self._folder / f"{self._last + 1:09d}.zip"
            try:
                with disk_errors(self._folder), whole(path) as file, zipfile.ZipFile(file, "w") as archive:
                    archive.writestr("update.json", json.dumps(values))
                    for name, content in update.files.items():
                        archive.writestr(f"files/{name}", content)
            finally:
                if path.exists():  # also where Ctrl-C came a moment later
                    self._last += 1
                    self._waiting.append(path)
                    self.changed.notify_all()

    def first(self) -> RunUpdate | None:
        """The oldest update; None where there is none."""
        return _read(self._waiting[0]) if self._waiting else None

    def taken(self) -> None:
        """The oldest update has arrived."""
        with self.changed:
            self._waiting.popleft().unlink()
            self.changed.notify_all()

    def __len__(self) -> int:
        return len(self._waiting)


@contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """Writes a file that is there whole or not at all, even after a power cut."""
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())  # or the name could reach the disk before the content
    part.replace(path)


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turns what the disk refuses into one line."""
    try:
        yield
    except OSError as error:
        raise DigitsweepError(
            f"cannot write to {folder}: {error.strerror or error}; make room there, or name another folder with "
            "DIGITSWEEP_STATE"
        ) from error


def state_folder(sweep_id: str) -> Path:
    """Where this machine keeps what belongs to a sweep until it has ended; DIGITSWEEP_STATE moves it."""
    import platformdirs

    return Path(os.environ.get("DIGITSWEEP_STATE") or platformdirs.user_state_path("digitsweep")) / sweep_id


def records_folder(sweep_id: str) -> Path:
    """Where a sweep's spool is."""
    return state_folder(sweep_id) / "records"


def discard(sweep_id: str) -> None:
    """Removes what this machine keeps of a sweep, unless records were set aside there, which a person may want to see."""
    if not any(each.suffix in ASIDE for each in records_folder(sweep_id).glob("*")):
        shutil.rmtree(state_folder(sweep_id), ignore_errors=True)


def _read(path: Path) -> RunUpdate:
    with zipfile.ZipFile(path) as archive:
        values = json.loads(archive.read("update.json"))
        files = {each.removeprefix("files/"): archive.read(each) for each in archive.namelist() if each != "update.json"}
    return RunUpdate(**{**values, "metrics": [tuple(each) for each in values["metrics"]], "files": files})


def _aside(path: Path, since: int) -> str:
    """The suffix with which an update is set aside; empty where it is to be sent."""
    try:
        return ".stale" if _read(path).generation < since else ""
    except (zipfile.BadZipFile, EOFError, KeyError, TypeError, ValueError, NotImplementedError, RuntimeError, zlib.error):
        return ".damaged"
