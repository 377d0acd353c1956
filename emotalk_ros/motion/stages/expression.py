"""Expression: the emotion that was asked for, or that the voice carries, shown on top of what the mouth says.

    coefficients = speech + intensity * presence * max(target, confidence * network)

`target` is the expression of the emotion on this person's face (`face.styles`): of the labels asked for, or of those
heard, weighted by their probabilities, so that a doubtful voice gives a mild face and not a wrong one. `network` is the
network's own expression: the stage adds what that lacks towards the target, and doubles nothing. The sum is that of
`face.composition`: linear in the intensity until a coefficient reaches 1, and it leaves the gap of the lips alone.

In time: an emotion changes within 0.3 s without a step; it comes with the voice, sways with its energy (more in an
aroused voice), stays through pauses, and fades when nobody speaks.
On a live face an emotion that was asked for by name needs no voice: it stays until it is taken back.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from emotalk_ros.emotions import EMOTIONS, HIGH_AROUSAL, canonical
from emotalk_ros.face.composition import CORNERS, compose
from emotalk_ros.face.names import COUNT, EXPRESSIVE, indices
from emotalk_ros.face.styles import expressions_of
from emotalk_ros.motion.frame import Array, FaceFrame
from emotalk_ros.motion.stage import FrameContext, Stage, check_range

SPEAKING = 0.5
"""Activity from which on somebody speaks."""
NORMAL = 0.55
"""Expression of a normal portrayal (level 0) against a strong one (level 1)."""
AHEAD = 0.06
"""Seconds by which a face may take its expression before the voice has the mouth: breath before speech."""
BUSY_TIME, FREE_AFTER, FREE_TIME = 0.04, 0.25, 0.15
"""Time constant with which speech takes the mouth, seconds of silence after which it lets go, and how fast it does."""
SAYS = 0.12
"""Opening or rounding from which on the mouth certainly speaks, whatever the activity says."""
SLOW, SLOWER = 0.2, 2.0
"""Time constants over which the energy of the voice counts as now, and as usual."""
FADED = 0.05
"""What fades loses this much per second besides, so that it ends."""

OWN_TIME = 0.15
"""Seconds over which the network's own expression may change: what is heard changes within a frame, a face does not."""
STAYS = 1.0
"""Time constant from which on a corner of the mouth is held by expression, not by a sound."""

_SPEAKS = indices(["jawOpen", "mouthClose", "mouthFunnel", "mouthPucker", "mouthLowerDownLeft"])


@dataclass(frozen=True)
class ExpressionSettings:
    """Times in seconds. Raises ValueError for values out of range."""

    share: float = 1.0
    """How much of the target is shown, 0 to 1; 0 leaves the network's own expression as it is."""
    transition: float = 0.3
    """From one emotion to another, 0 to 5."""
    rise: float = 0.12
    """Time constant with which an expression comes with the voice, 0 to 5."""
    hold: float = 0.8
    """Longest pause through which it stays, 0 to 60."""
    fade: float = 1.0
    """Time constant with which it fades after that, 0 to 60."""
    sway: float = 0.25
    """How much it follows the energy of the voice, 0 to 1."""

    def __post_init__(self) -> None:
        check_range("share of the expression", self.share, 0.0, 1.0)
        check_range("transition", self.transition, 0.0, 5.0)
        check_range("rise", self.rise, 0.0, 5.0)
        check_range("hold", self.hold, 0.0, 60.0)
        check_range("fade", self.fade, 0.0, 60.0)
        check_range("sway", self.sway, 0.0, 1.0)


class Expression(Stage[ExpressionSettings]):
    """See the module."""

    def reset(self) -> None:
        """Nobody has spoken yet: a face at rest."""
        self._target, self._own, self._scale = _Glide(), _Glide(), _Glide()
        self._corners = np.zeros(len(CORNERS), dtype=np.float32)
        self._presence = self._busy = 0.0
        self._silent = math.inf
        self._activity: deque[float] = deque()
        self._loud = self._usual = self._spoken = 0.0

    def step(self, frame: FaceFrame, context: FrameContext) -> FaceFrame:
        """Add the expression."""
        settings, seconds = self.settings, context.seconds
        if settings.share == 0.0 and frame.expression is None:
            return frame
        wish = wished(frame, context)
        faces = settings.share * (NORMAL + (1.0 - NORMAL) * context.level) * expressions_of(context.person)
        transition = settings.transition if context.transition is None else context.transition
        target = self._target.step(wish.weights @ faces, transition, seconds)
        scale = np.array([wish.intensity, wish.arousal, 1.0 - settings.share * (1.0 - wish.confidence)])
        intensity, arousal, confidence = self._scale.step(scale, transition, seconds).tolist()
        speech, own = self._taken_apart(frame, seconds)
        self._follow(frame, speech, context, wish.asked if context.stays else 0.0)
        wanted = target * np.float32(intensity * self._presence * self._energy(frame, arousal, seconds))
        if frame.expression is None:
            wanted[CORNERS] = np.maximum(wanted[CORNERS] - self._corners, 0.0)
            own *= np.float32(confidence * intensity)
        else:
            own *= np.float32(confidence * intensity * self._presence)
        return replace(frame, coefficients=compose(speech, np.maximum(wanted, own), self._busy))

    def _taken_apart(self, frame: FaceFrame, seconds: float) -> tuple[Array, Array]:
        """Speech (52,) and the network's own expression (52,)."""
        if frame.expression is not None:
            return frame.coefficients, self._own.step(frame.expression, OWN_TIME, seconds)
        # A network that does not tell them apart: its upper face is expression, and so are corners that stay.
        speech, own = frame.coefficients.copy(), np.zeros(COUNT, dtype=np.float32)
        own[EXPRESSIVE] = speech[EXPRESSIVE]
        speech[EXPRESSIVE] = 0.0
        self._corners += (speech[CORNERS] - self._corners) * np.float32(_share(seconds, STAYS))
        return speech, own

    def _follow(self, frame: FaceFrame, speech: Array, context: FrameContext, asked: float) -> None:
        """How far the expression is there, and how much of the mouth speech uses. `asked` needs no voice."""
        settings, seconds = self.settings, context.seconds
        speaks = frame.activity >= SPEAKING
        self._silent = 0.0 if speaks else self._silent + seconds
        if speaks or self._presence < asked:
            self._presence += ((1.0 if speaks else asked) - self._presence) * _share(seconds, settings.rise)
        elif self._silent > settings.hold and self._presence > asked:
            kept = self._presence * (1.0 - _share(seconds, settings.fade))
            self._presence = max(asked, kept - FADED * seconds)
        self._activity.append(frame.activity)
        while len(self._activity) > 1 + round(AHEAD * context.fps):
            self._activity.popleft()
        says = min(1.0, float(speech[_SPEAKS].max()) / SAYS)
        if self._activity[0] >= SPEAKING and speaks:
            self._busy += (1.0 - self._busy) * _share(seconds, BUSY_TIME)
        elif self._silent > FREE_AFTER:
            self._busy *= 1.0 - _share(seconds, FREE_TIME)
        self._busy = max(self._busy, says)

    def _energy(self, frame: FaceFrame, arousal: float, seconds: float) -> float:
        """About 1: more where the voice is louder than usual, less where it is softer."""
        loudness = frame.loudness
        self._loud += (loudness - self._loud) * _share(seconds, SLOW)
        if frame.activity >= SPEAKING:
            self._spoken += seconds
            self._usual += (loudness - self._usual) * max(_share(seconds, SLOWER), min(1.0, seconds / self._spoken))
        lively = self.settings.sway * (0.6 + 0.8 * arousal)
        return 1.0 + lively * min(max(self._loud - self._usual, -0.6), 0.15)


@dataclass(frozen=True)
class Wish:
    """What a frame is to show."""

    weights: Array
    """(8,) of the emotions, in the order of `EMOTIONS`; together at most 1."""
    intensity: float
    """0..2."""
    confidence: float
    """0..1: how far the network's own expression is believed; 1 where the emotion was asked for."""
    arousal: float
    """0..1."""
    asked: float = 0.0
    """0..1: share that was asked for by labels."""


def wished(frame: FaceFrame, context: FrameContext) -> Wish:
    """The emotion asked for, or else the one heard, or their blend."""
    heard = np.zeros(len(EMOTIONS), dtype=np.float32)
    for k, place in enumerate(_places(context.labels[: len(frame.emotion)])):
        if place is not None:
            heard[place] += frame.emotion[k]
    sure = float(frame.emotion.max()) if len(frame.emotion) else 1.0
    control = context.emotion
    if control is None:
        return Wish(heard, 1.0, sure, _arousal(heard))
    asked, blend = heard, 0.0
    if control.labels:
        total = sum(control.labels.values())
        asked, blend = np.zeros(len(EMOTIONS), dtype=np.float32), float(control.blend)
        for label, weight in control.labels.items():
            asked[EMOTIONS.index(canonical(label))] += weight / total
    elif control.clip is not None:
        # Another voice's emotion is known to the network alone.
        asked, blend = np.zeros(len(EMOTIONS), dtype=np.float32), float(control.blend)
    weights = heard + np.float32(blend) * (asked - heard)
    asked_for = blend if control.labels else 0.0
    return Wish(weights, float(control.intensity), sure + blend * (1.0 - sure), _arousal(weights), asked_for)


@lru_cache(maxsize=16)
def _places(labels: tuple[str, ...]) -> tuple[int | None, ...]:
    """Where each of a network's labels stands among `EMOTIONS`."""
    places: list[int | None] = []
    for label in labels:
        try:
            places.append(EMOTIONS.index(canonical(label)))
        except ValueError:
            places.append(None)
    return tuple(places)


_HIGH = np.array([label in HIGH_AROUSAL for label in EMOTIONS])


def _arousal(weights: Array) -> float:
    return float(weights[_HIGH].sum())


def _share(seconds: float, constant: float) -> float:
    """How far one pole with this time constant goes in so many seconds."""
    return -math.expm1(-seconds / constant) if constant > 0 else 1.0


class _Glide:
    """Values that follow others within a given time, without a step in value or speed (two equal poles)."""

    def __init__(self) -> None:
        self._first: NDArray[np.floating] | None = None
        self._second: NDArray[np.floating] | None = None

    def step(self, goal: NDArray[np.floating], time: float, seconds: float) -> Array:
        """Nine tenths of the way are done after `time`; the first goal is taken as it is."""
        if self._first is None or self._second is None:
            self._first = self._second = np.asarray(goal, dtype=np.float32)
        share = np.float32(_share(seconds, time / 4))
        self._first = self._first + share * (goal - self._first)
        self._second = self._second + share * (self._first - self._second)
        return np.array(self._second, dtype=np.float32)
