"""What a visitor recorded: frames and sound, handed out as files for a while."""

from __future__ import annotations

import io
import secrets
import tempfile
import wave
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emotalk_ros.live.bag import make_bag
from emotalk_ros.live.frames import LiveFrame
from emotalk_ros.motion.files import Motion, write_motion


class Recording:
    """Frames and sound as they come, up to a length."""

    def __init__(self, labels: Sequence[str], fps: float, max_seconds: float) -> None:
        self.name = secrets.token_urlsafe(12)
        self.labels, self.fps = tuple(labels), fps
        self.rate = 0
        self.start: float | None = None
        """Time of the first frame, seconds since the stream began."""
        self._max = max_seconds
        self._frames: list[LiveFrame] = []
        self._sound: list[tuple[float, NDArray[np.int16]]] = []
        self.full = False

    def add_frames(self, frames: Sequence[LiveFrame]) -> None:
        """Frames of the stream that is recorded."""
        for frame in frames:
            if self.start is None:
                self.start = frame.time
            if frame.time < self.start or frame.time - self.start > self._max:
                self.full = self.full or frame.time > self.start
                continue
            self._frames.append(frame)

    def add_sound(self, first: int, rate: int, channels: int, data: bytes) -> None:
        """Sound of the stream that is recorded: int16, interleaved; the first channel is kept."""
        if self.full or (self.rate and rate != self.rate):
            return
        self.rate = rate
        self._sound.append((first / rate, np.frombuffer(data, "<i2").reshape(-1, channels)[:, 0]))

    @property
    def seconds(self) -> float:
        """Length so far."""
        return len(self._frames) / self.fps

    @property
    def frames(self) -> list[LiveFrame]:
        """All frames."""
        return list(self._frames)

    def motion(self) -> Motion:
        """The frames in arrays."""
        count, labels = len(self._frames), len(self.labels)
        return Motion(
            time=np.array([frame.time - (self.start or 0.0) for frame in self._frames]),
            coefficients=np.array([f.coefficients for f in self._frames], np.float32).reshape(count, 52),
            activity=np.array([f.activity for f in self._frames], np.float32),
            emotion=np.array([f.emotion for f in self._frames], np.float32).reshape(count, labels),
            emotion_labels=self.labels,
            fps=self.fps,
            source="live",
            angles=np.array([f.angles for f in self._frames], np.float32).reshape(count, 9),
        )

    def sound(self) -> NDArray[np.int16]:
        """The sound from the first frame's instant to a frame after the last one's; gaps are silent."""
        if not self.rate or self.start is None:
            return np.zeros(0, dtype=np.int16)
        out = np.zeros(round((self._frames[-1].time - self.start + 1 / self.fps) * self.rate), dtype=np.int16)
        for time, samples in self._sound:
            at = round((time - self.start) * self.rate)
            piece = samples[max(0, -at) : max(0, len(out) - at)]
            if len(piece):
                out[max(0, at) : max(0, at) + len(piece)] = piece
        return out

    def file(self, form: str) -> tuple[bytes, str]:
        """Content and type of the recording as "csv", "livelink-csv", "wav" or "bag". Raises ValueError."""
        if not self._frames:
            raise ValueError("nothing was recorded")
        if form == "wav":
            stream = io.BytesIO()
            with wave.open(stream, "wb") as out:
                out.setnchannels(1)
                out.setsampwidth(2)
                out.setframerate(self.rate or 16000)
                out.writeframes(self.sound().tobytes())
            return stream.getvalue(), "audio/wav"
        with tempfile.TemporaryDirectory(prefix="emotalk_live_") as folder:
            if form == "bag":
                return make_bag(self, Path(folder)).read_bytes(), "application/zip"
            path = Path(folder) / "face.csv"
            write_motion(path, self.motion(), form)
            return path.read_bytes(), "text/csv; charset=utf-8"


class Shelf:
    """The recordings that can be fetched: a few, the oldest make room."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: OrderedDict[str, Recording] = OrderedDict()

    def put(self, recording: Recording) -> None:
        """Keep a finished recording."""
        self._kept[recording.name] = recording
        while len(self._kept) > self._size:
            self._kept.popitem(last=False)

    def get(self, name: str) -> Recording | None:
        """By its name, which cannot be guessed."""
        return self._kept.get(name)
