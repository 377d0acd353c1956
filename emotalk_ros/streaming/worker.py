"""The one thread that owns the model: takes chunks from the queue, publishes frames. Knows nothing of ROS.

When it falls behind, whole hops are skipped: their audio is heard (it is context), their frames are not computed, and
the stamps of the others stay true. When the audio pauses, the frames still held back for look-ahead are computed with
silence, the stream ends, and the next audio begins a new one.
"""

from __future__ import annotations

import math
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from queue import SimpleQueue

import numpy as np

from emotalk_ros.audio import AudioFormatError, AudioIntake, PcmChunk, Segment, frame_bytes
from emotalk_ros.streaming import Engine, FaceFrame
from emotalk_ros.streaming.backlog import Backlog, Waiting
from emotalk_ros.streaming.statistics import Figures
from emotalk_ros.units import NS, SAMPLE_RATE

RESTING = 0.02
"""Largest coefficient of a mouth that counts as at rest."""


@dataclass(frozen=True)
class WorkerSettings:
    """All in seconds.

    Attributes:
        hop: audio between two runs of the network.
        max_lag: how far the worker may be behind before it skips hops.
        max_chunk: longest message accepted.
        idle_timeout: pause of the input after which the stream ends.
        rest_after: further pause after which an open mouth is closed, if the audio broke off while it spoke.
    """

    hop: float
    max_lag: float = 1.0
    max_chunk: float = 60.0
    idle_timeout: float = 0.5
    rest_after: float = 2.0


class Worker:
    """Start, offer chunks, stop.

    Args:
        engine: owned by the worker's thread from `start` to `stop`.
        intake: likewise.
        settings: see `WorkerSettings`.
        publish: takes frames, called from the worker's thread.
        warn: takes a kind and a text, called from any thread.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        engine: Engine,
        intake: AudioIntake,
        settings: WorkerSettings,
        publish: Callable[[list[FaceFrame]], None],
        warn: Callable[[str, str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._intake = intake
        self._settings = settings
        self._publish = publish
        self._warn = warn
        self._clock = clock
        self.backlog = Backlog(limit=max(10.0, 2.0 * settings.max_chunk))
        self.figures = Figures()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._heard: deque[tuple[int, float]] = deque()  # (end of a piece of audio, its arrival)
        self._open = False
        self._pause_at = math.inf  # when the running stream ends, or the next resting frame is due
        self._resting: deque[FaceFrame] = deque()
        self._last: FaceFrame | None = None
        self._skip_samples = 0
        self._calls: SimpleQueue[Callable[[], object]] = SimpleQueue()

    # -- from other threads ------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name="emotalk", daemon=True)
        self._thread.start()

    def stop(self, timeout: float = 30.0) -> None:
        """End the thread after the hop at hand. Raises RuntimeError when it does not end."""
        self._stop.set()
        self.backlog.wake()
        if self._thread is not None:
            self._thread.join(timeout)
            if self._thread.is_alive():
                raise RuntimeError(f"the inference thread did not end within {timeout:g} s")
            self._thread = None

    def call(self, function: Callable[[], object]) -> None:
        """Have the worker's thread call `function` before its next piece of work."""
        self._calls.put(function)
        self.backlog.wake()

    def offer(self, chunk: PcmChunk) -> None:
        """Queue a chunk; never blocks. Chunks that are too long are refused here, wrong ones later, by the intake."""
        if not len(chunk.data):
            self._warn("empty", "an empty chunk (0 bytes) is left out")
            return
        seconds = duration(chunk)
        if seconds > self._settings.max_chunk:
            self._warn("long", f"a chunk of {seconds:.1f} s is refused: longer than {self._settings.max_chunk:g} s")
            return
        now = self._clock()
        self.figures.arrived(now, seconds)
        dropped = self.backlog.dropped
        self.backlog.put(chunk, seconds, now)
        if self.backlog.dropped > dropped:
            self._warn("queue", f"the queue is full with {self.backlog.seconds:.1f} s: the oldest audio is dropped")

    # -- the thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stop.is_set():
            self.step(timeout=min(1.0, max(0.0, self._pause_at - self._clock())))

    def step(self, timeout: float) -> None:
        """One turn: a chunk if one comes within `timeout` seconds, otherwise what a pause asks for.

        Nothing but a programming error in the node itself gets out of here: the node never dies of its input.
        """
        waiting = self.backlog.get(timeout)
        try:
            while not self._calls.empty():
                self._calls.get()()
            if waiting is not None:
                self._take(waiting)
            elif self._clock() >= self._pause_at:
                self._paused()
        except Exception as error:  # device lost, out of memory, a bug: say so and go on with the next audio
            self.figures.failures += 1
            self._warn("failure", f"inference failed ({type(error).__name__}: {error}); the stream starts anew")
            self._engine.reset()
            self._forget()

    def _take(self, waiting: Waiting) -> None:
        begin = self._clock()
        self._resting.clear()
        try:
            segments = self._intake.push(waiting.chunk)
        except AudioFormatError as error:
            self._warn(kind_of(str(error)), f"audio refused: {error}")
            return
        for text in self._intake.take_warnings():
            self._warn(kind_of(text), f"audio: {text}")
        due = waiting.due
        for segment in segments:
            if segment.reset:
                self._end_stream()
            self._feed(segment, waiting.arrived, due)
            due += len(segment.samples) / SAMPLE_RATE
        if segments:
            self._pause_at = waiting.due + waiting.seconds + self._settings.idle_timeout
        self.figures.worked(self._clock(), self._clock() - begin, waiting.seconds)

    def _feed(self, segment: Segment, arrived: float, due: float) -> None:
        """In pieces of a hop, so that the first frames of a long chunk don't wait for its last."""
        step = max(1, round(self._settings.hop * SAMPLE_RATE))
        for at in range(0, len(segment.samples), step):
            if self._stop.is_set():
                return
            piece = segment.samples[at : at + step]
            self._skip_if_behind(due + at / SAMPLE_RATE, len(piece))
            stamp = segment.stamp_ns + at * NS // SAMPLE_RATE
            self._heard.append((stamp + len(piece) * NS // SAMPLE_RATE, arrived))
            if not self._open:
                self._open = True
                self.figures.streams += 1
            self._send(self._engine.feed(piece, stamp))

    def _skip_if_behind(self, due: float, samples: int) -> None:
        if self._skip_samples > 0:
            self._skip_samples -= samples
            return
        lag = self._clock() - due
        if lag <= self._settings.max_lag:
            return
        hops = math.ceil(lag / self._settings.hop)
        self._engine.skip_hops(hops)
        self._skip_samples = round(hops * self._settings.hop * SAMPLE_RATE)
        self.figures.skipped_hops += hops
        self._warn("behind", f"{lag:.2f} s behind the audio: {hops} hops are skipped")

    def _send(self, frames: list[FaceFrame]) -> None:
        if not frames:
            return
        self._publish(frames)
        now = self._clock()
        self._last = frames[-1]
        self.figures.published([now - self._arrival(frame.stamp_ns) for frame in frames])

    def _arrival(self, stamp_ns: int) -> float:
        """When the audio at `stamp_ns` arrived; pieces before it are forgotten, as frames come in order."""
        while len(self._heard) > 1 and self._heard[0][0] <= stamp_ns:
            self._heard.popleft()
        return self._heard[0][1] if self._heard else self._clock()

    # -- pauses ------------------------------------------------------------------------------------------------------

    def _paused(self) -> None:
        if self._open:
            for segment in self._intake.flush():
                self._send(self._engine.feed(segment.samples, segment.stamp_ns))
            self._end_stream()
            self._pause_at = self._clock() + self._settings.rest_after
        elif self._resting:
            self._publish([self._resting.popleft()])
            self._pause_at = self._clock() + 1.0 / self._engine.fps if self._resting else math.inf
        elif self._last is not None:
            self._resting.extend(self._closing(self._last))
            self._last = None
            self._pause_at = self._clock() if self._resting else math.inf

    def _end_stream(self) -> None:
        """Publish what is held back for look-ahead; the next audio begins a new stream."""
        self._send(self._engine.flush())
        self._forget()

    def _forget(self) -> None:
        """Nothing of the stream that ended counts for the next one (the engine is reset already)."""
        self._open = False
        self._heard.clear()
        self._skip_samples = 0
        self._pause_at = math.inf

    def _closing(self, last: FaceFrame) -> Iterable[FaceFrame]:
        """Frames from `last` to rest, on its grid, from now on (its audio is over since a while); none if it rests."""
        if float(np.abs(last.coefficients).max()) <= RESTING:
            return
        ago = self._settings.idle_timeout + self._settings.rest_after
        first = last.index + max(1, math.ceil(ago * self._engine.fps))
        for step in range(round(0.3 * self._engine.fps)):
            weight = 1.0 - (step + 1) / round(0.3 * self._engine.fps)
            weight = weight * weight * (3.0 - 2.0 * weight)
            index = first + step
            yield replace(
                last,
                index=index,
                stamp_ns=last.stamp_ns + round((index - last.index) * NS / self._engine.fps),
                coefficients=last.coefficients * np.float32(weight),
                activity=0.0,
            )


def duration(chunk: PcmChunk) -> float:
    """Seconds of a chunk; 0 when its format makes no sense."""
    try:
        return len(chunk.data) // frame_bytes(chunk.encoding, chunk.channels) / chunk.sample_rate
    except (AudioFormatError, ZeroDivisionError):
        return 0.0


def kind_of(text: str) -> str:
    """A warning without its figures: texts of the same kind are throttled together."""
    return re.sub(r"[-+\d.]+", "#", text)
