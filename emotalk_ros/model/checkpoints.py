"""Loading a model folder strictly."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedConfig
from transformers.utils import logging

from emotalk_ros.model.folder_files import REMEDY, read_json
from emotalk_ros.model.locations import CheckpointError, ModelNotFoundError, checked_folder, default_model_path
from emotalk_ros.model.speech import SpeechNetwork
from emotalk_ros.model.weights import check_config, check_finite, check_sizes, weight_files

__all__ = ["ModelNotFoundError", "default_model_path", "load_model", "model_classes"]


def load_model(
    path: str | os.PathLike[str] | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Any:
    """A model in evaluation mode: `EmoTalk` or a baseline, by the folder's `model_type`. Never touches the network.

    Args:
        path: model folder; None: `default_model_path()`.
        device: "cpu", "cuda", "cuda:1", ...
        dtype: float32, bfloat16 or float16.

    Raises:
        ModelNotFoundError: no such folder, or no config.json and model.safetensors in it.
        CheckpointError: config.json or the weights are damaged, contradict each other or hold NaN; names file, key and
            remedy.
    """
    folder = default_model_path() if path is None else checked_folder(Path(path).expanduser(), "the path")
    kinds = model_classes()
    file = folder / "config.json"
    raw = read_json(file)
    name = raw.get("model_type")
    if not isinstance(name, str) or name not in kinds:
        raise CheckpointError(f"{folder} holds a model of type {name!r}; known: {', '.join(kinds)}")
    kind: Any = kinds[name]
    config_kind = kind.config_class or PreTrainedConfig
    check_config(config_kind, raw, file)
    noisy = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        with torch.device("meta"):
            make: Any = kind
            planned = make(config_kind.from_dict(raw))
        check_sizes(planned, weight_files(folder), folder)
        load: Any = kind.from_pretrained
        model, info = load(folder, dtype=dtype, local_files_only=True, use_safetensors=True, output_loading_info=True)
    except CheckpointError:
        raise
    except Exception as error:  # of transformers and torch, on sizes that contradict each other and files cut short
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise CheckpointError(f"{folder} cannot be loaded: {reason}: {REMEDY}") from error
    finally:
        if noisy:
            logging.enable_progress_bar()
    problems = {kind: sorted(map(str, keys)) for kind, keys in info.items() if keys and kind.endswith("keys")}
    if problems:
        raise CheckpointError(f"the weights in {folder} do not fit its config.json: {problems}")
    check_finite(model.state_dict(), folder / "model.safetensors")
    return model.to(device).eval()


def model_classes() -> dict[str, type[SpeechNetwork]]:
    """Model class by `model_type`."""
    from emotalk_ros.model.baselines import baseline_classes
    from emotalk_ros.model.emotalk import EmoTalk
    from emotalk_ros.model.streaming_emotalk import StreamingEmoTalk

    return {"emotalk": EmoTalk, "emotalk-streaming": StreamingEmoTalk, **baseline_classes()}
