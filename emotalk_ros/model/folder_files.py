"""Files of a model's or an ear's folder, read without torch: one kind of error, which names file, key and remedy.

Nothing here allocates what a file asks for: numbers in config.json are held against limits before anything is made.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError
from safetensors import SafetensorError
from safetensors.numpy import load_file

from emotalk_ros.model.locations import CheckpointError

REMEDY = "copy the folder again from where it came, or make it anew with `emotalk train`"

MOST_BYTES = 1_000_000
"""Largest config.json; larger ones are refused unread."""
MOST_LAYERS = 1000
MOST_WIDTH = 65_536
"""Largest width of a layer (keys that end in dim, ff, size, width)."""
MOST = 8192
"""Largest value of every other whole number, and longest list."""
_WIDTHS = ("dim", "ff", "size", "width")


def check_model_place(out: Path) -> None:
    """Raises FileExistsError where a model written to the folder `out` would take the place of something else."""
    if out.exists() and not (out / "config.json").is_file() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} is no model folder, so it is not overwritten; name another folder")


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in the file `path`. Raises CheckpointError naming the file."""
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise CheckpointError(f"{path} has {size} bytes, a configuration at most {MOST_BYTES}: {REMEDY}")
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path} cannot be read as JSON ({short(error)}): {REMEDY}") from error
    if not isinstance(raw, dict):
        raise CheckpointError(f"{path} must hold a JSON object, this is a {type(raw).__name__}: {REMEDY}")
    return raw


def check_limits(key: str, value: Any, where: str) -> None:
    """Raises CheckpointError for a number that no network of this package has, before anything of that size is made."""
    if isinstance(value, list):
        if len(value) > MOST:
            raise CheckpointError(f"{where} has {len(value)} entries, the limit is {MOST}: {REMEDY}")
        for item in value:
            check_limits(key, item, where)
    if isinstance(value, int) and not isinstance(value, bool):
        most = MOST_LAYERS if key.endswith("layers") else MOST_WIDTH if key.endswith(_WIDTHS) else MOST
        if abs(value) > most:
            raise CheckpointError(f"{where} is {short(value)}, the limit is {most}: {REMEDY}")


def check_type(hint: Any, value: Any, where: str) -> None:
    """Raises CheckpointError for a value that is not of the annotated type."""
    try:
        TypeAdapter(hint, config=ConfigDict(strict=True, allow_inf_nan=False)).validate_python(value)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        wanted = fault["msg"].replace("Input should be", "must be")
        raise CheckpointError(f"{where} {wanted}, got {short(value)}: {REMEDY}") from error
    except (PydanticSchemaGenerationError, TypeError, NameError):
        return  # an annotation that is none of plain values: its own class checks it


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The tensors in a safetensors file. Raises CheckpointError naming the file, and a tensor with NaN or infinity."""
    try:
        tensors: dict[str, NDArray[Any]] = load_file(path)
    except (OSError, SafetensorError, ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"{path} cannot be read ({short(error)}): {REMEDY}") from error
    for name, tensor in tensors.items():
        if np.issubdtype(tensor.dtype, np.floating) and not np.isfinite(tensor).all():
            raise not_finite(path, name, int((~np.isfinite(tensor)).sum()), tensor.size)
    return tensors


def not_finite(path: Path, name: str, count: int, size: int) -> CheckpointError:
    """The error for a tensor that holds NaN or infinity."""
    return CheckpointError(
        f"{path}: {name} holds NaN or infinity ({count} of {size} numbers): the file is damaged, or "
        f"its training failed; {REMEDY}"
    )


def short(value: object) -> str:
    """At most 120 characters of it, for a message."""
    text = str(value) if isinstance(value, BaseException) else repr(value)
    return text if len(text) <= 120 else f"{text[:120]} ..."
