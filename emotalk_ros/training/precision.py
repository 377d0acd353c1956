"""Which number format a run computes in."""

from __future__ import annotations

from pathlib import Path

import torch
from accelerate.utils import parse_flag_from_env

from emotalk_ros.runtime.processor import have_bfloat16


def mixed_precision(wanted: str, cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """`wanted` ("no", "bf16", "fp16"), or for "auto" bf16 where the device has instructions for it, else "no".

    The device is the one accelerate will choose: a GPU where there is one, unless ACCELERATE_USE_CPU is set.
    """
    if wanted != "auto":
        return wanted
    if torch.cuda.is_available() and not parse_flag_from_env("ACCELERATE_USE_CPU"):
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "no"
    return "bf16" if have_bfloat16(cpuinfo) else "no"
