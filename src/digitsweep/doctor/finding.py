"""What a check finds: one value, one line."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class State(enum.StrEnum):
    """How it stands with one thing."""

    OK = "ok"
    WARNING = "warning"
    """A sweep runs, but not as well as it could, or nobody has tried it so."""
    WRONG = "wrong"
    """A sweep would fail, at once or in the middle of the night."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str
    state: State
    found: str
    mend: str = ""
    """What to do about it; empty where all is well."""

    def line(self) -> str:
        """The finding where there is no table."""
        return f"{self.state}: {self.name}: {self.found}" + (f"; {self.mend}" if self.mend else "")


def ok(name: str, found: str) -> Finding:
    return Finding(name, State.OK, found)


def warning(name: str, found: str, mend: str) -> Finding:
    return Finding(name, State.WARNING, found, mend)


def wrong(name: str, found: str, mend: str) -> Finding:
    return Finding(name, State.WRONG, found, mend)
