"""What a network is, in figures: what `emotalk info` prints and the documents quote."""

from __future__ import annotations

from typing import Any

from torch import nn

from emotalk_ros.units import SAMPLE_RATE


def summary(model: nn.Module) -> dict[str, str]:
    """Name and value of each figure of an EmoTalk or a baseline; what its configuration lacks is left out."""
    config: Any = model.config
    found = {"type": str(config.model_type)}
    for field in ("frontend", "emotion_frontend", "attention", "lookahead_frames", "normalization", "resampling"):
        if getattr(config, field, None) is not None:
            found[field] = str(getattr(config, field))
    for part in ("content", "emotion"):
        encoder = getattr(config, f"{part}_config", None)
        if encoder is not None:
            layers = encoder.num_hidden_layers
            found[f"{part} encoder"] = f"{layers} layer{'s' * (layers != 1)}, {encoder.hidden_size} wide"
    if getattr(config, "trunk_rights", None) is not None:
        layers, rights = len(config.trunk_rights), " + ".join(map(str, config.trunk_rights))
        found["trunk"] = f"{layers} layers, {config.trunk_width} wide, looking {rights} features ahead"
        found["segments"] = f"{config.trunk_segment} features of context, as many given"
        found["decoder"] = f"{config.decoder_layers} layers, {config.decoder_dim} wide"
    elif getattr(config, "content_dim", None) is not None:
        sizes = ("content_dim", "emotion_condition_dim", "level_dim", "person_dim")
        found["decoder"] = f"{sum(getattr(config, size) for size in sizes)} wide"
    reach = getattr(config, "lookahead_samples", None)
    if reach is not None:
        found["look-ahead"] = f"{reach} samples, {1000 * reach / SAMPLE_RATE:.0f} ms"
    found["frames per second"] = str(config.fps)
    if getattr(config, "emotion_labels", None):
        found["emotions"] = ", ".join(config.emotion_labels)
    found["parameters"] = f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M"
    return found
