#!/usr/bin/env python3
"""How many voices one process carries live: audio in chunks of 20 ms, at the pace of speech, to all voices at once.

Usage: measure_voices.py [MODEL FOLDER | tiny] [--voices 20] [--seconds 60] [--hop 0.1] [--threads 1] [--hours 0]

Without a model: the one that ships. Prints one line: skipped hops, latency from the arrival of the audio that completes
a frame to the frame (p50, p95, p99 in ms), voices of a pass, share of one core, memory per voice. With --hours: one
stream of so many hours at full speed instead, to see that memory stays flat and that every frame comes.
"""

import argparse
import resource
import time

import torch

from emotalk_ros.audio import PcmChunk, encode_pcm
from emotalk_ros.model import default_model_path
from emotalk_ros.model.benchmark import named_network, resident_bytes
from emotalk_ros.runtime.measure import speech_like
from emotalk_ros.streaming import FaceStream, StreamSettings, VoiceHub
from emotalk_ros.streaming.worker import Crew, Worker, WorkerSettings

NS = 1_000_000_000
CHUNK = 320


def live(model, arguments):
    geometry = StreamSettings(hop=arguments.hop, context=2.0)
    FaceStream(model, geometry).push(speech_like(3.0))  # what is loaded and made once is no voice's
    before = resident_bytes() / 2**20
    crew, frames = Crew(model), [0] * arguments.voices
    settings = WorkerSettings(idle=False, idle_timeout=5.0)
    warnings, workers = [], []
    for number in range(arguments.voices):
        stream = FaceStream(model, geometry, live=True)

        def count(made, number=number):
            frames[number] += len(made)

        workers.append(Worker(stream, settings, count, lambda kind, text: warnings.append(text), crew=crew))
    sounds = [encode_pcm(speech_like(5.0, number), "s16le") for number in range(arguments.voices)]
    for worker in workers:
        worker.start()
    begun, used = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF)
    origin = time.time_ns()
    for chunk in range(round(arguments.seconds * 16000 / CHUNK)):
        at = (2 * chunk * CHUNK) % len(sounds[0])
        for number, worker in enumerate(workers):
            wait = begun + (chunk + 1 + number / len(workers)) * CHUNK / 16000 - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            stamp = origin + chunk * CHUNK * NS // 16000
            worker.offer(PcmChunk(sounds[number][at : at + 2 * CHUNK], "s16le", 1, 16000, stamp))
    took, after = time.monotonic() - begun, resource.getrusage(resource.RUSAGE_SELF)
    memory = (resident_bytes() / 2**20 - before) / arguments.voices
    skipped = sum(worker.figures.skipped_hops for worker in workers)
    failures = sum(worker.figures.failures for worker in workers)
    readings = [worker.figures.reading(time.monotonic()) for worker in workers]
    worst = [max(reading[f"latency_p{q}_ms"] or 0.0 for reading in readings) for q in (50, 95, 99)]
    for worker in workers:
        worker.stop()
    cores = (after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime) / took
    print(
        f"{arguments.model or 'shipped'}: {arguments.voices} voices, hop {arguments.hop:.3f} s, {took:.0f} s: "
        f"{skipped} hops skipped, {failures} failures, {sum(frames)} frames, latency of the worst voice p50/p95/p99 "
        f"{worst[0]:.0f}/{worst[1]:.0f}/{worst[2]:.0f} ms, {crew.passes.mean:.1f} voices a pass, {cores:.2f} cores, "
        f"{memory:.1f} MiB a voice, {before:.0f} MiB without any",
        flush=True,
    )
    for text in sorted(set(warnings))[:3]:
        print(" ", text)


def hours(model, arguments):
    hub = VoiceHub(model)
    voice = hub.join(StreamSettings(hop=2.0, context=2.0), ear="")
    sound, fed, count, begun = speech_like(60.0), 0, 0, time.monotonic()
    total, in_order = round(arguments.hours * 3600 * 16000), True
    while fed < total:
        at = fed % len(sound)
        piece = sound[at : min(at + 32000, at + total - fed)]
        for frame in hub.push({voice: piece})[voice]:
            in_order &= frame.index == count and frame.stamp_ns == round(count * NS / 30)
            count += 1
        fed += len(piece)
        if fed % (16000 * 3600) == 0:
            took = time.monotonic() - begun
            memory = resident_bytes() / 2**20
            print(f"{fed / 57_600_000:.0f} h in {took:.0f} s: {memory:.1f} MiB, {count} frames", flush=True)
    count += len(hub.end(voice)[voice])
    wanted = round(arguments.hours * 3600 * 30)
    print(f"{count} frames of {wanted}, each once and in order: {in_order and count == wanted}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="")
    parser.add_argument("--voices", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--hop", type=float, default=0.1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--hours", type=float, default=0.0)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model = named_network(arguments.model or str(default_model_path()))
    hours(model, arguments) if arguments.hours else live(model, arguments)


if __name__ == "__main__":
    main()
