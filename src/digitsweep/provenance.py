"""Where a result came from: the commit of the code, and whether it was changed since."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Commit:
    """The state of the code that ran."""

    sha: str
    """`unknown` where the code is not in a git checkout."""
    dirty: bool

    def tags(self) -> dict[str, str]:
        return {"digitsweep.commit": self.sha, "digitsweep.dirty": str(self.dirty).lower()}


def current_commit() -> Commit:
    """The commit that this package's files belong to."""
    folder = Path(__file__).resolve().parent
    sha = _git(folder, "rev-parse", "HEAD")
    if sha is None:
        return Commit("unknown", dirty=False)
    return Commit(sha, dirty=bool(_git(folder, "status", "--porcelain")))


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        found = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() if found.returncode == 0 else None
