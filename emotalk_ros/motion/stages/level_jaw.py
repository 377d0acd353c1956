"""Level-driven jaw: a share of the mouth's opening follows the loudness, whatever the language.

The level between 0.5 and 3 kHz alone correlates .70 with the jaw of a captured Mandarin take, where a network that
knows English guesses phones. Lips open and shut with the jaw; lips predicted closed stay closed, and press.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

from emotalk_ros.face.names import INDEX, indices
from emotalk_ros.motion.frame import FaceFrame
from emotalk_ros.motion.stage import FrameContext, Stage, check_range

SECONDS = 2.5
"""How wide this mouth opens is how wide it opened in so much of the past."""
WIDE = 0.3
"""jawOpen of a loud vowel (captured faces: p90 .16, p99 .42). How wide the network's opened of late counts as much:
emphasis and emotion lie in that."""
SPEAKING = (0.03, 0.06)
"""Widest jawOpen of late from which a mouth begins to follow, and from which it follows in full: noise opens none."""
APART = 0.02
"""jawOpen minus mouthClose above which lips are surely apart. Closed ones stay closed while the jaw behind moves."""
PRESS = 0.25
"""Share by which mouthClose grows at a predicted closure: a network that is not sure leaves a gap of a hair."""
CLOSED = (0.8, 1.0)
"""mouthClose over jawOpen from which lips begin to count as closed, and at which they do."""
MOST = (0.3, 2.0)
"""Lips open and shut with the jaw, by a factor within this range."""
LIPS = indices(["mouthLowerDownLeft", "mouthLowerDownRight", "mouthUpperUpLeft", "mouthUpperUpRight"])
JAW, CLOSE = INDEX["jawOpen"], INDEX["mouthClose"]


@dataclass(frozen=True)
class LevelJawSettings:
    """Raises ValueError for a share out of range."""

    share: float = 0.6
    """Share 0..1 of the opening that follows the loudness in place of the network; 0 switches the stage off."""

    def __post_init__(self) -> None:
        check_range("share of the level-driven jaw", self.share, 0.0, 1.0)


class LevelJaw(Stage[LevelJawSettings]):
    """See the module."""

    def reset(self) -> None:
        """No mouth was seen yet."""
        self._jaws: deque[tuple[int, float]] = deque()

    def step(self, frame: FaceFrame, context: FrameContext) -> FaceFrame:
        """Move jaw and lips towards what the loudness asks for."""
        share, loudness = self.settings.share, frame.loudness
        jaw, close = float(frame.coefficients[JAW]), float(frame.coefficients[CLOSE])
        widest = self._widest(frame.index, jaw, round(SECONDS * context.fps))
        if share == 0.0:
            return frame
        follows = _ramp(widest, *SPEAKING)
        wide = 0.5 * (widest + WIDE * follows)
        moved = jaw + share * follows * (wide * loudness - jaw)
        apart = _ramp(jaw - close, 0.0, APART)
        change = min(max(moved / max(jaw, 1e-3), MOST[0]), MOST[1])
        pressed = follows * _ramp(close / max(jaw, 1e-3), *CLOSED)
        made = frame.coefficients.copy()
        made[LIPS] *= 1.0 + (change - 1.0) * apart
        made[JAW] = moved
        made[CLOSE] = max(close + (1.0 - apart) * (moved - jaw), 0.0) * (1.0 + PRESS * pressed)
        return replace(frame, coefficients=made)

    def _widest(self, index: int, jaw: float, memory: int) -> float:
        """The widest jaw of the last `memory` frames and this one."""
        self._jaws.append((index, jaw))
        while self._jaws[0][0] < index - memory:
            self._jaws.popleft()
        return max(value for _, value in self._jaws)


def _ramp(value: float, low: float, high: float) -> float:
    """0 up to `low`, 1 from `high` on, linear between."""
    return min(max((value - low) / (high - low), 0.0), 1.0)
