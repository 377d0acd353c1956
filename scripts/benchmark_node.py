#!/usr/bin/env python3
"""Speech at real time through a running emotalk node: lost frames, latency, processor and memory.

    scripts/benchmark_node.py                       60 s of the demo's speech
    scripts/benchmark_node.py --seconds 600 --json soak.json

Latency runs from the publication of the chunk that holds a frame's instant to the arrival of that frame here, so it
includes both ways over DDS. Exit status 1: a frame is missing, doubled or off the grid, or a bound is missed.
"""

import argparse
import json
import os
import sys
import threading
import time
from pathlib import Path

from emotalk_ros.files import write_text
from emotalk_ros.nodes.processes import Crew, NodeSpec, free_domain

os.environ["ROS_DOMAIN_ID"] = str(free_domain())
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"

import numpy as np
import psutil
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.qos import QoSProfile

from emotalk_ros.audio import encode_pcm, load_audio
from emotalk_ros.msg import AudioChunk, BlendshapeCoefficients
from emotalk_ros.nodes.messages import audio_chunk, from_time
from emotalk_ros.units import NS

CHUNK = 320  # 20 ms


class Bench:
    """The other end of the topics, spinning in a thread."""

    def __init__(self):
        self.node = rclpy.create_node("benchmark")
        self.frames, self.status = [], {}
        self.audio = self.node.create_publisher(AudioChunk, "audio", QoSProfile(depth=1000))
        self.node.create_subscription(BlendshapeCoefficients, "blendshapes", self._frame, QoSProfile(depth=5000))
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._diagnostics, 10)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def close(self):
        rclpy.try_shutdown()
        self._thread.join(5.0)

    def _spin(self):
        try:
            while rclpy.ok():
                self._executor.spin_once(timeout_sec=0.1)
        except ExternalShutdownException:
            pass

    def _frame(self, message):
        if message.kind == message.SPEECH:
            self.frames.append((time.monotonic(), message.frame, from_time(message.header.stamp)))

    def _diagnostics(self, message):
        for status in message.status:
            self.status.update({pair.key: pair.value for pair in status.values})


def play(bench, speech, process):
    """Publish at real time. Returns the stamp of the first sample, the send times, and (time, cpu seconds, bytes)."""
    start_ns, begin, sent, usage = time.time_ns(), time.monotonic(), [], []
    for at in range(0, len(speech), CHUNK):
        time.sleep(max(0.0, begin + (at + CHUNK) / 16000 - time.monotonic()))
        data = encode_pcm(speech[at : at + CHUNK], "s16le")
        stamp = start_ns + at * NS // 16000
        sent.append(time.monotonic())
        bench.audio.publish(audio_chunk(data, stamp_ns=stamp, sample_rate=16000, channels=1, encoding="s16le"))
        if at % 16000 == 0:
            times = process.cpu_times()
            usage.append((sent[-1], times.user + times.system, process.memory_info().rss))
    return start_ns, np.array(sent), np.array(usage)


def measure(frames, start_ns, sent, usage, samples, status):
    """The figures."""
    arrived, sequence, stamps = (np.array(column) for column in zip(*frames, strict=True))
    expected = -(-samples * 30 // 16000)
    grid = start_ns + np.round(sequence * (NS / 30)).astype(np.int64)
    chunk = np.minimum((stamps - start_ns) * 16000 // NS // CHUNK, len(sent) - 1)
    inside = sequence < expected
    latency = (arrived - sent[chunk])[inside] * 1000
    # Frames next to each other, after the first second: how far their distance is from 1 / 30 s.
    uneven = np.abs(np.diff(arrived)[30:] - np.diff(sequence)[30:] / 30) * 1000
    # What a loop of 50 Hz sees that looks at the newest frame: new values in each whole second after the first.
    ticks = np.arange(arrived[0] + 1.0, arrived[-1] - 0.1, 1 / 50)
    newest = np.searchsorted(arrived, ticks)
    seen = [int((np.diff(newest[at : at + 51]) > 0).sum()) for at in range(0, len(newest) - 50, 50)]
    hop, lookahead = float(status["hop_s"]), float(status["lookahead_s"])
    settled = usage[usage[:, 0] > usage[0, 0] + min(30.0, 0.25 * samples / 16000)]
    third = max(1, len(settled) // 3)
    before, after = settled[:third, 2].mean(), settled[-third:, 2].mean()
    return {
        "seconds": samples / 16000,
        "frames_expected": expected,
        "frames": len(sequence),
        "missing": len(set(range(expected)) - set(sequence.tolist())),
        "doubled": len(sequence) - len(set(sequence.tolist())),
        "off_grid": int((np.abs(stamps - grid) > 1).sum()),
        "latency_ms": {f"p{q}": round(float(np.percentile(latency, q)), 1) for q in (50, 95, 99, 100)},
        "latency_bound_ms": round((lookahead + hop + 0.05 + 1 / 30) * 1000, 1),
        "interval_error_ms": {f"p{q}": round(float(np.percentile(uneven, q)), 1) for q in (50, 95, 99)},
        "new_values_at_50_hz": {"min": min(seen), "mean": round(float(np.mean(seen)), 2), "max": max(seen)},
        "cpu_percent_of_a_core": round(100 * float(np.diff(usage[[0, -1], 1])[0] / np.diff(usage[[0, -1], 0])[0]), 1),
        "rss_mb": round(after / 2**20, 1),
        "rss_growth_percent": round(100 * (after / before - 1), 2),
        "skipped_hops": int(status["skipped_hops"]),
        "hop_s": hop,
        "lookahead_s": lookahead,
        "model": status["model"],
        "load_average": os.getloadavg()[0],
    }


def problems(figures):
    """What missed its bound, in words."""
    found = [f"{figures[name]} frames {name}" for name in ("missing", "doubled", "off_grid") if figures[name]]
    if figures["frames"] != figures["frames_expected"]:
        found.append(f"{figures['frames']} frames instead of {figures['frames_expected']}")
    if figures["latency_ms"]["p95"] > figures["latency_bound_ms"]:
        found.append(f"latency p95 {figures['latency_ms']['p95']} ms over {figures['latency_bound_ms']} ms")
    if figures["interval_error_ms"]["p99"] > 5:
        found.append(f"interval error p99 {figures['interval_error_ms']['p99']} ms over 5 ms")
    if figures["new_values_at_50_hz"]["mean"] < 29.5:
        found.append(f"{figures['new_values_at_50_hz']['mean']} new values a second in a loop of 50 Hz, not 30")
    if figures["cpu_percent_of_a_core"] > 60:
        found.append(f"{figures['cpu_percent_of_a_core']} % of a core, over 60 %")
    if figures["rss_growth_percent"] > 5:
        found.append(f"memory grew by {figures['rss_growth_percent']} %, over 5 %")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(__file__).resolve().parents[1] / "examples" / "speech" / "demo.ogg"
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to play (default 60)")
    parser.add_argument("--speech", type=Path, default=default, help="audio file, repeated as often as needed")
    parser.add_argument("--model", default="", help="folder of the network (default: the one that ships)")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    words = parser.parse_args()
    speech = np.resize(load_audio(words.speech), round(words.seconds * 16000))
    rclpy.init()
    bench = Bench()
    network = {"model.path": words.model} if words.model else {}
    try:
        with Crew() as crew:
            node = crew.start(NodeSpec("emotalk_node", {"exit_on_failure": True, **network}, essential=True))
            while not (bench.audio.get_subscription_count() and bench.node.count_publishers("blendshapes")):
                if crew.ended():
                    return 1
                time.sleep(0.1)
            time.sleep(1.0)
            start_ns, sent, usage = play(bench, speech, psutil.Process(node.pid))
            time.sleep(1.5)  # the last frames, released at their time
            figures = measure(list(bench.frames), start_ns, sent, usage, len(speech), dict(bench.status))
    finally:
        bench.close()
    print(json.dumps(figures, indent=2))
    if words.json:
        write_text(words.json, json.dumps(figures, indent=2) + "\n")
    found = problems(figures)
    print("; ".join(found) if found else "all bounds are met", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
