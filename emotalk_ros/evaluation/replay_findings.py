"""What a replay shows, in numbers: the JSON of the report."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotalk_ros.bags.bag import Bag
from emotalk_ros.bags.tracks import CoefficientTrack, EmotionTrack, sorted_unique
from emotalk_ros.evaluation.metrics.faces import jitter, score_clip
from emotalk_ros.evaluation.metrics.lips import best_lag
from emotalk_ros.evaluation.references import energy_jaw, loudness, mean_coefficients, motionless
from emotalk_ros.evaluation.replay import Frames, HeardAudio, Replay, bag_digest
from emotalk_ros.evaluation.replay_timing import frame_timing, interpolate_at, nearest_frames, streams
from emotalk_ros.face import ARKIT_NAMES, FaceBasis

FORMAT = "emotalk replay 2"
MAX_LAG_S = 0.5
"""Largest synchronisation offset looked for."""
STILL_ROW = "motionless (reference's mean)"
ENERGY_ROW = "energy jaw (loudness only)"


@dataclass
class Compared:
    """Motions on the frames where a reference exists: name to (T, 52), the reference, and their stamps (T,) in ns."""

    motions: dict[str, NDArray[np.float32]]
    reference: NDArray[np.float32]
    stamp_ns: NDArray[np.int64]


def envelope(heard: HeardAudio, fps: float) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
    """What loudness alone tells, on the grid of the audio: stamps (T,), energy-jaw coefficients (T, 52), dB (T,)."""
    stamps, jaws, levels = [], [], []
    for start_ns, samples in heard.lines:
        jaw = energy_jaw(samples, fps=fps)
        stamps.append(start_ns + np.rint(np.arange(len(jaw)) * 1e9 / fps).astype(np.int64))
        jaws.append(jaw)
        levels.append(loudness(samples, len(jaw), fps))
    if not stamps:
        return np.zeros(0, np.int64), np.zeros((0, 52), np.float32), np.zeros(0, np.float32)
    all_stamps, first = np.unique(np.concatenate(stamps), return_index=True)
    return all_stamps, np.concatenate(jaws)[first], np.concatenate(levels)[first]


def compare(replayed: Replay) -> Compared | None:
    """All motions at the replayed frames' stamps where the reference has values; None without one (or no overlap)."""
    if replayed.reference is None or not len(replayed.frames):
        return None
    ours = sorted_unique(replayed.frames.track("replayed"))
    reference = sorted_unique(replayed.reference)
    at = interpolate_at(ours.stamp_ns, reference.stamp_ns, reference.coefficients)
    valid = at.valid
    motions: dict[str, NDArray[np.float32]] = {"replayed": ours.coefficients}
    if replayed.recorded is not None:
        recorded = sorted_unique(replayed.recorded)
        theirs = interpolate_at(ours.stamp_ns, recorded.stamp_ns, recorded.coefficients)
        valid = valid & theirs.valid if (valid & theirs.valid).sum() >= 2 else valid
        motions["recorded"] = theirs.values
    if valid.sum() < 2:
        return None
    stamps, jaw, _ = envelope(replayed.heard, replayed.fps)
    mean = mean_coefficients([at.values[valid]])
    motions[STILL_ROW] = motionless(len(ours), mean)
    motions[ENERGY_ROW] = interpolate_at(ours.stamp_ns, stamps, jaw).values
    return Compared({name: m[valid] for name, m in motions.items()}, at.values[valid], ours.stamp_ns[valid])


def findings(bag: Bag, replayed: Replay, basis: FaceBasis, model: dict[str, Any]) -> dict[str, Any]:
    """The whole report as JSON-ready values; holds nothing that differs between two runs on the same data."""
    frames, fps = replayed.frames, replayed.fps
    used = [replayed.audio.topic] + [t.topic for t in (replayed.recorded, replayed.reference) if t is not None]
    result: dict[str, Any] = {
        "format": FORMAT,
        "mode": replayed.mode,
        "model": model,
        "settings": replayed.settings,
        "bag": _bag_findings(bag, used),
        "problems": list(bag.problems),
        "audio": {
            "topic": replayed.audio.topic,
            "type": replayed.audio.msgtype,
            "chunks": len(replayed.audio.chunks),
            "seconds": replayed.heard.seconds,
            "streams": len(replayed.heard.lines),
            "intake": replayed.heard.statistics,
            "warnings": replayed.heard.warnings,
        },
        "replayed": _track_findings(frames.track("replayed"), replayed, "late_limit_s")
        | {"expected_by_audio": _expected(replayed)},
        "motion": motion_findings(frames, basis, fps),
        "synchronisation": synchronisation(replayed, basis),
        "emotion": emotion_findings(frames, replayed.recorded_emotion),
    }
    if replayed.recorded is not None:
        result["recorded"] = _track_findings(replayed.recorded, replayed, "paced_late_limit_s")
        result["agreement"] = agreement(frames, replayed.recorded, fps)
    compared = compare(replayed)
    if compared is not None:
        result["metrics"] = {
            "face": basis.name,
            "frames": len(compared.reference),
            "rows": {name: score_clip(m, compared.reference, basis, fps) for name, m in compared.motions.items()},
        }
    return result


def _bag_findings(bag: Bag, used: list[str]) -> dict[str, Any]:
    topics = {t.name: {"type": t.msgtype, "messages": t.count} for t in bag.topics.values()}
    return {"digest": bag_digest(bag, used), "topics": topics, "used": used}


def _expected(replayed: Replay) -> int:
    """Frames that the audio heard should give: ceil(n / 16000 * fps) a time line."""
    return sum(math.ceil(len(samples) * replayed.fps / 16000 - 1e-9) for _, samples in replayed.heard.lines)


def _track_findings(track: CoefficientTrack, replayed: Replay, late: str) -> dict[str, Any]:
    """`late` names the setting above which a latency is too long."""
    timing = frame_timing(
        track.stamp_ns,
        track.log_ns,
        track.sequence,
        replayed.fps,
        replayed.settings.get(late),
        kind=track.kind,
        end_s=replayed.settings.get("audio_wait_s", 0.0),
    )
    return {"topic": track.topic, **timing.findings()}


def other_clock_text(name: str, track: Mapping[str, Any]) -> str:
    """A sentence about the frames of a track whose stamps are of another clock than their times of arrival."""
    return (
        f"{track['other_clock']} {name} frames arrived {track['other_clock_offset_s']:+.0f} s from their stamps: "
        "another clock, or one that was set meanwhile; they have no latency"
    )


def motion_findings(frames: Frames, basis: FaceBasis, fps: float) -> dict[str, Any]:
    """What can be said of the motion without a reference: trembling, opening, stillness in silence."""
    if len(frames) < 4:
        return {}
    gap = basis.lip_gap(frames.coefficients).astype(np.float64)
    silent = frames.activity < 0.05
    steps = np.abs(np.diff(frames.coefficients, axis=0)).max(axis=1)
    parts = [frames.coefficients[part] for part in streams(frames.stamp_ns, frames.sequence)]
    trembling = [jitter(basis.displacement(part, basis.lip_ids), fps) for part in parts if len(part) >= 4]
    result: dict[str, Any] = {
        "lip_jitter_m_s3": float(np.mean(trembling)) if trembling else math.nan,
        "lip_gap_mm": {f"p{q}": float(np.percentile(gap, q)) for q in (5, 50, 95)},
        "largest_step": float(steps.max()),
        "speech_share": float((frames.activity > 0.5).mean()),
        "mean_coefficients": dict(zip(ARKIT_NAMES, frames.coefficients.mean(axis=0).tolist(), strict=True)),
    }
    if silent.sum() >= 2:
        jaw = frames.coefficients[silent][:, ARKIT_NAMES.index("jawOpen")]
        result["silence"] = {"frames": int(silent.sum()), "jaw_open_p95": float(np.percentile(jaw, 95))}
    return result


def synchronisation(replayed: Replay, basis: FaceBasis) -> dict[str, Any]:
    """Offset of the lips behind the audio's loudness, and behind the reference's lips; positive: they come late."""
    result: dict[str, Any] = {"max_lag_s": MAX_LAG_S}
    frames, fps = replayed.frames, replayed.fps
    stamps, _, level = envelope(replayed.heard, fps)
    tracks = {"replayed": frames.track("replayed")}
    if replayed.recorded is not None:
        tracks["recorded"] = replayed.recorded
    reference = sorted_unique(replayed.reference) if replayed.reference is not None else None
    for name, raw in tracks.items():
        track = sorted_unique(raw)
        if len(track) < 8 or not len(stamps):
            continue
        gap = basis.lip_gap(track.coefficients).astype(np.float64)
        loud = interpolate_at(track.stamp_ns, stamps, np.maximum(level, -60.0)[:, None])
        result[f"{name}_to_audio"] = _lag(gap, loud.values[:, 0], loud.valid, fps)
        if reference is not None:
            other = interpolate_at(track.stamp_ns, reference.stamp_ns, reference.coefficients)
            result[f"{name}_to_reference"] = _lag(gap, basis.lip_gap(other.values), other.valid, fps)
    return result


def _lag(gap: NDArray[Any], other: NDArray[Any], valid: NDArray[np.bool_], fps: float) -> dict[str, float]:
    if valid.sum() < 8:
        return {}
    lag = best_lag(gap[valid], np.asarray(other, np.float64)[valid], fps, MAX_LAG_S)
    return {"offset_s": lag.seconds, "correlation": lag.correlation}


def agreement(frames: Frames, recorded: CoefficientTrack, fps: float) -> dict[str, Any]:
    """How far the recorded frames are from the replayed ones of equal stamp: 0 when node and replay are the same."""
    theirs, ours = sorted_unique(recorded), sorted_unique(frames.track("replayed"))
    if not len(ours) or not len(theirs):
        return {"frames": 0}
    i, j = nearest_frames(ours.stamp_ns, theirs.stamp_ns, 0.25 / fps)
    if not len(i):
        return {"frames": 0}
    difference = np.abs(ours.coefficients[i] - theirs.coefficients[j])
    return {
        "frames": len(i),
        "mean_difference": float(difference.mean()),
        "largest_difference": float(difference.max()),
        "largest_at": ARKIT_NAMES[int(difference.max(axis=0).argmax())],
    }


def emotion_findings(frames: Frames, recorded: EmotionTrack | None) -> dict[str, Any]:
    """Mean probabilities over speech, the dominant emotion, and how often a recorded EmotionState agrees."""
    if not frames.labels or frames.emotion.shape[1:] != (len(frames.labels),) or not len(frames):
        return {}
    speech = frames.activity > 0.5
    heard = frames.emotion[speech] if speech.any() else frames.emotion
    mean = heard.mean(axis=0)
    result: dict[str, Any] = {
        "labels": list(frames.labels),
        "mean_probability": dict(zip(frames.labels, mean.tolist(), strict=True)),
        "dominant": frames.labels[int(mean.argmax())],
    }
    if recorded is not None and set(recorded.labels) == set(frames.labels):
        order = [recorded.labels.index(label) for label in frames.labels]
        place = np.argsort(recorded.stamp_ns, kind="stable")
        i, j = nearest_frames(frames.stamp_ns, recorded.stamp_ns[place], 0.02)
        if len(i):
            theirs = recorded.probabilities[place][j][:, order]
            same = frames.emotion[i].argmax(axis=1) == theirs.argmax(axis=1)
            result["recorded_agreement"] = {"frames": len(i), "share": float(same.mean())}
    return result
