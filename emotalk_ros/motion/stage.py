"""What every stage of the motion pipeline is: settings, a step from frame to frame, a reset."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from emotalk_ros.motion.frame import FaceFrame

S = TypeVar("S")


@dataclass(frozen=True)
class FrameContext:
    """What a stage may want to know besides the frame."""

    fps: float
    """Frames per second of the grid."""
    frames: int = 1
    """Steps of the grid since the frame before: 1 unless frames were left out."""
    labels: tuple[str, ...] = ()
    """Names of `FaceFrame.emotion`."""
    emotion: Any = None
    """`model.EmotionControl` that was asked for; None: the emotion heard."""
    person: Any = 0
    """Personal style: an index, or one weight per person."""
    level: float = 1.0
    """Intensity of the style, 0..1."""
    transition: float | None = None
    """Seconds from the emotion before to this one; None: as the expression stage is set."""
    stays: bool = False
    """Whether an emotion that was asked for by name stays when nobody speaks (a live face), or fades (a recording)."""
    pitch: Callable[[int], float | None] = lambda index: None
    """Pitch of the voice at a frame (see `audio.pitch`); worked out only for a stage that asks."""

    @property
    def seconds(self) -> float:
        """Time since the frame before."""
        return self.frames / self.fps


class Stage(ABC, Generic[S]):
    """One step of the pipeline.

    Everything is a function of the frames so far, their index and the frame rate: no clock, and no random numbers but
    those of a seeded generator. So the result is the same however the frames arrive.
    """

    settings: S
    """May be replaced between two frames; the movement goes on from where it is."""

    def __init__(self, settings: S) -> None:
        self.settings = settings
        self.reset()

    def reset(self) -> None:
        """A new stream begins, at rest."""

    @abstractmethod
    def step(self, frame: FaceFrame, context: FrameContext) -> FaceFrame:
        """The frame as this stage leaves it; the one given stays as it is."""


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raise ValueError, with the range, for a value outside of it (or not a number)."""
    if not low <= value <= high:
        raise ValueError(f"{name} {value}: must be {low:g} to {high:g}")


def check_rising(name: str, pair: tuple[float, float], low: float, high: float) -> None:
    """Raise ValueError unless `pair` is two numbers, rising, within the range."""
    if len(pair) != 2 or not low <= pair[0] <= pair[1] <= high:
        raise ValueError(f"{name} {tuple(pair)}: must be two numbers, rising, within {low:g} to {high:g}")
