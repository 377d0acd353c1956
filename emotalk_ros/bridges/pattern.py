"""A test pattern: blink, jaw, smile, one after another, so that a person sees at once whether his avatar listens."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from emotalk_ros.face.names import COUNT, indices

STEPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("blink", ("eyeBlinkLeft", "eyeBlinkRight")),
    ("jaw", ("jawOpen",)),
    ("smile", ("mouthSmileLeft", "mouthSmileRight")),
)
"""Names of the movements and what moves."""
SECONDS = 1.5
"""Of each movement and the rest after it."""


def pattern_motion(fps: float = 30.0, repeats: int = 1) -> NDArray[np.float32]:
    """The pattern, (frames, 52): each movement rises and falls within a second, then half a second of rest."""
    length = round(SECONDS * fps)
    rise = np.clip(np.sin(np.pi * np.arange(length) / fps), 0.0, None)
    rise[np.arange(length) >= fps] = 0.0
    out = np.zeros((len(STEPS) * length, COUNT), dtype=np.float32)
    for k, (_, names) in enumerate(STEPS):
        out[k * length : (k + 1) * length, indices(names)] = rise[:, None]
    return np.tile(out, (repeats, 1))


def moving(frame: int, fps: float = 30.0) -> str:
    """Name of the movement that frame number `frame` shows."""
    return STEPS[frame // round(SECONDS * fps) % len(STEPS)][0]
