"""What is measured on voices that are not trained on: the loss terms, lips and face in mm, the emotion heard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from numpy.typing import NDArray

from emotalk_ros.face import INDEX, FaceBasis
from emotalk_ros.training.data import IGNORED, Batch, Window, WindowMaker, collate, validation_windows
from emotalk_ros.training.losses import LIP_OPENING_MM, TERMS, Objective

Floats = NDArray[np.float32]

_BATCH = 16


@dataclass
class _Tally:
    """Sums over this process's batches, brought together at the end."""

    terms: NDArray[np.float64] = field(default_factory=lambda: np.zeros(len(TERMS)))
    counts: NDArray[np.float64] = field(default_factory=lambda: np.zeros(len(TERMS)))
    rows: list[dict[str, float]] = field(default_factory=list)
    """One a window."""
    emotions: list[tuple[int, int]] = field(default_factory=list)
    """(label, heard)."""


class Validator:
    """Measures an `Objective` on fixed windows of the validation clips and on pairs drawn once and for all."""

    def __init__(self, maker: WindowMaker, limit: int, face: FaceBasis | None) -> None:
        self.maker = maker
        self.face = face
        self.windows = validation_windows(maker, limit)
        self._mean: Floats | None = None
        paired = [int(c) for k, c in enumerate(maker.members) if maker.pairs.has_pair(k)]
        share = max(1, limit // 4)
        self.paired = paired[:: max(1, len(paired) // share)][:share] if maker.recipe.loss.cross > 0 else []

    def __call__(self, objective: Objective, accelerator: Accelerator) -> dict[str, float]:
        """Metrics of the whole validation set, the same on every process; the model is left in training mode.

        `loss` is the recipe's weighted sum; `self`, `cross`, ... its terms; `lve_mm`, `eve_mm` as in the paper on the
        package's face, with `lve_mm_still`, `eve_mm_still` those of a motionless mean face; `lip_gap_r` the mean
        correlation of the inner-lip gap; `closed_gap_mm` how far the lips stay apart where the label closes them;
        `emotion_recall` unweighted over the labels that occur.
        """
        tally = _Tally()
        jobs: list[tuple[str, Sequence[tuple[int, int]]]] = []
        jobs += [("self", self.windows[i : i + _BATCH]) for i in range(0, len(self.windows), _BATCH)]
        paired = [(clip, k) for k, clip in enumerate(self.paired)]
        jobs += [("cross", paired[i : i + _BATCH // 2]) for i in range(0, len(paired), _BATCH // 2)]
        objective.eval()
        with torch.no_grad():
            for kind, items in jobs[accelerator.process_index :: accelerator.num_processes]:
                self._measure(objective, kind, items, accelerator, tally)
        objective.train()
        return self._summary(objective, gather_object([tally]))

    def _measure(
        self, objective: Objective, kind: str, items: Sequence[tuple[int, int]], accelerator: Accelerator, tally: _Tally
    ) -> None:
        groups: list[list[Window]]
        if kind == "self":
            groups = [[self.maker.cut(clip, start)] for clip, start in items]
        else:
            seeds = [np.random.default_rng([7, k]) for _, k in items]
            groups = [
                self.maker.make(clip, rng, augment=False, always_pair=True)
                for (clip, _), rng in zip(items, seeds, strict=True)
            ]
        batch = collate(groups)
        with accelerator.autocast():
            _, terms, output = objective(
                batch.to(accelerator.device), torch.ones(len(TERMS), device=accelerator.device)
            )
        counts = batch.counts()
        # Pairs only add the crossed term: their windows overlap with those measured above.
        used = [(name == "cross") == (kind == "cross") for name in TERMS]
        tally.terms += np.where(used, terms.double().cpu().numpy(), 0.0)
        tally.counts += np.where(used, [counts[name] for name in TERMS], 0.0)
        if kind == "self":
            made = output.coefficients.float().cpu().numpy()
            tally.rows += [
                self._row(made[k, :n], batch.target[k, :n].numpy()) for k, n in enumerate(batch.frames.tolist())
            ]
            tally.emotions += _heard(batch, output.emotion_logits)

    def _row(self, made: Floats, wanted: Floats) -> dict[str, float]:
        gap, label = _gap(made), _gap(wanted)
        row = {"frames": float(len(made))}
        if len(label) > 2 and label.std() > 0.2 and gap.std() > 1e-6:
            row["lip_gap_r"] = float(np.corrcoef(gap, label)[0, 1])
        elif label.std() > 0.2:
            row["lip_gap_r"] = 0.0
        closed = label < 0.5
        if closed.any() and (label > 3.0).any():  # lips that close within speech, not a silent window
            row["closed_gap_mm"] = float(np.maximum(gap[closed], 0.0).mean())
        if self.face is not None:
            still = self._still()
            for name, ids in (("lve_mm", self.face.lip_ids), ("eve_mm", self.face.upper_ids)):
                row[name] = _largest(self.face, made - wanted, ids)
                row[f"{name}_still"] = _largest(self.face, still - wanted, ids)
        return row

    def _still(self) -> Floats:
        """The mean face (52,) of the validation clips: what a face that never moves scores best with."""
        if self._mean is None:
            clips = sorted({clip for clip, _ in self.windows})
            sums = [self.maker.store.coefficients(clip).sum(0, dtype=np.float64) for clip in clips]
            frames = sum(self.maker.store.frames(clip) for clip in clips)
            self._mean = (np.sum(sums, axis=0) / frames).astype(np.float32)
        return self._mean

    def _summary(self, objective: Objective, tallies: list[_Tally]) -> dict[str, float]:
        counts = np.sum([t.counts for t in tallies], axis=0)
        terms = np.sum([t.terms for t in tallies], axis=0) / np.maximum(counts, 1.0)
        loss = float(sum(getattr(objective.recipe, name) * terms[k] for k, name in enumerate(TERMS)))
        metrics = {"loss": loss} | {name: float(terms[k]) for k, name in enumerate(TERMS) if counts[k] > 0}
        rows = [row for tally in tallies for row in tally.rows]
        for name in ("lip_gap_r", "closed_gap_mm", "lve_mm", "lve_mm_still", "eve_mm", "eve_mm_still"):
            values = [(row[name], row["frames"]) for row in rows if name in row]
            if values:
                metrics[name] = float(np.average([v for v, _ in values], weights=[f for _, f in values]))
        heard = np.array([pair for tally in tallies for pair in tally.emotions])
        if len(heard):
            recalls = [(heard[heard[:, 0] == label, 1] == label).mean() for label in np.unique(heard[:, 0])]
            metrics["emotion_recall"] = float(np.mean(recalls))
            metrics["emotion_chance"] = 1.0 / len(recalls)
        return metrics


def _gap(coefficients: Floats) -> NDArray[np.float64]:
    """(T, 52) to the opening of the inner lips in mm (signed, the rest face at 0)."""
    return coefficients.astype(np.float64) @ _OPENING


_OPENING = np.zeros(len(INDEX))
_OPENING[[INDEX[name] for name in LIP_OPENING_MM]] = list(LIP_OPENING_MM.values())


def _largest(face: FaceBasis, difference: Floats, ids: NDArray[np.int64]) -> float:
    """Mean over frames of the largest vertex distance, mm. The face is linear: the difference alone decides."""
    return float(np.linalg.norm(face.displacement(difference, ids), axis=-1).max(-1).mean())


def _heard(batch: Batch, logits: torch.Tensor | None) -> list[tuple[int, int]]:
    if logits is None:
        return []
    best = logits.argmax(-1).cpu().tolist()
    return [(label, b) for label, b in zip(batch.emotion.tolist(), best, strict=True) if label != IGNORED]
