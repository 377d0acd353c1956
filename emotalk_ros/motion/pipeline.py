"""The motion pipeline: what happens to the network's coefficients before they leave, stage after stage.

docs/motion.md has the table of stages: what each is for, its parameters, what it is worth.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from emotalk_ros.motion.frame import FaceFrame, FrameKind
from emotalk_ros.motion.stage import FrameContext, Stage
from emotalk_ros.motion.stages.blinks import Blinks, BlinkSettings
from emotalk_ros.motion.stages.expression import Expression, ExpressionSettings
from emotalk_ros.motion.stages.expression_smoothing import ExpressionSmoothing, ExpressionSmoothingSettings
from emotalk_ros.motion.stages.gains import Gains, GainSettings
from emotalk_ros.motion.stages.gaze import Gaze, GazeSettings
from emotalk_ros.motion.stages.head import Head, HeadSettings
from emotalk_ros.motion.stages.level_jaw import LevelJaw, LevelJawSettings
from emotalk_ros.motion.stages.limits import Limits, LimitSettings
from emotalk_ros.motion.stages.rest import Rest, RestSettings
from emotalk_ros.motion.stages.smoothing import Smoothing, SmoothingSettings
from emotalk_ros.units import NS

RESTING = 0.02
"""Largest coefficient of a face that counts as at rest."""
CLOSING_SECONDS = 0.3


@dataclass(frozen=True)
class MotionSettings:
    """Settings of every stage, in the order in which the stages run."""

    level_jaw: LevelJawSettings = field(default_factory=LevelJawSettings)
    smoothing: SmoothingSettings = field(default_factory=SmoothingSettings)
    expression_smoothing: ExpressionSmoothingSettings = field(default_factory=ExpressionSmoothingSettings)
    rest: RestSettings = field(default_factory=RestSettings)
    expression: ExpressionSettings = field(default_factory=ExpressionSettings)
    gains: GainSettings = field(default_factory=GainSettings)
    blinks: BlinkSettings = field(default_factory=BlinkSettings)
    head: HeadSettings = field(default_factory=HeadSettings)
    gaze: GazeSettings = field(default_factory=GazeSettings)
    limits: LimitSettings = field(default_factory=LimitSettings)


STAGES: dict[str, type[Stage[Any]]] = {
    "level_jaw": LevelJaw,
    "smoothing": Smoothing,
    "expression_smoothing": ExpressionSmoothing,
    "rest": Rest,
    "expression": Expression,
    "gains": Gains,
    "blinks": Blinks,
    "head": Head,
    "gaze": Gaze,
    "limits": Limits,
}
"""The stage of each field of `MotionSettings`."""


class MotionPipeline:
    """Runs the stages on one stream of frames; keeps what the next frame needs.

    Args:
        settings: see `MotionSettings`.
        fps: frames per second of the stream.
    """

    def __init__(self, settings: MotionSettings | None = None, fps: float = 30.0) -> None:
        if not 1 <= fps <= 1000:
            raise ValueError(f"fps {fps}: must be 1 to 1000")
        self.fps = float(fps)
        self._settings = settings or MotionSettings()
        self._stages = {
            part.name: STAGES[part.name](getattr(self._settings, part.name)) for part in fields(self._settings)
        }
        self._index: int | None = None

    @property
    def settings(self) -> MotionSettings:
        """Of all stages; assign to change them between two frames."""
        return self._settings

    @settings.setter
    def settings(self, settings: MotionSettings) -> None:
        self._settings = settings
        for name, stage in self._stages.items():
            if getattr(settings, name) != stage.settings:
                stage.settings = getattr(settings, name)

    def reset(self) -> None:
        """A new stream begins, at rest."""
        self._index = None
        for stage in self._stages.values():
            stage.reset()

    @property
    def blinking(self) -> bool:
        """Whether a blink is under way."""
        blinks = self._stages["blinks"]
        return isinstance(blinks, Blinks) and blinks.settings.on and blinks.closed > 0

    def finish_blinks(self) -> None:
        """No further blink begins in this stream."""
        blinks = self._stages["blinks"]
        if isinstance(blinks, Blinks):
            blinks.finish()

    def step(self, frame: FaceFrame, context: FrameContext | None = None) -> FaceFrame:
        """One frame through all stages.

        Args:
            frame: as the network gave it (what leaves 0..1 is cut); frames may be left out, not swapped.
            context: labels and controls; `fps` and `frames` are set here.
        """
        frames = 1 if self._index is None else max(1, frame.index - self._index)
        self._index = frame.index
        context = replace(context or FrameContext(self.fps), fps=self.fps, frames=frames)
        frame = replace(frame, coefficients=np.clip(frame.coefficients, 0.0, 1.0))
        for stage in self._stages.values():
            frame = stage.step(frame, context)
        return frame


def ease(phase: float) -> float:
    """0 up to phase 0, 1 from phase 1 on, smooth between."""
    phase = min(1.0, max(0.0, phase))
    return phase * phase * (3.0 - 2.0 * phase)


def closing_frames(last: FaceFrame, fps: float, seconds: float) -> list[FaceFrame]:
    """Frames from `last`, whose audio broke off `seconds` ago, to rest, on its grid; none where it rests already."""
    if float(np.abs(last.coefficients).max()) <= RESTING:
        return []
    first, count = last.index + max(1, int(np.ceil(seconds * fps))), round(CLOSING_SECONDS * fps)
    closing = []
    for index in range(first, first + count):
        weight = ease(1.0 - (index - first + 1) / count)
        closing.append(
            replace(
                last,
                index=index,
                stamp_ns=last.stamp_ns + round((index - last.index) * NS / fps),
                coefficients=last.coefficients * np.float32(weight),
                activity=0.0,
                loudness=0.0,
                kind=FrameKind.CLOSING,
            )
        )
    return closing
