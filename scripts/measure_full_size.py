"""A full-size network live: hops by torch, ONNX Runtime, bfloat16 and eight bits against plain windows, interleaved.

    python scripts/measure_full_size.py --threads 2 --hops 12 --report full_size.json

All ways hear the same hops one after the other in one process, so a busy machine slows all of them: the ratios count.
The weights are random (seed 0) unless a model folder is given; differences are those to the plain windows with the same
frozen normalisation, as a share of the coefficients' deviation in time. Needs 8 GB for the preset `large`.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from emotalk_ros.audio import load_audio
from emotalk_ros.model.benchmark import named_network, resident_bytes
from emotalk_ros.runtime.measure import speech_like
from emotalk_ros.runtime.stacks import Stack
from emotalk_ros.streaming.schedule import StreamSettings, WindowSchedule

WAYS = ("plain", "torch", "onnx", "bfloat16", "onnx-int8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="large", help="preset with random weights, or a folder")
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--hop", type=float, default=0.2)
    parser.add_argument("--context", type=float, default=2.0)
    parser.add_argument("--lookahead", type=float, default=None)
    parser.add_argument("--emotion-every", type=float, default=1.0, help="of a second row of each approximate way")
    parser.add_argument("--hops", type=int, default=12, help="that count")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--audio", help="recording to hear; without: syllables made by rule")
    parser.add_argument("--report", type=Path)
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    network = named_network(arguments.model)
    settings = StreamSettings(arguments.hop, arguments.context, arguments.lookahead)
    schedule = WindowSchedule.build(settings, network.config)
    first = round(arguments.context / arguments.hop) + 1
    windows = [schedule.window(first + k) for k in range(arguments.hops + 1)]
    audio = load_audio(arguments.audio) if arguments.audio else speech_like(windows[-1].end / 16_000 + 1)
    encoders = [network.content_encoder] + ([network.emotion_encoder] if network.config.disentangle else [])
    rows = [(way, 0.0) for way in arguments.ways.split(",")]
    rows += [(way, arguments.emotion_every) for way, _ in rows if way in ("torch", "onnx", "bfloat16", "onnx-int8")]
    low = copy.deepcopy(network).to(torch.bfloat16) if ("bfloat16", 0.0) in rows else network
    stacks = {
        way: [Stack(encoder, precision, arguments.threads) for encoder in encoders]
        for way, precision in (("onnx", "float32"), ("onnx-int8", "int8"))
        if (way, 0.0) in rows
    }
    memories = {row: network.stream_memory(schedule.longest, row[1]) for row in rows}
    for (way, _), memory in memories.items():
        memory.reuse = way != "plain"
    took = {row: [] for row in rows}
    busy = {row: [] for row in rows}
    made = {row: [] for row in rows}
    for k, window in enumerate(windows):
        place = {"start": window.base, "frames": window.stop - window.base}
        for row in rows:
            for encoder, stack in zip(encoders, stacks.get(row[0], [None] * 2), strict=False):
                encoder.stack = stack
            model = low if row[0] == "bfloat16" else network
            begun, worked = time.perf_counter(), time.process_time()
            result = model.analyse(audio[window.start : window.end], memory=memories[row], **place)
            if k:  # the first makes all features
                took[row].append((time.perf_counter() - begun) * 1e3)
                busy[row].append((time.process_time() - worked) * 1e3)
            made[row].append(result.coefficients[window.first - window.base :])
    reference = np.concatenate(made["plain", 0.0])
    spread = reference.std(0)
    findings = []
    base = ("plain", 0.0)
    print(f"{'way':28s} median   mean    CPU   x plain  x plain (CPU)  factor  largest difference  of the spread")
    for row in rows:
        apart = np.concatenate(made[row]) - reference
        share = float(np.sqrt(np.mean(np.square(apart) / np.maximum(spread, 1e-9) ** 2)))
        # Means: hops with the emotion encoder and those without, as they come.
        finding = {
            "way": row[0],
            "emotion_every": row[1],
            "median_ms": statistics.median(took[row]),
            "mean_ms": statistics.mean(took[row]),
            "worst_ms": max(took[row]),
            "cpu_ms": statistics.mean(busy[row]),
            "times_plain": statistics.mean(took[base]) / statistics.mean(took[row]),
            "times_plain_cpu": statistics.mean(busy[base]) / statistics.mean(busy[row]),
            "real_time_factor": statistics.mean(took[row]) / 1e3 / arguments.hop,
            "difference": float(np.abs(apart).max()),
            "share_of_spread": share,
        }
        findings.append(finding)
        name = row[0] + (f", emotion every {row[1]:g} s" if row[1] else "")
        print(
            f"{name:28s} {finding['median_ms']:6.0f} {finding['mean_ms']:6.0f} {finding['cpu_ms']:6.0f}"
            f" {finding['times_plain']:8.2f} {finding['times_plain_cpu']:12.2f} {finding['real_time_factor']:9.2f}"
            f" {finding['difference']:17.1e} {share:14.1%}"
        )
    print(f"memory of the process with all of these: {resident_bytes() / 1e9:.1f} GB")
    if arguments.report:
        arguments.report.write_text(json.dumps({"arguments": vars(arguments), "ways": findings}, default=str, indent=2))


if __name__ == "__main__":
    main()
