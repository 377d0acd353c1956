"""What a hop costs: backends, hops and numbers of voices against the plain pass, each case in a process of its own.

python -m emotalk_ros.runtime.measure '{"way": "onnx", "hop": 0.1, "voices": 1, ...}'   # one case, one JSON object
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotalk_ros.model.benchmark import named_network, resident_bytes
from emotalk_ros.runtime.choice import have_torch, load_network
from emotalk_ros.runtime.processor import have_bfloat16
from emotalk_ros.streaming.schedule import StreamSettings, WindowSchedule
from emotalk_ros.units import SAMPLE_RATE

Array = NDArray[np.float32]

WAYS = ("torch", "plain", "onnx", "onnx-int8", "bfloat16")
"""plain: each window by itself, nothing kept, by torch. torch, onnx, onnx-int8: only what is new, by that backend.
bfloat16: by torch in that number format."""
PRESETS = ("tiny", "base", "large")
FULL_ATTENTION = ("base", "large")
"""Presets whose windows are heard anew with each hop."""
EMOTION_EVERY = 1.0
"""Seconds between two runs of the emotion encoder, in the rows that try such a clock."""
_WARM_UP = 25
"""Hops before the first one that counts: windows are full, segments of the trunk overlap."""
_FEW_HOPS = 2
"""The same of a network with full attention, whose first window is a full one."""


@dataclass(frozen=True)
class Case:
    """What is measured.

    Attributes:
        model: folder, the name of a preset (random weights), or "" for the network that ships.
        way: one of `WAYS`.
        hop, context: seconds.
        emotion_every: seconds between two runs of the emotion encoder (full attention); 0: with each hop.
        voices: streams in one pass.
        hops: how many count.
        threads: of the processor.
        device: cpu or cuda.
    """

    model: str = ""
    way: str = "torch"
    hop: float = 0.1
    context: float = 2.0
    emotion_every: float = 0.0
    voices: int = 1
    hops: int = 60
    threads: int = 1
    device: str = "cpu"

    @property
    def network(self) -> str:
        """The network's name in a table."""
        return Path(self.model).name if self.model else "shipped"


@dataclass(frozen=True)
class Cost:
    """What it costs: milliseconds of a hop of all voices together, and memory.

    Attributes:
        p50, p95, p99, cpu: of a hop; `cpu` is the mean processor time, which a loaded machine falsifies less.
        factor: real-time factor, mean time of a hop over the hop.
        resident_mb: of the process at the end; voice_mb: what each voice added.
        difference: largest and mean difference of the coefficients to the stream that torch computes; None: not known.
        problem: why it could not be measured; "" otherwise.
    """

    case: Case
    p50: float = 0.0
    p95: float = 0.0
    p99: float = 0.0
    cpu: float = 0.0
    factor: float = 0.0
    resident_mb: float = 0.0
    voice_mb: float = 0.0
    difference: tuple[float, float] | None = None
    problem: str = field(default="")


def cases(
    models: Iterable[str], ways: Iterable[str], hops: Iterable[float], voices: Iterable[int], count: int, threads: int
) -> list[Case]:
    """All that belongs into one table: every way at every hop with one voice, then several voices at the hop of 0.1 s.

    The preset `tiny` has no graphs: it is measured by torch alone. Those with full attention are heard at hops that
    divide into the grid of their windows, and the approximate ways with the emotion encoder on a slower clock too.
    """
    wanted, hops, ways = [], list(hops), list(ways)
    for model in models:
        name = "" if model == "shipped" else model
        if model in FULL_ATTENTION:
            wanted += _full_attention(model, ways, hops, count, threads)
            continue
        other = ("onnx", "bfloat16") if model in PRESETS else ("bfloat16",)
        able = [way for way in ways if not way.startswith(other)]
        base = {"model": name, "hops": count, "threads": threads}
        wanted += [Case(way=way, hop=hop, **base) for hop in hops for way in able]  # type: ignore[arg-type]
        wanted += [
            Case(way=way, hop=0.1, voices=several, **base)  # type: ignore[arg-type]
            for several in voices
            if several > 1
            for way in able
            if way != "plain"
        ]
    return wanted


def _full_attention(model: str, ways: Iterable[str], hops: Iterable[float], count: int, threads: int) -> list[Case]:
    """The cases of a network with full attention: hops of at least 0.1 s, few of them."""
    wanted = []
    for hop in hops:
        if round(hop / 0.1, 6) % 1:
            continue
        few = max(round(EMOTION_EVERY / hop), count // 10)
        for way in ways:
            case = Case(model, way, hop, hops=few, threads=threads)
            wanted.append(case)
            if way in ("onnx-int8", "bfloat16"):
                wanted.append(replace(case, emotion_every=EMOTION_EVERY))
    return wanted


def gpu_cases(models: Iterable[str], count: int) -> list[Case]:
    """Voices on the GPU, where torch sees one."""
    return [
        Case(model="" if model == "shipped" else model, voices=voices, hops=count, device="cuda")
        for model in models
        for voices in (1, 16, 64, 256)
    ]


def measure_all(wanted: Iterable[Case]) -> Iterator[Cost]:
    """The costs, one by one, each from a process of its own.

    Differences are those to torch's stream of the same network and hop, where that was measured before.
    """
    with tempfile.TemporaryDirectory() as folder:
        for case in wanted:
            output = Path(folder) / f"{case.network}-{case.hop:.3f}-{case.way}-{case.emotion_every}-{case.voices}.npy"
            cost = _in_process(case, output)
            reference = Path(folder) / f"{case.network}-{case.hop:.3f}-torch-0.0-1.npy"
            if not cost.problem and reference.is_file() and reference != output and output.is_file():
                ours, theirs = np.load(output), np.load(reference)
                count = min(len(ours), len(theirs))
                apart = np.abs(ours[:count] - theirs[:count])
                cost = Cost(**{**cost.__dict__, "difference": (float(apart.max()), float(apart.mean()))})
            yield cost


def _in_process(case: Case, output: Path) -> Cost:
    command = [sys.executable, "-m", __name__, json.dumps(asdict(case)), str(output)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(case.threads)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
        return Cost(case, problem=lines[-1][:200])
    return Cost(case, **json.loads(done.stdout.splitlines()[-1]))


def measure(case: Case, output: Path | None = None) -> Cost:
    """One case in this process; voice 0's coefficients go to `output`."""
    network = _network(case)
    schedule = WindowSchedule.build(StreamSettings(case.hop, case.context), network.config)
    full = getattr(network.config, "lookahead_samples", None) is None
    # A network with full attention begins in the middle of a stream: a full window, then what is new.
    begin, warm_up = (round(case.context / case.hop) + 1, _FEW_HOPS) if full else (0, _WARM_UP)
    windows = [schedule.window(begin + k) for k in range(warm_up + case.hops)]
    audio = [speech_like(windows[-1].end / SAMPLE_RATE + 1.0, seed) for seed in range(case.voices)]
    before = resident_bytes() / 1e6
    memories = [_memory(network, case, schedule.longest) for _ in audio]
    took, busy, rows = [], [], []
    for window in windows:
        pieces = [samples[window.start : window.end] for samples in audio]
        places: list[dict[str, Any]] = [
            {} if memory is None else {"memory": memory, "start": window.base, "frames": window.stop - window.base}
            for memory in memories
        ]
        begun, worked = time.perf_counter(), time.process_time()
        if memories[0] is not None and hasattr(network, "analyse_together"):
            made = network.analyse_together(list(zip(pieces, places, strict=True)))
        else:
            made = [network.analyse(piece, **place) for piece, place in zip(pieces, places, strict=True)]
        took.append((time.perf_counter() - begun) * 1e3)
        busy.append((time.process_time() - worked) * 1e3)
        rows.append(made[0].coefficients[window.first - window.base : window.stop - window.base])
    if output is not None:
        np.save(output, np.concatenate(rows))
    counted = np.array(took[warm_up:])
    end = resident_bytes() / 1e6
    p50, p95, p99 = (float(np.percentile(counted, q)) for q in (50, 95, 99))
    return Cost(
        case, p50, p95, p99, float(np.mean(busy[warm_up:])), float(counted.mean() / 1e3 / schedule.hop_seconds),
        end, (end - before) / case.voices,
    )  # fmt: skip


def _memory(network: Any, case: Case, frames: int) -> Any:
    """What windows pass on; of plain ones nothing, but for the constants of the normalisation where there are some."""
    memory = network.stream_memory(frames, case.emotion_every)
    if case.way != "plain":
        return memory
    if not hasattr(memory, "reuse"):
        return None
    memory.reuse = False
    return memory


def have_gpu() -> bool:
    """Whether torch is there and sees a GPU."""
    if not have_torch():
        return False
    import torch

    return torch.cuda.is_available()


def figures(costs: Iterable[Cost]) -> dict[str, Any]:
    """All of a table for a JSON file, with the machine it was measured on."""
    import platform

    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    names = [line.split(":", 1)[1].strip() for line in flags.splitlines() if line.startswith("model name")]
    has = [name for name in ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp") if name in flags]
    machine = {"processor": names[0] if names else platform.machine(), "cores": os.cpu_count(), "instructions": has}
    return {"machine": machine, "costs": [asdict(cost) for cost in costs]}


def speech_like(seconds: float, seed: int = 0) -> Array:
    """Syllables of a voice with noise, (n,)."""
    axis = np.arange(round(SAMPLE_RATE * seconds)) / SAMPLE_RATE
    loud = np.clip(np.sin(2 * np.pi * (1.7 + 0.1 * (seed % 7)) * axis + seed), 0, 1)
    noise = np.random.default_rng(seed).standard_normal(len(axis))
    return (0.2 * loud * (np.sin(2 * np.pi * (120 + 7 * (seed % 13)) * axis) + 0.3 * noise)).astype(np.float32)


def _network(case: Case) -> Any:
    if case.model in PRESETS and not Path(case.model).exists():
        import torch

        torch.set_num_threads(case.threads)
        if case.way == "bfloat16" and not have_bfloat16():
            raise RuntimeError("this processor has no instructions for bfloat16")
        network = named_network(case.model, "bfloat16" if case.way == "bfloat16" else "float32").to(case.device)
        if case.way.startswith("onnx"):
            from emotalk_ros.runtime.stacks import compute_stacks

            compute_stacks(network, "int8" if case.way == "onnx-int8" else "float32", case.threads)
        return network
    backend = "torch" if case.way in ("plain", "torch") else case.way
    return load_network(case.model or None, case.device, case.threads, backend).network


if __name__ == "__main__":
    result = measure(Case(**json.loads(sys.argv[1])), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
    print(json.dumps({name: value for name, value in result.__dict__.items() if name not in ("case", "difference")}))
