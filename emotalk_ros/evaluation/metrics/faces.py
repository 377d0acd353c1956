"""How far a motion is from its reference, in millimetres of face: pure functions on arrays.

Motions are vertices (T, V, 3) in mm or displacements from each face's own template; the errors are the same for both.
Lips are in `metrics_lips`, emotions and confidence intervals in `metrics_emotion` and `metrics_statistics`.

Sources: LVE from MeshTalk (Richard et al., ICCV 2021), un-squared as in EmoTalk (Peng et al., ICCV 2023, section 4.2);
squared as in CodeTalker (Xing et al., CVPR 2023), which also defines FDD.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emotalk_ros.evaluation.metrics.lips import Phone, best_lag, bilabial_closure, correlation
from emotalk_ros.face import FaceBasis

Array = NDArray[np.float64]


def _pair(prediction: ArrayLike, reference: ArrayLike, axes: int) -> tuple[Array, Array]:
    """Both as float64 of one shape with `axes` axes and at least one frame, or a ValueError naming the shapes."""
    a, b = np.asarray(prediction, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(f"prediction {a.shape} and reference {b.shape} differ in shape; trim them to the shorter")
    if a.ndim != axes or a.size == 0:
        raise ValueError(f"expected a non-empty motion with {axes} axes, got the shape {a.shape}")
    return a, b


def vertex_distances(prediction: ArrayLike, reference: ArrayLike) -> Array:
    """(T, V, 3) twice to the (T, V) L2 distances, mm."""
    a, b = _pair(prediction, reference, 3)
    return np.linalg.norm(a - b, axis=-1)


def max_vertex_error(prediction: ArrayLike, reference: ArrayLike) -> float:
    """Per frame the largest L2 error over the given vertices, mean over frames; mm.

    With the lip vertices this is LVE, with those of eyes, brows and forehead EVE (EmoTalk, section 4.2).
    """
    return float(vertex_distances(prediction, reference).max(axis=1).mean())


def max_vertex_error_squared(prediction: ArrayLike, reference: ArrayLike) -> float:
    """As `max_vertex_error` with the squared L2 error, mm^2 (the LVE of CodeTalker and FaceFormer's tables)."""
    return float((vertex_distances(prediction, reference).max(axis=1) ** 2).mean())


def velocity_error(prediction: ArrayLike, reference: ArrayLike, fps: float) -> float:
    """L2 distance of the velocities, mean over vertices and frames; mm/s. NaN with fewer than two frames."""
    a, b = _pair(prediction, reference, 3)
    if len(a) < 2:
        return math.nan
    return float(np.linalg.norm(np.diff(a - b, axis=0), axis=-1).mean() * fps)


def jitter(motion: ArrayLike, fps: float) -> float:
    """Mean norm of the jerk (third difference over time) of the vertices; m/s^3. NaN with fewer than four frames.

    A figure of one motion: compare it with that of its reference, neither far above (trembling) nor below (asleep).
    """
    a = np.asarray(motion, dtype=np.float64)
    if a.ndim != 3:
        raise ValueError(f"expected (frames, vertices, 3), got the shape {a.shape}")
    if len(a) < 4:
        return math.nan
    return float(np.linalg.norm(np.diff(a, n=3, axis=0), axis=-1).mean() * fps**3 / 1000.0)


def upper_face_dynamics_deviation(prediction: ArrayLike, reference: ArrayLike) -> float:
    """FDD: how much livelier the reference's upper face is than the prediction's; mm, signed.

    Per vertex the standard deviation over time of the displacement's L2 norm; mean over vertices of reference minus
    prediction (CodeTalker, section 4.2). Both arguments must be displacements from the template, (T, V, 3).
    Positive: the prediction moves too little; negative: too much.
    """
    a, b = _pair(prediction, reference, 3)
    dynamics = [np.linalg.norm(m, axis=-1).std(axis=0) for m in (a, b)]
    return float((dynamics[1] - dynamics[0]).mean())


def coefficient_error(prediction: ArrayLike, reference: ArrayLike) -> float:
    """Mean absolute difference of the coefficients (T, 52), without unit."""
    a, b = _pair(prediction, reference, 2)
    return float(np.abs(a - b).mean())


def score_clip(
    prediction: ArrayLike,
    reference: ArrayLike,
    basis: FaceBasis,
    fps: float,
    phones: list[Phone] | None = None,
    max_lag: float = 0.3,
) -> dict[str, float]:
    """Every metric of one clip, coefficients (T, 52) twice, through `basis`; keys end in their unit.

    `closures...` and `bilabials` are counts, to be summed over clips before dividing. What a clip cannot tell (no
    phones, a reference that never moves) is NaN or, for counts, 0.
    """
    a, b = _pair(prediction, reference, 2)
    lips = [basis.displacement(c, basis.lip_ids) for c in (a, b)]
    upper = [basis.displacement(c, basis.upper_ids) for c in (a, b)]
    gaps = [basis.lip_gap(c).astype(np.float64) for c in (a, b)]
    lag = best_lag(gaps[0], gaps[1], fps, max_lag)
    closure = bilabial_closure(gaps[0], fps, phones or [])
    inside = bilabial_closure(gaps[0], fps, phones or [], speech_only=True)
    strict = bilabial_closure(gaps[0], fps, phones or [], speech_only=True, at_centre=True)
    errors = [np.linalg.norm(block - basis.template, axis=-1).mean(axis=1) for block in basis.iterate(a - b)]
    return {
        "lve_mm": max_vertex_error(*lips),
        "lve_squared_mm2": max_vertex_error_squared(*lips),
        "eve_mm": max_vertex_error(*upper),
        "mve_mm": float(np.concatenate(errors).mean()),
        "lip_velocity_error_mm_s": velocity_error(lips[0], lips[1], fps),
        "lip_jitter_m_s3": jitter(lips[0], fps),
        "lip_jitter_reference_m_s3": jitter(lips[1], fps),
        "fdd_mm": upper_face_dynamics_deviation(*upper),
        "lip_gap_correlation": correlation(gaps[0], gaps[1]),
        "lip_gap_error_mm": float(np.abs(gaps[0] - gaps[1]).mean()),
        "best_lag_s": lag.seconds,
        "best_lag_correlation": lag.correlation,
        "closures": float(closure.closed),
        "closures_in_speech": float(inside.closed),
        "closures_at_centre": float(strict.closed),
        "bilabials": float(closure.total),
        "coefficient_error": coefficient_error(a, b),
    }
