"""The one thread that owns the voices: takes chunks from their queues, publishes frames. Knows nothing of ROS.

Queues and clock are its business, the faces are `FaceStream`'s. A `Worker` is one voice; a `Crew` is the thread, which
answers whatever its voices ask of the network at a time in one pass. When a voice falls behind, whole hops are skipped:
their audio is heard (it is context), their frames are not computed, and the stamps of the others stay true. When the
audio pauses, the stream ends, and the next audio begins a new one.
"""

from __future__ import annotations

import math
import re
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue

from emotalk_ros.audio import AudioFormatError, PcmChunk, frame_bytes
from emotalk_ros.motion import FaceFrame
from emotalk_ros.streaming.backlog import Backlog, Waiting
from emotalk_ros.streaming.engine import Asking, FaceModel, answered
from emotalk_ros.streaming.hub import MOST, Passes, stepped
from emotalk_ros.streaming.session import FaceStream, Step
from emotalk_ros.streaming.statistics import Figures
from emotalk_ros.units import NS, SAMPLE_RATE

_FAILURES = 3
"""Passes of the network that fail one after the other before another network is asked for."""


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


class Crew:
    """The thread of several voices that share a network. Voices may be added and removed at any time.

    Args:
        model: the network of all voices.
        most: voices of one pass of the network.
        recover: called after a device was lost, or several passes failed in a row; returns another network of the same
            kind for all voices, or None where there is none. Called from the crew's thread.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        model: FaceModel,
        most: int = MOST,
        recover: Callable[[], FaceModel | None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.ready = threading.Condition()
        """Notified when there is something to do."""
        self.passes = Passes(model, most)
        self._recover = recover
        self._clock = clock
        self._workers: list[Worker] = []
        self._busy: set[Worker] = set()
        self._stop = False
        self._thread: threading.Thread | None = None

    @property
    def model(self) -> FaceModel:
        """The network in use."""
        return self.passes.model

    def add(self, worker: Worker) -> None:
        """Serve a voice from now on; starts the thread with the first."""
        with self.ready:
            self._workers.append(worker)
            self.ready.notify_all()
            if self._thread is None:
                self._stop = False
                self._thread = threading.Thread(target=self._run, name="emotalk", daemon=True)
                self._thread.start()

    def remove(self, worker: Worker, timeout: float = 30.0) -> None:
        """Serve it no more, after the hop at hand; the last one ends the thread. RuntimeError when it does not."""
        with self.ready:
            if worker in self._workers:
                self._workers.remove(worker)
            last = not self._workers
            self._stop = last
            self.ready.notify_all()
            if not self.ready.wait_for(lambda: worker not in self._busy, timeout):
                raise RuntimeError(f"the inference thread did not end within {timeout:g} s")
        if last and self._thread is not None:
            self._thread.join(timeout)
            if self._thread.is_alive():
                raise RuntimeError(f"the inference thread did not end within {timeout:g} s")
            self._thread = None

    def _run(self) -> None:
        while True:
            with self.ready:
                if not self.passes.busy:
                    self.ready.wait_for(lambda: self._stop or self._due() <= 0, max(0.0, min(1.0, self._due())))
                if self._stop and not self.passes.busy:
                    return
                due = [w for w in self._workers if w not in self._busy and w.due <= self._clock()]
                self._busy.update(due)
            for worker in due:
                self.passes.start(worker.turn(worker.backlog.get(0.0)), partial(self._finished, worker))
            self.passes.turn()
            if self._recover is not None and (self.passes.lost or self.passes.failures >= _FAILURES):
                self._change_network(self._recover())

    def _due(self) -> float:
        """Seconds until a voice has something to do."""
        return min((w.due for w in self._workers if w not in self._busy), default=math.inf) - self._clock()

    def _finished(self, worker: Worker, value: object, error: BaseException | None) -> None:
        with self.ready:
            self._busy.discard(worker)
            self.ready.notify_all()

    def _change_network(self, model: FaceModel | None) -> None:
        """All voices go on with another network; their streams begin anew."""
        self.passes.failures, self.passes.lost = 0, False
        if model is None:
            return
        self.passes.model = model
        self.passes.forget()
        with self.ready:
            workers = list(self._workers)
        for worker in workers:
            worker.change_network(model)


class Worker:
    """One voice: start, offer chunks, stop.

    Args:
        stream: the voice; owned by the crew's thread from `start` to `stop`.
        settings: see `WorkerSettings`.
        publish: takes frames, called from the crew's thread.
        warn: takes a kind and a text, called from any thread.
        clock: monotonic seconds.
        audio_now_ns: audio time of a frame without audio where nothing was shown before, on the clock of the stamps.
        crew: the thread, where several voices share it; None: one of its own.
    """

    def __init__(
        self,
        stream: FaceStream,
        settings: WorkerSettings,
        publish: Callable[[list[FaceFrame]], None],
        warn: Callable[[str, str], None],
        clock: Callable[[], float] = time.monotonic,
        audio_now_ns: Callable[[], int] = time.time_ns,
        crew: Crew | None = None,
    ) -> None:
        self._stream = stream
        self._settings = settings
        self._publish = publish
        self._warn = warn
        self._clock = clock
        self._audio_now_ns = audio_now_ns
        self._crew = Crew(stream.model, clock=clock) if crew is None else crew
        self.backlog = Backlog(max(10.0, 2.0 * settings.max_chunk), self._crew.ready)
        self.figures = Figures()
        self._stop = threading.Event()
        self._interrupted = threading.Event()
        self._arrivals: deque[tuple[int, float]] = deque()  # (end of a piece of audio, its arrival)
        self._pause_at = math.inf  # when the running stream ends
        self._idle_at = clock() if settings.idle else math.inf  # when the next frame without audio is due
        self._calls: SimpleQueue[Callable[[], object]] = SimpleQueue()

    # -- from other threads ------------------------------------------------------------------------------------------

    def start(self) -> None:
        """The crew serves this voice from now on."""
        self._stop.clear()
        self._crew.add(self)

    def stop(self, timeout: float = 30.0) -> None:
        """The crew serves it no more, after the hop at hand. Raises RuntimeError when that does not end."""
        self._stop.set()
        self._crew.remove(self, timeout)

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

    @property
    def due(self) -> float:
        """When there is something to do: a moment of the past where there is."""
        if not self.backlog.empty or not self._calls.empty():
            return -math.inf
        return min(self._pause_at, self._idle_at)

    def step(self, timeout: float) -> None:
        """One turn by itself, without the crew: a chunk if one comes within `timeout` seconds."""
        answered(self.turn(self.backlog.get(timeout)), self._stream.model)

    def turn(self, waiting: Waiting | None) -> Asking[None]:
        """One turn: the chunk, or what a pause asks for.

        Nothing but a programming error in the node itself gets out of here: the node never dies of its input.
        """
        try:
            if self._interrupted.is_set():
                waiting = None  # taken from the queue just before it was cleared
            while not self._calls.empty():
                self._calls.get()()
            if waiting is not None:
                yield from self._take(waiting)
            elif self._clock() >= self._pause_at:
                yield from self._paused()
            self._idle()
        except Exception as error:  # device lost, out of memory, a bug: say so and go on with the next audio
            self.figures.failures += 1
            self._warn("failure", f"inference failed ({type(error).__name__}: {error}); the stream starts anew")
            self._anew()

    def change_network(self, model: FaceModel) -> None:
        """Go on with another network, from the crew's thread."""
        self._stream.model = model
        self._anew()

    def _anew(self) -> None:
        self._stream.reset()
        self._arrivals.clear()
        self._pause_at, self._idle_at = math.inf, self._clock()

    def _take(self, waiting: Waiting) -> Asking[None]:
        """The frames of a chunk, hop by hop, so that the first ones of a long chunk don't wait for its last."""
        begin, due, taken = self._clock(), waiting.due, False

        def take(step: Step) -> bool:
            nonlocal due, taken
            self._send(step, waiting.arrived)
            due += len(step.audio) / SAMPLE_RATE
            taken = True
            if self._stop.is_set() or self._interrupted.is_set():
                return True
            self._skip_if_behind(due)
            return False

        try:
            self._skip_if_behind(due)
            if (yield from stepped(self._stream.work(waiting.chunk), take)):
                return
        except AudioFormatError as error:
            self._warn("refused", f"audio refused: {error}")
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

    def _paused(self) -> Asking[None]:
        """No audio came: the stream ends, and frames without audio follow."""
        yield from stepped(self._stream.end_work(), lambda step: self._send(step, self._clock()))
        self._pause_at, self._idle_at = math.inf, self._clock()

    def interrupt(self) -> None:
        """Forget the audio that waits and the stream under way (somebody interrupted): the mouth comes to rest."""
        self._interrupted.set()
        self.backlog.clear()
        self.call(self._cut)

    def _cut(self) -> None:
        self._interrupted.clear()
        self._anew()

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
    """A warning of the intake without its figures; what is left are this package's own words, so kinds are few."""
    return re.sub(r"[-+\d.]+", "#", text)
