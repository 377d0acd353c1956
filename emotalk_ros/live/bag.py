"""A recording as a rosbag2: `audio`, `blendshapes` and `emotion` as the nodes publish them. Needs no ROS."""

from __future__ import annotations

import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emotalk_ros.audio.messages import AUDIO_CHUNK
from emotalk_ros.bags.messages import BLENDSHAPES, EMOTION, make_header, package_types, type_description
from emotalk_ros.bags.writing import BagWriter
from emotalk_ros.units import NS

if TYPE_CHECKING:
    from emotalk_ros.live.recording import Recording

_CHUNK = 0.02


def make_bag(recording: Recording, folder: Path) -> Path:
    """Write the bag into `folder` and zip it; returns the zip. Stamps are times of the day it was recorded."""
    store = package_types()
    start = time.time_ns() - round(recording.seconds * NS)
    entries: list[tuple[int, str, Any]] = []
    sound, rate = recording.sound(), recording.rate or 16000
    step = max(1, round(_CHUNK * rate))
    for at in range(0, len(sound), step):
        stamp = start + at * NS // rate
        data = np.frombuffer(sound[at : at + step].astype("<i2").tobytes(), np.uint8)
        chunk = store.types[AUDIO_CHUNK](
            header=make_header(store, stamp, "browser"), sample_rate=rate, channels=1, encoding="s16le", data=data
        )
        entries.append((stamp, "/audio", chunk))
    for k, frame in enumerate(recording.frames):
        stamp = start + round((frame.time - (recording.start or 0.0)) * NS)
        entries.append((stamp, "/blendshapes", _blendshapes(store, frame, stamp, k)))
        if len(frame.emotion):
            entries.append((stamp, "/emotion", _emotion(store, frame, stamp, recording.labels)))
    kinds = {"/audio": AUDIO_CHUNK, "/blendshapes": BLENDSHAPES, "/emotion": EMOTION}
    bag = folder / "face_bag"
    with BagWriter(bag) as writer:
        for topic in dict.fromkeys(topic for _, topic, _ in entries):
            writer.add_topic(topic, kinds[topic], *type_description(store, kinds[topic]))
        for stamp, topic, message in sorted(entries, key=lambda entry: entry[0]):
            writer.write(topic, stamp, store.serialize_cdr(message, kinds[topic]))
    path = folder / "face_bag.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(bag.iterdir()):
            archive.write(file, f"face_bag/{file.name}")
    return path


def _blendshapes(store: Any, frame: Any, stamp: int, number: int) -> Any:
    return store.types[BLENDSHAPES](
        header=make_header(store, stamp),
        sequence=number,
        frame=frame.index,
        kind=0,
        speech_activity=float(frame.activity),
        head=np.asarray(frame.angles[:3], np.float32),
        coefficients=np.asarray(frame.coefficients, np.float32),
    )


def _emotion(store: Any, frame: Any, stamp: int, labels: tuple[str, ...]) -> Any:
    probabilities = np.asarray(frame.emotion, np.float32)
    return store.types[EMOTION](
        header=make_header(store, stamp),
        labels=list(labels),
        probabilities=probabilities,
        dominant=labels[int(probabilities.argmax())],
        intensity=1.0,
        blend=0.0,
        source=0,
        heard=probabilities,
        arousal=float("nan"),
        valence=float("nan"),
        confidence=float("nan"),
    )
