"""What all benchmarks share: where they run, the data, and how their results are kept."""

from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

RESULTS = Path(__file__).with_name("RESULTS.md")
LIBRARIES = ("tensorflow", "keras", "mlflow", "optuna", "numpy")


def mnist_folder() -> Path:
    """The folder in DIGITSWEEP_DATA, else the cache, which is filled where it is empty."""
    from digitsweep.data import mnist
    from digitsweep.errors import DataUnavailableError

    given = os.environ.get("DIGITSWEEP_DATA")
    try:
        return Path(given).resolve() if given else mnist.fetch()
    except DataUnavailableError as error:
        raise SystemExit(str(error)) from None


@contextmanager
def folder() -> Iterator[Path]:
    """An empty folder for one measurement, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="digitsweep-bench-") as name:
        yield Path(name)


def run(*command: str, cwd: Path, **environment: str) -> tuple[float, str]:
    """Runs a command to its end: wall-clock seconds, and its output.

    Raises SystemExit with what it said where it failed."""
    begun = time.perf_counter()
    finished = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - begun
    if finished.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{finished.stdout}\n{finished.stderr}")
    return seconds, finished.stdout


def digitsweep(*arguments: str, cwd: Path, **environment: str) -> tuple[float, str]:
    """`digitsweep ARGUMENTS`, as `run`."""
    return run(sys.executable, "-m", "digitsweep", *arguments, cwd=cwd, **environment)


def report(name: str, headline: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Prints the table and, alone on the last line, the headline; keeps both in RESULTS.md in place of the last time's."""
    table = "\n".join("| " + " | ".join(map(str, row)) + " |" for row in (header, ["---"] * len(header), *rows))
    print(f"\n{table}\n\n{headline}", flush=True)
    section = f"## {name}\n{machine()}\n\n{table}\n\n**{headline}**\n"
    text = (
        RESULTS.read_text()
        if RESULTS.exists()
        else "# Results\nWritten by the benchmarks; see [README.md](README.md) for what each measures, and\n"
        "[docs/statistics.md](../docs/statistics.md) for what a comparison claims and how often that is wrong.\n"
    )
    pattern = re.compile(rf"## {name}\n.*?(?=^## |\Z)", re.DOTALL | re.MULTILINE)
    without = pattern.sub("", text).rstrip()
    RESULTS.write_text(f"{without}\n\n{section}")


def machine() -> str:
    """When, on what, with which versions."""
    model = next(
        (line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor(),
    )
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    today = datetime.datetime.now(datetime.UTC).date()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{today}, {model}, {cores} cores, Python {platform.python_version()}, {libraries}. `make bench-NAME` repeats it."


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
