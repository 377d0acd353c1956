#!/usr/bin/env python3
"""What the live stream costs: milliseconds per hop and real-time factor, for several geometries in one run.

Usage: benchmark_streaming.py [MODEL FOLDER | tiny | base | large] [--seconds 20] [--threads 1]

Without a model: the one that ships. Times are wall-clock of one process, chunks of 20 ms; compare the ratios within
a run, the milliseconds belong to this machine and its load.
"""

import argparse
import time

import numpy as np
import soxr
import torch

from emotalk_ros.audio import AudioIntake, PcmChunk, SpeechActivity, encode_pcm
from emotalk_ros.model import EmoTalk, EmoTalkConfig, load_model
from emotalk_ros.streaming import FaceStream, StreamSettings

GEOMETRIES = [(1 / 30, 2.0, 30), (0.1, 1.0, 30), (0.1, 2.0, 30), (0.1, 2.0, 60), (0.1, 4.0, 30), (0.2, 2.0, 30)]


class Timed:
    """A model that adds up the time spent in it."""

    def __init__(self, model):
        self.model, self.config, self.seconds, self.each = model, model.config, 0.0, []

    def stream_memory(self, frames, emotion_every=0.0):
        return self.model.stream_memory(frames, emotion_every)

    def analyse(self, audio, **controls):
        begin = time.perf_counter()
        result = self.model.analyse(audio, **controls)
        self.each.append(time.perf_counter() - begin)
        self.seconds += self.each[-1]
        return result


def speech_like(seconds):
    time_axis = np.arange(round(16000 * seconds)) / 16000
    syllables = np.clip(np.sin(2 * np.pi * 2 * time_axis), 0, 1)
    noise = np.random.default_rng(0).standard_normal(len(time_axis))
    return (0.2 * syllables * (np.sin(2 * np.pi * 150 * time_axis) + 0.3 * noise)).astype(np.float32)


def measure(model, audio, hop, context, fps):
    timed = Timed(model)
    stream = FaceStream(timed, StreamSettings(hop, context, None, fps))
    stream.push(audio[:64000])  # warm up, and fill the context
    timed.seconds, timed.each = 0.0, []
    begin = time.perf_counter()
    for at in range(64000, len(audio), 320):
        stream.push(audio[at : at + 320])
    total = time.perf_counter() - begin
    duration = (len(audio) - 64000) / 16000
    return np.array(timed.each) * 1e3, (total - timed.seconds) / len(timed.each) * 1e3, total / duration, stream


def per_second(function, audio):
    begin = time.perf_counter()
    for at in range(0, len(audio), 320):
        function(at, audio[at : at + 320])
    return (time.perf_counter() - begin) / (len(audio) / 16000) * 1e3


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", help="folder or preset; default: the model that ships")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.model in ("tiny", "base", "large"):
        model, name = EmoTalk(EmoTalkConfig.preset(arguments.model)).eval(), f"{arguments.model} (random weights)"
    else:
        model = load_model(arguments.model)
        name = arguments.model or "the model that ships"
    audio = speech_like(arguments.seconds + 4)
    print(f"{name}, {sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters, {arguments.threads} thread(s)")
    print("  hop  context  fps   model ms per hop: median    p95   stream ms per hop   x real time   longest wait")
    for hop, context, fps in GEOMETRIES:
        each, rest, factor, stream = measure(model, audio, hop, context, fps)
        print(
            f"{hop:5.3f}  {context:5.1f} s  {fps:3d}   {np.median(each):25.2f}  {np.percentile(each, 95):5.2f}"
            f"   {rest:17.2f}   {1 / factor:11.1f}   {stream.schedule.latency * 1e3:8.0f} ms"
        )
    activity, intake = SpeechActivity(), AudioIntake()
    wide = soxr.resample(audio, 16000, 48000)
    print(f"speech activity: {per_second(lambda _, piece: activity.push(piece), audio):.1f} ms per second of audio")
    packed = [encode_pcm(wide[at : at + 960], "s16le") for at in range(0, len(wide), 960)]

    def take(at, _):
        intake.push(PcmChunk(packed[at // 320], "s16le", 1, 48000, 10**18 + at * 62500))

    print(f"intake of 48 kHz in 20 ms chunks: {per_second(take, audio):.1f} ms per second of audio")


if __name__ == "__main__":
    main()
