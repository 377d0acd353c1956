"""The terms of the training loss, as sums over frames; whoever calls divides by how many there are in the whole step.

Sums, not means: then a batch split over processes or accumulation parts gives exactly the gradient of the whole one.
`L = l1 Lcross + l2 Lself + l3 Lvel + l4 Lcls` (EmoTalk, eq. 5 to 9), and switchable terms beyond the paper's.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from emotalk_ros.face.names import ARKIT_NAMES, COUNT, EXPRESSION, INDEX, MOUTH
from emotalk_ros.model import EmoTalkOutput
from emotalk_ros.model.controls import canonical_or_same
from emotalk_ros.model.streaming_emotalk import EXPRESSIVE
from emotalk_ros.model.timing import stretch, valid_mask
from emotalk_ros.training.data import IGNORED, Batch
from emotalk_ros.training.distillation import Teacher, unexplained
from emotalk_ros.training.recipe import LossRecipe

TERMS = (
    "self",
    "cross",
    "velocity",
    "classification",
    "lip_gap",
    "expression",
    "closure",
    "spread",
    "distillation",
)
"""Names of the terms, in the order of every vector of sums and counts."""


LIP_OPENING_MM: dict[str, float] = {
    "jawOpen": 28.92,
    "jawForward": 1.1,
    "mouthClose": -37.2,
    "mouthFunnel": 10.83,
    "mouthPucker": -1.29,
    "mouthLowerDownLeft": 2.91,
    "mouthLowerDownRight": 2.91,
    "mouthUpperUpLeft": 3.5,
    "mouthUpperUpRight": 3.5,
    "mouthRollLower": -2.46,
    "mouthRollUpper": 1.58,
    "mouthShrugLower": -6.39,
    "mouthShrugUpper": 4.56,
    "mouthPressLeft": -1.09,
    "mouthPressRight": -1.09,
    "mouthDimpleLeft": -0.79,
    "mouthDimpleRight": -0.79,
    "noseSneerLeft": 3.16,
    "noseSneerRight": 3.16,
}
"""Vertical distance that each coefficient at 1 adds between the inner lips, mm: mean of the three middle pairs of the
iBUG landmarks (61/67, 62/66, 63/65), measured on ICT-FaceKit's shapes (Li et al. 2020)."""


PRESSED = -0.012
"""Lip opening (unit of `LipGap`) below which lips press: 0.35 mm tighter than the rest face."""


JAW_AT_REST = 0.02
"""jawOpen below which a mouth is at rest."""


def region_weights(regions: Mapping[str, float]) -> Tensor:
    """(52,) weights with mean 1; the longest prefix that fits a coefficient's name decides, 1 where none does."""
    weights = np.ones(COUNT, np.float32)
    for index, name in enumerate(ARKIT_NAMES):
        fitting = [prefix for prefix in regions if name.startswith(prefix)]
        if fitting:
            weights[index] = regions[max(fitting, key=len)]
    if weights.sum() <= 0:
        raise ValueError("loss.regions leaves every coefficient with weight 0")
    return torch.from_numpy(weights / weights.mean())


def reconstruction(prediction: Tensor, target: Tensor, weights: Tensor, frames: Tensor) -> Tensor:
    """Sum over valid frames of the weighted mean squared error over coefficients.

    prediction, target (B, T, 52); weights (52,) or (B, 52); frames (B,) valid frames. Returns a scalar.
    """
    error = (prediction - target).square() * _rows(weights)
    return (error.mean(-1) * valid_mask(frames, error.shape[1])).sum()


def velocity(prediction: Tensor, target: Tensor, weights: Tensor, frames: Tensor) -> Tensor:
    """Like `reconstruction`, of the first differences along time."""
    return reconstruction(prediction.diff(dim=1), target.diff(dim=1), weights, frames - 1)


def classification(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """Sum of the cross-entropies of the windows that have a label. logits (B, L), labels (B,) with `IGNORED`."""
    return functional.cross_entropy(
        logits.float(), labels, ignore_index=IGNORED, reduction="sum", label_smoothing=smoothing
    )


def mean_expression(coefficients: Tensor, frames: Tensor) -> Tensor:
    """Mean over valid frames of what shows emotion: (B, T, 52), frames (B,) to (B, len(EXPRESSION))."""
    inside = valid_mask(frames, coefficients.shape[1])[..., None]
    shown = coefficients[..., torch.as_tensor(EXPRESSION, device=coefficients.device)]
    return (shown * inside).sum(1) / frames[:, None]


def expression_choice(
    prediction: Tensor, frames: Tensor, labels: Tensor, centres: Tensor, known: Tensor, scale: float, weight: Tensor
) -> Tensor:
    """Weighted sum over labelled windows of the cross-entropy of which emotion's face the made one is nearest to.

    The logit of emotion k is `-|m - centre_k|^2 / (2 scale^2)`, m the window's mean expression. prediction (B, T, 52);
    labels (B,) with `IGNORED`; centres (L, len(EXPRESSION)), NaN for emotions without a face of their own; known
    (B, 52) 0 where a coefficient is not to be looked at; weight (B,).
    """
    seen = known[:, torch.as_tensor(EXPRESSION, device=known.device)] > 0
    apart = (mean_expression(prediction, frames)[:, None] - centres.nan_to_num()).square() * seen[:, None]
    logits = -apart.sum(-1) / (2 * scale**2)
    logits = logits.masked_fill(centres.isnan().any(-1), -1e4)
    each = functional.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="none")
    return (each * weight).sum()


def closure(logits: Tensor, target: Tensor, frames: Tensor, closed_weight: float) -> Tensor:
    """Sum over valid frames of the cross-entropy of whether the lips are closed.

    Closed is a target whose mouthClose reaches 0.8 of its jawOpen, open one where it stays below 0.4; between them, and
    where the target's jaw hardly opens (below JAW_AT_REST), nothing is asked. logits (B, T), target (B, T, 52).
    """
    jaw, close = target[..., INDEX["jawOpen"]], target[..., INDEX["mouthClose"]]
    share = close / jaw.clamp(min=JAW_AT_REST)
    asked = valid_mask(frames, logits.shape[1]) & (jaw > JAW_AT_REST) & ((share > 0.8) | (share < 0.4))
    each = functional.binary_cross_entropy_with_logits(
        logits.float(), (share > 0.8).float(), reduction="none", pos_weight=logits.new_tensor(closed_weight).float()
    )
    return (each * asked).sum()


def spread(prediction: Tensor, target: Tensor, weights: Tensor, known: Tensor, frames: Tensor, gap: LipGap) -> Tensor:
    """How far the made faces' distribution is from the labels', per coefficient of the mouth and for the lip gap.

    The squared 2-Wasserstein distance in one dimension: the mean squared difference of the sorted values. A squared
    error frame by frame settles for the mean wherever it is not sure, so mouths mumble; this asks for the labels' width
    without saying when. What is not known of a window is 0 in both.

    prediction, target (B, T, 52); weights (52,); known (B, 52); frames (B,).
    """
    seen = (known > 0)[:, None]
    valid = valid_mask(frames, prediction.shape[1])
    made, wanted = (torch.where(seen, values, 0.0)[valid] for values in (prediction, target))
    columns = [torch.cat([values[:, MOUTH], gap(values)[:, None]], -1) for values in (made, wanted)]
    made, wanted = (column.sort(0).values for column in columns)
    shares = torch.cat([weights[MOUTH], weights[INDEX["jawOpen"]][None]])
    return ((made - wanted).square() * shares).sum() / COUNT


class LipGap(nn.Module):
    """Opening of the inner lips as a linear form of the coefficients; unit: what jawOpen 1 opens, 0: the rest face.

    After `LIP_OPENING_MM`. Signed: closed lips that press count below 0, so pressing is learned too.
    """

    form: Tensor

    def __init__(self) -> None:
        super().__init__()
        form = torch.zeros(COUNT)
        for name, opening in LIP_OPENING_MM.items():
            form[INDEX[name]] = opening / LIP_OPENING_MM["jawOpen"]
        self.register_buffer("form", form, persistent=False)

    def forward(self, coefficients: Tensor) -> Tensor:
        """(..., 52) to (...)."""
        return coefficients @ self.form

    def loss(
        self, prediction: Tensor, target: Tensor, frames: Tensor, closed: float, scale: float, still_open: float = 0.0
    ) -> Tensor:
        """Sum over valid frames of the squared error of the gap, closed lips weighing `1 + closed` times open ones.

        Where the target presses the lips (below PRESSED), a gap that is left costs `still_open` per unit besides:
        a squared error alone settles for half-open lips wherever the network is not sure.
        """
        gap = self(target)
        weight = 1.0 + closed * torch.exp(-gap.clamp(min=0.0) / scale)
        made = self(prediction)
        error = (made - gap).square() * weight
        if still_open > 0:
            error = error + still_open * (made - 0.5 * PRESSED).clamp(min=0.0) * (gap < PRESSED)
        return (error * valid_mask(frames, gap.shape[1])).sum()


class Objective(nn.Module):
    """The network with its loss in one forward pass: what the optimiser steps on and what several processes wrap.

    One pass, because data-parallel wrappers count forward passes: the encoders run once a window, the decoder once
    more for each cross-driven target.
    """

    def __init__(
        self, model: nn.Module, recipe: LossRecipe, centres: Tensor | None = None, teacher: Teacher | None = None
    ) -> None:
        """`centres` (L, len(EXPRESSION)): the mean expression of each emotion, for the term `expression`; `teacher`:
        the pretrained encoder, for the term `distillation`.
        """
        super().__init__()
        if recipe.expression > 0 and centres is None:
            raise ValueError("loss.expression needs the mean expression of each emotion")
        if recipe.distillation > 0 and teacher is None:
            raise ValueError("loss.distillation needs a teacher: name the pretrained encoder in model.trunk")
        self.centres: Tensor | None
        self.register_buffer("centres", centres, persistent=False)
        self.model = model
        self.recipe = recipe
        self.gap = LipGap()
        self._teacher = [teacher]  # in a list, so that it is no part of checkpoints
        self.weights: Tensor
        self.register_buffer("weights", region_weights(recipe.regions), persistent=False)
        own = torch.ones(COUNT)
        own[list(EXPRESSION)] = recipe.own_expression
        self.own: Tensor
        self.register_buffer("own", own, persistent=False)
        lambdas = torch.tensor([float(getattr(recipe, name)) for name in TERMS])
        self.lambdas: Tensor
        self.register_buffer("lambdas", lambdas, persistent=False)
        moved = torch.zeros(COUNT, dtype=torch.bool)
        moved[EXPRESSIVE] = True
        self._moved: Tensor
        self.register_buffer("_moved", moved, persistent=False)
        labels = [canonical_or_same(name) for name in getattr(getattr(model, "config", None), "emotion_labels", ())]
        self.neutral = labels.index("neutral") if "neutral" in labels else IGNORED

    def forward(self, batch: Batch, counts: Tensor) -> tuple[Tensor, Tensor, EmoTalkOutput]:
        """Loss and terms of a batch.

        Args:
            batch: see `Batch`.
            counts: (terms,) by how much the sum of each term is divided: `Batch.counts` of the whole step, in the order
                of `TERMS`.

        Returns:
            the weighted loss (scalar), the terms (terms,) without their weights and without gradient, and the model's
            output.
        """
        # A baseline that encodes the true face in training asks for it, and brings terms of its own.
        own = {"target": batch.target} if getattr(self.model, "wants_target", False) else {}
        if batch.features is not None:
            own["features"] = batch.features
        output: EmoTalkOutput = self.model(
            batch.audio, lengths=batch.samples, person=batch.person, level=batch.level, frames=batch.frames, **own
        )
        assert output.coefficients is not None
        recipe = self.recipe
        made, wanted = output.coefficients.float(), batch.target
        # Crossed targets below come from pairs, which are never still.
        care = torch.where(batch.still[:, None], recipe.still, self.own)
        frames, known = batch.frames, batch.known * self.weights * care
        terms = dict.fromkeys(TERMS, made.new_zeros(()))
        if output.speech is not None and output.expression is not None:
            made = self._told_apart(output.speech.float(), output.expression.float(), batch.emotion)
            neutral = known * (batch.emotion == self.neutral)[:, None]
            shown = output.expression.float()
            terms["self"] = reconstruction(shown, torch.zeros_like(shown), neutral, frames)
        terms["self"] = terms["self"] + reconstruction(made, wanted, known, frames)
        labels, weight = batch.emotion, torch.full_like(batch.level, recipe.own_expression)
        if output.emotion_logits is not None and recipe.classification > 0:
            terms["classification"] = classification(output.emotion_logits, batch.emotion, recipe.label_smoothing)
        closures = output.closure_logits
        if closures is not None and recipe.closure > 0:
            asked = torch.where(known[:, INDEX["mouthClose"]] > 0, frames, 0)
            terms["closure"] = closure(closures, wanted, asked, recipe.closure_weight)
        if len(batch.content_of) and recipe.cross > 0 and output.content is not None:
            crossed = self._cross(batch, output)
            cross_frames, cross_known = batch.frames[batch.content_of], batch.cross_known * self.weights
            terms["cross"] = reconstruction(crossed, batch.cross_target, cross_known, cross_frames)
            # Velocity and lips are asked of every face that is made.
            made, wanted = torch.cat([made, crossed]), torch.cat([wanted, batch.cross_target])
            frames, known = torch.cat([frames, cross_frames]), torch.cat([known, cross_known])
            labels = torch.cat([labels, labels[batch.emotion_of]])
            weight = torch.cat([weight, torch.ones_like(batch.cross_level)])
        terms["velocity"] = velocity(made, wanted, known, frames)
        closed, scale = recipe.lip_gap_closed, recipe.lip_gap_scale
        seen = (known > 0)[:, None]
        lips = torch.where(seen, made, 0.0), torch.where(seen, wanted, 0.0)
        terms["lip_gap"] = self.gap.loss(*lips, frames, closed, scale, recipe.lip_gap_open)
        if recipe.spread > 0:
            terms["spread"] = spread(made, wanted, self.weights, known, frames, self.gap)
        if recipe.expression > 0 and self.centres is not None:
            scale = recipe.expression_scale
            terms["expression"] = expression_choice(made, frames, labels, self.centres, known, scale, weight)
        teacher = self._teacher[0]
        if recipe.distillation > 0 and teacher is not None and output.features is not None:
            terms["distillation"] = unexplained(output.features, teacher(batch.clean), batch.samples)
        vector = torch.stack([terms[name] for name in TERMS]) / counts.clamp(min=1.0)
        loss = (vector * self.lambdas).sum()
        if output.loss is not None:
            loss = loss + output.loss * batch.frames.sum() / counts[0].clamp(min=1.0)  # its share of the whole step
        return loss, vector.detach(), output

    def _told_apart(self, speech: Tensor, expression: Tensor, emotion: Tensor) -> Tensor:
        """The face of each window so that speech and expression do not learn each other's part.

        Where the window has an emotion, what the emotion may move is learned by the expression alone; elsewhere
        (neutral, or nobody knows) by the speech alone. speech, expression (B, T, 52), emotion (B,).
        """
        emotional = ((emotion != IGNORED) & (emotion != self.neutral))[:, None, None]
        return torch.where(self._moved & emotional, speech.detach() + expression, speech)

    def _cross(self, batch: Batch, output: EmoTalkOutput) -> Tensor:
        """Faces (P, T, 52) of one window's content with another's emotion, stretched to the content's frames."""
        assert output.content is not None and output.emotion is not None
        content = output.content[batch.content_of]
        emotion = output.emotion[batch.emotion_of]
        size = content.shape[1]
        own, wanted = batch.frames[batch.emotion_of], batch.frames[batch.content_of]
        if not torch.equal(own, wanted):
            emotion = stretch(emotion, own, wanted, size)
        inputs = (content, emotion, batch.cross_person, batch.cross_level)
        if output.speech is None:
            crossed = self.model.decode(*inputs).float()  # type: ignore[operator]
        else:  # whatever the emotion is, its face is learned by the expression here
            speech, _, expression = self.model.decode_parts(*inputs)  # type: ignore[operator]
            crossed = torch.where(self._moved, speech.detach() + expression, speech).float()
        return crossed * valid_mask(wanted, size)[..., None]


def _rows(weights: Tensor) -> Tensor:
    """(52,) or (B, 52) weights against (B, T, 52)."""
    return weights if weights.dim() == 1 else weights[:, None, :]
