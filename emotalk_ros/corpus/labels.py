"""The whole face from phones: mouth, emotion, personal style and blinks.

The mouth comes from `visemes.mouth_from_phones`, the emotion from `face.styles.personal_expression` (EMFACS, as the
person shows it), and `face.composition` adds the two: an expression never opens a closed lip.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.signal import savgol_filter

from emotalk_ros.corpus.arpabet import is_silence
from emotalk_ros.corpus.styles import PersonalStyle, mouth_style, personal_style
from emotalk_ros.corpus.visemes import MouthStyle, mouth_from_phones
from emotalk_ros.emotions import canonical
from emotalk_ros.face.composition import PARTING, PRESSING, compose
from emotalk_ros.face.names import BLINK, INDEX
from emotalk_ros.face.styles import personal_expression

Floats = NDArray[np.floating]

NORMAL_INTENSITY = 0.55
"""Expression intensity of a normal portrayal (level 0); a strong one (level 1) has 1. RAVDESS intensities 01 and
02.
"""

ARTICULATION: dict[str, tuple[float, float]] = {
    "neutral": (1.0, 1.0),
    "calm": (0.96, 0.94),
    "happy": (1.02, 1.05),
    "sad": (0.95, 0.92),
    "angry": (1.05, 1.10),
    "fearful": (1.0, 1.05),
    "disgust": (1.0, 1.03),
    "surprised": (1.03, 1.08),
}
"""Mouth opening against neutral at level 0 and 1: larger for loud emotions, smaller for soft ones.

Order after Erickson, Fujimura and Pardo (1998) and Lee et al. (2005): the jaw opens widest in anger and least in
sadness; sizes within a tenth, so that the words are read from the lips in every emotion.
"""

# The published demo's blink takes 7 frames at 30 fps; lids fall in about 0.1 s and rise in 0.2 s (VanderWerf 2003).
_BLINK_CLOSE, _BLINK_OPEN, _BLINK_PEAK = 0.09, 0.17, 0.92

# What the mouth does of an expression is over when nobody speaks.
_WITH_SPEECH = np.concatenate([PARTING, PRESSING])


def labels_from_phones(
    phones: Sequence[Sequence[object]],
    frames: int,
    fps: float = 30.0,
    emotion: str | None = None,
    level: float = 1.0,
    person: int = 0,
    seed: int = 0,
    loudness: Floats | None = None,
    blinks: bool = True,
    mouth: MouthStyle | None = None,
) -> NDArray[np.float32]:
    """Coefficients (frames, 52), each 0..1, of `person` saying `phones` [(ARPAbet, start s, end s), ...] in `emotion`.

    `emotion` a label or None for neutral, `level` 0 (normal) to 1 (strong), `person` 0..23 a personal style; `seed`
    decides when the person blinks and how the expression sways, nothing else. `loudness` (frames,), 0..1, is the
    clip's own (`visemes.loudness_curve`): with it, opening, expression and brows follow the voice. `mouth` replaces
    the average mouth before style and emotion scale it. The head is still. Smoothed with Savitzky-Golay (5, 2), as
    EmoTalk's labels are.

    Raises ValueError for an unknown phone, emotion or person, a level outside 0..1 or a wrong loudness length.
    """
    name = canonical(emotion) if emotion is not None else "neutral"
    if not 0.0 <= level <= 1.0:
        raise ValueError(f"level must lie in 0 (normal) to 1 (strong), got {level}")
    style = personal_style(person)
    normal, strong = ARTICULATION[name]
    ours = mouth_style(style, normal + (strong - normal) * level, mouth)
    coefficients = mouth_from_phones(phones, frames, fps, loudness, ours).astype(np.float64)
    if frames == 0:
        return coefficients.astype(np.float32)
    speaking = _speaking(phones, frames, fps)
    lively = speaking if loudness is None else loudness.astype(np.float64) * speaking
    rng = np.random.default_rng([seed, 11])
    face = _expression_track(name, level, person, speaking, lively, fps, rng)
    coefficients = compose(coefficients, face, speaking).astype(np.float64)
    coefficients = _resting_habits(coefficients, style, lively, fps)
    if frames >= 5:
        coefficients = savgol_filter(coefficients, 5, 2, axis=0)
    if blinks:
        lids = blink_track(frames, fps, style.blinks_per_minute, seed)
        coefficients[:, BLINK] = np.maximum(coefficients[:, BLINK], lids[:, None])
    return np.clip(coefficients, 0.0, 1.0).astype(np.float32)


def blink_track(frames: int, fps: float, per_minute: float, seed: int = 0) -> NDArray[np.float64]:
    """Lids (frames,), 0..1, blinking about `per_minute` times, at random but never within 0.7 s of each other."""
    rng = np.random.default_rng([seed, 13])
    times = (np.arange(frames) + 0.5) / fps
    track = np.zeros(frames)
    mean = 60.0 / per_minute
    peak = rng.uniform(0.3, mean)
    while peak < frames / fps:
        fall = np.clip((times - peak + _BLINK_CLOSE) / _BLINK_CLOSE, 0.0, 1.0)
        rise = np.clip((peak + _BLINK_OPEN - times) / _BLINK_OPEN, 0.0, 1.0)
        lid = np.minimum(fall, rise)
        track = np.maximum(track, _BLINK_PEAK * lid * lid * (3.0 - 2.0 * lid))
        peak += 0.7 + rng.exponential(max(mean - 0.7, 0.3))
    return track


def _speaking(phones: Sequence[Sequence[object]], frames: int, fps: float) -> NDArray[np.float64]:
    """1 while somebody speaks, 0 in silence; short pauses are bridged, edges take 0.1 s."""
    middle = (np.arange(frames) + 0.5) / fps
    inside = np.zeros(frames)
    end_before = -1.0
    for item in phones:
        if is_silence(str(item[0])):
            continue
        start, end = float(item[1]), float(item[2])  # type: ignore[arg-type]
        start = end_before if 0.0 < start - end_before < 0.3 and end_before > 0 else start
        inside[(middle >= start) & (middle < end)] = 1.0
        end_before = max(end_before, end)
    return np.asarray(gaussian_filter1d(inside, 0.06 * fps))


def _presence(speaking: NDArray[np.float64], fps: float) -> NDArray[np.float64]:
    """How far an expression shows: it comes with the voice within 0.3 s, stays through pauses and fades over 1.5 s."""
    rise, fade = np.exp(-1.0 / (0.15 * fps)), np.exp(-1.0 / (1.5 * fps))
    presence = np.empty(len(speaking))
    state = 0.0
    for k, target in enumerate(speaking):
        keep = rise if target > state else fade
        state = keep * state + (1.0 - keep) * target
        presence[k] = state
    ahead = max(1, round(0.1 * fps))
    return np.concatenate([presence[ahead:], np.full(min(ahead, len(presence)), presence[-1])])[: len(presence)]


def _expression_track(
    name: str,
    level: float,
    person: int,
    speaking: NDArray[np.float64],
    lively: NDArray[np.float64],
    fps: float,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """The expression over time (frames, 52): there with the voice, stronger where it is loud, swaying a little."""
    full = (NORMAL_INTENSITY + (1.0 - NORMAL_INTENSITY) * level) * personal_expression(name, person).astype(np.float64)
    frames = len(speaking)
    slow = gaussian_filter1d(lively, 0.2 * fps, mode="nearest")
    sway = gaussian_filter1d(rng.normal(0.0, 1.0, frames + 200), 0.5 * fps)[100 : 100 + frames]
    sway = 0.06 * sway / (0.06 + np.std(sway))
    amount = _presence(speaking, fps) * np.clip(0.78 + 0.3 * slow + sway, 0.0, 1.15)
    track = amount[:, None] * full[None, :]
    track[:, _WITH_SPEECH] *= speaking[:, None]
    return track


def _resting_habits(
    coefficients: NDArray[np.float64], style: PersonalStyle, lively: NDArray[np.float64], fps: float
) -> NDArray[np.float64]:
    """Adds the person's resting face and the brows' beat on loud syllables."""
    coefficients = coefficients + style.resting()
    quick = gaussian_filter1d(lively, 0.08 * fps, mode="nearest")
    slow = gaussian_filter1d(lively, 0.6 * fps, mode="nearest")
    beat = style.brow_beat * np.clip((quick - slow) * 2.5, 0.0, 1.0)
    coefficients[:, INDEX["browInnerUp"]] += beat
    for side in ("Left", "Right"):
        coefficients[:, INDEX[f"browOuterUp{side}"]] += 0.7 * beat
    return coefficients
