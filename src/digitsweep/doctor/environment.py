"""Python and its packages: whether they are those that the figures of this project were made with."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from digitsweep.doctor.finding import Finding, ok, warning, wrong

LOCK = Path(__file__).parents[3] / "requirements.txt"
"""Beside `src`, in a checkout."""
FIRST, BEYOND = (3, 11), (3, 14)
"""TensorFlow has wheels from the one to below the other."""
SHOWN = 4
"""Packages that a line names."""
INSTALL = "make a fresh environment: `make sweep` does, or `pip install -r requirements.txt`"


def python(running: tuple[int, int] = sys.version_info[:2]) -> Finding:
    """Whether this is a Python that TensorFlow is built for."""
    found = ".".join(map(str, running))
    if FIRST <= running < BEYOND:
        return ok("Python", found)
    wanted = f"{FIRST[0]}.{FIRST[1]} to {BEYOND[0]}.{BEYOND[1] - 1}"
    return wrong("Python", f"{found}; TensorFlow has wheels for {wanted}", "run it with one of these")


def packages(lock: Path = LOCK) -> Finding:
    """Whether each package of the lock is installed at its version."""
    name = "environment"
    try:
        text = lock.read_text(encoding="utf-8")
    except OSError:
        return warning(name, f"cannot be compared: there is no {lock}", "run digitsweep from a checkout of the project")
    locked = pins(text.splitlines())
    differing = [line for package, pin in locked.items() if (line := _difference(package, *pin))]
    if differing:
        return warning(name, f"differs from requirements.txt: {_some(differing)}", INSTALL)
    return ok(name, f"{len(locked)} packages as in requirements.txt")


def pins(lines: Iterable[str]) -> dict[str, tuple[set[str], bool]]:
    """Each package with its versions, and whether it is for every system: one with a marker (`; sys_platform == …`) is for
    some, and may have another version for others."""
    found: dict[str, tuple[set[str], bool]] = {}
    for line in lines:
        if pin := re.match(r"([A-Za-z0-9_.-]+)==([^\s;\\]+)\s*(;?)", line):
            versions, everywhere = found.get(pin[1], (set(), False))
            found[pin[1]] = (versions | {pin[2]}, everywhere or not pin[3])
    return found


def _difference(package: str, versions: set[str], everywhere: bool) -> str:
    try:
        installed = version(package)
    except PackageNotFoundError:
        return f"no {package}" if everywhere else ""
    return "" if installed in versions else f"{package} {installed}, not {' or '.join(sorted(versions))}"


def _some(named: list[str]) -> str:
    more = len(named) - SHOWN
    return ", ".join(named[:SHOWN]) + (f" and {more} more" if more > 0 else "")
