"""Sizes of the streaming network as its config.json tells them; no torch."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_type_hints

from emotalk_ros.emotions import EMOTIONS
from emotalk_ros.model.feature_grid import lookahead_samples
from emotalk_ros.model.folder_files import check_limits, check_type, read_json
from emotalk_ros.model.locations import CheckpointError

MODEL_TYPE = "emotalk-streaming"


@dataclass(frozen=True)
class NetworkSizes:
    """The fields of `model.streaming_config.StreamingEmoTalkConfig` that computing needs."""

    fps: int = 30
    trunk_width: int = 384
    trunk_heads: int = 6
    trunk_ff: int = 1536
    mel_bands: int = 80
    trunk_segment: int = 100
    trunk_rights: tuple[int, ...] = (3, 2, 2)
    content_dim: int = 192
    level_dim: int = 16
    person_dim: int = 16
    emotion_dim: int = 96
    emotion_channels: int = 96
    emotion_memory: float = 6.0
    emotion_prior: float = 0.5
    decoder_layers: int = 2
    decoder_heads: int = 4
    decoder_ff: int = 384
    decoder_reach: int = 60
    period: int = 30
    seal: float = 0.02
    num_persons: int = 24
    num_levels: int = 2
    num_coefficients: int = 52
    emotion_labels: tuple[str, ...] = EMOTIONS

    name_or_path = ""
    resampling = "grid"
    min_samples = 1

    @classmethod
    def read(cls, folder: Path) -> NetworkSizes:
        """Of a model folder. Raises CheckpointError for a damaged config.json and for a network of another kind."""
        file = folder / "config.json"
        settings = read_json(file)
        if settings.get("model_type") != MODEL_TYPE:
            raise CheckpointError(
                f"{folder} holds a network of type {settings.get('model_type')!r}; ONNX Runtime computes "
                f"{MODEL_TYPE!r} only: use model.backend torch"
            )
        hints = get_type_hints(cls)
        for key in hints.keys() & settings.keys():
            check_limits(key, settings[key], f"{file}: {key}")
            check_type(hints[key], _plain(settings[key]), f"{file}: {key}")
        return cls.of(settings)

    @classmethod
    def of(cls, settings: dict[str, Any]) -> NetworkSizes:
        """From the fields of a configuration."""
        known = {field.name for field in fields(cls)} & settings.keys()
        return cls(**{key: _plain(settings[key]) for key in known})

    @property
    def ahead(self) -> int:
        """Features that the trunk sees after the one it gives."""
        return sum(self.trunk_rights)

    @property
    def cached(self) -> int:
        """Positions of a segment, those after its last feature included."""
        return 2 * self.trunk_segment + self.ahead

    @property
    def levels(self) -> int:
        """Levels of the trunk's features."""
        return len(self.trunk_rights) + 1

    @property
    def decoder_dim(self) -> int:
        """Width of the decoder."""
        return self.content_dim + self.level_dim + self.person_dim

    @property
    def lookahead_samples(self) -> int:
        """As `StreamingEmoTalkConfig.lookahead_samples`."""
        return lookahead_samples(self.fps, self.trunk_rights)


def _plain(value: Any) -> Any:
    """Lists of JSON as the tuples that the fields hold."""
    return tuple(value) if isinstance(value, list) else value
