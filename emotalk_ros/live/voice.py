"""One visitor's voice: his audio through the one network, with his own controls, to his own face."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from emotalk_ros.audio import PcmChunk, VoiceSettings
from emotalk_ros.emotions import canonical
from emotalk_ros.live.frames import AudioMessage, LiveFrame, MessageError
from emotalk_ros.motion import FaceFrame, MotionSettings
from emotalk_ros.motion.stages.blinks import BlinkSettings
from emotalk_ros.motion.stages.gains import GainSettings
from emotalk_ros.motion.stages.gaze import GazeSettings
from emotalk_ros.motion.stages.head import HeadSettings
from emotalk_ros.streaming import Controls, FaceStream, StreamSettings
from emotalk_ros.streaming.engine import Asking, answered
from emotalk_ros.streaming.hub import Collect, stepped
from emotalk_ros.units import NS, SAMPLE_RATE

_ORIGIN_NS = NS
"""Stamp of sample 0: a stamp of 0 would mean that it is unknown."""


@dataclass(frozen=True)
class VoiceControls:
    """What a visitor has chosen on the page. Raises MessageError that names the value and its range."""

    mode: str = "heard"
    """Emotion: "heard", "chosen", or "blend" of both."""
    label: str = "neutral"
    intensity: float = 1.0
    blend: float = 0.5
    person: int = 0
    level: float = 1.0
    mouth_gain: float = 1.0
    blinks: bool = True
    head: bool = True
    gaze: bool = True
    seed: int = 0
    """Of blinks, head and gaze."""

    def __post_init__(self) -> None:
        if self.mode not in ("heard", "chosen", "blend"):
            raise MessageError(f"emotion {self.mode!r}: must be heard, chosen or blend")
        for name, high in (("intensity", 2.0), ("blend", 1.0), ("level", 1.0), ("mouth_gain", 4.0)):
            if not 0.0 <= getattr(self, name) <= high:
                raise MessageError(f"{name} {getattr(self, name)}: must be 0 to {high:g}")
        if not 0 <= self.seed < 2**31:
            raise MessageError(f"seed {self.seed}: must be 0 to {2**31 - 1}")
        try:
            object.__setattr__(self, "label", canonical(self.label))
        except ValueError as error:
            raise MessageError(str(error)) from None

    def changed(self, values: Mapping[str, Any]) -> VoiceControls:
        """These controls with some values of a JSON message put in. Raises MessageError."""
        new: dict[str, Any] = {}
        for name, value in values.items():
            if name not in self.__dataclass_fields__:
                raise MessageError(f"unknown control {name[:40]!r}; known: {', '.join(self.__dataclass_fields__)}")
            kind = type(getattr(self, name))
            if kind is float and type(value) is int:
                value = float(value)
            if type(value) is not kind or (kind is float and not math.isfinite(value)):
                wanted = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}[kind]
                raise MessageError(f"{name} {str(value)[:40]!r}: must be {wanted}")
            new[name] = value
        return replace(self, **new)

    def stream_controls(self) -> Controls:
        """For the stream."""
        from emotalk_ros.model import EmotionControl

        emotion = None
        if self.mode != "heard":
            blend = 1.0 if self.mode == "chosen" else self.blend
            emotion = EmotionControl.of(self.label, self.intensity, blend)
        elif self.intensity != 1.0:
            emotion = EmotionControl.heard(self.intensity)
        return Controls(self.person, self.level, emotion)

    def motion(self) -> MotionSettings:
        """For the stages."""
        return MotionSettings(
            gains=GainSettings(mouth=self.mouth_gain),
            blinks=BlinkSettings(on=self.blinks, seed=self.seed),
            head=HeadSettings(on=self.head, seed=self.seed),
            gaze=GazeSettings(on=self.gaze, seed=self.seed),
        )


class Voice:
    """Audio messages in, frames out. Not safe to call from two threads at once.

    Args:
        model: shared by all voices; whoever calls must see to it that one call runs at a time (`streaming.hub`).
        settings: geometry of the stream.
        controls: style, emotion, movements.
        detector: what counts as speech.
    """

    def __init__(
        self,
        model: Any,
        settings: StreamSettings | None = None,
        controls: VoiceControls | None = None,
        detector: VoiceSettings | None = None,
    ) -> None:
        self._controls = controls or VoiceControls()
        asked = self._controls.stream_controls()
        asked.check(model)
        self._stream = FaceStream(model, settings, asked, self._controls.motion(), voice=detector)
        self.labels = self._stream.emotion_labels
        self.fps = self._stream.fps
        self.latency = self._stream.schedule.latency
        """Longest wait for audio, from the instant that a frame shows to its computation, seconds."""

    def start(self) -> None:
        """A new stream, from its first sample on."""
        self._stream.end()
        self._stream.reset()

    def warm_up(self) -> None:
        """Run the network once: the first time takes longer than any other."""
        self._stream.push(np.zeros(2 * SAMPLE_RATE, dtype=np.float32), _ORIGIN_NS)
        self.start()

    @property
    def controls(self) -> VoiceControls:
        """Assign to change them; they take hold from the next hop on. Raises MessageError when the model refuses."""
        return self._controls

    @controls.setter
    def controls(self, controls: VoiceControls) -> None:
        try:
            self._stream.controls = controls.stream_controls()
        except ValueError as error:
            raise MessageError(str(error)) from None
        self._stream.motion = controls.motion()
        self._controls = controls

    @property
    def model(self) -> Any:
        """The network."""
        return self._stream.model

    def push(self, audio: AudioMessage) -> list[LiveFrame]:
        """Take audio; returns the frames it completes, in order."""
        return answered(self.pushing(audio), self.model)

    def pushing(self, audio: AudioMessage) -> Asking[list[LiveFrame]]:
        """`push`, for whoever answers the requests to the network: several voices in one pass."""
        stamp = _ORIGIN_NS + audio.first * NS // audio.rate
        frames: list[FaceFrame] = []
        chunk = PcmChunk(audio.data, "s16le", audio.channels, audio.rate, stamp)
        yield from stepped(self._stream.work(chunk), Collect(frames))
        return _live(frames)

    def end(self) -> list[LiveFrame]:
        """The stream ends: the frames that were held back for look-ahead, and the face comes to rest."""
        return answered(self.ending(), self.model)

    def ending(self) -> Asking[list[LiveFrame]]:
        """`end`, as `pushing` is to `push`."""
        frames: list[FaceFrame] = []
        yield from stepped(self._stream.end_work(), Collect(frames))
        return _live(frames + self._stream.closing(0.0))

    def skip(self, seconds: float) -> int:
        """Leave out so much of what comes next, since this machine is too slow; returns the number of hops."""
        hops = math.ceil(seconds / self._stream.schedule.hop_seconds)
        self._stream.skip(hops)
        return hops


def _live(frames: list[FaceFrame]) -> list[LiveFrame]:
    out = []
    for frame in frames:
        time = (frame.stamp_ns - _ORIGIN_NS) / NS
        emotion = np.asarray(frame.emotion, dtype=np.float32)
        out.append(LiveFrame(frame.index, time, frame.coefficients, frame.activity, emotion, frame.angles))
    return out
