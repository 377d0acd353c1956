"""Samples whose trunk features are computed once: where the trunk does not learn, most of a step's work is always the
same. The batch of a step stays a pure function of recipe and step.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch.nn import functional

from emotalk_ros.model.streaming_emotalk import StreamingEmoTalk
from emotalk_ros.training.data import Batch, StepSampler, Window, collate
from emotalk_ros.training.recipe import RecipeError

_BATCH = 16


class EncodedSampler:
    """The first samples of a run (windows, or pairs of them) with their features; each step draws from them.

    Args:
        sampler: makes the samples.
        model: its trunk encodes them.
        count: how many samples.

    Raises RecipeError when the trunk learns, or there is none.
    """

    def __init__(self, sampler: StepSampler, model: torch.nn.Module, count: int) -> None:
        if not isinstance(model, StreamingEmoTalk) or any(p.requires_grad for p in model.trunk.parameters()):
            raise RecipeError("data.encoded needs a trunk that does not learn: add it to model.freeze ([trunk])")
        self._recipe = sampler.recipe
        self._samples = list(self._encode(sampler, model, count))

    def parts(self, step: int, process: int = 0, processes: int = 1) -> list[Batch]:
        """The batches (one per accumulation part) that `process` of `processes` computes in `step`."""
        optim = self._recipe.optim
        epoch, rest = divmod(step * optim.batch_size, len(self._samples))
        chosen = [
            self._sample(epoch + (rest + slot) // len(self._samples), (rest + slot) % len(self._samples))
            for slot in range(process, optim.batch_size, processes)
        ]
        return [collate(chosen[k :: optim.accumulate]) for k in range(optim.accumulate)]

    def _sample(self, epoch: int, place: int) -> list[Window]:
        """Every sample once an epoch, in a new order each time."""
        order = np.random.default_rng([self._recipe.seed, 4, epoch]).permutation(len(self._samples))
        return self._samples[order[place]]

    @torch.no_grad()
    def _encode(self, sampler: StepSampler, model: StreamingEmoTalk, count: int) -> Iterator[list[Window]]:
        size = self._recipe.optim.batch_size
        for start in range(0, count, _BATCH):
            places = [divmod(place, size) for place in range(start, min(count, start + _BATCH))]
            groups = [group for step, slot in places for group in sampler.groups(step, slot)]
            windows = [window for group in groups for window in group]
            longest = max(len(window.audio) for window in windows)
            audio = np.zeros((len(windows), longest), np.float32)
            for row, window in zip(audio, windows, strict=True):
                row[: len(window.audio)] = window.audio
            padded = functional.pad(torch.as_tensor(audio), (0, model.config.lookahead_samples))
            wanted = model.feature_count(max(len(window.target) for window in windows))
            features = model.trunk(padded.to(model.device), count=wanted)[:, :wanted].to(torch.float16).cpu().numpy()
            for window, made in zip(windows, features, strict=True):
                window.features = made
                window.clean = None
            yield from groups
