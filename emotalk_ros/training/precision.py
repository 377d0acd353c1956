"""Which number format a run computes in."""

from __future__ import annotations

from pathlib import Path

import torch
from accelerate.utils import parse_flag_from_env

BF16_FLAGS = frozenset({"amx_bf16", "avx512_bf16"})
"""What /proc/cpuinfo calls the instructions that make bfloat16 fast; elsewhere it is emulated, twenty times slower."""


def mixed_precision(wanted: str, cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """`wanted` ("no", "bf16", "fp16"), or for "auto" bf16 where the device has instructions for it, else "no".

    The device is the one accelerate will choose: a GPU where there is one, unless ACCELERATE_USE_CPU is set.
    """
    if wanted != "auto":
        return wanted
    if torch.cuda.is_available() and not parse_flag_from_env("ACCELERATE_USE_CPU"):
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "no"
    return "bf16" if cpuinfo.is_file() and BF16_FLAGS & _flags(cpuinfo) else "no"


def _flags(cpuinfo: Path) -> set[str]:
    """Instruction sets of the first processor."""
    lines = cpuinfo.read_text(encoding="utf-8").splitlines()
    return next((set(line.partition(":")[2].split()) for line in lines if line.startswith("flags")), set())
