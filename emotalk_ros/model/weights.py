"""A torch network's folder before anything is built of it: types, sizes and tensors are held against each other.

Names and shapes of tensors come from the heads of the safetensors files. `model.folder_files` reads without torch.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import PreTrainedConfig

from emotalk_ros.model.folder_files import REMEDY, check_limits, check_type, not_finite, read_json, short
from emotalk_ros.model.locations import CheckpointError


def check_config(kind: type[PreTrainedConfig], raw: Mapping[str, Any], path: Path) -> None:
    """Types and limits of the values in a config.json of `kind`. Raises CheckpointError naming file, key and value."""
    wanted = _annotations(kind)
    for key, value in raw.items():
        where = f"{path}: {key}"
        inner = kind.sub_configs.get(key)
        if inner is not None and value is not None:
            if not isinstance(value, dict):
                raise CheckpointError(f"{where} must be an object, got {short(value)}: {REMEDY}")
            check_config(inner, value, Path(f"{path}: {key}"))
            continue
        check_limits(key, value, where)
        if key in wanted:
            check_type(wanted[key], value, where)


def _annotations(kind: type) -> dict[str, Any]:
    """The annotated parameters of a configuration's constructor and of those above it."""
    found: dict[str, Any] = {}
    for one in reversed(kind.__mro__):
        if "__init__" in vars(one):
            try:
                hints = typing.get_type_hints(one.__init__)  # type: ignore[misc]
            except (NameError, TypeError):
                continue
            named = inspect.signature(one.__init__).parameters  # type: ignore[misc]
            found |= {k: v for k, v in hints.items() if k in named and named[k].kind != inspect.Parameter.VAR_KEYWORD}
    return found


def shapes(files: Iterable[Path]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors in safetensors files, from their heads.

    Raises CheckpointError naming the file.
    """
    found: dict[str, tuple[int, ...]] = {}
    for path in files:
        try:
            with safe_open(path, framework="pt") as file:
                found |= {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError, ValueError) as error:
            raise CheckpointError(f"{path} cannot be read ({short(error)}): {REMEDY}") from error
    return found


def weight_files(folder: Path) -> Iterator[Path]:
    """The safetensors files of a model folder. Raises CheckpointError for an index that names others."""
    index = folder / "model.safetensors.index.json"
    if (folder / "model.safetensors").is_file() or not index.is_file():
        yield folder / "model.safetensors"
        return
    names = read_json(index).get("weight_map")
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise CheckpointError(f"{index}: weight_map must map tensors to files: {REMEDY}")
    for name in sorted(set(names.values())):
        if Path(name).name != name or not (folder / name).is_file():
            raise CheckpointError(f"{index}: weight_map names {name!r}, which is no file beside it: {REMEDY}")
        yield folder / name


def check_sizes(network: nn.Module, files: Iterable[Path], folder: Path) -> None:
    """Holds a network on the device "meta", as config.json describes it, against the tensors there are.

    Raises CheckpointError naming tensors of other shapes, or a network that is many times larger.
    """
    found = shapes(files)
    state = network.state_dict()
    wrong = [
        f"{name}: expected {tuple(tensor.shape)}, found {found[name]}"
        for name, tensor in state.items()
        if name in found and tuple(tensor.shape) != found[name]
    ]
    if wrong:
        more = f", and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise CheckpointError(
            f"the weights in {folder} do not fit its config.json: {'; '.join(wrong[:5])}{more}: {REMEDY}"
        )
    asked, there = sum(t.numel() for t in state.values()), sum(_product(shape) for shape in found.values())
    if asked > 2 * there + 1_000_000:
        raise CheckpointError(
            f"{folder / 'config.json'} asks for a network of {asked} numbers, the weights are {there}: {REMEDY}"
        )


def check_finite(tensors: Mapping[str, Tensor], file: Path) -> None:
    """Raises CheckpointError that names the first tensor with NaN or infinity, and how many numbers are so."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise not_finite(file, name, int((~torch.isfinite(tensor)).sum()), tensor.numel())


def _product(shape: tuple[int, ...]) -> int:
    product = 1
    for size in shape:
        product *= size
    return product
