"""What an ear is made for, and where it lies; no torch. Listening: `model.ear`, and `model.ear_stream` for streams."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from emotalk_ros.emotions import EMOTIONS
from emotalk_ros.model.folder_files import check_limits, read_arrays, read_json
from emotalk_ros.model.locations import CheckpointError
from emotalk_ros.share import candidate_paths

RATE = 50
"""Encoder states a second."""
SAMPLES = 320
"""Samples at 16 kHz from one state to the next; state k is centred at sample 320 k."""
CONFIG, WEIGHTS = "config.json", "ear.safetensors"
KNOWN_EARS = ("free", "research")
"""Names that stand for the folders models/ear-<name>."""

VALENCE: dict[str, float] = {
    "neutral": 0.5, "calm": 0.7, "happy": 1.0, "sad": 0.3,
    "angry": 0.25, "fearful": 0.3, "disgust": 0.3, "surprised": 0.65,
}  # fmt: skip
"""How pleasant each emotion is, 0..1: its side of Russell's circumplex (1980). All emotions together are 0.5."""

FORMAT = 1
_LOG = logging.getLogger(__name__)


class EarError(CheckpointError):
    """An ear's folder is missing or does not fit; the message says what and how to get one."""


@dataclass(frozen=True)
class EarConfig:
    """What an ear is made for and how it listens.

    `layers` are the encoder's states that it reads (0: after the convolutions, k: after layer k), `width` theirs.
    Times are seconds: `window` of speech that a reading goes by (exponential), `pause` in which a silence makes old
    speech count less, `evidence` of speech after which a reading counts half
    (with none all emotions are as likely), `trust` of speech of one voice after
    which its picture counts half, `memory` of speech that the picture goes by. `below_loud` dB under the loudest so far
    speech begins. `voices` numbers tell voices apart, and another one speaks where their squared distance from the
    picture exceeds `change` (0: nobody looks). `sources` and `figures` are what the card says.
    """

    name: str
    licence: str
    layers: tuple[int, ...]
    width: int
    labels: tuple[str, ...] = EMOTIONS
    window: float = 2.5
    pause: float = 0.4
    evidence: float = 1.5
    trust: float = 6.0
    memory: float = 90.0
    below_loud: float = 30.0
    voices: int = 0
    change: float = 0.0
    sources: tuple[dict[str, Any], ...] = ()
    figures: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Checks what would fail later in worse words."""
        unknown = sorted(set(self.labels) - set(EMOTIONS))
        if unknown or len(set(self.labels)) != len(self.labels):
            raise EarError(f"an ear's labels must be different home labels, got {list(self.labels)}")
        if not self.layers or min(self.layers) < 0 or self.width < 1:
            raise EarError(f"an ear reads at least one layer, got layers {list(self.layers)} of width {self.width}")
        for name in ("window", "pause", "evidence", "trust", "memory", "below_loud"):
            if not getattr(self, name) > 0:
                raise EarError(f"{name} must be above 0, got {getattr(self, name)}")
        if self.voices < 0 or self.change < 0:
            raise EarError(f"voices and change must not be below 0, got {self.voices} and {self.change}")

    @property
    def features(self) -> int:
        """Length of a feature vector: all layers side by side."""
        return len(self.layers) * self.width


_SCHEMA = TypeAdapter(EarConfig)


def ear_path(name_or_path: str | os.PathLike[str]) -> Path:
    """The folder of an ear: `free`, `research` (models/ear-<name> of the source tree or the installation) or a path.

    Raises EarError that names how to get one.
    """
    name = os.fspath(name_or_path)
    if name in KNOWN_EARS:
        candidates = candidate_paths(Path("models") / f"ear-{name}")
        remedy = f"there is no models/ear-{name} in the source tree or under share/emotalk_ros"
    else:
        candidates = [Path(name).expanduser()]
        remedy = f"{name!r} is none of {', '.join(KNOWN_EARS)} and no folder with {CONFIG} and {WEIGHTS}"
    for candidate in candidates:
        if (candidate / CONFIG).is_file() and (candidate / WEIGHTS).is_file():
            return candidate
    raise EarError(f"no ear: {remedy}; `emotalk train ear --data FOLDER` makes one")


def ear_shapes(config: EarConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of an ear's tensors."""
    labels, width = len(config.labels), config.features
    matrices = {"known": (labels, width), "unknown": (labels, width), "voices": (config.voices, width)}
    return {**matrices, "known_bias": (labels,), "unknown_bias": (labels,), "centre": (width,), "spread": (width,)}


def read_ear(name_or_path: str | os.PathLike[str]) -> tuple[EarConfig, dict[str, NDArray[np.float32]]]:
    """An ear's settings and tensors, by name or folder; its licence is told in the log.

    Raises EarError for a folder that is missing, damaged or of a later version of this package.
    """
    folder = ear_path(name_or_path)
    remedy = "copy the folder again from where it came, or `emotalk train ear --data FOLDER` makes one"
    try:
        settings = read_json(folder / CONFIG)
        if settings.pop("format", None) != FORMAT:
            raise EarError(f"{folder / CONFIG} is no ear of format {FORMAT}: use the version of this package it is for")
        for name, value in settings.items():
            check_limits(name, value, f"{folder / CONFIG}: {name}")
        for name in ("layers", "labels", "sources"):
            settings[name] = tuple(settings[name])
        config = _SCHEMA.validate_python(settings)
        tensors = read_arrays(folder / WEIGHTS)
        wanted = ear_shapes(config)
        if not config.voices:  # ears that tell no voices apart may lack the (empty) matrix for it
            tensors.setdefault("voices", np.zeros(wanted["voices"], np.float32))
        found = {name: tensor.shape for name, tensor in tensors.items()}
        if found != wanted:
            raise EarError(f"the tensors in {folder / WEIGHTS} are {found}, its {CONFIG} asks for {wanted}; {remedy}")
    except CheckpointError as error:
        raise EarError(f"the ear cannot be loaded: {error}") from error
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        key = ".".join(map(str, fault["loc"]))
        raise EarError(f"{folder / CONFIG}: cannot be loaded: {key} {fault['msg']}; {remedy}") from error
    except (KeyError, TypeError) as error:
        raise EarError(f"{folder / CONFIG}: cannot be loaded: {error}; {remedy}") from error
    _LOG.info("ear %r from %s, licence: %s", config.name, folder, config.licence)
    return config, {name: np.asarray(tensor, dtype=np.float32) for name, tensor in tensors.items()}
