"""Disk and memory: what a sweep takes at most, and what there is."""

from __future__ import annotations

import math
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from digitsweep.doctor.database import existing
from digitsweep.doctor.finding import Finding, ok, warning, wrong
from digitsweep.experiment import Experiment

MIB = 2**20
RECORD = MIB // 4
"""Bytes that a run's pictures, reports and rows take."""
MODEL = 16 * MIB
"""Bytes of a registered network of four million weights, more than any space in `experiments/` holds."""
COORDINATOR, WORKER = 1024 * MIB, 560 * MIB
"""Bytes in memory, the most over 300 trials on MNIST: `make bench-memory`."""
MARGIN = 1.5
"""There should be so many times as much as is needed: other programs want some too."""
SHORTEST_TRIAL = 0.2
"""Seconds: what a trial of the smallest network takes on the smallest images."""
USUAL_IMAGES = 60 * MIB
"""Bytes of MNIST, for where the images have not been read yet."""


@dataclass(frozen=True)
class Plan:
    """What a sweep takes at most, in bytes."""

    records: int
    """Where artifacts and the database lie."""
    temporary: int
    """In the folder of temporary files: the images that workers share, and a model on its way."""
    memory: int
    worker: int
    """Of the memory, for each worker."""


def plan_of(experiment: Experiment, workers: int, images: int = USUAL_IMAGES) -> Plan:
    """The plan of an experiment whose images are so many bytes."""
    budget, finalists = experiment.budget, experiment.finalists
    repeated = finalists.top * finalists.seeds + finalists.refit if finalists else 0
    models = (repeated or 1) * len(experiment.families)
    searched = math.ceil(min(budget.trials, budget.seconds / SHORTEST_TRIAL))
    runs = sum(searched + len(each.baselines) + repeated for each in experiment.families.values())
    return Plan(
        records=runs * RECORD + models * MODEL,
        temporary=images + 2 * MODEL,
        # The coordinator holds the images as read, as split, and joined for the refit.
        memory=COORDINATOR + 3 * images + workers * WORKER,
        worker=WORKER,
    )


def disk(name: str, folder: Path, needed: int) -> Finding:
    """Whether the disk of a folder has room for so many bytes."""
    there = existing(folder)
    try:
        free = shutil.disk_usage(there).free
    except OSError as error:
        return wrong(name, f"{there}: {error.strerror or error}", "name a folder that can be read")
    found = f"{there}: {size(free)} free, at most {size(needed)} needed"
    mend = "make room, or run the sweep where there is more"
    if free < needed:
        return wrong(name, found, mend)
    return ok(name, found) if free > MARGIN * needed else warning(name, found, mend)


def memory(plan: Plan, workers: int, free: int | None) -> Finding:
    """Whether the machine's free memory, in bytes, is enough for the plan with its workers; None: it is not known."""
    name = "memory"
    needed = f"about {size(plan.memory)} needed by {workers} worker{'s' if workers != 1 else ''} and the coordinator"
    if free is None:
        return ok(name, f"this system does not say how much is free; {needed}")
    found = f"{size(free)} free, {needed}"
    fitting = (free - plan.memory + workers * plan.worker) // plan.worker
    mend = f"--workers {fitting} fits" if 1 <= fitting < workers else "end other programs, or use a machine with more"
    if free < plan.memory:
        return wrong(name, found, mend)
    return (
        ok(name, found) if free > MARGIN * plan.memory else warning(name, found, "end other programs, or use fewer workers")
    )


def free_memory() -> int | None:
    """Bytes that this process and its children may still take, whether the machine or a container sets the bound."""
    bounds = [each for each in (_machine(), _container()) if each is not None]
    return min(bounds) if bounds else None


def size(count: int) -> str:
    """Bytes for a person."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{math.ceil(count / MIB)} MiB"


def _machine() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, ValueError, StopIteration):
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    except (OSError, ValueError):
        return None


def _container(folder: Path = Path("/sys/fs/cgroup")) -> int | None:
    """What is left of a control group's bound; files that it only keeps in memory make room."""
    try:
        most = int((folder / "memory.max").read_text())
        used = int((folder / "memory.current").read_text())
        kept = (folder / "memory.stat").read_text().split("inactive_file ")[1].split()[0]
    except (OSError, ValueError, IndexError):  # `max`: there is none
        return None
    return most - used + int(kept)
