"""A performance received from a phone: the csv that Live Link Face itself would save, and the sound of a microphone."""

from __future__ import annotations

import time
import wave
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from emotalk_ros.bridges.livelink import LiveLinkFrame, LiveLinkReceiver
from emotalk_ros.files import replacing
from emotalk_ros.motion.files import Motion, write_motion


class Take:
    """Frames of one subject, and optionally sound, in memory until `write`.

    Args:
        output: the csv; the sound goes beside it, as .wav.
        microphone: input device (see `audio.capture`), or None.
    """

    def __init__(self, output: Path, microphone: str | None = None) -> None:
        self.output, self._microphone = output, microphone
        self.frames: list[LiveLinkFrame] = []
        self._sound: list[bytes] = []
        self._rate = 0
        self.subject: str | None = None

    def record(self, receiver: LiveLinkReceiver, seconds: float | None, tell: Callable[[str], object]) -> None:
        """Until `seconds` after the first frame, or for ever. Tells when nothing comes, or nothing more."""
        self._ends = float("inf")
        begun = silent = False
        with ExitStack() as stack:
            source = self._listen(stack)
            for frame in receiver.frames(timeout=2.0, ending=lambda: time.monotonic() >= self._ends):
                if frame is None:
                    if not silent:
                        reason = f" ({receiver.refused} packets were none: {receiver.last_error})" * bool(
                            receiver.refused
                        )
                        tell(
                            f"no frame since 2 s{reason}: is the phone in this network, and streaming to this machine?"
                        )
                    silent = True
                    continue
                silent = False
                if self.subject is None:
                    self.subject = frame.subject
                    tell(f"recording {frame.subject or 'a face'} at {frame.fps:g} frames a second")
                if frame.subject != self.subject:
                    continue  # another phone
                if not begun:
                    begun = True
                    self._ends = time.monotonic() + (float("inf") if seconds is None else seconds)
                    if source is not None:
                        source.begin()
                self.frames.append(frame)
            if source is not None:
                self._sound, self._rate = source.end(), source.rate

    def _listen(self, stack: ExitStack) -> _Sound | None:
        if self._microphone is None:
            return None
        sound = _Sound(self._microphone)
        stack.callback(sound.close)
        return sound

    def write(self) -> str:
        """Write the csv (and the wav), each whole or not at all; returns what was written, in words."""
        if not self.frames:
            raise ValueError("nothing came: no file is written")
        first = self.frames[0]
        count = len(self.frames)
        motion = Motion(
            time=np.array([(frame.seconds - first.seconds) % 86400.0 for frame in self.frames]),
            coefficients=np.array([frame.coefficients for frame in self.frames]),
            activity=np.ones(count, np.float32),
            emotion=np.zeros((count, 0), np.float32),
            emotion_labels=(),
            fps=first.fps,
            source=self.subject or "",
            angles=np.array([frame.angles for frame in self.frames]),
        )
        write_motion(self.output, motion, "livelink-csv")
        length = (self.frames[-1].seconds - first.seconds) % 86400.0
        words = f"{self.output}: {len(self.frames)} frames of {self.subject or 'a face'}, {length:.1f} s"
        if self._sound:
            path = self.output.with_suffix(".wav")
            with replacing(path) as part, wave.open(str(part), "wb") as out:
                out.setnchannels(1)
                out.setsampwidth(2)
                out.setframerate(self._rate)
                out.writeframes(b"".join(self._sound))
            words += f"; {path}"
        return words


class _Sound:
    """A microphone in a thread of its own; what it hears counts from `begin` on."""

    def __init__(self, device: str) -> None:
        import threading

        from emotalk_ros.audio.capture import CaptureSettings, Microphone

        self._source = Microphone(CaptureSettings(device=device))
        self.rate = self._source.sample_rate
        self._begin_ns: int | None = None
        self._pieces: list[bytes] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sound", daemon=True)
        self._thread.start()

    def begin(self) -> None:
        """The sound of now is the first that counts."""
        self._begin_ns = time.time_ns()

    def _run(self) -> None:
        while not self._over.is_set():
            block = self._source.read()
            if self._begin_ns is None:
                continue
            late = block.stamp_ns - self._begin_ns
            data = block.data
            if not self._pieces and late < 0:  # begun before the first frame
                data = data[2 * min(len(data) // 2, round(-late * self.rate / 1e9)) :]
            if data:
                self._pieces.append(data)

    def end(self) -> list[bytes]:
        """What was heard, int16."""
        self._over.set()
        self._thread.join(2.0)
        return self._pieces

    def close(self) -> None:
        """Give the device back."""
        self._over.set()
        self._source.close()
