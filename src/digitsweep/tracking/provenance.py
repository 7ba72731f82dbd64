"""Where a result came from: the commit of the code, and whether it was changed since."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
DIRTY = "-dirty"
COMMIT_TAG, DIRTY_TAG, COMMITS_TAG = "digitsweep.commit", "digitsweep.dirty", "digitsweep.commits"
"""Of a run: which code trained it, and whether that had been changed since. Of a registered version: which code trained its
weights; whether any code that took part had been changed; and, with blanks between them, the commits of all that took part:
those of its family's search and fresh seeds, and of whoever registered it."""


@dataclass(frozen=True)
class Commit:
    """The state of the code that ran."""

    sha: str
    """`unknown` where the code is in no git checkout, and neither its wheel nor its image was told."""
    dirty: bool

    def tags(self) -> dict[str, str]:
        return {COMMIT_TAG: self.sha, DIRTY_TAG: str(self.dirty).lower()}

    @classmethod
    def from_tags(cls, tags: Mapping[str, str]) -> Commit | None:
        """What `tags` wrote; None where it wrote nothing there."""
        return cls(tags[COMMIT_TAG], tags.get(DIRTY_TAG) != "false") if COMMIT_TAG in tags else None


UNKNOWN = Commit("unknown", dirty=False)
"""Of records that do not say which code made them."""


def current_commit(folder: Path = PACKAGE) -> Commit:
    """The commit that a folder's files belong to, by default this package's.

    Without git, what was written when the code was packed, in the words of `git describe --always --abbrev=40 --dirty`:
    the variable `DIGITSWEEP_COMMIT` of an image, or the file COMMIT of a wheel."""
    sha = _git(folder, "rev-parse", "HEAD")
    # A virtual environment may lie in somebody else's checkout, which does not hold these files.
    if sha is not None and _git(folder, "ls-files", "--error-unmatch", ".") is not None:
        return Commit(sha, dirty=_git(folder, "status", "--porcelain") != "")
    told = os.environ.get("DIGITSWEEP_COMMIT") or _packed(folder) or "unknown"
    return Commit(told.removesuffix(DIRTY), dirty=told.endswith(DIRTY))


def _packed(folder: Path) -> str:
    """What setup.py wrote into a wheel."""
    try:
        return (folder / "COMMIT").read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _git(folder: Path, *arguments: str) -> str | None:
    """What git says; None where it fails or takes too long."""
    try:
        found = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() if found.returncode == 0 else None
