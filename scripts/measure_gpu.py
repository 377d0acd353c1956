#!/usr/bin/env python3
"""One pass of the network for many voices on a GPU: time per hop, memory, difference from the processor. Some minutes.

Usage: measure_gpu.py [MODEL FOLDER] [--device cuda] [--voices 1 16 64 256] [--hops 60] [--dtypes float32 bfloat16]

Prints one line per number format and number of voices: p50, p95, p99 of a hop of 0.1 s for all of them (ms), voices
that would fit into real time, GPU memory a voice (MiB), largest difference of a coefficient from float32 on the
processor. Operations are launched one by one: there are no CUDA graphs yet.
"""

import argparse
import time

import numpy as np
import torch

from emotalk_ros.model import load_model

HOP, FIRST, FRAMES, LOOK_BACK = 1600, 4040, 3, 32000


def windows(sounds, memories, hop):
    """The window of hop `hop` of every voice: 2 s before it, and its look-ahead."""
    start = max(0, hop * HOP - LOOK_BACK)
    stop = hop * HOP + FIRST
    frame = start * 30 // 16000
    wanted = FRAMES * (hop + 1) - frame
    return [
        (sound[start:stop], {"memory": memory, "start": frame, "frames": wanted})
        for sound, memory in zip(sounds, memories, strict=True)
    ]


def run(model, sounds, hops):
    """Coefficients (voices, hops * 3, 52), and the seconds of each hop."""
    memories, rows, seconds = [model.stream_memory(80) for _ in sounds], [], []
    for hop in range(hops):
        begun = time.perf_counter()
        made = model.analyse_together(windows(sounds, memories, hop))  # ends with a copy to the host
        seconds.append(time.perf_counter() - begun)
        rows.append(np.stack([analysis.coefficients[-FRAMES:] for analysis in made]))
    return np.concatenate(rows, 1), np.array(seconds)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--voices", type=int, nargs="+", default=[1, 16, 64, 256])
    parser.add_argument("--hops", type=int, default=60)
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16", "float16"])
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    length = arguments.hops * HOP + FIRST
    sounds = [(0.1 * rng.standard_normal(length)).astype(np.float32) for _ in range(max(arguments.voices))]
    reference, _ = run(load_model(arguments.model), sounds[:4], arguments.hops)
    on_gpu = arguments.device.startswith("cuda")
    for dtype in arguments.dtypes:
        model = load_model(arguments.model, arguments.device, getattr(torch, dtype))
        for count in arguments.voices:
            if on_gpu:
                torch.cuda.reset_peak_memory_stats()
                before = torch.cuda.memory_allocated()
            made, seconds = run(model, sounds[:count], arguments.hops)
            p50, p95, p99 = 1e3 * np.percentile(seconds[len(seconds) // 3 :], (50, 95, 99))
            memory = (torch.cuda.max_memory_allocated() - before) / 2**20 / count if on_gpu else float("nan")
            known = min(count, len(reference))
            difference = np.abs(made[:known] - reference[:known]).max()
            print(
                f"{dtype:9} {count:5} voices: {p50:7.2f} / {p95:7.2f} / {p99:7.2f} ms a hop, "
                f"{count * 100 / p50:8.0f} in real time, {memory:6.2f} MiB a voice, difference {difference:.1e}",
                flush=True,
            )


if __name__ == "__main__":
    main()
