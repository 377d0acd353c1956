"""Checkpoints that are whole or not there, the running mean of the weights, and what a run remembers between steps.

A checkpoint holds tensors (safetensors) and plain values (JSON), never a pickle: a run's folder from elsewhere can't
run code. Every file is held against its SHA-256 before it is used, so that a flipped bit is no silent other run.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from emotalk_ros.files import file_digest, replacing_folder

_PREFIX = "step-"
_FORMAT = 1
_VALUES = "values.json"
_SUMS = "SHA256SUMS"
_SCALER: TypeAdapter[dict[str, float] | None] = TypeAdapter(dict[str, float] | None)


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
        """The fields, for JSON."""
        return asdict(self)

    @classmethod
    def parse(cls, raw: object) -> Progress:
        """From what `state_dict` gave. Raises pydantic.ValidationError."""
        return TypeAdapter(cls).validate_python(raw)


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

    def tensors(self) -> dict[str, Tensor]:
        """The means by number of the parameter."""
        return {str(k): mean for k, mean in enumerate(self._mean)}

    def check(self, tensors: Mapping[str, Tensor]) -> None:
        """Raises ValueError when `tensors` are the means of other parameters."""
        _same_shapes("the running mean", self.tensors(), tensors)

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes over checked means."""
        for key, mean in self.tensors().items():
            mean.copy_(tensors[key])


class CheckpointDamagedError(ValueError):
    """A checkpoint is not what was written; the message names the file and what is wrong with it."""


@dataclass
class CheckpointState:
    """Everything that a resumed run needs: tensors and plain values, nothing else."""

    network: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    """By `<number of the parameter>.<name>`."""
    mean: dict[str, Tensor] | None
    """Of `WeightMean`, where the run has one."""
    progress: Progress
    scaler: dict[str, float] | None
    """Of the gradient scaler of fp16."""


def optimizer_tensors(optimizer: Any) -> dict[str, Tensor]:
    """The state of each parameter. What else an optimiser keeps (rates, betas) comes from the recipe."""
    state: dict[int, dict[str, Any]] = optimizer.state_dict()["state"]
    return {f"{k}.{name}": torch.as_tensor(value) for k, values in state.items() for name, value in values.items()}


def restore_optimizer(optimizer: Any, tensors: Mapping[str, Tensor]) -> None:
    """Takes over what `optimizer_tensors` gave.

    Raises ValueError when it belongs to other parameters.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        number, _, name = key.partition(".")
        if not number.isdecimal() or int(number) >= len(parameters):
            raise ValueError(f"the optimiser has no parameter {number}, it has {len(parameters)}")
        shape = parameters[int(number)].shape
        if value.dim() and value.shape != shape:
            raise ValueError(f"{key} of the optimiser has the shape {tuple(value.shape)}, not {tuple(shape)}")
        state.setdefault(int(number), {})[name] = value
    if state and len(state) != len(parameters):
        raise ValueError(f"the optimiser has {len(parameters)} parameters, {len(state)} are stored")
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def write_checkpoint(folder: Path, state: CheckpointState, keep: int) -> Path:
    """Writes `folder/step-<step>`, whole or not at all, then drops all but the last `keep`; returns it.

    Tensors go into safetensors files, everything else into JSON, the SHA-256 of each file into `SHA256SUMS` (as the
    program `sha256sum -c` reads it).

    Raises:
        OSError: the disk is full, or the folder can't be written; nothing is left behind.
    """
    final = folder / f"{_PREFIX}{state.progress.step:09d}"
    with replacing_folder(final) as part:
        for name, tensors in (("network", state.network), ("optimizer", state.optimizer), ("mean", state.mean)):
            if tensors is not None:
                save_file(_apart(tensors), part / f"{name}.safetensors")
        values = {"format": _FORMAT, "progress": state.progress.state_dict(), "scaler": state.scaler}
        (part / _VALUES).write_text(json.dumps(values, indent=1), encoding="utf-8")
        write_sums(part)
    for old in checkpoints(folder)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def read_checkpoint(folder: Path) -> CheckpointState:
    """Reads what `write_checkpoint` wrote, after holding each file against its checksum. Runs nothing that is in it.

    Raises:
        CheckpointDamagedError: names the file and what is wrong.
    """
    check_sums(folder)
    try:
        raw = json.loads((folder / _VALUES).read_text(encoding="utf-8"))
        if raw["format"] != _FORMAT:
            raise ValueError(f"its format is {raw['format']!r}, this version of the package reads {_FORMAT}")
        progress, scaler = Progress.parse(raw["progress"]), _SCALER.validate_python(raw["scaler"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointDamagedError(f"{_VALUES}: {type(error).__name__}: {error}") from error
    tensors: dict[str, dict[str, Tensor] | None] = {}
    for name in ("network", "optimizer", "mean"):
        path = folder / f"{name}.safetensors"
        try:
            tensors[name] = load_file(path) if name != "mean" or path.exists() else None
        except (OSError, SafetensorError, ValueError) as error:
            raise CheckpointDamagedError(f"{path.name}: {error}") from error
    return CheckpointState(tensors["network"] or {}, tensors["optimizer"] or {}, tensors["mean"], progress, scaler)


def write_sums(folder: Path) -> None:
    """`SHA256SUMS` of the files in `folder`. Raises OSError."""
    paths = sorted(path for path in folder.iterdir() if path.is_file() and path.name != _SUMS)
    (folder / _SUMS).write_text(
        "".join(f"{file_digest(path, digits=64)}  {path.name}\n" for path in paths), encoding="utf-8"
    )


def check_sums(folder: Path) -> None:
    """Holds the files of `folder` against its `SHA256SUMS`.

    Raises:
        CheckpointDamagedError: names the first file that differs or is missing.
    """
    try:
        lines = (folder / _SUMS).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        pickle = next(folder.glob("*.pkl"), None)
        old = f": it is of an earlier version, whose {pickle.name} could run code, so it is not read" if pickle else ""
        raise CheckpointDamagedError(f"it has no {_SUMS}{old}") from None
    except (OSError, UnicodeError) as error:
        raise CheckpointDamagedError(f"{_SUMS}: {error}") from error
    listed = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    for path in folder.iterdir():
        if path.suffix in (".json", ".safetensors") and path.name not in listed:
            raise CheckpointDamagedError(f"{_SUMS} does not list {path.name}")
    for name, wanted in listed.items():
        path = folder / name
        try:
            found = file_digest(path, digits=64) if path.name == name else ""
        except OSError as error:
            raise CheckpointDamagedError(f"{name}: {error.strerror}") from error
        if found != wanted:
            raise CheckpointDamagedError(f"{name}: its checksum does not fit, a part of it was changed or lost")


def set_aside(checkpoint: Path) -> Path:
    """Renames a damaged checkpoint, so that it does not count among those that are kept; returns its new place."""
    place = checkpoint.with_name(f"damaged-{checkpoint.name}")
    shutil.rmtree(place, ignore_errors=True)
    checkpoint.rename(place)
    return place


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """On the CPU, none in the memory of another, as safetensors wants them."""
    apart: dict[str, Tensor] = {}
    seen: set[int] = set()
    for key, tensor in tensors.items():
        own = tensor.detach().cpu().contiguous()
        apart[key] = own.clone() if own.untyped_storage().data_ptr() in seen else own
        seen.add(own.untyped_storage().data_ptr())
    return apart


def _same_shapes(what: str, own: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> None:
    for key in own.keys() | other.keys():
        if key not in own or key not in other or own[key].shape != other[key].shape:
            raise ValueError(f"{what} is of other parameters ({key})")


def checkpoints(folder: Path) -> list[Path]:
    """Whole checkpoints, oldest first."""
    found = folder.glob(f"{_PREFIX}*") if folder.is_dir() else []
    return sorted(p for p in found if p.is_dir() and p.name[len(_PREFIX) :].isdigit())
