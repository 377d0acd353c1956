"""A stream given as overlapping windows: each goes on where the one before ended. Knows nothing of torch."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from emotalk_ros.model.analysis import Analysis, Array
from emotalk_ros.units import SAMPLE_RATE

_BY_FRAME = ("coefficients", "frame_emotion_logits", "speech", "expression")

Hearing = Generator[Array, Analysis, Analysis]
"""Yields samples (n,) that the network has to hear next, is sent what it says, and returns the analysis of a window."""


class Hears(Protocol):
    """A network that hears several streams in one pass, piece by piece."""

    config: Any

    def new_state(self, frames: int) -> Any:
        """What the network keeps of a stream that begins, whose longest window has so many frames."""
        ...

    def hear(
        self, samples: Sequence[Array], states: Sequence[Any], controls: Sequence[Mapping[str, Any]]
    ) -> list[Analysis]:
        """The frames that the next samples (n,) of each stream complete."""
        ...

    def hear_again(self, state: Any, controls: Mapping[str, Any]) -> tuple[Array, Array | None]:
        """Speech and expression (n, 52) of the stream's last frames with other controls; coefficients alone, and None,
        of a network that does not tell them apart."""
        ...


class StreamWindows:
    """What the windows of one stream pass on to each other: the network's state and the last frames.

    Args:
        frames: frames of the longest window.
    """

    def __init__(self, frames: int) -> None:
        self._frames = frames
        self.reset()

    def reset(self) -> None:
        """Forget the stream."""
        self.state: Any = None
        self.controls: dict[str, Any] = {}
        self._samples = 0  # of the stream, that the network has heard
        self._ended = False  # silence was heard after the last samples: nothing can follow it
        self._first = 0  # frame that row 0 of `_known` is
        self._known: Analysis | None = None

    def window(self, model: Hears, audio: Array, start: int, frames: int, controls: dict[str, Any]) -> Hearing:
        """`frames` frames from the stream's frame `start` on, heard in samples (N,) that begin at that frame.

        The network hears only samples that it has not heard yet. Frames whose look-ahead lies behind the samples' end
        are made as if silence followed, which ends the stream. A window that does not go on from what was heard begins
        a new one.
        """
        fps = model.config.fps
        begin = start * SAMPLE_RATE // fps
        end = begin + len(audio)
        gone_on = begin <= self._samples <= end and start >= self._first and not (self._ended and end > self._samples)
        if self.state is None or not gone_on:
            self.reset()
            self.state = model.new_state(self._frames)
            self._samples, self._first = begin, start
        elif _differ(controls, self.controls):
            self._follow(model, controls)
        self.controls = controls
        said = yield audio[self._samples - begin :]
        features = [] if said.features is None else [said.features]
        self._take(said, fps)
        self._samples = end
        missing = start + frames - self._first - self._count
        if missing > 0:
            silence = missing * SAMPLE_RATE // fps + model.config.lookahead_samples
            said = yield np.zeros(silence, np.float32)
            features += [] if said.features is None else [said.features]
            self._take(said, fps)
            self._ended = True
        rows = slice(start - self._first, start - self._first + frames)
        assert self._known is not None
        wanted = _map(self._known, lambda part: part[rows])
        return replace(wanted, features=np.concatenate(features) if features else None)

    @property
    def _count(self) -> int:
        return 0 if self._known is None else len(self._known.coefficients)

    def _take(self, new: Analysis, fps: int) -> None:
        known = new if self._known is None else _join(self._known, new)
        surplus = max(0, len(known.coefficients) - self._frames - fps)
        self._first += surplus
        self._known = _map(known, lambda part: part[surplus:])

    def _follow(self, model: Hears, controls: dict[str, Any]) -> None:
        """Other controls: the last frame becomes what it would have been with them."""
        if self._known is None:
            return
        speech, expression = model.hear_again(self.state, controls)
        if not len(speech):
            return
        last = {"coefficients": speech[-1]}
        if expression is not None:
            last |= {"speech": speech[-1], "expression": expression[-1]}
            last["coefficients"] = speech[-1] + float(controls.get("intensity", 1.0)) * expression[-1]
        changed = {name: getattr(self._known, name).copy() for name in last}
        for name, row in last.items():
            changed[name][-1] = row
        self._known = replace(self._known, **changed)


def analyse_windows(model: Hears, windows: Sequence[tuple[Array, Mapping[str, Any]]]) -> list[Analysis]:
    """Windows of several streams, heard in one pass of the network (two where one of the streams ends).

    Args:
        model: hears them.
        windows: of each stream its audio (n,), and the arguments of `analyse`: `person`, `level`, `emotion`, `memory`
            (`StreamWindows`), `start`, `frames`.
    """
    done: list[Analysis | None] = [None] * len(windows)
    waiting: list[tuple[int, StreamWindows, Hearing, Array]] = []
    for k, (audio, asked) in enumerate(windows):
        memory: StreamWindows = asked["memory"]
        hearing = memory.window(model, audio, asked["start"], asked["frames"], controls_of(model, asked))
        waiting.append((k, memory, hearing, next(hearing)))
    while waiting:
        memories = [memory for _, memory, *_ in waiting]
        pieces = [piece for *_, piece in waiting]
        said = model.hear(pieces, [m.state for m in memories], [m.controls for m in memories])
        rest = []
        for (k, memory, hearing, _), answer in zip(waiting, said, strict=True):
            try:
                rest.append((k, memory, hearing, hearing.send(answer)))
            except StopIteration as end:
                done[k] = end.value
        waiting = rest
    return [analysis for analysis in done if analysis is not None]


def controls_of(model: Any, asked: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `analyse` as the controls that `hear` takes."""
    emotion = asked.get("emotion")
    return {
        "person": asked.get("person", 0),
        "level": asked.get("level", 1.0),
        **({} if emotion is None else emotion.model_inputs(model)),
    }


def _differ(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() != other.keys() or any(
        a is not other[name] and not np.array_equal(_array(a), _array(other[name])) for name, a in one.items()
    )


def _array(value: Any) -> Any:
    """Numbers, an array, or a tensor on any device."""
    return np.asarray(value.cpu() if hasattr(value, "cpu") else value)


def _map(analysis: Analysis, change: Callable[[Array], Array]) -> Analysis:
    """The same of other frames."""
    parts = {name: getattr(analysis, name) for name in _BY_FRAME}
    changed: dict[str, Any] = {name: None if part is None else change(part) for name, part in parts.items()}
    return replace(analysis, **changed)


def _join(known: Analysis, new: Analysis) -> Analysis:
    parts = {name: (getattr(known, name), getattr(new, name)) for name in _BY_FRAME}
    joined: dict[str, Any] = {name: None if b is None else np.concatenate([a, b]) for name, (a, b) in parts.items()}
    logits = new.emotion_logits if len(new.coefficients) else known.emotion_logits
    return replace(known, emotion_logits=logits, features=None, **joined)
