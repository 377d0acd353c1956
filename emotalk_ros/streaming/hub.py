"""Many voices on one network: whatever the voices ask for at a time is answered in one pass.

The network's weights are read once for all voices of a pass, so a voice among many costs less than one alone, and what
each hears is what it would hear alone (1e-5). Voices come and go at any time; none waits for audio of another.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

from numpy.typing import ArrayLike

from emotalk_ros.audio import PcmChunk
from emotalk_ros.motion.frame import FaceFrame
from emotalk_ros.streaming.engine import Analysed, Asking, Controls, FaceModel, Request
from emotalk_ros.streaming.schedule import StreamSettings
from emotalk_ros.streaming.session import FaceStream, Step, Work

_LOG = logging.getLogger(__name__)
MOST = 64
"""Voices of one pass."""
Finished = Callable[[Any, BaseException | None], None]
"""Takes what the work of a voice returned, or what it failed of."""


def ask(model: FaceModel, requests: Sequence[Request]) -> list[Analysed]:
    """The network's answers, in one pass where the network can."""
    together = getattr(model, "analyse_together", None)
    if together is None or len(requests) == 1 or not all("memory" in request.arguments for request in requests):
        return [model.analyse(request.audio, **request.arguments) for request in requests]
    answers: list[Analysed] = together([(request.audio, request.arguments) for request in requests])
    return answers


@dataclass
class _Running:
    work: Asking[Any]
    finished: Finished
    request: Request | None = None


@dataclass
class Passes:
    """Runs the work of several voices side by side, pass by pass. Not safe to call from two threads at once.

    When memory runs out, passes hold half as many voices from then on, and the same voices are asked again: none loses
    a frame, but the network hears their last windows anew. When the network fails otherwise (a lost device), the voices
    of that pass are told by the error and begin anew; the others do not notice.

    Attributes:
        model: the network.
        most: voices of one pass.
        failures: passes that failed, one after the other, up to now.
        lost: whether the last one failed because the device did, so that trying again is of no use.
    """

    model: FaceModel
    most: int = MOST
    failures: int = 0
    lost: bool = False
    passes: int = 0
    """How many there were."""
    requests: int = 0
    """How many requests they answered."""
    _running: list[_Running] = field(default_factory=list)

    def start(self, work: Asking[Any], finished: Finished = lambda value, error: None) -> None:
        """Take work; it goes on with each `turn`, until `finished` is called with what it returned or failed of."""
        running = _Running(work, finished)
        if self._advance(running, None):
            self._running.append(running)

    @property
    def mean(self) -> float | None:
        """Voices of a pass, on average; None before the first."""
        return self.requests / self.passes if self.passes else None

    @property
    def busy(self) -> bool:
        """Whether work is under way."""
        return bool(self._running)

    def turn(self) -> None:
        """One pass for those that ask (the longest waiting first, `most` at a time); each goes on to its next."""
        asking, self._running = self._running[: self.most], self._running[self.most :]
        if not asking:
            return
        try:
            answers = ask(self.model, [r.request for r in asking if r.request is not None])
        except Exception as error:
            if not (_out_of_memory(error) and len(asking) > 1):
                self.failures += 1
                self.lost = _device_lost(error)
                for running in asking:
                    self._fail(running, error)
                return
        else:
            self.failures, self.lost = 0, False
            self.passes += 1
            self.requests += len(asking)
            self._running += [r for r, answer in zip(asking, answers, strict=True) if self._advance(r, answer)]
            return
        # Here the error is gone, and with it what its traceback held.
        self.most = len(asking) // 2
        _LOG.warning("out of memory with %d voices in one pass: at most %d from now on", len(asking), self.most)
        self._running = asking + self._running
        self.forget(asking)

    def forget(self, asking: Sequence[_Running] | None = None) -> None:
        """Drop what the network keeps of the streams of those that ask (None: all): it hears their windows anew."""
        for running in self._running if asking is None else asking:
            memory = None if running.request is None else running.request.arguments.get("memory")
            if memory is not None and hasattr(memory, "reset"):
                memory.reset()
        if hasattr(self.model, "free_memory"):
            self.model.free_memory()

    def _advance(self, running: _Running, answer: Analysed | None) -> bool:
        """Go on to the next request; False when there is none."""
        try:
            running.request = next(running.work) if answer is None else running.work.send(answer)
            return True
        except StopIteration as end:
            running.finished(end.value, None)
        except Exception as error:
            running.finished(None, error)
        return False

    def _fail(self, running: _Running, error: Exception) -> None:
        try:
            running.request = running.work.throw(error)
            self._running.append(running)  # it took the error, and goes on
        except StopIteration as end:
            running.finished(end.value, None)
        except Exception as left:
            running.finished(None, left)


def _out_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__ or "out of memory" in str(error)


def _device_lost(error: BaseException) -> bool:
    """Whether a GPU's context is gone: nothing runs on it any more in this process."""
    return not _out_of_memory(error) and (type(error).__name__ == "AcceleratorError" or "CUDA error" in str(error))


class PassThread:
    """A thread that runs the work of many voices pass by pass, for those who wait for results (a web server).

    Safe to call from any thread.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._given: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._passes: dict[int, Passes] = {}  # by network
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)
        self._thread.start()

    def call(self, function: Callable[[], Any]) -> Future[Any]:
        """Call a function in the thread, between two passes."""
        future: Future[Any] = Future()

        def run() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(function())
                except Exception as error:
                    future.set_exception(error)

        self._given.put(run)
        return future

    def work(self, model: FaceModel, work: Asking[Any]) -> Future[Any]:
        """Run work of a voice on this network, together with what other voices ask; what it returns."""
        future: Future[Any] = Future()

        def finished(value: Any, error: BaseException | None) -> None:
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)

        def start() -> None:
            if future.set_running_or_notify_cancel():
                self._passes.setdefault(id(model), Passes(model, self._most)).start(work, finished)

        self._given.put(start)
        return future

    def stop(self) -> None:
        """End the thread after the pass at hand; work that has not ended stays as it is."""
        self._given.put(None)

    @property
    def mean(self) -> float | None:
        """Voices of a pass, on average; None before the first."""
        passes = sum(p.passes for p in self._passes.values())
        return sum(p.requests for p in self._passes.values()) / passes if passes else None

    def _run(self) -> None:
        while True:
            busy = [passes for passes in self._passes.values() if passes.busy]
            while not busy or not self._given.empty():
                start = self._given.get()
                if start is None:
                    return
                start()
                busy = [passes for passes in self._passes.values() if passes.busy]
            for passes in busy:
                passes.turn()


class VoiceHub:
    """One network for many voices. Not safe to call from two threads at once.

    Each voice is a `FaceStream`, with its own controls, ear and motion: `join` makes one, and one that is no longer
    pushed costs nothing. ::

        hub = VoiceHub(load_model())
        anna, ben = hub.join(), hub.join(controls=Controls(person=3))
        frames = hub.push({anna: chunk, ben: another})  # {anna: [...], ben: [...]}

    Args:
        model: as for `FaceStream`.
        settings: of the voices that join without their own.
        most: voices of one pass; more are answered in several.
    """

    def __init__(self, model: FaceModel, settings: StreamSettings | None = None, most: int = MOST) -> None:
        self._settings = settings
        self._passes = Passes(model, most)

    def join(
        self, settings: StreamSettings | None = None, controls: Controls | None = None, **options: Any
    ) -> FaceStream:
        """A voice of its own on this network; options are those of `FaceStream`."""
        return FaceStream(self._passes.model, settings or self._settings, controls, **options)

    def push(self, audio: Mapping[FaceStream, PcmChunk | ArrayLike]) -> dict[FaceStream, list[FaceFrame]]:
        """The next audio of some voices; returns the frames that it completes, of each. See `FaceStream.push`.

        Raises what the first of the voices raised that could not take its audio; the others have taken theirs.
        """
        return self._run({voice: voice.work(piece) for voice, piece in audio.items()})

    def end(self, *voices: FaceStream) -> dict[FaceStream, list[FaceFrame]]:
        """The streams of these voices are over: the frames left. See `FaceStream.end`."""
        return self._run({voice: voice.end_work() for voice in voices})

    def _run(self, works: Mapping[FaceStream, Work]) -> dict[FaceStream, list[FaceFrame]]:
        frames: dict[FaceStream, list[FaceFrame]] = {voice: [] for voice in works}
        errors: list[BaseException] = []

        def note(value: Any, error: BaseException | None) -> None:
            errors.extend([] if error is None else [error])

        for voice, work in works.items():
            self._passes.start(stepped(work, Collect(frames[voice])), note)
        while self._passes.busy:
            self._passes.turn()
        if errors:
            raise errors[0]
        return frames


@dataclass
class Collect:
    """Takes the frames of steps, for `stepped`."""

    frames: list[FaceFrame]

    def __call__(self, step: Step) -> None:
        """Go on."""
        self.frames += step.frames


def stepped(work: Work, take: Callable[[Step], Any]) -> Asking[bool]:
    """Hands each step of the work to `take`, and its requests on. Stops where `take` returns True, and returns that."""
    answer: Analysed | None = None
    while True:
        try:
            item = work.send(answer)
        except StopIteration:
            return False
        answer = None
        if isinstance(item, Step):
            if take(item):
                work.close()
                return True
        else:
            answer = yield item
