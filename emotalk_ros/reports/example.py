"""One clip of an evaluation to look at: the models' faces beside the reference, and their curves on the waveform."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from emotalk_ros.evaluation.datasets import Dataset
from emotalk_ros.evaluation.evaluate import Evaluation, shown_mode
from emotalk_ros.evaluation.measure import resampled, streamed
from emotalk_ros.evaluation.subject import Subject
from emotalk_ros.face import INDEX, FaceBasis
from emotalk_ros.reports import charts, html
from emotalk_ros.reports.face import Scene, face_section

KINDS = ("ours", "third", "fourth", "recorded")
LONGEST_S = 20.0


def typical_clip(result: Evaluation, dataset: Dataset) -> int:
    """Index of the clip whose figure (LVE, else correlation) is the median of the first model, streamed."""
    name = next(iter(result.findings["models"]))
    scored = []
    for clip in result.clips:
        figures = clip["modes"][name][shown_mode(result.findings)]["figures"]
        value = figures.get("lve_mm", figures.get("lip_gap_correlation"))
        if value is not None and clip["seconds"] <= 3 * LONGEST_S:
            scored.append((value, clip["id"]))
    if not scored:
        return 0
    scored.sort()
    return dataset.ids.index(scored[len(scored) // 2][1])


def example_section(
    subjects: Sequence[Subject], result: Evaluation, dataset: Dataset, basis: FaceBasis, *, film: bool = True
) -> str:
    """Cards with the face and the curves of the typical clip."""
    sample = dataset.load(typical_clip(result, dataset))
    audio = sample.audio[: round(LONGEST_S * 16000)]
    fps, frames = 30.0, max(math.floor(len(audio) / 16000 * 30), 1)
    motions: dict[str, NDArray[np.float32]] = {}
    for subject in subjects[:3]:
        motion = streamed(subject, subject.load(), audio)
        motions[subject.name] = resampled(motion.coefficients, motion.fps, fps, frames)
    gaps = {name: basis.lip_gap(m).astype(np.float64) for name, m in motions.items()}
    if sample.reference is not None:
        motions["reference"] = resampled(sample.reference, sample.fps, fps, frames)
    if sample.gap is not None:
        wanted, have = np.arange(frames) / fps, np.arange(len(sample.gap)) / sample.fps
        gaps["reference"] = np.interp(wanted, have, sample.gap)
    elif "reference" in motions:
        gaps["reference"] = basis.lip_gap(motions["reference"]).astype(np.float64)
    face = face_section(basis, Scene(motions, fps, audio), title=f"A typical clip: {sample.id}") if film else ""
    return face + _curves(motions, gaps, audio, fps, [(a, b) for n, a, b in sample.phones if n in ("B", "P", "M")])


def _curves(
    motions: dict[str, NDArray[np.float32]],
    gaps: dict[str, NDArray[np.float64]],
    audio: NDArray[np.float32],
    fps: float,
    bilabials: list[tuple[float, float]],
) -> str:
    kinds = {name: "reference" if name == "reference" else KINDS[k % 4] for k, name in enumerate(motions)}
    kinds.setdefault("reference", "reference")
    times = np.arange(len(next(iter(gaps.values())))) / fps
    marks = [(a + b) / 2 for a, b in bilabials]
    scaled = {name: gap / max(float(np.nanpercentile(gap, 98)), 1e-9) for name, gap in gaps.items()}
    series = [charts.Series(name, times, gap, kinds[name]) for name, gap in scaled.items()]
    bands = [charts.Band("lip gap", series, 0.0, 1.1, 90.0, marks)]
    for names in (
        ("jawOpen",),
        ("mouthClose",),
        ("mouthPucker",),
        ("mouthSmileLeft", "mouthSmileRight"),
        ("browInnerUp",),
    ):
        columns = [INDEX[n] for n in names]
        curves = [charts.Series(n, times, m[:, columns].mean(axis=1), kinds[n]) for n, m in motions.items()]
        bands.append(charts.Band(names[0].removesuffix("Left"), curves))
    chart = charts.time_chart(bands, 0.0, len(audio) / 16000, audio)
    note = "Lip gap: each motion relative to its own widest opening" + (", red: b, p, m." if marks else ".")
    return html.section("Curves of that clip", chart, charts.legend(series), note=note)
