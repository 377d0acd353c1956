"""Loading the network as the parameters say, with errors that name the remedy. Imports torch only when called."""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress
from typing import Any

import numpy as np

from emotalk_ros.nodes.parameters import Values


class NetworkError(RuntimeError):
    """The network can't be had; the message says why and what helps."""


KEYS = ("model.path", "model.device", "model.backend", "model.dtype", "model.threads")
"""The parameters that a loaded network depends on."""


def load_network(values: Values) -> Any:
    """The network on its device, run once so that the first hop is not the slow one. Raises NetworkError."""
    from emotalk_ros.model import CheckpointError, ModelNotFoundError
    from emotalk_ros.runtime import RuntimeUnavailable
    from emotalk_ros.runtime import load_network as load

    device, threads = _device(values["model.device"]), values["model.threads"] or None
    try:
        chosen = load(values["model.path"] or None, device, threads, values["model.backend"], values["model.dtype"])
        chosen.network.analyse(np.zeros(16000, dtype=np.float32))
    except (ModelNotFoundError, CheckpointError, RuntimeUnavailable, ValueError) as error:
        raise NetworkError(str(error)) from error
    except RuntimeError as error:  # no memory, or a number format that the device lacks
        raise NetworkError(f"the network does not run on {device} with {values['model.dtype']}: {error}") from error
    # A full collection looks at the 400 000 objects of torch and transformers: a quarter of a second without a frame.
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    return chosen.network


def _device(name: str) -> str:
    if name in ("auto", "cpu"):
        return name
    try:
        import torch
    except ImportError:
        raise NetworkError(f"model.device is {name}, but torch is not installed; use cpu or auto") from None

    if not torch.cuda.is_available():
        raise NetworkError(f"model.device is {name}, but torch sees no CUDA device; use cpu or auto")
    index, count = int(name.partition(":")[2] or 0), torch.cuda.device_count()
    if index >= count:
        raise NetworkError(f"model.device is {name}, but there are {count} CUDA devices, counted from 0")
    return name


def release(device: str) -> None:
    """Give memory back after a network is gone: that of the device, and what the C library keeps of freed blocks
    (without it a process grew by 15 MB with each network it loaded anew)."""
    gc.unfreeze()
    gc.collect()
    if device == "cuda":
        import torch

        torch.cuda.empty_cache()
    with suppress(OSError, AttributeError):  # only glibc has it
        ctypes.CDLL(None).malloc_trim(0)
