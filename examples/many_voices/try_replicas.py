"""Tries the deployment: several replicas, several voices, and one replica killed while they speak.

    python try_replicas.py [--replicas 3] [--voices 6] [--seconds 12]

Prints for each voice its replicas, frames, the break that it saw, and how far its coefficients are from an undisturbed
stream: during the break's context, and afterwards. Fails if a frame is missing, doubled or off its grid.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
from collections import Counter
from typing import Any

import numpy as np

NS = 1_000_000_000


def voice_like(seconds: float, seed: int) -> np.ndarray:
    """Syllables of a voice, int16."""
    time = np.arange(round(16000 * seconds)) / 16000
    loud = np.clip(np.sin(2 * np.pi * (1.8 + 0.1 * seed) * time + seed), 0, 1)
    noise = np.random.default_rng(seed).standard_normal(len(time))
    return (np.clip(0.2 * loud * (np.sin(2 * np.pi * (120 + 9 * seed) * time) + 0.3 * noise), -1, 1) * 32767).astype(
        "<i2"
    )


async def trial(voices: int, seconds: float) -> list:
    """All voices speak; in the middle the replica with most of them is killed."""
    from client import Speaker

    speakers = [Speaker("ws://127.0.0.1:8000/voice") for _ in range(voices)]
    tasks = [
        asyncio.create_task(speaker.speak(voice_like(seconds, seed), 1_000_000_007 * (seed + 1)))
        for seed, speaker in enumerate(speakers)
    ]
    while min(speaker.spoken for speaker in speakers) < seconds * 10 / 2:
        await asyncio.sleep(0.05)
    crowded = Counter(speaker.processes[-1] for speaker in speakers)
    victim, count = crowded.most_common(1)[0]
    print(f"voices by replica {dict(crowded)}; killing {victim} with {count} of them")
    os.kill(victim, signal.SIGKILL)
    await asyncio.gather(*tasks)
    return speakers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replicas", type=int, default=3)
    parser.add_argument("--voices", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=12.0)
    arguments = parser.parse_args()
    os.environ["EMOTALK_REPLICAS"] = str(arguments.replicas)
    os.environ.setdefault("EMOTALK_CPUS", "0.2")

    import ray
    from ray import serve
    from serve_voices import app

    from emotalk_ros.runtime import load_network

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": 8000})
    serve.run(app)
    speakers = asyncio.run(trial(arguments.voices, arguments.seconds))
    serve.shutdown()
    ray.shutdown()
    network = load_network(backend="onnx").network
    for seed, speaker in enumerate(speakers):
        compare(seed, speaker, undisturbed(network, seed, arguments.seconds), int(arguments.seconds * 30 / 2))


def undisturbed(network: Any, seed: int, seconds: float) -> list:
    """The frames of a stream that nothing happened to."""
    from emotalk_ros.streaming import FaceStream, StreamSettings

    stream, origin = FaceStream(network, StreamSettings(), live=True), 1_000_000_007 * (seed + 1)
    audio = voice_like(seconds, seed).astype(np.float32) / 32768
    frames = []
    for at in range(0, len(audio), 1600):
        frames += stream.push(audio[at : at + 1600], origin + at * NS // 16000)
    return frames


def compare(seed: int, speaker: Any, wanted: list, half: int) -> None:
    """Print a voice's findings; AssertionError where a frame is missing, doubled or off the grid."""
    from emotalk_ros.face.names import ARKIT_NAMES

    stamps = [stamp for stamp, _ in speaker.frames]
    assert len(stamps) <= len(wanted), f"voice {seed}: {len(stamps)} frames of {len(wanted)}"
    off = [abs(stamp - frame.stamp_ns) for stamp, frame in zip(stamps, wanted, strict=False)]
    assert max(off) <= 1, f"voice {seed}: a stamp is {max(off)} ns off, frame {int(np.argmax(off))}"
    seen = [k for k, name in enumerate(ARKIT_NAMES) if not name.startswith("eyeBlink")]  # blinks come when they come
    apart = [float(np.abs(c - f.coefficients)[seen].max()) for (_, c), f in zip(speaker.frames, wanted, strict=False)]
    breaks = ", ".join(f"{length:.2f} s" for length in speaker.breaks) or "none"
    print(
        f"voice {seed}: {len(stamps)} frames, replicas {speaker.processes}, break {breaks}; largest difference in the "
        f"first half {max(apart[: half - 15]):.1e}, in the second {max(apart[half - 15 :]):.1e}, "
        f"in the last second {max(apart[-30:]):.1e}"
    )


if __name__ == "__main__":
    main()
