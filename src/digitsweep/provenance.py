"""Where a result came from: the commit of the code, and whether it was changed since."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
DIRTY = "-dirty"


@dataclass(frozen=True)
class Commit:
    """The state of the code that ran."""

    sha: str
    """`unknown` where the code is in no git checkout, and its image was not told."""
    dirty: bool

    def tags(self) -> dict[str, str]:
        return {"digitsweep.commit": self.sha, "digitsweep.dirty": str(self.dirty).lower()}


def current_commit(folder: Path = PACKAGE) -> Commit:
    """The commit that a folder's files belong to, by default this package's.

    In an image, which has no git, what `make image` wrote into it: `DIGITSWEEP_COMMIT`, in the words of
    `git describe --always --abbrev=40 --dirty`."""
    sha = _git(folder, "rev-parse", "HEAD")
    # A virtual environment may lie in somebody else's checkout, which does not hold these files.
    if sha is not None and _git(folder, "ls-files", "--error-unmatch", ".") is not None:
        return Commit(sha, dirty=_git(folder, "status", "--porcelain") != "")
    told = os.environ.get("DIGITSWEEP_COMMIT") or "unknown"
    return Commit(told.removesuffix(DIRTY), dirty=told.endswith(DIRTY))


def _git(folder: Path, *arguments: str) -> str | None:
    """What git says; None where it fails or takes too long."""
    try:
        found = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() if found.returncode == 0 else None
