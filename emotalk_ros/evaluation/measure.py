"""One model on one clip: offline and streamed side by side, everything measured that the clip allows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from emotalk_ros.corpus.arpabet import is_silence
from emotalk_ros.evaluation.datasets import Sample
from emotalk_ros.evaluation.metrics.faces import jitter, score_clip
from emotalk_ros.evaluation.metrics.lips import CLOSED_PERCENTILE, MOVES_MM, best_lag, bilabial_closure, correlation
from emotalk_ros.evaluation.metrics.spread import FULL_MM, false_closures, histogram
from emotalk_ros.evaluation.references import energy_jaw, motionless
from emotalk_ros.evaluation.subject import Subject
from emotalk_ros.face import FaceBasis
from emotalk_ros.face.names import INDEX

if TYPE_CHECKING:
    from emotalk_ros.model.ear import Ear

STILL, ENERGY, MEASURED = "motionless mean face", "energy jaw", "the reference itself"
"""Rows that stand beside every result: nothing moves; loudness opens the jaw; the measurement's own closures."""
MODES = ("offline", "streamed")
TIGHT = 0.2
"""Lips have come together when their gap is at most this share of the clip's wide opening."""
FACE_HEIGHT_MM = 180.0
"""Top of the face to chin, to bring measured gaps, in heights of the face, to mm."""


@dataclass(frozen=True)
class HeardMean:
    """What an ear goes by: the mean (D,) of its features over the speech of a clip, and the seconds of that speech."""

    mean: NDArray[np.float32]
    seconds: float


@dataclass
class Prediction:
    """Coefficients (T, 52) at `fps` and emotion probabilities of the clip (L,) or None."""

    coefficients: NDArray[np.float32]
    fps: float
    probabilities: NDArray[np.float32] | None = None
    heard: HeardMean | None = None


def offline(subject: Subject, model: Any, audio: NDArray[np.float32]) -> Prediction:
    """The network alone on the whole clip; long clips in long windows so that memory stays bounded.

    The emotion is what the ear says of the whole clip, or the network's own classifier where there is no ear.
    """
    from emotalk_ros.streaming import animate

    controls = subject.controls()
    fps = float(model.config.fps)
    if len(audio) <= 20 * 16000:
        result = model.analyse(audio, person=controls.person, level=controls.level, emotion=controls.emotion)
        ear, states = subject.ear_for(model), getattr(result, "features", None)
        if ear is None or states is None:
            return Prediction(result.coefficients, fps, _softmax(result.emotion_logits))
        return Prediction(result.coefficients, fps, *heard_by(ear, states, audio))
    frames = list(animate(model, audio, controls, None, ear=subject.ear))
    emotion = np.stack([frame.emotion for frame in frames])
    mean = emotion.mean(axis=0) if emotion.shape[1] else None
    return Prediction(np.stack([frame.coefficients for frame in frames]), fps, mean)


def streamed(subject: Subject, model: Any, audio: NDArray[np.float32]) -> Prediction:
    """As the node would: hop by hop, with the motion stages. The emotion is its mean over frames with speech."""
    voice = subject.voice(model)
    frames = [*voice.push(audio), *voice.end()]
    emotion = np.stack([frame.emotion for frame in frames])
    weight = np.array([frame.activity for frame in frames]) + 1e-3
    mean = (emotion * weight[:, None]).sum(axis=0) / weight.sum() if emotion.shape[1] else None
    return Prediction(np.stack([frame.coefficients for frame in frames]), voice.fps, mean)


def heard_by(
    ear: Ear, states: NDArray[np.float32], audio: NDArray[np.float32]
) -> tuple[NDArray[np.float32], HeardMean]:
    """What `ear` says of a whole clip (L,), from the states (T, layers, width) of its sound, and what it went by."""
    import torch

    from emotalk_ros.model.ear import state_levels

    mean, seconds = ear.clip_mean(torch.from_numpy(states), state_levels(torch.from_numpy(audio), len(states)))
    reading = ear.read_mean(mean, seconds)
    return reading.probabilities[0].numpy(), HeardMean(mean.numpy(), seconds)


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32] | None:
    if not logits.size:
        return None
    powers = np.exp(logits - logits.max())
    return np.asarray(powers / powers.sum(), np.float32)


def resampled(motion: NDArray[np.float32], fps: float, target: float, frames: int) -> NDArray[np.float32]:
    """(T, 52) at `fps` at the instants n / `target`, `frames` of them (the last value is held)."""
    if abs(fps - target) < 1e-6 and len(motion) >= frames:
        return motion[:frames]
    wanted, have = np.arange(frames) / target, np.arange(len(motion)) / fps
    return np.stack([np.interp(wanted, have, column) for column in motion.T], axis=1).astype(np.float32)


def score(motion: Prediction, sample: Sample, basis: FaceBasis) -> dict[str, float]:
    """Every figure that this clip allows; NaN where it says nothing."""
    if sample.gap is not None:
        return score_gap(motion, sample, basis)
    if sample.reference is not None:
        frames = min(len(sample.reference), max(math.floor(len(motion.coefficients) / motion.fps * sample.fps), 1))
        prediction = resampled(motion.coefficients, motion.fps, sample.fps, frames)
        figures = score_clip(prediction, sample.reference[:frames], basis, sample.fps, sample.phones)
        gap, wanted = (basis.lip_gap(c).astype(np.float64) for c in (prediction, sample.reference[:frames]))
        return figures | closures(gap, sample) | full_closures(gap, wanted, sample)
    return {"lip_jitter_m_s3": jitter(basis.displacement(motion.coefficients, basis.lip_ids), motion.fps)}


def full_closures(gap: NDArray[np.float64], wanted: NDArray[np.float64], sample: Sample) -> dict[str, float]:
    """Counts of lips that close, in mm, and of those that close where the reference's gap `wanted` (T,) is well open;
    how widely the gap (T,) spreads against the reference's.
    """
    full = bilabial_closure(gap, sample.fps, sample.phones, threshold=FULL_MM)
    false, opened = false_closures(gap, wanted)
    counts = {"closures_full": float(full.closed), "closures_false": float(false), "opened": float(opened)}
    return {**counts, "lip_gap_spread": spread_ratio(gap, wanted)}


def spread_ratio(gap: NDArray[np.float64], wanted: NDArray[np.float64]) -> float:
    """Standard deviation of `gap` over that of `wanted`; NaN where the latter does not move."""
    wide = float(wanted.std()) if len(wanted) else 0.0
    return float(gap.std()) / wide if wide > 1e-9 else math.nan


def score_gap(motion: Prediction, sample: Sample, basis: FaceBasis) -> dict[str, float]:
    """The lips against measured ones: correlation of the whole clip, best lag, closures at b, p and m; and jaw against
    jaw where that is what was measured.
    """
    assert sample.gap is not None
    frames = min(len(sample.gap), max(math.floor(len(motion.coefficients) / motion.fps * sample.fps), 1))
    coefficients = resampled(motion.coefficients, motion.fps, sample.fps, frames)
    gap = basis.relative_lip_gap(coefficients).astype(np.float64)
    figures = closures(basis.lip_gap(coefficients).astype(np.float64), sample)
    measured = sample.gap[:frames]
    seen = np.isfinite(measured)
    lag = best_lag(gap[seen], measured[seen], sample.fps)
    if sample.of_jaw:
        jaw = coefficients[:, INDEX["jawOpen"]].astype(np.float64)
        figures["jaw_correlation"] = correlation(jaw[seen], measured[seen])
    else:
        figures["lip_gap_spread"] = spread_ratio(gap[seen], measured[seen])
    return {
        "lip_gap_correlation": correlation(gap[seen], measured[seen]),
        "best_lag_s": lag.seconds,
        "best_lag_correlation": lag.correlation,
        **figures,
        "lip_jitter_m_s3": jitter(basis.displacement(motion.coefficients, basis.lip_ids), motion.fps),
    }


def closures(gap: NDArray[np.float64], sample: Sample) -> dict[str, float]:
    """How many b, p and m a gap (T,) in mm closes, by three limits.

    To the smallest 20 % of the whole clip, to the smallest 20 % of its speech, to a fifth of its wide opening (95th
    percentile). Lips also rest closed in the silence around speech: in a clip with much of it even measured lips stay
    above the whole clip's 20th percentile at b, p and m, so the first limit says little there. The second is easy to
    meet. The third asks for lips that really come together.
    """
    loose = bilabial_closure(gap, sample.fps, sample.phones)
    figures = {"closures": float(loose.closed), "bilabials": float(loose.total)}
    wide = float(np.percentile(gap, 95)) if len(gap) else 0.0
    moves = len(gap) > 0 and float(np.ptp(gap)) > MOVES_MM
    tight = bilabial_closure(gap, sample.fps, sample.phones, threshold=wide * TIGHT if moves else -1.0)
    figures["closures_tight"] = float(tight.closed)
    spoken = [(a, b) for name, a, b in sample.phones if not is_silence(name)]
    times = np.arange(len(gap)) / sample.fps
    speech = gap[(times >= spoken[0][0]) & (times <= spoken[-1][1])] if spoken else gap[:0]
    if len(speech):
        limit = float(np.percentile(speech, CLOSED_PERCENTILE)) if np.ptp(speech) > MOVES_MM else -1.0
        inside = bilabial_closure(gap, sample.fps, sample.phones, threshold=limit)
        strict = bilabial_closure(gap, sample.fps, sample.phones, at_centre=True, threshold=limit)
        figures |= {"closures_in_speech": float(inside.closed), "closures_at_centre": float(strict.closed)}
    return figures


def measured_row(sample: Sample) -> dict[str, float]:
    """What the measured lips themselves score: the ceiling of the closures."""
    assert sample.gap is not None
    held = np.where(np.isfinite(sample.gap), sample.gap, np.nanmedian(sample.gap))
    figures = closures(held * FACE_HEIGHT_MM, sample)
    if sample.of_jaw:
        figures["jaw_correlation"] = 1.0
    return {"lip_gap_correlation": 1.0, "best_lag_s": 0.0, "best_lag_correlation": 1.0, **figures}


def reference_rows(sample: Sample, basis: FaceBasis, mean: NDArray[np.float32] | None) -> dict[str, dict[str, float]]:
    """The rows that need no model: name to figures."""
    frames = math.ceil(len(sample.audio) / 16000 * 30)
    if sample.reference is None and sample.gap is None:
        return {}
    rows = {
        STILL: score(Prediction(motionless(frames, mean), 30.0), sample, basis),
        ENERGY: score(Prediction(energy_jaw(sample.audio, frames), 30.0), sample, basis),
    }
    if sample.gap is not None:
        rows[MEASURED] = measured_row(sample)
    elif sample.reference is not None and sample.phones:
        rows[MEASURED] = closures(basis.lip_gap(sample.reference).astype(np.float64), sample)
    return rows


def measure(
    subject: Subject,
    model: Any,
    sample: Sample,
    basis: FaceBasis,
    *,
    style: str = "clip",
    modes: Sequence[str] = MODES,
) -> dict[str, dict[str, Any]]:
    """Mode to `{"figures": ..., "probabilities": [...] or None}` of one clip.

    Args:
        style: "clip" animates in the style (person, level) the clip was made in, where it is known; "fixed" in the
            subject's.
        modes: of MODES, those to run.
    """
    if style == "clip":
        persons = int(getattr(model.config, "num_persons", 1))
        known = sample.person if sample.person is not None and 0 <= sample.person < persons else None
        subject = replace(
            subject,
            person=subject.person if known is None else known,
            level=subject.level if sample.level is None else sample.level,
        )
    results: dict[str, dict[str, Any]] = {}
    for mode in modes:
        motion = (offline if mode == "offline" else streamed)(subject, model, sample.audio)
        heard = motion.probabilities
        results[mode] = {
            "figures": score(motion, sample, basis),
            "probabilities": None if heard is None else [round(float(p), 6) for p in heard],
            "histogram": histogram(motion.coefficients),
        }
        if motion.heard is not None:
            results[mode]["heard"] = {
                "mean": [round(float(v), 5) for v in motion.heard.mean],
                "seconds": round(motion.heard.seconds, 3),
            }
    return results
