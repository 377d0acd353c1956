"""The one thread that owns a voice: takes chunks from the queue, publishes frames. Knows nothing of ROS.

Queue and clock are its business, the face is `FaceStream`'s. When it falls behind, whole hops are skipped: their audio
is heard (it is context), their frames are not computed, and the stamps of the others stay true. When the audio pauses,
the stream ends, and the next audio begins a new one.
"""

from __future__ import annotations

import math
import re
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue

from emotalk_ros.audio import AudioFormatError, PcmChunk, frame_bytes
from emotalk_ros.motion import FaceFrame
from emotalk_ros.streaming.backlog import Backlog, Waiting
from emotalk_ros.streaming.session import FaceStream, Step
from emotalk_ros.streaming.statistics import Figures
from emotalk_ros.units import NS, SAMPLE_RATE


@dataclass(frozen=True)
class WorkerSettings:
    """All in seconds.

    Attributes:
        max_lag: how far the worker may be behind before it skips hops.
        max_chunk: longest message accepted.
        idle_timeout: pause of the input after which the stream ends, and the mouth comes to rest within 0.3 s.
        idle: whether frames go on after that, as long as no audio comes: blinks, the emotion asked for, rest.
    """

    max_lag: float = 1.0
    max_chunk: float = 60.0
    idle_timeout: float = 0.2
    idle: bool = True


class Worker:
    """Start, offer chunks, stop.

    Args:
        stream: the voice; owned by the worker's thread from `start` to `stop`.
        settings: see `WorkerSettings`.
        publish: takes frames, called from the worker's thread.
        warn: takes a kind and a text, called from any thread.
        clock: monotonic seconds.
        audio_now_ns: audio time of a frame without audio where nothing was shown before, on the clock of the stamps.
    """

    def __init__(
        self,
        stream: FaceStream,
        settings: WorkerSettings,
        publish: Callable[[list[FaceFrame]], None],
        warn: Callable[[str, str], None],
        clock: Callable[[], float] = time.monotonic,
        audio_now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._stream = stream
        self._settings = settings
        self._publish = publish
        self._warn = warn
        self._clock = clock
        self._audio_now_ns = audio_now_ns
        self.backlog = Backlog(limit=max(10.0, 2.0 * settings.max_chunk))
        self.figures = Figures()
        self._stop = threading.Event()
        self._interrupted = threading.Event()
        self._thread: threading.Thread | None = None
        self._arrivals: deque[tuple[int, float]] = deque()  # (end of a piece of audio, its arrival)
        self._pause_at = math.inf  # when the running stream ends
        self._idle_at = clock() if settings.idle else math.inf  # when the next frame without audio is due
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
            # A call that came while a chunk was worked on woke nobody: it must not wait for the next chunk.
            due = self._clock() if not self._calls.empty() else min(self._pause_at, self._idle_at)
            self.step(timeout=min(1.0, max(0.0, due - self._clock())))

    def step(self, timeout: float) -> None:
        """One turn: a chunk if one comes within `timeout` seconds, otherwise what a pause asks for.

        Nothing but a programming error in the node itself gets out of here: the node never dies of its input.
        """
        waiting = self.backlog.get(timeout)
        try:
            if self._interrupted.is_set():
                waiting = None  # taken from the queue just before it was cleared
            while not self._calls.empty():
                self._calls.get()()
            if waiting is not None:
                self._take(waiting)
            elif self._clock() >= self._pause_at:
                self._paused()
            self._idle()
        except Exception as error:  # device lost, out of memory, a bug: say so and go on with the next audio
            self.figures.failures += 1
            self._warn("failure", f"inference failed ({type(error).__name__}: {error}); the stream starts anew")
            self._stream.reset()
            self._arrivals.clear()
            self._pause_at, self._idle_at = math.inf, self._clock()

    def _take(self, waiting: Waiting) -> None:
        """The frames of a chunk, hop by hop, so that the first ones of a long chunk don't wait for its last."""
        begin, due, taken = self._clock(), waiting.due, False
        try:
            steps = self._stream.steps(waiting.chunk)
            self._skip_if_behind(due)
            for step in steps:
                self._send(step, waiting.arrived)
                due += len(step.audio) / SAMPLE_RATE
                taken = True
                if self._stop.is_set() or self._interrupted.is_set():
                    return
                self._skip_if_behind(due)
        except AudioFormatError as error:
            self._warn(kind_of(str(error)), f"audio refused: {error}")
            return
        for text in self._stream.take_warnings():
            self._warn(kind_of(text), f"audio: {text}")
        if taken:
            self._pause_at = waiting.due + waiting.seconds + self._settings.idle_timeout
        self.figures.worked(self._clock(), self._clock() - begin, waiting.seconds)

    def _skip_if_behind(self, due: float) -> None:
        lag = self._clock() - due
        if lag <= self._settings.max_lag or self._stream.skipping:
            return
        hops = math.ceil(lag / self._stream.schedule.hop_seconds)
        self._stream.skip(hops)
        self.figures.skipped_hops += hops
        self._warn("behind", f"{lag:.2f} s behind the audio: {hops} hops are skipped")

    def _send(self, step: Step, arrived: float) -> None:
        self.figures.streams += step.begins
        if len(step.audio):
            self._arrivals.append((step.stamp_ns + len(step.audio) * NS // SAMPLE_RATE, arrived))
        if step.frames:
            self._idle_at = math.inf
            self._publish(step.frames)
            now = self._clock()
            self.figures.published([now - self._arrival(frame.stamp_ns) for frame in step.frames])
        if step.ends:
            self._arrivals.clear()

    def _arrival(self, stamp_ns: int) -> float:
        """When the audio at `stamp_ns` arrived; pieces before it are forgotten, as frames come in order."""
        while len(self._arrivals) > 1 and self._arrivals[0][0] <= stamp_ns:
            self._arrivals.popleft()
        return self._arrivals[0][1] if self._arrivals else self._clock()

    def _paused(self) -> None:
        """No audio came: the stream ends, and frames without audio follow."""
        for step in self._stream.end_steps():
            self._send(step, self._clock())
        self._pause_at, self._idle_at = math.inf, self._clock()

    def interrupt(self) -> None:
        """Forget the audio that waits and the stream under way (somebody interrupted): the mouth comes to rest."""
        self._interrupted.set()
        self.backlog.clear()
        self.call(self._cut)

    def _cut(self) -> None:
        self._interrupted.clear()
        self._stream.reset()
        self._arrivals.clear()
        self._pause_at, self._idle_at = math.inf, self._clock()

    def _idle(self) -> None:
        """The frame without audio that is due, if one is."""
        now = self._clock()
        if now < self._idle_at:
            return
        if self._stream.closed and not self._settings.idle:
            self._idle_at = math.inf
            return
        self._publish([self._stream.idle(self._audio_now_ns())])
        # Evenly; after a stall from now on, and not all at once.
        self._idle_at = max(self._idle_at + 1.0 / self._stream.fps, now - 2.0 / self._stream.fps)


def duration(chunk: PcmChunk) -> float:
    """Seconds of a chunk; 0 when its format makes no sense."""
    try:
        return len(chunk.data) // frame_bytes(chunk.encoding, chunk.channels) / chunk.sample_rate
    except (AudioFormatError, ZeroDivisionError):
        return 0.0


def kind_of(text: str) -> str:
    """A warning without its figures: texts of the same kind are throttled together."""
    return re.sub(r"[-+\d.]+", "#", text)
