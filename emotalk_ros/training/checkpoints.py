"""Checkpoints that are whole or not there, the running mean of the weights, and what a run remembers between steps."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from emotalk_ros.files import replace_folder

_PREFIX = "step-"


@dataclass
class Progress:
    """Where a run stands: saved with every checkpoint, so that a resumed log continues the same curve."""

    step: int = 0
    """Optimiser steps done."""
    best: float = float("inf")
    best_step: int = 0
    bad: int = 0
    """Validations since the best one."""
    seconds: float = 0.0
    """Training time so far."""
    since_log: int = 0
    sums: list[float] = field(default_factory=list)
    """This process's loss terms summed since the last line of the log."""
    validation: dict[str, float] = field(default_factory=dict)
    """What was measured at the best step."""

    def state_dict(self) -> dict[str, Any]:
        """For accelerate's checkpoints."""
        return asdict(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """For accelerate's checkpoints."""
        self.__dict__.update(state)


class WeightMean:
    """Exponential running mean of the learning parameters (Polyak averaging), bias-corrected at the start."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        self._mean = [p.detach().clone() for p in self._parameters]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """After optimiser step `step` (counted from 1)."""
        decay = min(self.decay, step / (step + 10.0))
        torch._foreach_lerp_(self._mean, [p.detach() for p in self._parameters], 1.0 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The model carries the mean inside the block, its own weights again after it."""
        own = [p.detach().clone() for p in self._parameters]
        self._copy(self._mean)
        try:
            yield
        finally:
            self._copy(own)

    def apply(self) -> None:
        """The model carries the mean from now on."""
        self._copy(self._mean)

    @torch.no_grad()
    def _copy(self, values: list[Tensor]) -> None:
        for parameter, value in zip(self._parameters, values, strict=True):
            parameter.copy_(value)

    def state_dict(self) -> dict[str, Any]:
        """For accelerate's checkpoints."""
        return {"mean": self._mean}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """For accelerate's checkpoints."""
        for mean, stored in zip(self._mean, state["mean"], strict=True):
            mean.copy_(stored.to(mean.device))


def save_checkpoint(accelerator: Accelerator, folder: Path, step: int, keep: int) -> Path:
    """Writes `folder/step-<step>` through a temporary folder and a rename, then drops all but the last `keep`."""
    final = folder / f"{_PREFIX}{step:09d}"
    temporary = folder / f".{final.name}.tmp"
    if accelerator.is_main_process:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(temporary), safe_serialization=True)
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        replace_folder(temporary, final)
        for old in checkpoints(folder)[:-keep]:
            shutil.rmtree(old, ignore_errors=True)
    accelerator.wait_for_everyone()
    return final


def checkpoints(folder: Path) -> list[Path]:
    """Whole checkpoints, oldest first."""
    found = folder.glob(f"{_PREFIX}*") if folder.is_dir() else []
    return sorted(p for p in found if p.is_dir() and p.name[len(_PREFIX) :].isdigit())
