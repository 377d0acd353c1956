"""Finishing of a motion, frame by frame: gains, limits, smoothing, rest pose in silence, blinks.

Everything is a function of the frames so far, their index and the frame rate: no clock, and no random numbers but those
of a seeded generator. So the result is the same however the frames arrive.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotalk_ros.face.names import BLINK, COUNT, INDEX, UPPER_FACE

Vector = NDArray[np.float32]

LOWER_FACE: NDArray[np.intp] = np.setdiff1d(np.arange(COUNT, dtype=np.intp), UPPER_FACE)
"""Indices of everything that speaks: jaw, mouth, tongue, puffed cheeks. It comes to rest with the voice."""
EXPRESSIVE: NDArray[np.intp] = np.setdiff1d(UPPER_FACE, BLINK)
"""Indices of brows, eyes, cheek squints and nose: what shows emotion, without the lids' blinks."""

_FAST = 1.5  # coefficient units per second at which the smoothing has halved
_STILL = 0.009  # a fading upper face moves less than this per frame
_SPEAKING = 0.5  # activity from which on somebody speaks


@dataclass(frozen=True)
class FinishSettings:
    """What to do with the network's coefficients before they leave. Times in seconds.

    Raises ValueError that names the value and the range when one is out of range.
    """

    gain: float = 1.0
    """Multiplies every coefficient."""
    mouth_gain: float = 1.0
    """Multiplies jaw, mouth, tongue and puffed cheeks as well."""
    upper_gain: float = 1.0
    """Multiplies brows, eyes, cheek squints and nose as well."""
    gains: Mapping[str, float] = field(default_factory=dict)
    """Further factors of single coefficients, by name."""
    limits: tuple[float, float] = (0.0, 1.0)
    """No coefficient leaves these."""
    smoothing: float = 0.02
    """Time constant for slow movements; fast ones (closing lips) pass. 0 switches it off."""
    expression_smoothing: float = 0.1
    """Time constant of the upper face (but for blinks): what is heard of an emotion may change within a frame, a face
    never does. 0 switches it off."""
    rest: bool = True
    """Bring the mouth to rest when nobody speaks."""
    rest_time: float = 0.18
    """From speaking to a resting mouth."""
    wake_time: float = 0.1
    """From rest to full movement."""
    fade_rate: float = 0.25
    """How fast the expression of the upper face fades in silence, units per second; 0 keeps it."""
    blinks: bool = True
    blink_interval: tuple[float, float] = (2.0, 7.0)
    """Shortest and longest time between two blinks."""
    blink_duration: tuple[float, float] = (0.15, 0.25)
    """Shortest and longest blink."""
    seed: int = 0
    """Of the blinks: the same seed blinks at the same frames."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("gain", 0.0, 4.0),
            ("mouth_gain", 0.0, 4.0),
            ("upper_gain", 0.0, 4.0),
            ("smoothing", 0.0, 0.5),
            ("expression_smoothing", 0.0, 2.0),
            ("rest_time", 0.0, 2.0),
            ("wake_time", 0.0, 2.0),
            ("fade_rate", 0.0, 10.0),
        ):
            _within(name, getattr(self, name), low, high)
        unknown = [name for name in self.gains if name not in INDEX]
        if unknown:
            raise ValueError(
                f"gains: no coefficient is called {', '.join(map(repr, unknown))} (ARKit names, like 'jawOpen')"
            )
        for name, value in self.gains.items():
            _within(f"gains[{name!r}]", value, 0.0, 4.0)
        _ordered("limits", self.limits, 0.0, 1.0)
        _ordered("blink_interval", self.blink_interval, 0.3, 60.0)
        _ordered("blink_duration", self.blink_duration, 0.05, 1.0)

    def factors(self) -> Vector:
        """The product of all gains per coefficient, (52,)."""
        factors = np.full(COUNT, self.gain, dtype=np.float32)
        factors[LOWER_FACE] *= self.mouth_gain
        factors[UPPER_FACE] *= self.upper_gain
        for name, value in self.gains.items():
            factors[INDEX[name]] *= value
        return factors


class Finisher:
    """Finishes one stream of frames; keeps what the next frame needs.

    `settings` may be replaced at any time; the movement goes on from where it is.

    Args:
        settings: see `FinishSettings`.
        fps: frames per second of the stream.
    """

    def __init__(self, settings: FinishSettings | None = None, fps: float = 30.0) -> None:
        if not 1 <= fps <= 1000:
            raise ValueError(f"fps {fps}: must be 1 to 1000")
        self.fps = float(fps)
        self._stream = -1
        self.settings = settings or FinishSettings()
        self.reset()

    @property
    def settings(self) -> FinishSettings:
        """What is done; assign to change it."""
        return self._settings

    @settings.setter
    def settings(self, settings: FinishSettings) -> None:
        self._settings = settings
        self._factors = settings.factors()
        self._blinks = _Blinks(settings, max(self._stream, 0))

    def reset(self) -> None:
        """A new stream begins, at rest. Its blinks differ from the last stream's, yet are reproducible."""
        self._stream += 1
        self._blinks = _Blinks(self._settings, self._stream)
        self._index: int | None = None
        self._smooth: Vector | None = None
        self._gate = 0.0 if self._settings.rest else 1.0
        self._held: Vector = np.zeros(len(UPPER_FACE), dtype=np.float32)

    def step(self, coefficients: NDArray[Any], activity: float, frame_index: int) -> Vector:
        """Finish one frame.

        Args:
            coefficients: (52,) from the network; NaN counts as 0.
            activity: speech activity of the frame, 0..1.
            frame_index: its place on the grid n / fps; frames may have been left out, not swapped.

        Returns:
            (52,) float32 within the limits.
        """
        if coefficients.shape != (COUNT,):
            raise ValueError(f"expected coefficients of shape ({COUNT},), got {coefficients.shape}")
        frames = 1 if self._index is None else max(1, frame_index - self._index)
        self._index = frame_index
        seconds = frames / self.fps
        low, high = self._settings.limits
        live = np.nan_to_num(np.asarray(coefficients, dtype=np.float32), nan=0.0, posinf=high, neginf=low)
        live = self._smoothed(np.clip(live * self._factors, low, high), seconds)
        out = self._rested(live, activity, seconds, frames)
        if self._settings.blinks:
            out[BLINK] = np.maximum(out[BLINK], self._blinks.at(frame_index / self.fps))
        return np.clip(out, low, high)

    def _smoothed(self, target: Vector, seconds: float) -> Vector:
        """One pole for each region; for the lower face and the lids its time constant shrinks with their speed.

        Lips are closed when mouthClose equals jawOpen: filtering each by its own speed would part them. One speed per
        region, that of its fastest coefficient, keeps such differences, and lets a closure through nearly at once
        (the idea of the 1-Euro filter, Casiez et al., CHI 2012).
        """
        if self._smooth is None:
            self._smooth = target.copy()
            return target
        for region in (LOWER_FACE, BLINK, EXPRESSIVE):
            change = target[region] - self._smooth[region]
            constant = self._settings.expression_smoothing
            if region is not EXPRESSIVE:
                constant = self._settings.smoothing / (1 + float(np.abs(change).max()) / seconds / _FAST)
            if constant > 0:
                self._smooth[region] += change * np.float32(-math.expm1(-seconds / constant))
            else:
                self._smooth[region] = target[region]
        return self._smooth.copy()

    def _rested(self, live: Vector, activity: float, seconds: float, frames: int) -> Vector:
        """Blend between the live face (speaking) and the resting one: mouth at zero, upper face fading slowly."""
        settings = self._settings
        speaking = activity >= _SPEAKING or not settings.rest
        time = settings.wake_time if speaking else settings.rest_time
        move = seconds / time if time > 0 else 1.0
        self._gate = min(1.0, self._gate + move) if speaking else max(0.0, self._gate - move)
        gate = np.float32(self._gate * self._gate * (3 - 2 * self._gate))
        if not speaking:
            fade = np.float32(min(settings.fade_rate * seconds, _STILL * frames))
            self._held = np.sign(self._held) * np.maximum(np.abs(self._held) - fade, 0)
        out = live * gate
        out[UPPER_FACE] += (1 - gate) * self._held
        if self._gate >= 1.0:
            self._held = live[UPPER_FACE].copy()
        return out


class _Blinks:
    """Both lids over time: close fast, open slower, then wait for the next."""

    def __init__(self, settings: FinishSettings, stream: int) -> None:
        self._settings = settings
        self._seed = (settings.seed, stream)
        self._restart()

    def _restart(self) -> None:
        self._random = np.random.default_rng(self._seed)
        self._begin = self._random.uniform(*self._settings.blink_interval)
        self._length = self._random.uniform(*self._settings.blink_duration)
        self._since = 0.0

    def at(self, seconds: float) -> float:
        """How far the lids are closed, 0..1."""
        if seconds < self._since:
            self._restart()
        while seconds >= self._begin + self._length:
            self._since = self._begin + self._length
            self._begin = self._since + self._random.uniform(*self._settings.blink_interval)
            self._length = self._random.uniform(*self._settings.blink_duration)
        return _lid((seconds - self._begin) / self._length)


def _lid(phase: float) -> float:
    """One blink: closed at a third of its time, for a tenth, then opening; smooth at both ends."""
    if not 0 < phase < 1:
        return 0.0
    if phase < 0.33:
        return math.sin(math.pi / 2 * phase / 0.33) ** 2
    if phase < 0.43:
        return 1.0
    return math.cos(math.pi / 2 * (phase - 0.43) / 0.57) ** 2


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ValueError(f"{name} {value}: must be {low:g} to {high:g}")


def _ordered(name: str, pair: tuple[float, float], low: float, high: float) -> None:
    if len(pair) != 2 or not low <= pair[0] <= pair[1] <= high:
        raise ValueError(f"{name} {tuple(pair)}: must be two numbers, rising, within {low:g} to {high:g}")
