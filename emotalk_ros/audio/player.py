"""When which sample of a stream is heard, so that the sound meets the frames of the face. Clock-free: times are given.

A face shows the sound of audio time t at the moment its frame arrives, t + delay. The player measures that delay from
the frames and plays each sample at its own audio time + the same delay; a sentence that came in half a second is thus
spoken in its own time. Rules::

    a stream begins       its sound waits for its first frame, `wait` seconds at most, then goes on without the face
    the delay changes     sound is moved when it is more than `tolerance` off, and the frames come evenly
    audio comes too late  silence (counted); it waits for the face again, which is late as well
    interrupt()           the sound fades out in 5 ms; what waits, and what the stream still brings, is left out

Audio and picture feel together from 45 ms (sound early) to 125 ms (sound late), ITU-R BT.1359.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from statistics import median

import numpy as np

from emotalk_ros.audio.intake import AudioIntake, PcmChunk, Segment
from emotalk_ros.audio.pcm import Samples, frame_bytes
from emotalk_ros.audio.timeline import TimelineSettings
from emotalk_ros.units import NS

FADE = 0.005
"""Seconds in which sound that breaks off fades away."""
QUIET = 0.3
"""Seconds without a chunk after which a stream has ended."""
LEFT_OUT = 2.0
"""Seconds after an interruption for which the rest of the same stream is left out."""
_FRAMES = 15  # the delay is the median of so many frames
_CUSHION = 0.05  # seconds by which sound without a face comes later than it could, so that late chunks are in time
_EVEN = 0.02  # seconds; frames whose delays differ by less come evenly
_WAITING = 600.0  # seconds of sound that wait at most


@dataclass(frozen=True)
class PlayerSettings:
    """All in seconds.

    Attributes:
        wait: how long the beginning of a stream waits for its face; 0 plays without one.
        offset: how much later than its frame a sound is heard: what a robot's joints or a screen need.
        tolerance: how far sound and face may be apart before the sound is moved.
    """

    wait: float = 1.5
    offset: float = 0.0
    tolerance: float = 0.045

    def __post_init__(self) -> None:
        if self.wait < 0 or not -1.0 <= self.offset <= 5.0 or self.tolerance <= 0:
            raise ValueError(
                f"wait {self.wait} s must not be negative, offset {self.offset} s must be -1 to 5, "
                f"tolerance {self.tolerance} s must be above 0"
            )


@dataclass
class PlayerFigures:
    """Counts since the beginning."""

    streams: int = 0
    played: float = 0.0
    """Seconds of sound."""
    underruns: int = 0
    """Audio that came after it was due."""
    moves: int = 0
    """The sound was moved to meet the face."""
    without_face: int = 0
    """Streams that did not wait any longer for their face."""
    interruptions: int = 0
    left_out: int = 0
    """Chunks of an interrupted stream."""


class Player:
    """Chunks and frames in, samples for a loudspeaker out.

    `push`, `face` and `interrupt` come from one thread, `fill` from the loudspeaker's.

    Args:
        rate: of the loudspeaker, in Hz.
        settings: changeable at any time.
        timeline: how stamps are understood; as the node that makes the face does, so that both agree.
    """

    def __init__(
        self, rate: int, settings: PlayerSettings | None = None, timeline: TimelineSettings | None = None
    ) -> None:
        self.rate = rate
        self.settings = settings or PlayerSettings()
        self.figures = PlayerFigures()
        self._intake = AudioIntake(timeline, rate=rate)
        self._lock = threading.Lock()
        self._pieces: deque[tuple[Samples, float]] = deque()  # samples, audio time of the first in seconds
        self._waiting = 0  # samples
        self._running = False
        self._held: tuple[float, float] | None = None  # audio time that a frame must show, and until when we wait
        self._delays: deque[float] = deque(maxlen=_FRAMES)
        self._last = 0.0  # the sample heard last
        self._last_push = -np.inf
        self._open = False
        self._cut: tuple[float, float] | None = None  # end of the interrupted stream, and when to forget it

    # -- in ------------------------------------------------------------------------------------------------------------

    def push(self, chunk: PcmChunk, now: float) -> None:
        """Take a chunk that arrived at `now` (seconds, on the clock of the stamps).

        Raises AudioFormatError for audio that is not understood.
        """
        with self._lock:
            if self._belongs_to_the_interrupted(chunk, now):
                self.figures.left_out += 1
                return
            segments = self._intake.push(chunk)
            self._last_push, self._open = now, True
            for segment in segments:
                self._add(segment, now)

    def tick(self, now: float) -> None:
        """Call now and then: a stream that has paused gives the last samples that wait for their successors."""
        with self._lock:
            if self._open and now - self._last_push > QUIET:
                self._open = False
                for segment in self._intake.flush():
                    self._add(segment, now)

    def face(self, stamp_ns: int, now: float) -> None:
        """A frame made from speech arrived at `now`; it shows the audio time `stamp_ns`."""
        stamp = stamp_ns / NS
        with self._lock:
            if not self.settings.wait:
                return
            if self._held is not None and stamp >= self._held[0] - 0.05:
                self._held = None
                self._delays.clear()
            self._delays.append(now - stamp)

    def interrupt(self, now: float) -> float:
        """Forget what waits. Returns how many seconds of sound are not heard."""
        with self._lock:
            left = self._waiting / self.rate
            if not (self._pieces or self._open or self._running):
                return 0.0
            end = self._intake.end_ns / NS
            self._pieces.clear()
            self._waiting, self._running, self._held = 0, False, None
            self._intake.flush()
            if self._open:
                self._cut = (end, now + LEFT_OUT)
            self._open = False
            self.figures.interruptions += 1
            return left

    def take_warnings(self) -> list[str]:
        """What was repaired in the audio since the last call."""
        with self._lock:
            return self._intake.take_warnings()

    def _belongs_to_the_interrupted(self, chunk: PcmChunk, now: float) -> bool:
        if self._cut is None:
            return False
        end, until = self._cut
        stamp = chunk.stamp_ns / NS
        if now > until or now - self._last_push > QUIET or (stamp and abs(stamp - end) > 0.1):
            self._cut = None
            return False
        count = len(memoryview(chunk.data).cast("B")) // frame_bytes(chunk.encoding, chunk.channels)
        self._cut = ((stamp or end) + count / max(chunk.sample_rate, 1), until)
        self._last_push = now
        return True

    def _add(self, segment: Segment, now: float) -> None:
        time = segment.stamp_ns / NS
        begins = segment.reset or not self.figures.streams
        self.figures.streams += begins
        if not self._pieces and self._held is None:
            late = not begins and self._delay is not None and time + self._delay < now
            self.figures.underruns += late
            if (begins or late) and self.settings.wait > 0:
                self._held = (time, now + self.settings.wait)
            elif begins or late:
                self._delays.clear()
        self._pieces.append((segment.samples, time))
        self._waiting += len(segment.samples)
        while self._waiting > _WAITING * self.rate:
            self._waiting -= len(self._pieces.popleft()[0])

    # -- out -----------------------------------------------------------------------------------------------------------

    @property
    def delay(self) -> float | None:
        """Seconds from a sound's audio time to when it is heard; None before the first frame."""
        return self._delay

    @property
    def waiting(self) -> float:
        """Seconds of sound that wait."""
        return self._waiting / self.rate

    @property
    def _delay(self) -> float | None:
        return median(self._delays) + self.settings.offset if self._delays else None

    def fill(self, count: int, when: float) -> Samples:
        """The next `count` samples; `when`: the time (on the clock of the stamps) at which the first is heard."""
        out = np.zeros(count, dtype=np.float32)
        at = 0
        with self._lock:
            while at < count:
                pause = self._pause(when + at / self.rate)
                if pause is None or pause > 0:
                    size = count - at if pause is None else min(count - at, pause)
                    self._silence(out[at : at + size])
                    at += size
                    continue
                samples = self._pieces[0][0]
                size = min(count - at, len(samples))
                out[at : at + size] = samples[:size]
                self._last = float(out[at + size - 1])
                self._drop(size)
                self._running = True
                self.figures.played += size / self.rate
                at += size
        return out

    def _pause(self, now: float) -> int | None:
        """Samples of silence before the next piece is heard, which would be at `now`; None: nobody knows."""
        if not self._pieces:
            self._running = False
            return None
        if self._held is not None:
            if now < self._held[1]:
                return None
            self._held = None
            self._delays.clear()
            self.figures.without_face += 1
        if not self._delays:  # no face: what is there is heard almost at once, in its own time
            self._delays.append(now + _CUSHION - self._pieces[0][1] - self.settings.offset)
        delay = self._delay or 0.0
        error = self._pieces[0][1] + delay - now  # above 0: too early
        if not self._running:
            return max(0, round(error * self.rate))
        even = len(self._delays) == _FRAMES and max(self._delays) - min(self._delays) < _EVEN
        if abs(error) > self.settings.tolerance and (even or error > 0):
            self.figures.moves += 1
            if error > 0:
                self._running = False
                return round(error * self.rate)
            self._drop(round(-error * self.rate))
            return 0 if self._pieces else None
        return 0

    def _drop(self, count: int) -> None:
        """Forget the next `count` samples."""
        while count > 0 and self._pieces:
            samples, time = self._pieces[0]
            size = min(count, len(samples))
            self._waiting -= size
            count -= size
            if size == len(samples):
                self._pieces.popleft()
            else:
                self._pieces[0] = (samples[size:], time + size / self.rate)

    def _silence(self, out: Samples) -> None:
        """What is heard while nothing is played: the last sample, fading away."""
        if not self._last or not len(out):
            return
        count = min(len(out), max(1, round(FADE * self.rate)))
        out[:count] = self._last * np.linspace(1.0, 0.0, count + 1, dtype=np.float32)[1:]
        self._last = 0.0
