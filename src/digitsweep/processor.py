"""What this machine's processor computes in, by its own word."""

from __future__ import annotations

from pathlib import Path

BFLOAT16 = ("avx512_bf16", "amx_bf16")
"""Instructions without which bfloat16 is emulated, and slow."""


def processor_flags(path: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """The processor's flags as Linux names them; none where the system does not say."""
    try:
        text = path.read_text(encoding="ascii", errors="ignore")
    except OSError:
        return frozenset()
    line = next((line for line in text.splitlines() if line.startswith("flags")), "")
    return frozenset(line.partition(":")[2].split())


def processor_precision(flags: frozenset[str]) -> str:
    """`mixed_bfloat16` where a processor with these flags computes in it, else `float32`."""
    return "mixed_bfloat16" if flags & {*BFLOAT16} else "float32"
