"""A stream given as overlapping windows: each goes on where the one before ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from emotalk_ros.model.inference import Analysis, Array
from emotalk_ros.units import SAMPLE_RATE

if TYPE_CHECKING:
    from emotalk_ros.model.streaming_emotalk import NetworkState, StreamingEmoTalk


_BY_FRAME = ("coefficients", "frame_emotion_logits", "speech", "expression")


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
        self._state: NetworkState | None = None
        self._samples = 0  # of the stream, that the network has heard
        self._ended = False  # silence was heard after the last samples: nothing can follow it
        self._first = 0  # frame that row 0 of `_known` is
        self._known: Analysis | None = None
        self._controls: dict[str, Any] | None = None

    def analyse(
        self, model: StreamingEmoTalk, values: Tensor, start: int, frames: int, controls: dict[str, Any]
    ) -> Analysis:
        """`frames` frames from the stream's frame `start` on, heard in samples (1, N) that begin at that frame.

        The network hears only samples that it has not heard yet. Frames whose look-ahead lies behind the samples' end
        are made as if silence followed, which ends the stream. A window that does not go on from what was heard begins
        a new one.
        """
        begin = start * SAMPLE_RATE // model.config.fps
        end = begin + values.shape[1]
        gone_on = begin <= self._samples <= end and start >= self._first and not (self._ended and end > self._samples)
        if self._state is None or not gone_on:
            self.reset()
            self._state = model.new_state()
            self._samples, self._first = begin, start
        elif _differ(controls, self._controls):
            self._follow(model, controls)
        self._controls = controls
        self._features: list[Array] = []
        self._hear(model, values[:, self._samples - begin :], controls)
        self._samples = end
        missing = start + frames - self._first - self._count
        if missing > 0:
            silence = missing * SAMPLE_RATE // model.config.fps + model.config.lookahead_samples
            self._hear(model, values.new_zeros(1, silence), controls)
            self._ended = True
        rows = slice(start - self._first, start - self._first + frames)
        assert self._known is not None
        return replace(_map(self._known, lambda part: part[rows]), features=np.concatenate(self._features))

    @property
    def _count(self) -> int:
        return 0 if self._known is None else len(self._known.coefficients)

    def _hear(self, model: StreamingEmoTalk, values: Tensor, controls: dict[str, Any]) -> None:
        new = model.analysis(model(values, state=self._state, frame_emotion=True, **controls))
        if new.features is not None:
            self._features.append(new.features)
        known = new if self._known is None else _join(self._known, new)
        surplus = max(0, len(known.coefficients) - self._frames - model.config.fps)
        self._first += surplus
        self._known = _map(known, lambda part: part[surplus:])

    def _follow(self, model: StreamingEmoTalk, controls: dict[str, Any]) -> None:
        """Other controls: the last frame becomes what it would have been with them."""
        assert self._state is not None
        if self._known is None or self._state.content.kept is None or not self._state.content.kept.shape[1]:
            return
        made = model.decode_again(self._state, **controls)
        speech, expression = (part[0, -1].float().cpu().numpy() for part in made)
        last = {
            "speech": speech,
            "expression": expression,
            "coefficients": speech + float(controls.get("intensity", 1.0)) * expression,
        }
        changed = {name: getattr(self._known, name).copy() for name in last}
        for name, row in last.items():
            changed[name][-1] = row
        self._known = replace(self._known, **changed)


def _differ(one: dict[str, Any], other: dict[str, Any] | None) -> bool:
    if other is None or one.keys() != other.keys():
        return other is not None
    return any(
        not torch.equal(a, b) if isinstance(a, Tensor) else a != b
        for a, b in zip(one.values(), other.values(), strict=True)
    )


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
