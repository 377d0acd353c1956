"""A published checkpoint to a model folder and back, and pre-trained wav2vec2 folders to a fresh model.

An interruption leaves nothing half-written (`emotalk_ros.files`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import Wav2Vec2Config, Wav2Vec2Model

from emotalk_ros.files import replacing, replacing_folder
from emotalk_ros.model.config import EmoTalkConfig
from emotalk_ros.model.emotalk import EmoTalk
from emotalk_ros.model.folder_files import check_model_place, read_json
from emotalk_ros.model.locations import CheckpointError, ModelNotFoundError
from emotalk_ros.model.published import (
    EXTRAS_FILE,
    OWN_BUFFERS,
    check_fit,
    from_published,
    read_config,
    read_tensors,
    to_ours,
    to_published,
)
from emotalk_ros.model.weights import weight_files

_ORDER = "published_keys"


def convert_published(source: Path, out: Path, config_file: Path | None = None, overwrite: bool = False) -> Path:
    """A published checkpoint file to a folder that `load_model` reads. Tensors are kept bit for bit.

    Args:
        source: .pth, .pt, .bin or .safetensors.
        out: the folder to make.
        config_file: sizes other than the paper's, see `read_config`.
        overwrite: replace `out` if it is there.

    Raises:
        CheckpointError: keys or shapes differ from the configuration; lists them.
        FileExistsError: `out` is there already.
    """
    config = read_config(config_file) if config_file else EmoTalkConfig.preset("large")
    check_published_form(config)
    state = read_tensors(source)
    ours, dead = from_published(state)
    expected = _expected(config)
    try:
        check_fit(expected, ours, lambda key: (to_published(key) or key) if key in expected else key)
    except CheckpointError as error:
        hint = "" if config_file else "\nSizes other than the paper's come from --config CONFIG.json"
        raise CheckpointError(f"{source}: {error}{hint}") from error
    kinds = {tensor.dtype for tensor in ours.values() if tensor.is_floating_point()}
    config.dtype = str(max(kinds, key=lambda kind: kind.itemsize)).removeprefix("torch.")
    config.architectures = [EmoTalk.__name__]
    with _new_folder(out, overwrite) as folder:
        config.save_pretrained(folder)
        buffers = {
            "emotion_prototypes": torch.zeros(len(config.emotion_labels), config.decoder_dim),
            "prototypes_set": torch.zeros((), dtype=torch.bool),
        }
        tensors = {key: tensor.contiguous() for key, tensor in ours.items()}
        save_file({**tensors, **buffers}, folder / "model.safetensors", metadata={"format": "pt"})
        order = {_ORDER: json.dumps(list(state))}
        save_file({key: tensor.contiguous() for key, tensor in dead.items()}, folder / EXTRAS_FILE, metadata=order)
    return out


def convert_to_published(source: Path, out: Path, overwrite: bool = False) -> list[str]:
    """A model folder back to one file with the published keys, dead ones included if the folder kept them.

    Args:
        source: model folder, of the published form.
        out: .pth or .pt (a pickle of a plain dict of tensors), or .safetensors.
        overwrite: replace `out` if it is there.

    Returns:
        What could not be carried over, in words.

    Raises:
        CheckpointError: the model is not of the published form, or the file's suffix is unknown.
    """
    if out.suffix not in (".pth", ".pt", ".safetensors"):
        raise CheckpointError(f"{out}: write to a .pth, .pt or .safetensors file")
    if out.exists() and not overwrite:
        raise FileExistsError(f"{out} is there already; name another file or overwrite it")
    if not (source / "config.json").is_file():
        raise ModelNotFoundError(f"{source} is no model folder: it has no config.json")
    config = read_config(source / "config.json")
    check_published_form(config)
    tensors = _folder_tensors(source)
    check_fit({**_expected(config), **{name: tensors[name] for name in OWN_BUFFERS if name in tensors}}, tensors)
    dropped = []
    if bool(tensors.get("prototypes_set", torch.tensor(False))):
        dropped.append("the emotion prototypes have no place in the published checkpoint")
    dead, order = _extras(source)
    if dead is None:
        dropped.append(
            f"no {EXTRAS_FILE} in {source}: keys that nothing reads (lm_head, masked_spec_embed) are left out"
        )
    keys = order or [to_published(key) or "" for key in tensors if key not in OWN_BUFFERS]
    state = {}
    for key in keys:
        name = to_ours(key)
        state[key] = tensors[name] if name is not None else (dead or {})[key]
    with replacing(out) as part:
        if out.suffix == ".safetensors":
            save_file(state, part, metadata={"format": "pt"})
        else:
            torch.save(state, part)
    return dropped


def convert_wav2vec2(
    content: Path, out: Path, emotion: Path | None = None, config_file: Path | None = None, overwrite: bool = False
) -> Path:
    """A new `EmoTalk` whose encoders start from Hugging Face wav2vec2 folders; everything else is fresh.

    Args:
        content: folder of the content encoder (any wav2vec2 head; only the encoder is read).
        out: the folder to make.
        emotion: the same of the emotion encoder; None: as `content`.
        config_file: the rest of the sizes (our config.json); None: the paper's heads on encoders of these sizes.
        overwrite: replace `out` if it is there.
    """
    model = from_wav2vec2(content, emotion, read_config(config_file) if config_file else None)
    with _new_folder(out, overwrite) as folder:
        model.save_pretrained(folder)
    return out


def from_wav2vec2(content: Path, emotion: Path | None = None, config: EmoTalkConfig | None = None) -> EmoTalk:
    """See `convert_wav2vec2`; returns the model.

    Raises:
        CheckpointError: a folder is no wav2vec2 model, or does not fit `config`.
    """
    emotion = emotion or content
    encoders = {"content_encoder": content, "emotion_encoder": emotion}
    sizes = {name: _wav2vec2_config(folder) for name, folder in encoders.items()}
    if config is None:
        config = EmoTalkConfig(content_config=sizes["content_encoder"], emotion_config=sizes["emotion_encoder"])
    model = EmoTalk(config)
    for name, folder in encoders.items():
        target = getattr(model, name, None)
        if target is None:  # the ablation with one encoder
            continue
        loaded = Wav2Vec2Model.from_pretrained(folder, local_files_only=True).state_dict()
        expected = target.state_dict()
        found = {key: tensor for key, tensor in loaded.items() if not key.endswith("masked_spec_embed")}
        try:
            check_fit(expected, found)
        except CheckpointError as error:
            raise CheckpointError(f"{folder} as {name}: {error}") from error
        target.load_state_dict(found)
    return model


def check_published_form(config: EmoTalkConfig) -> None:
    """CheckpointError unless a network of this configuration computes what the published one does."""
    wanted: dict[str, Any] = {
        "frontend": "wave",
        "emotion_frontend": "wave",
        "attention": "full",
        "normalization": "utterance",
        "resampling": "align_corners",
        "output_activation": "none",
        "disentangle": True,
        "emotion_guided": True,
    }
    wrong = [f"{k} is {getattr(config, k)!r}, not {v!r}" for k, v in wanted.items() if getattr(config, k) != v]
    if wrong:
        raise CheckpointError(f"the configuration is not of the published form: {'; '.join(wrong)}")


def _expected(config: EmoTalkConfig) -> dict[str, Tensor]:
    with torch.device("meta"):
        model = EmoTalk(config)
    return {key: tensor for key, tensor in model.state_dict().items() if key not in OWN_BUFFERS}


def _folder_tensors(folder: Path) -> dict[str, Tensor]:
    if not (folder / "model.safetensors").is_file() and not (folder / "model.safetensors.index.json").is_file():
        raise ModelNotFoundError(f"{folder} is no model folder: it has no model.safetensors")
    tensors: dict[str, Tensor] = {}
    for path in weight_files(folder):
        tensors.update(read_tensors(path))
    return tensors


def _extras(folder: Path) -> tuple[dict[str, Tensor] | None, list[str] | None]:
    path = folder / EXTRAS_FILE
    if not path.is_file():
        return None, None
    tensors = read_tensors(path)
    with safe_open(path, framework="pt") as file:
        order = json.loads((file.metadata() or {}).get(_ORDER, "null"))
    return tensors, order


def _wav2vec2_config(folder: Path) -> Wav2Vec2Config:
    path = folder / "config.json"
    if not path.is_file() or read_json(path).get("model_type") != "wav2vec2":
        raise CheckpointError(f'{folder} is no wav2vec2 model folder (config.json with "model_type": "wav2vec2")')
    return Wav2Vec2Config.from_pretrained(folder)


@contextmanager
def _new_folder(out: Path, overwrite: bool) -> Iterator[Path]:
    """A hidden folder beside `out` that becomes `out` at the end, if nothing stands in its way."""
    if not overwrite and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} is there already; name another folder or overwrite it")
    check_model_place(out)
    with replacing_folder(out) as folder:
        yield folder
