"""What each emotion label looks like on average over the training set: to the network (its embedding, for choosing
emotions by name) and on the face.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import torch

from emotalk_ros.face.expressions import expression
from emotalk_ros.face.names import ARKIT_NAMES, EXPRESSION
from emotalk_ros.model.streaming_emotalk import EXPRESSIVE
from emotalk_ros.model.timing import valid_mask
from emotalk_ros.training.data import IGNORED, WindowMaker, collate

_BATCH = 16
_CONTENTS, _FIT_RATE = 4, 0.1
"""Clips that the prototypes are fitted on, and how fast."""


@torch.no_grad()
def store_prototypes(model: Any, maker: WindowMaker, per_label: int = 200) -> dict[str, int]:
    """Computes them over at most `per_label` clips a label, spread evenly, and stores them in `model`.

    Returns the clips used per label; {} (and nothing stored) for a network without emotion or data without labels. A
    label that no clip carries gets the mean of the others, i.e. no emotion in particular: its count is 0.
    """
    if not hasattr(model, "set_prototypes"):
        return {}
    labels = list(model.config.emotion_labels)
    by_label = _spread_by_label(maker, per_label)
    if not by_label:
        return {}
    training = model.training
    model.eval()
    means = {label: _mean(model, maker, clips) for label, clips in by_label.items()}
    model.train(training)
    overall = torch.stack(list(means.values())).mean(0)
    prototypes = torch.stack([means.get(k, overall) for k in range(len(labels))])
    if getattr(model, "splits_expression", False):
        prototypes = fit_to_expressions(model, maker, prototypes)
    model.set_prototypes(prototypes)
    return {name: len(by_label.get(k, [])) for k, name in enumerate(labels)}


def fit_to_expressions(model: Any, maker: WindowMaker, prototypes: torch.Tensor, steps: int = 400) -> torch.Tensor:
    """Embeddings (L, E) whose expressions are those of the labels (`face.expression`), over a few contents.

    What is heard is never sure, so the mean of heard embeddings shows a faint face. Only the embeddings move, from the
    means on; the network stays as it is.
    """
    wanted = np.stack([expression(name) for name in model.config.emotion_labels])[:, EXPRESSIVE]
    target = torch.as_tensor(wanted, dtype=torch.float32, device=model.device)[:, None, None]
    clips = [int(clip) for clip in maker.members[:: max(1, len(maker.members) // _CONTENTS)][:_CONTENTS]]
    batch = collate([[maker.cut(clip, 0)] for clip in clips]).to(model.device)
    training, learning = model.training, [p for p in model.parameters() if p.requires_grad]
    model.eval().requires_grad_(False)
    content = model(batch.audio, lengths=batch.samples, frames=batch.frames).content.float()
    labels, (count, frames, width) = len(prototypes), content.shape
    valid = valid_mask(batch.frames, frames)[None, ..., None]
    content = content[None].expand(labels, -1, -1, -1).reshape(labels * count, frames, width)
    with torch.enable_grad():
        fitted = prototypes.detach().clone().float().requires_grad_(True)
        optimizer = torch.optim.Adam([fitted], lr=_FIT_RATE)
        for _ in range(steps):
            emotion = fitted[:, None, None].expand(-1, count, frames, -1).reshape(labels * count, frames, -1)
            shown = model.decode_parts(content, emotion)[2][..., EXPRESSIVE].view(labels, count, frames, -1)
            loss = ((shown - target).square() * valid).sum() / valid.sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    for parameter in learning:
        parameter.requires_grad_(True)
    model.train(training)
    return fitted.detach()


def expression_centres(maker: WindowMaker, model: Any, per_label: int = 200) -> torch.Tensor:
    """(L, len(EXPRESSION)) mean expression of each label's clips, at most `per_label` of each, spread evenly; NaN for a
    label that no clip carries, and where all its clips are blind.
    """
    centres = torch.full((len(model.config.emotion_labels), len(EXPRESSION)), torch.nan)
    for label, clips in _spread_by_label(maker, per_label).items():
        blind = [[ARKIT_NAMES[k] in maker.store.records[clip].blind for k in EXPRESSION] for clip in clips]
        means = np.stack([maker.store.coefficients(clip)[:, EXPRESSION].mean(0) for clip in clips])
        means[np.array(blind)] = np.nan
        centres[label] = torch.from_numpy(np.nanmean(means, axis=0)) if not np.all(blind, axis=0).any() else torch.nan
    return centres


def _spread_by_label(maker: WindowMaker, per_label: int) -> dict[int, list[int]]:
    """Clips of each label that occurs, at most so many, evenly spread."""
    by_label: dict[int, list[int]] = defaultdict(list)
    for clip in maker.members:
        label = maker.label(int(clip))
        if label != IGNORED:
            by_label[label].append(int(clip))
    return {
        label: [clips[i] for i in np.unique(np.linspace(0, len(clips) - 1, min(per_label, len(clips))).astype(int))]
        for label, clips in by_label.items()
    }


def _mean(model: Any, maker: WindowMaker, clips: list[int]) -> torch.Tensor:
    """(E,) mean over the clips of the mean over their frames."""
    total = torch.zeros((), device=model.device)
    for start in range(0, len(clips), _BATCH):
        batch = collate([[maker.cut(clip, 0)] for clip in clips[start : start + _BATCH]]).to(model.device)
        output = model(batch.audio, lengths=batch.samples, person=batch.person, level=batch.level, frames=batch.frames)
        valid = valid_mask(batch.frames, output.emotion.shape[1])[..., None]
        total = total + ((output.emotion.float() * valid).sum(1) / batch.frames[:, None]).sum(0)
    return total / len(clips)
