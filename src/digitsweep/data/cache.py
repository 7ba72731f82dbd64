"""Prepared images are kept on disk, so that a folder of image files is decoded once.

An entry is a folder, named after a digest of all that decides what is in it. It appears whole or not at all. It may be
deleted at any time: processes that have mapped its files into memory keep them. The oldest entries make room for new ones.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from digitsweep.errors import InputError

Value = TypeVar("Value")

MOST_BYTES = 8 * 2**30
"""Of all entries together. A single entry may be larger: then it is the only one."""
USED = "about.json"
"""The file of an entry whose time of change says when the entry was last used."""
_SCRATCH = ".new-"
_ABANDONED_SECONDS = 24 * 3600


class DamagedError(Exception):
    """An entry is missing, incomplete or not what was written."""


def cache_root() -> Path:
    """The folder for all that can be fetched or made again: DIGITSWEEP_CACHE, or one in the user's cache."""
    import pooch

    return Path(os.environ.get("DIGITSWEEP_CACHE") or pooch.os_cache("digitsweep"))


def cached(key: str, make: Callable[[Path], None], load: Callable[[Path], Value]) -> Value:
    """What `load` gives for the entry `key`, after `make` has filled the entry's folder if it was missing or damaged.

    `make` writes a file named USED among others. `load` raises DamagedError for an entry that it does not trust, and may map
    files into memory. Raises InputError if the cache cannot be written."""
    root = cache_root() / "images"
    entry = root / key
    try:
        found = load(entry)
    except DamagedError:
        found = _made(root, entry, make, load)
    with suppress(OSError):
        os.utime(entry / USED)
    _make_room(root, entry)
    return found


def _made(root: Path, entry: Path, make: Callable[[Path], None], load: Callable[[Path], Value]) -> Value:
    """Two processes may make the same entry at once: the last one leaves its own, and both have what they have mapped."""
    with writing(root), tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=root, ignore_cleanup_errors=True) as scratch:
        new = Path(scratch, "new")
        new.mkdir()
        make(new)
        found = load(new)
        with suppress(OSError):
            entry.rename(Path(scratch, "old"))
        with suppress(OSError):
            new.rename(entry)
    return found


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Creates a folder of the cache. Turns what goes wrong when it is written to into one line."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except (OSError, DamagedError) as error:
        reason = getattr(error, "strerror", None) or "what was written cannot be read back"
        raise InputError(
            f"{folder}: prepared images cannot be written here: {reason}; free some space, or name another folder with "
            "DIGITSWEEP_CACHE"
        ) from None


def _make_room(root: Path, kept: Path) -> None:
    """Deletes what killed processes left; and while there are more than MOST_BYTES, the entry that was used longest ago."""
    entries = []
    for each in root.iterdir() if root.is_dir() else ():
        with suppress(OSError):
            if not each.name.startswith(_SCRATCH):
                size = sum(file.stat().st_size for file in each.iterdir())
                entries.append(((each / USED).stat().st_mtime if (each / USED).exists() else 0.0, size, each))
            elif time.time() - each.stat().st_mtime > _ABANDONED_SECONDS:
                shutil.rmtree(each, ignore_errors=True)
    total = sum(size for _, size, _ in entries)
    for _, size, each in sorted(entries):
        if total > MOST_BYTES and each != kept:
            shutil.rmtree(each, ignore_errors=True)
            total -= size
