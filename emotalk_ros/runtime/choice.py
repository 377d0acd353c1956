"""What computes a network: torch, or ONNX Runtime without it; chosen by a measurement where nobody says."""

from __future__ import annotations

import logging
import os
import statistics
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from emotalk_ros.model.benchmark import milliseconds, stream_hops
from emotalk_ros.model.folder_files import read_json
from emotalk_ros.model.locations import CheckpointError, checked_folder, default_model_path
from emotalk_ros.requirements import install_command
from emotalk_ros.runtime.graphs import RuntimeUnavailable
from emotalk_ros.runtime.processor import have_bfloat16

BACKENDS = ("auto", "torch", "onnx", "onnx-int8")
"""Names of what may be asked for."""
_NAMES = {"torch": "torch", "onnx": "ONNX Runtime", "onnx-int8": "ONNX Runtime in eight bits"}
_HOPS, _WARM_UP = 12, 3
_WINDOW = 2.0
_SMALL = 20e6
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Chosen:
    """A network that is ready, what computes it ("torch", "onnx" or "onnx-int8"), and why, in words."""

    network: Any
    backend: str
    reason: str

    @property
    def words(self) -> str:
        """For a log; the network keeps it as `computed_by`."""
        return f"computed by {_NAMES[self.backend]}: {self.reason}"


def load_network(
    path: str | os.PathLike[str] | None = None,
    device: str = "auto",
    threads: int | None = None,
    backend: str = "auto",
    dtype: str = "float32",
    compare: bool = True,
) -> Chosen:
    """A network on its device, by torch or ONNX Runtime.

    Args:
        path: model folder; None: the one that ships.
        device: auto, cpu, cuda or cuda:N; anything but cpu is torch's.
        threads: CPU threads; None: 1 for a small network, half of the cores for a large one.
        backend: one of `BACKENDS`. "auto": on a CPU the faster one of torch and ONNX Runtime at float32, measured for a
            few hops of a stream; the only one where there is one; torch on a GPU. Eight bits change the result, so they
            are only taken when asked for.
        dtype: of torch; anything but float32 is torch's.
        compare: False: "auto" takes ONNX Runtime where it can be had, without importing torch for a measurement. For
            one clip that import alone takes longer than the clip.

    Raises:
        ValueError: a name that is not known, or a combination that cannot be.
        RuntimeUnavailable: what was asked for is not installed, or there are no graphs.
        ModelNotFoundError, CheckpointError: see `model.load_model`.
    """
    chosen = _choose(path, device, threads, backend, dtype, compare)
    chosen.network.computed_by = chosen.words
    _LOG.info("%s", chosen.words)
    return chosen


def _choose(
    path: str | os.PathLike[str] | None, device: str, threads: int | None, backend: str, dtype: str, compare: bool
) -> Chosen:
    if backend not in BACKENDS:
        raise ValueError(f"backend {backend!r}: use one of {', '.join(BACKENDS)}")
    folder = default_model_path() if path is None else checked_folder(Path(path).expanduser(), "the path")
    if backend == "torch":
        return Chosen(_torch(folder, device, threads, dtype), "torch", "asked for")
    precision = "int8" if backend == "onnx-int8" else "float32"
    if backend.startswith("onnx"):
        if device not in ("auto", "cpu") or dtype != "float32":
            raise ValueError(
                f"backend {backend} computes float32 on the CPU, not {dtype} on {device}: use backend torch"
            )
        if _hears_windows(folder):
            return Chosen(
                _with_stacks(folder, threads, precision), backend, "asked for; torch computes all but transformers"
            )
        return Chosen(_onnx(folder, threads, precision), backend, "asked for")
    if _hears_windows(folder):
        return Chosen(
            _torch(folder, device, threads, dtype), "torch", "its attention is full; backend onnx is there too"
        )
    if device not in ("auto", "cpu") or dtype != "float32":
        return Chosen(_torch(folder, device, threads, dtype), "torch", f"device {device}, {dtype}")
    try:
        light = _onnx(folder, threads)
    except (RuntimeUnavailable, CheckpointError) as error:
        if not have_torch():
            raise
        return Chosen(_torch(folder, device, threads, dtype), "torch", f"no ONNX Runtime: {error}")
    if not have_torch():
        return Chosen(light, "onnx", "torch is not installed")
    if not compare:
        return Chosen(light, "onnx", "it starts without torch")
    heavy = _torch(folder, device, threads, dtype)
    if heavy.device.type != "cpu":
        return Chosen(heavy, "torch", f"device {heavy.device}")
    took = {"onnx": hop_milliseconds(light), "torch": hop_milliseconds(heavy)}
    best = min(took, key=lambda name: took[name])
    reason = f"a hop of 0.1 s takes {took['onnx']:.1f} ms by ONNX Runtime, {took['torch']:.1f} ms by torch"
    return Chosen(light if best == "onnx" else heavy, best, reason)


def _hears_windows(folder: Path) -> bool:
    """Whether the network has full attention: its transformers hear each window anew."""
    settings = read_json(folder / "config.json")
    return settings.get("model_type") == "emotalk" and settings.get("attention", "full") == "full"


def have_torch() -> bool:
    """Whether torch and transformers are installed."""
    return all(_there(name) for name in ("torch", "transformers"))


def _there(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ImportError:
        return False


def hop_milliseconds(network: Any, hops: int = _HOPS) -> float:
    """Median time of a hop of 0.1 s of a stream."""
    windows = stream_hops(network, _WINDOW, hops + _WARM_UP)
    took = [milliseconds(partial(network.analyse, piece, **place)) for piece, place in windows]
    return statistics.median(took[_WARM_UP:])


def _onnx(folder: Path, threads: int | None, precision: str = "float32") -> Any:
    from emotalk_ros.runtime.network import OnnxNetwork

    return OnnxNetwork(folder, precision, threads or 1)


def _with_stacks(folder: Path, threads: int | None, precision: str) -> Any:
    """By torch, with the transformers by ONNX Runtime."""
    network = _torch(folder, "cpu", threads, "float32")
    from emotalk_ros.runtime.stacks import compute_stacks

    compute_stacks(network, precision, threads or max(1, (os.cpu_count() or 2) // 2))
    return network


def _torch(folder: Path, device: str, threads: int | None, dtype: str) -> Any:
    if not have_torch():
        raise RuntimeUnavailable(
            f"torch and transformers are not installed: {install_command('torch')}, or use the network that ships "
            "with ONNX Runtime (backend onnx)"
        )
    import torch

    from emotalk_ros.model import load_model

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise ValueError(f"device {device!r}: use auto, cpu, cuda or cuda:N") from None
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {device!r}: this machine (or this build of torch) has no CUDA; use cpu")
    if chosen.type == "cpu" and dtype == "bfloat16" and not have_bfloat16():
        raise ValueError(
            "dtype bfloat16: this processor has no instructions for it (AMX, AVX-512 BF16, Arm's BF16), so it would be "
            "several times slower than float32: use float32, or backend onnx-int8"
        )
    network = load_model(folder, device, getattr(torch, dtype))
    if threads is None:  # more threads than idle cores make a small network several times slower
        small = sum(parameter.numel() for parameter in network.parameters()) < _SMALL
        threads = 1 if small else max(1, (os.cpu_count() or 2) // 2)
    torch.set_num_threads(threads)
    return network
