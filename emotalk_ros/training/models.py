"""From a recipe to a network: presets with changed fields, pre-trained encoders, what is frozen."""

from __future__ import annotations

import difflib
from typing import Any

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel, Wav2Vec2Model

from emotalk_ros.model import EmoTalk, EmoTalkConfig
from emotalk_ros.model.streaming_config import StreamingEmoTalkConfig
from emotalk_ros.model.streaming_emotalk import StreamingEmoTalk
from emotalk_ros.training.distillation import Teacher, load_whisper_encoder, start_from_whisper
from emotalk_ros.training.recipe import ModelRecipe, RecipeError


def build_model(recipe: ModelRecipe) -> PreTrainedModel:
    """The network of `recipe`, initialised, parts frozen. Raises RecipeError naming the key that cannot be."""
    if recipe.initial is not None:
        model = _load(recipe)
    elif recipe.architecture == "emotalk":
        try:
            model = EmoTalk(_emotalk_config(recipe))
        except (ValueError, TypeError) as error:
            raise RecipeError(f"model.options: {error}") from error
    elif recipe.architecture == "emotalk-streaming":
        model = StreamingEmoTalk(_checked_config(StreamingEmoTalkConfig, recipe.options))
        if recipe.trunk is not None:
            start_from_whisper(model.trunk, load_whisper_encoder(recipe.trunk))
    else:
        model = _baseline(recipe)
    for attribute, name in (
        ("content_encoder", recipe.content_encoder),
        ("emotion_encoder", recipe.emotion_encoder),
    ):
        if name is not None:
            load_encoder(model, attribute, name)
    _freeze(model, recipe.freeze)
    if recipe.gradient_checkpointing:
        # Not re-entrant: the only kind that data-parallel wrappers and frozen inputs allow.
        # `activation_checkpointing_enable` is transformers' newer name for it.
        enable = getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)
        enable({"use_reentrant": False})
    return model


def load_encoder(model: nn.Module, attribute: str, name: str) -> None:
    """Weights of a Hugging Face wav2vec2 model (name or folder) into one encoder of `model`.

    Raises RecipeError when it cannot be read or its sizes are others.
    """
    encoder = getattr(model, attribute, None)
    if encoder is None:
        raise RecipeError(f"model.{attribute}: this network has no such part")
    try:
        weights = Wav2Vec2Model.from_pretrained(name).state_dict()
    except (OSError, ValueError) as error:
        raise RecipeError(f"model.{attribute}: {name!r} is no readable wav2vec2 model ({error})") from error
    own = encoder.state_dict()
    wrong = [k for k in own if k not in weights or weights[k].shape != own[k].shape]
    if wrong:
        raise RecipeError(
            f"model.{attribute}: {name!r} does not fit, {len(wrong)} of {len(own)} tensors are missing or of other "
            f"sizes (first: {wrong[0]}); set model.options.{attribute.split('_')[0]}_config to its sizes"
        )
    encoder.load_state_dict({k: weights[k] for k in own})


def teacher_of(model: PreTrainedModel, recipe: ModelRecipe) -> Teacher | None:
    """The pretrained encoder that `model`'s trunk is taught by, if the recipe names one."""
    if recipe.trunk is None or not isinstance(model, StreamingEmoTalk):
        return None
    return Teacher(load_whisper_encoder(recipe.trunk), len(model.trunk.layers))


def _checked_config(kind: type[StreamingEmoTalkConfig], options: dict[str, Any]) -> StreamingEmoTalkConfig:
    _check_options(options, kind())
    try:
        return kind(**options)
    except (ValueError, TypeError) as error:
        raise RecipeError(f"model.options: {error}") from error


def _check_options(options: dict[str, Any], base: PreTrainedConfig) -> None:
    known = [k for k in base.to_dict() if not k.startswith("_")]
    for key in options:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise RecipeError(f"unknown key 'model.options.{key}'{hint}")


def _emotalk_config(recipe: ModelRecipe) -> EmoTalkConfig:
    """The preset with `options`; a mapping for an encoder's configuration changes only the fields it names."""
    base = EmoTalkConfig.preset(recipe.preset)
    _check_options(recipe.options, base)
    options: dict[str, Any] = {}
    for key, value in recipe.options.items():
        current = getattr(base, key)
        if isinstance(current, PreTrainedConfig) and isinstance(value, dict):
            value = {**current.to_diff_dict(), **value}
        options[key] = value
    return EmoTalkConfig.preset(recipe.preset, **options)


def _load(recipe: ModelRecipe) -> PreTrainedModel:
    from emotalk_ros.model import load_model

    try:
        return load_model(recipe.initial).train()
    except (OSError, ValueError) as error:
        raise RecipeError(f"model.initial: {error}") from error


def _baseline(recipe: ModelRecipe) -> PreTrainedModel:
    from emotalk_ros.model import baselines

    try:
        return baselines.build(recipe.architecture, recipe.options)
    except (ValueError, TypeError) as error:
        raise RecipeError(f"model.options: {error}") from error


def _freeze(model: nn.Module, prefixes: tuple[str, ...]) -> None:
    names = [name for name, _ in model.named_parameters()]
    for prefix in prefixes:
        if not any(name.startswith(prefix) for name in names):
            raise RecipeError(f"model.freeze: no parameter's name starts with {prefix!r} (they are like {names[0]!r})")
    for name, parameter in model.named_parameters():
        if name.startswith(tuple(prefixes)):
            parameter.requires_grad_(False)
