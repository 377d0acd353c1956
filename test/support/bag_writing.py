"""Makes bags for tests: audio chunks, reference coefficients, recorded frames, in any storage and compression."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys.store import Typestore

from emotalk_ros.audio.messages import AUDIO_CHUNK
from emotalk_ros.bags import messages as types

START_NS = 1_700_000_000_000_000_000
CHUNK = 320  # samples: 20 ms at 16 kHz


def speech_like(seconds: float, seed: int = 0) -> np.ndarray:
    """Syllables of a buzz at 16 kHz: something for an activity detector to find."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * 16000)) / 16000
    buzz = sum(np.sin(2 * np.pi * 120 * k * time) / k for k in range(1, 12))
    envelope = np.clip(np.sin(2 * np.pi * 3 * time), 0, 1)
    return (0.1 * buzz * envelope + 0.001 * rng.standard_normal(time.size)).astype(np.float32)


def audio_chunk(store: Typestore, samples: np.ndarray, stamp_ns: int) -> Any:
    pcm = (np.clip(samples, -1, 1) * 32767).astype("<i2")
    return store.types[AUDIO_CHUNK](
        header=types.make_header(store, stamp_ns, "mic"),
        sample_rate=16000,
        channels=1,
        encoding="s16le",
        data=np.frombuffer(pcm.tobytes(), np.uint8),
    )


def blendshapes(store: Typestore, values: np.ndarray, stamp_ns: int, sequence: int) -> Any:
    constants = {
        name: value
        for name, value in vars(store.types[types.BLENDSHAPES]).items()
        if name.isupper() and not name.startswith("_")
    }
    assert constants  # the indices travel with the type
    return store.types[types.BLENDSHAPES](
        header=types.make_header(store, stamp_ns),
        sequence=sequence,
        frame=sequence,
        kind=0,
        head=np.zeros(3, np.float32),
        speech_activity=1.0,
        coefficients=values.astype(np.float32),
    )


def write_bag(
    path: Path,
    topics: dict[str, tuple[str, list[tuple[int, Any]]]],
    *,
    storage: str = "mcap",
    compression: str = "none",
    store: Typestore | None = None,
) -> Path:
    """A bag with `topics`: name to (type, [(log_ns, message)])."""
    store = store or types.package_types()
    writer = Writer(path, version=9, storage_plugin=StoragePlugin[storage.upper()])
    if compression != "none":
        writer.set_compression(CompressionMode[compression.upper()], CompressionFormat.ZSTD)
    with writer:
        entries = []
        for name, (msgtype, messages) in topics.items():
            connection = writer.add_connection(name, msgtype, typestore=store)
            entries += [(log_ns, connection, msgtype, message) for log_ns, message in messages]
        for log_ns, connection, msgtype, message in sorted(entries, key=lambda entry: entry[0]):
            writer.write(connection, log_ns, store.serialize_cdr(message, msgtype))
    return path


def audio_messages(samples: np.ndarray, start_ns: int = START_NS, delay_ns: int = 25_000_000) -> list[tuple[int, Any]]:
    """Chunks of 20 ms, each received `delay_ns` after its first sample."""
    store = types.package_types()
    messages = []
    for first in range(0, samples.size, CHUNK):
        stamp = start_ns + first * 62_500
        messages.append((stamp + delay_ns, audio_chunk(store, samples[first : first + CHUNK], stamp)))
    return messages


def frame_messages(
    coefficients: np.ndarray, start_ns: int = START_NS, latency_ns: int = 180_000_000, fps: float = 30.0
) -> list[tuple[int, Any]]:
    """Frames on the grid n / fps, each recorded `latency_ns` after its instant."""
    store = types.package_types()
    messages = []
    for n, row in enumerate(coefficients):
        stamp = start_ns + round(n * 1e9 / fps)
        messages.append((stamp + latency_ns, blendshapes(store, row, stamp, n)))
    return messages
