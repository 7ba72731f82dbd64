"""Where workers run: one thread of the CPU each, or the GPU that each is pinned to; a pure function of what there is."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

from digitsweep.experiment import Experiment
from digitsweep.options import Options


@dataclass(frozen=True)
class Place:
    """What one worker may use."""

    gpu: str | None
    """The device that is visible to it; None is the CPU."""

    def environment(self) -> dict[str, str]:
        """The variables that TensorFlow reads before it starts."""
        return {
            # -1 hides every device; a worker that sees one GPU cannot take another worker's.
            "CUDA_VISIBLE_DEVICES": "-1" if self.gpu is None else self.gpu,
            "TF_FORCE_GPU_ALLOW_GROWTH": "true",
            "TF_NUM_INTRAOP_THREADS": "1",
            "TF_NUM_INTEROP_THREADS": "1",
            "OMP_NUM_THREADS": "1",
        }


def places(workers: int | None, gpus: Sequence[str], per_gpu: int, cores: int) -> list[Place]:
    """A place for each worker.

    With GPUs: `per_gpu` workers on each, or as many as asked for, dealt out in turn. Without: as many workers of one thread
    as there are cores, or as many as asked for."""
    if gpus:
        count = workers or per_gpu * len(gpus)
        return [Place(gpus[index % len(gpus)]) for index in range(count)]
    return [Place(None) for _ in range(workers or cores)]


def visible_gpus(chosen: str | None, drivers: Path = Path("/proc/driver/nvidia/gpus")) -> list[str]:
    """The NVIDIA devices there are, as CUDA counts them; `chosen` is what CUDA_VISIBLE_DEVICES says, where it is set."""
    if chosen is not None:
        return [each.strip() for each in chosen.split(",") if each.strip() not in ("", "-1")]
    return [str(index) for index, _ in enumerate(drivers.iterdir())] if drivers.is_dir() else []


def places_for(experiment: Experiment, options: Options) -> list[Place]:
    """A place for each worker of a sweep on this machine."""
    gpus = visible_gpus(os.environ.get("CUDA_VISIBLE_DEVICES")) if _tensorflow_has_cuda() else []
    return places(options.workers, gpus, experiment.workers.per_gpu, cores())


def _tensorflow_has_cuda() -> bool:
    """Whether CUDA's libraries were installed beside TensorFlow (`tensorflow[and-cuda]`): without them it sees no GPU."""
    return any((each.name or "").startswith("nvidia-cudnn") for each in distributions())


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
