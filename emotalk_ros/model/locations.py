"""Where model folders are, without torch."""

from __future__ import annotations

import os
from pathlib import Path

DEFAULT_MODEL = Path("models") / "emotalk-streaming"
"""The folder of the model that ships, in the source tree and under share/emotalk_ros."""

MODEL_VARIABLE = "EMOTALK_MODEL"
"""Environment variable that names a model folder."""


class ModelNotFoundError(FileNotFoundError):
    """No model folder; the message says where was looked and how to get one."""


def default_model_path() -> Path:
    """The folder of the model to use when none is named.

    In this order: $EMOTALK_MODEL; models/emotalk-streaming of the source tree this module lies in; share/emotalk_ros/
    models/emotalk-streaming of the installation it lies in, or of a prefix in $AMENT_PREFIX_PATH.

    Raises:
        ModelNotFoundError: none of them is a model folder.
    """
    named = os.environ.get(MODEL_VARIABLE)
    if named:
        return checked_folder(Path(named).expanduser(), f"${MODEL_VARIABLE}")
    module = Path(__file__).resolve()
    share = Path("share") / "emotalk_ros" / DEFAULT_MODEL
    prefixes = [Path(entry) for entry in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if entry]
    candidates = [module.parents[2] / DEFAULT_MODEL]
    candidates += [prefix / share for prefix in (*module.parents, *prefixes)]
    for candidate in candidates:
        if (candidate / "config.json").is_file():
            return candidate
    raise ModelNotFoundError(
        f"no model found: ${MODEL_VARIABLE} is not set, and there is no {DEFAULT_MODEL} in the source tree or under "
        "share/emotalk_ros. Name a folder with config.json and model.safetensors; `emotalk train` makes one, "
        "`emotalk convert EmoTalk.pth OUT` makes one of the published checkpoint"
    )


class CheckpointError(ValueError):
    """A checkpoint does not fit; the message lists what is missing, unexpected or of another shape."""


def checked_folder(folder: Path, origin: str) -> Path:
    """`folder`, which `origin` names, if it is a model folder. Raises ModelNotFoundError."""
    missing = [name for name in ("config.json", "model.safetensors") if not (folder / name).is_file()]
    if missing and not (folder / "model.safetensors.index.json").is_file():
        raise ModelNotFoundError(
            f"{origin} names {folder}, which is no model folder: {' and '.join(missing)} not found there. "
            "`emotalk train` makes one, `emotalk convert EmoTalk.pth OUT` makes one of the published checkpoint"
        )
    return folder
