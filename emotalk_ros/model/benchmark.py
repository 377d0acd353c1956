"""What a model costs: resident memory and time by clip length, and time of one hop of a stream."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from emotalk_ros.units import SAMPLE_RATE


@dataclass(frozen=True)
class ClipCost:
    """One clip in a process of its own.

    Attributes:
        seconds: length of the clip.
        frames: coefficient frames it gave.
        load_gib: resident memory once the model stood, GiB.
        peak_gib: largest resident memory up to the end of the pass, GiB.
        pass_seconds: wall time of the pass.
    """

    seconds: float
    frames: int
    load_gib: float
    peak_gib: float
    pass_seconds: float


@dataclass(frozen=True)
class HopCost:
    """Hops of 0.1 s of a stream through the model.

    Attributes:
        window: seconds of audio that a hop hears.
        median_ms, p99_ms: wall time of a hop, with what the model keeps from one to the next.
        alone_ms: median of a window by itself, nothing kept.
        parameters: of the model.
    """

    window: float
    median_ms: float
    p99_ms: float
    alone_ms: float
    parameters: int


def clip_cost(model: str, seconds: float, threads: int = 1, dtype: str = "float32") -> ClipCost:
    """Run one clip of noise through `model` (a folder or the name of a preset, then with random weights).

    In a process of its own, because a process's peak memory never falls. Raises RuntimeError if that process failed.
    """
    command = [sys.executable, "-m", __name__, model, str(seconds), str(threads), dtype]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{seconds:g} s of audio through {model} failed: {done.stderr.strip()[-800:]}")
    return ClipCost(**json.loads(done.stdout.splitlines()[-1]))


def hop_cost(model: str, window: float = 2.0, repeats: int = 100, threads: int = 1, dtype: str = "float32") -> HopCost:
    """Time `analyse` on a stream of noise whose windows of `window` seconds lie 0.1 s apart, and on single windows."""
    import torch

    torch.set_num_threads(threads)
    network = named_network(model, dtype)
    hops, alone = [], []
    for k, (piece, place) in enumerate(stream_hops(network, window, repeats + 3)):
        hops.append(milliseconds(partial(network.analyse, piece, **place)))
        if k % 4 == 0:
            alone.append(milliseconds(partial(network.analyse, piece)))
    hops = sorted(hops[3:])
    parameters = sum(parameter.numel() for parameter in network.parameters())
    p99 = hops[min(len(hops) - 1, int(0.99 * len(hops)))]
    return HopCost(window, statistics.median(hops), p99, statistics.median(alone), parameters)


def stream_hops(network: Any, window: float, count: int) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
    """Windows of `window` seconds of a stream of noise, 0.1 s apart: the audio, and the place that `analyse` takes."""
    fps, hop, length = network.config.fps, SAMPLE_RATE // 10, round(window * SAMPLE_RATE)
    ahead = getattr(network.config, "lookahead_samples", None) or 0
    wanted = network.frame_count(max(1, length - ahead))  # those whose look-ahead is there
    audio = _noise(window + 0.1 * count)
    memory = network.stream_memory(wanted)
    for k in range(count):
        place = {} if memory is None else {"memory": memory, "start": k * fps // 10, "frames": wanted}
        yield audio[k * hop : k * hop + length], place


def milliseconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    begun = time.perf_counter()
    work()
    return (time.perf_counter() - begun) * 1e3


def named_network(name: str, dtype: str = "float32") -> Any:
    """The network of a folder, or of a preset with random weights; by torch."""
    import torch

    from emotalk_ros.model import EmoTalk, EmoTalkConfig, load_model
    from emotalk_ros.model.config import presets

    kind = getattr(torch, dtype)
    if name in presets() and not Path(name).exists():
        torch.manual_seed(0)
        network = EmoTalk(EmoTalkConfig.preset(name)).eval()
        with torch.no_grad():
            network.output.weight.normal_(0, 0.05)  # it begins at zero: all differences of coefficients would be 0
        return network.to(kind)
    return load_model(name, dtype=kind)


def _noise(seconds: float) -> np.ndarray:
    samples = round(seconds * SAMPLE_RATE)
    return (0.1 * np.random.default_rng(0).standard_normal(samples)).astype(np.float32)


def resident_bytes(name: str = "VmRSS") -> int:
    """`VmRSS` or `VmHWM` (the peak) of this process; elsewhere than on Linux the peak for both."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def main(arguments: Sequence[str]) -> None:
    """The measuring process of `clip_cost`: prints one JSON object."""
    import torch

    model, seconds, threads, dtype = arguments[0], float(arguments[1]), int(arguments[2]), arguments[3]
    torch.set_num_threads(threads)
    network = named_network(model, dtype)
    audio = _noise(seconds)
    loaded = resident_bytes() / 2**30
    begun = time.perf_counter()
    frames = len(network.predict(audio))
    took = time.perf_counter() - begun
    cost = ClipCost(seconds, frames, loaded, resident_bytes("VmHWM") / 2**30, took)
    print(json.dumps(cost.__dict__))


if __name__ == "__main__":
    main(sys.argv[1:])
