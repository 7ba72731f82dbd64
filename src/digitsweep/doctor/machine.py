"""The processor and the GPUs: what a sweep will compute in, and on."""

from __future__ import annotations

from collections.abc import Sequence

from digitsweep.doctor.finding import Finding, ok, warning
from digitsweep.processor import BFLOAT16, processor_flags, processor_precision
from digitsweep.workers.placement import Place, cores


def processor(flags: frozenset[str] | None = None) -> Finding:
    """Which precision the search uses on this processor; `flags` are its own where none are given."""
    name = "processor"
    flags = processor_flags() if flags is None else flags
    count = f"{cores()} core{'s' if cores() != 1 else ''}"
    if not flags:
        return ok(name, f"{count}; it does not tell what it can: trains in float32")
    if "avx2" not in flags and "sse2" in flags:  # no processor of Intel's or AMD's kind is without the latter
        return warning(name, f"{count} without avx2: trains in float32, several times as slowly", "use a newer machine")
    known = [each for each in ("avx2", *BFLOAT16) if each in flags]
    return ok(
        name, f"{count} with {', '.join(known) or 'none of avx2 and bfloat16'}: trains in {processor_precision(flags)}"
    )


def gpus(places: Sequence[Place], found: Sequence[str]) -> Finding:
    """Which of the GPUs that were `found` the workers at these places use."""
    used = sorted({place.gpu for place in places if place.gpu is not None})
    if used:
        return ok("GPUs", f"{len(places)} workers on {', '.join(used)}")
    if found:
        return warning(
            "GPUs",
            f"there are {len(found)}, but TensorFlow was installed without CUDA's libraries: none is used",
            "pip install 'tensorflow[and-cuda]'",
        )
    return ok("GPUs", "none; workers train on the processor")
