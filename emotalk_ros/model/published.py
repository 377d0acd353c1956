"""The published checkpoint's names and ours, both ways, strictly.

The published file keeps one decoder, two wav2vec2 encoders with old weight-norm names, and tensors that never act:
`*.lm_head.*` and `*.masked_spec_embed` (see `DEAD`). Those are kept beside our weights so that the way back is
bit-equal.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from emotalk_ros.emotions import PUBLISHED_EMOTIONS
from emotalk_ros.model.config import EmoTalkConfig
from emotalk_ros.model.locations import CheckpointError

DEAD = re.compile(r"(^|\.)(lm_head\.(weight|bias)|masked_spec_embed)$")
"""Keys of the published file that nothing reads."""

EXTRAS_FILE = "published_extras.safetensors"
"""Where a converted model folder keeps the dead tensors, for the way back."""

OWN_BUFFERS = ("emotion_prototypes", "prototypes_set")
"""Ours, with no place in the published file."""

# (published prefix, our prefix), first match wins.
_PREFIXES = (
    ("audio_encoder_cont.", "content_encoder."),
    ("audio_encoder_emo.wav2vec2.", "emotion_encoder."),
    ("audio_encoder_emo.classifier.", "emotion_classifier."),
    ("audio_feature_map_cont.", "content_head."),
    ("audio_feature_map_emo2.", "emotion_condition."),
    ("audio_feature_map_emo.", "emotion_head."),
    ("obj_vector_level.", "level_embedding."),
    ("obj_vector_person.", "person_embedding."),
    ("transformer_decoder.layers.", "decoder."),
    ("bs_map_r.", "output."),
)
_WEIGHT_NORM = (
    ("pos_conv_embed.conv.weight_g", "pos_conv_embed.conv.parametrizations.weight.original0"),
    ("pos_conv_embed.conv.weight_v", "pos_conv_embed.conv.parametrizations.weight.original1"),
)


def to_ours(key: str) -> str | None:
    """Our name of a published key (old or new weight-norm names); None for a dead or an unknown one."""
    if DEAD.search(key):
        return None
    for published, ours in _PREFIXES:
        if key.startswith(published):
            name = ours + key[len(published) :]
            for old, new in _WEIGHT_NORM:
                if name.endswith(old):
                    name = name[: -len(old)] + new
            return name
    return None


def to_published(key: str) -> str | None:
    """The published name (old weight-norm names) of one of our keys; None for our own buffers."""
    if key in OWN_BUFFERS:
        return None
    for published, ours in _PREFIXES:
        if key.startswith(ours):
            name = published + key[len(ours) :]
            for old, new in _WEIGHT_NORM:
                if name.endswith(new):
                    name = name[: -len(new)] + old
            return name
    raise CheckpointError(f"{key} has no place in the published checkpoint")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The state dict of a .pth, .pt, .bin or .safetensors file; raw, or nested under `state_dict` or `model`.

    Pickles are read with `weights_only=True`: nothing in them is run.

    Raises:
        FileNotFoundError: no such file.
        CheckpointError: not a state dict.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint file at {path}")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (OSError, SafetensorError, ValueError) as error:
            raise CheckpointError(f"{path} cannot be read ({error}): copy it again from where it came") from error
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))
    except Exception as error:
        raise CheckpointError(f"{path} cannot be read as tensors alone (weights_only): {error}") from error
    for name in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    if not isinstance(content, Mapping) or not content:
        raise CheckpointError(f"{path} holds no state dict (a mapping of names to tensors)")
    wrong = [key for key, value in content.items() if not isinstance(value, Tensor)]
    if wrong:
        raise CheckpointError(f"{path} holds entries that are not tensors: {_listed(wrong)}")
    prefix = "module." if all(key.startswith("module.") for key in content) else ""  # saved under DataParallel
    return {key[len(prefix) :]: value for key, value in content.items()}


def from_published(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Rename a published state dict.

    Returns:
        Our tensors, and the dead ones under their published names. Keys that are neither known nor dead stay among
        the first as they are: `check_fit` lists them together with what is missing.

    Raises:
        CheckpointError: one tensor is there twice.
    """
    ours: dict[str, Tensor] = {}
    dead: dict[str, Tensor] = {}
    for key, tensor in state.items():
        name = to_ours(key)
        if name is not None:
            if name in ours:
                raise CheckpointError(f"{key} is there twice, under an old and a new weight-norm name")
            ours[name] = tensor
        elif DEAD.search(key):
            dead[key] = tensor
        else:
            ours[key] = tensor
    return ours, dead


def check_fit(expected: Mapping[str, Any], found: Mapping[str, Tensor], name: Any = str) -> None:
    """Compare names and shapes; CheckpointError lists every difference (`name` translates keys for the message)."""
    missing = [name(key) for key in expected if key not in found]
    unexpected = [name(key) for key in found if key not in expected]
    shapes = [
        f"{name(key)}: expected {tuple(expected[key].shape)}, found {tuple(found[key].shape)}"
        for key in expected
        if key in found and tuple(found[key].shape) != tuple(expected[key].shape)
    ]
    problems = []
    for title, items, most in (("missing", missing, 20), ("unexpected", unexpected, 20), ("other shapes", shapes, 6)):
        if items:
            problems.append(f"{len(items)} {title}: {_listed(items, most)}")
    if problems:
        raise CheckpointError("the checkpoint does not fit the configuration\n  " + "\n  ".join(problems))


def read_config(path: Path) -> EmoTalkConfig:
    """An `EmoTalkConfig` from our config.json, or from a description of a network of the published form.

    The second has the keys `config` (wav2vec2 sizes of both encoders; `content_config` and `emotion_config` where they
    differ), `map_dims` (`cont`, `emo`, `emo2`), `feature_dim`, `period`, `decoder` (`nhead`, `ff`, `layers`,
    `activation`).
    """
    from emotalk_ros.model.folder_files import read_json
    from emotalk_ros.model.weights import check_config

    data = read_json(path)
    if data.get("model_type") == EmoTalkConfig.model_type:
        check_config(EmoTalkConfig, data, path)
        return EmoTalkConfig.from_dict(data)
    if "map_dims" not in data:
        raise CheckpointError(
            f'{path} is neither an EmoTalk config.json ("model_type": "emotalk") nor a description with '
            "`config`, `map_dims` and `decoder`"
        )
    try:
        return config_from_description(data)
    except CheckpointError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{path}: a description that cannot be: {type(error).__name__}: {error}") from error


def config_from_description(data: Mapping[str, Any]) -> EmoTalkConfig:
    """See `read_config`. Raises CheckpointError where the description contradicts itself."""
    sizes, decoder, maps = data.get("config", {}), data.get("decoder", {}), data["map_dims"]
    if data.get("pooling_mode", "mean") != "mean" or decoder.get("norm_first", False):
        raise CheckpointError(
            "only pooling_mode mean and a post-norm decoder (norm_first false) are of the published form"
        )
    width = int(data.get("feature_dim", maps["emo"]))
    styles = width - int(maps["cont"]) - int(maps["emo2"])
    if int(maps["emo"]) != width or styles <= 0 or styles % 2:
        raise CheckpointError(
            f"feature_dim {width} must equal map_dims.emo {maps['emo']}, and be cont {maps['cont']} + "
            f"emo2 {maps['emo2']} + two equal parts for level and person"
        )
    labels = data.get("emotion_labels")
    if labels is None:
        count = int(sizes.get("num_labels", len(PUBLISHED_EMOTIONS)))
        labels = PUBLISHED_EMOTIONS if count == len(PUBLISHED_EMOTIONS) else [f"emotion_{i}" for i in range(count)]
    return EmoTalkConfig(
        content_config={**_PUBLISHED_ENCODER, **sizes, **data.get("content_config", {})},
        emotion_config={**_PUBLISHED_ENCODER, **sizes, **data.get("emotion_config", {})},
        content_dim=int(maps["cont"]),
        emotion_condition_dim=int(maps["emo2"]),
        level_dim=styles // 2,
        person_dim=styles // 2,
        emotion_labels=labels,
        decoder_layers=int(decoder.get("layers", 1)),
        decoder_heads=int(decoder.get("nhead", 4)),
        decoder_ff=int(decoder.get("ff", width)),
        decoder_activation=decoder.get("activation", "relu"),
        period=int(data.get("period", 30)),
        fps=int(data.get("fps", 30)),
        num_persons=int(data.get("num_persons", 24)),
    )


_PUBLISHED_ENCODER = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"PK"


def _listed(names: list[str], most: int = 20) -> str:
    shown = ", ".join(sorted(names)[:most])
    return shown if len(names) <= most else f"{shown}, and {len(names) - most} more"
