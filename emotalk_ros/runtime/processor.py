"""What the processor can do."""

from __future__ import annotations

from pathlib import Path

BF16_FLAGS = frozenset({"amx_bf16", "avx512_bf16", "bf16"})
"""What /proc/cpuinfo calls the instructions (x86, Arm) that make bfloat16 fast; elsewhere it is emulated, slowly."""


def instructions(cpuinfo: Path = Path("/proc/cpuinfo")) -> set[str]:
    """Instruction sets of the first processor; none where the system does not tell."""
    if not cpuinfo.is_file():
        return set()
    lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    return next(
        (set(line.partition(":")[2].split()) for line in lines if line.startswith(("flags", "Features"))), set()
    )


def have_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether it multiplies bfloat16 numbers by instructions of its own."""
    return bool(BF16_FLAGS & instructions(cpuinfo))
