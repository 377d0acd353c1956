"""A full-size network live: hops by torch, ONNX Runtime, bfloat16 and eight bits against plain windows, interleaved.

    python scripts/measure_full_size.py --threads 2 --hops 15 --report full_size.json
    python scripts/measure_full_size.py --model runs/small/model --hops 0 --audio one.wav two.wav

All ways hear the same hops one after the other in one process, so a busy machine slows all of them: the ratios count.
The weights are random (seed 0) unless a model folder is given. Differences are those to the plain windows (each by
itself, with the same frozen normalisation): the largest one; the root mean square as a share of each coefficient's
deviation in time; the mean one of the lip gap in mm on the default face; and the share of hops whose strongest emotion
is the same. `alone` normalises each window by itself, as an offline clip. Needs 8 GB for the preset `large`.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch

from emotalk_ros.audio import load_audio
from emotalk_ros.face import default_face
from emotalk_ros.model.benchmark import named_network, resident_bytes
from emotalk_ros.runtime.measure import speech_like
from emotalk_ros.runtime.processor import have_bfloat16
from emotalk_ros.runtime.stacks import Stack
from emotalk_ros.streaming.schedule import StreamSettings, WindowSchedule

WAYS = ("plain", "alone", "torch", "onnx", "bfloat16", "onnx-int8")
SLOWER = ("torch", "onnx", "bfloat16", "onnx-int8")
PLAIN = ("plain", 0.0)
Row = tuple[str, float]


class Measured:
    """What the ways made of the hops, and what it took."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.network = named_network(arguments.model)
        settings = StreamSettings(arguments.hop, arguments.context, arguments.lookahead)
        self.schedule = WindowSchedule.build(settings, self.network.config)
        ways = [way for way in arguments.ways.split(",") if way != "bfloat16" or have_bfloat16()]
        self.rows: list[Row] = [(way, 0.0) for way in ways]
        self.rows += [(way, arguments.emotion_every) for way in ways if way in SLOWER]
        disentangled = self.network.config.disentangle
        self.encoders = [self.network.content_encoder, *([self.network.emotion_encoder] if disentangled else [])]
        self.low = copy.deepcopy(self.network).to(torch.bfloat16) if "bfloat16" in ways else self.network
        self.stacks = {
            way: [Stack(encoder, precision, arguments.threads) for encoder in self.encoders]
            for way, precision in (("onnx", "float32"), ("onnx-int8", "int8"))
            if way in ways
        }
        self.took: dict[Row, list[float]] = defaultdict(list)
        self.busy: dict[Row, list[float]] = defaultdict(list)
        self.made: dict[Row, list[np.ndarray]] = defaultdict(list)
        self.felt: dict[Row, list[np.ndarray]] = defaultdict(list)

    def hear(self, audio: np.ndarray, hops: int) -> None:
        """All hops of a recording behind its first context (0), or so many and one before them, which is not timed."""
        first = round(self.arguments.context / self.arguments.hop) + 1
        memories = {row: self.network.stream_memory(self.schedule.longest, row[1]) for row in self.rows}
        memories[PLAIN].reuse = False
        k = 0
        while (window := self.schedule.window(first + k)).end <= len(audio) and (k <= hops or not hops):
            for row in self.rows:
                place = {"memory": memories[row], "start": window.base, "frames": window.stop - window.base}
                self._hop(row, audio[window.start : window.end], window, {} if row[0] == "alone" else place, k > 0)
            k += 1

    def _hop(self, row: Row, audio: np.ndarray, window, place: dict, timed: bool) -> None:
        for encoder, stack in zip(self.encoders, self.stacks.get(row[0], [None] * 2), strict=False):
            encoder.stack = stack
        model = self.low if row[0] == "bfloat16" else self.network
        begun, worked = time.perf_counter(), time.process_time()
        result = model.analyse(audio, **place)
        if timed:  # the first makes all features
            self.took[row].append((time.perf_counter() - begun) * 1e3)
            self.busy[row].append((time.process_time() - worked) * 1e3)
        rows = slice(window.first - window.base, window.stop - window.base)
        self.made[row].append(result.coefficients[rows])
        self.felt[row].append(result.frame_emotion_logits[rows].mean(0))

    def findings(self) -> list[dict]:
        """Of each way."""
        reference = np.concatenate(self.made[PLAIN])
        face = default_face()
        spread, gap = np.maximum(reference.std(0), 1e-9), face.lip_gap(reference)
        strongest = np.array(self.felt[PLAIN]).argmax(1)
        found = []
        for row in self.rows:
            made = np.concatenate(self.made[row])
            took, busy = self.took[row], self.busy[row]
            found.append(
                {
                    "way": row[0] + (f", emotion every {row[1]:g} s" if row[1] else ""),
                    "median_ms": statistics.median(took),
                    "mean_ms": statistics.mean(took),
                    "worst_ms": max(took),
                    "cpu_ms": statistics.mean(busy),
                    # Means: hops with the emotion encoder and those without, as they come.
                    "times_plain": statistics.mean(self.took[PLAIN]) / statistics.mean(took),
                    "times_plain_cpu": statistics.mean(self.busy[PLAIN]) / statistics.mean(busy),
                    "real_time_factor": statistics.mean(took) / 1e3 / self.arguments.hop,
                    "difference": float(np.abs(made - reference).max()),
                    "share_of_spread": float(np.sqrt(np.mean(np.square((made - reference) / spread)))),
                    "lip_gap_mm": float(np.abs(face.lip_gap(made) - gap).mean()),
                    "same_emotion": float((np.array(self.felt[row]).argmax(1) == strongest).mean()),
                }
            )
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="large", help="preset with random weights, or a folder")
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--hop", type=float, default=0.2)
    parser.add_argument("--context", type=float, default=2.0)
    parser.add_argument("--lookahead", type=float, default=None)
    parser.add_argument("--emotion-every", type=float, default=1.0, help="of a second row of each way but plain ones")
    parser.add_argument("--hops", type=int, default=15, help="that count, of each recording; 0: all")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--audio", nargs="*", default=[], help="recordings; without: syllables made by rule")
    parser.add_argument("--report", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    measured = Measured(arguments)
    seconds = arguments.context + arguments.hop * (arguments.hops + 5)
    for audio in [load_audio(path) for path in arguments.audio] or [speech_like(seconds)]:
        measured.hear(audio, arguments.hops)
    findings = measured.findings()
    titles = (
        "median, ms",
        "mean",
        "worst",
        "CPU",
        "x plain",
        "by CPU",
        "factor",
        "largest",
        "spread",
        "lips, mm",
        "felt",
    )
    print(f"{'way':28s}" + "".join(f"{title:>11s}" for title in titles))
    for one in findings:
        times = "".join(f"{one[key]:11.0f}" for key in ("median_ms", "mean_ms", "worst_ms", "cpu_ms"))
        ratios = "".join(f"{one[key]:11.2f}" for key in ("times_plain", "times_plain_cpu", "real_time_factor"))
        shares = f"{one['share_of_spread']:11.1%}{one['lip_gap_mm']:11.3f}{one['same_emotion']:11.0%}"
        print(f"{one['way']:28s}{times}{ratios}{one['difference']:11.1e}{shares}")
    print(f"{len(measured.took[PLAIN])} hops; memory of the process with all of these: {resident_bytes() / 1e9:.1f} GB")
    if arguments.report:
        arguments.report.write_text(json.dumps({"arguments": vars(arguments), "ways": findings}, default=str, indent=2))


if __name__ == "__main__":
    main()
