#!/usr/bin/env python3
"""One pass of a network for many voices on a GPU: time per hop, memory, difference from the processor. Some minutes.

Usage: measure_gpu.py [MODEL FOLDER | tiny ...] [--device cuda] [--voices 1 16 64 256] [--hops 60] [--dtypes float32 ..]

Without a model: the one that ships, and the preset tiny with random weights. Prints one line per network, number format
and number of voices: p50, p95, p99 of a hop of 0.1 s for all of them (ms), voices that would fit into real time, GPU
memory a voice (MiB), largest and mean difference of a coefficient from float32 on the processor, CUDA graphs that were
captured. `tiny` runs by CUDA graphs over batches of fixed sizes; the one that ships launches its operations one by one
and its attention voice by voice. A case that fails is told, and the next one goes on.
"""

import argparse
import time

import numpy as np
import torch

from emotalk_ros.model import default_model_path
from emotalk_ros.model.benchmark import named_network

HOP, FRAMES, LOOK_BACK = 1600, 3, 32000


def windows(model, sounds, memories, hop):
    """The window of hop `hop` of every voice: 2 s before it, and its look-ahead."""
    start = max(0, hop * HOP - LOOK_BACK)
    stop = hop * HOP + reach(model)
    frame = start * 30 // 16000
    wanted = FRAMES * (hop + 1) - frame
    return [
        (sound[start:stop], {"memory": memory, "start": frame, "frames": wanted})
        for sound, memory in zip(sounds, memories, strict=True)
    ]


def reach(model):
    """Samples from a hop's first frame to the end of the look-ahead of its last one."""
    return (FRAMES - 1) * 16000 // 30 + model.config.lookahead_samples


def network(name, device, dtype):
    model = named_network(name or str(default_model_path()))
    if name == "tiny":  # its output begins at zero
        torch.nn.init.normal_(model.output.weight, std=0.05)
    return model.to(device, dtype)


def run(model, sounds, hops):
    """Coefficients (voices, hops * 3, 52), and the seconds of each hop."""
    memories, rows, seconds = [model.stream_memory(80) for _ in sounds], [], []
    for hop in range(hops):
        begun = time.perf_counter()
        made = model.analyse_together(windows(model, sounds, memories, hop))  # ends with a copy to the host
        seconds.append(time.perf_counter() - begun)
        rows.append(np.stack([analysis.coefficients[-FRAMES:] for analysis in made]))
    return np.concatenate(rows, 1), np.array(seconds)


def measure(name, dtype, count, sounds, reference, arguments):
    torch.manual_seed(0)
    model, on_gpu = network(name, arguments.device, getattr(torch, dtype)), arguments.device.startswith("cuda")
    before = 0
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    made, seconds = run(model, sounds[:count], arguments.hops)
    p50, p95, p99 = 1e3 * np.percentile(seconds[len(seconds) // 2 :], (50, 95, 99))
    memory = (torch.cuda.max_memory_allocated() - before) / 2**20 / count if on_gpu else float("nan")
    known = min(count, len(reference))
    difference = np.abs(made[:known] - reference[:known])
    graphed = getattr(getattr(model, "_stream", None), "_graphed", None)
    print(
        f"{name or 'shipped':8} {dtype:9} {count:5} voices: {p50:7.2f} / {p95:7.2f} / {p99:7.2f} ms a hop, "
        f"{count * 100 / p50:8.0f} in real time, {memory:6.2f} MiB a voice, difference {difference.max():.1e} "
        f"({difference.mean():.1e}), graphs {len(graphed._captured) if graphed else 0}",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=["", "tiny"])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--voices", type=int, nargs="+", default=[1, 16, 64, 256])
    parser.add_argument("--hops", type=int, default=60)
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16", "float16"])
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    length = arguments.hops * HOP + 8000
    sounds = [(0.1 * rng.standard_normal(length)).astype(np.float32) for _ in range(max(arguments.voices))]
    for name in arguments.models:
        torch.manual_seed(0)
        reference, _ = run(network(name, "cpu", torch.float32), sounds[:2], arguments.hops)
        for dtype in arguments.dtypes:
            for count in arguments.voices:
                try:
                    measure(name, dtype, count, sounds, reference, arguments)
                except RuntimeError as error:
                    words = str(error).splitlines()[0]
                    print(
                        f"{name or 'shipped':8} {dtype:9} {count:5} voices: {type(error).__name__}: {words}", flush=True
                    )


if __name__ == "__main__":
    main()
