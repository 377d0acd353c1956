"""The network: configuration, encoders, emotion-guided decoder, checkpoints, controls (torch, transformers).

What needs torch is imported when it is first asked for: `controls`, `analysis`, `locations` and `ear_stream` do not.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from emotalk_ros.model.analysis import Analysis
from emotalk_ros.model.controls import EmotionControl
from emotalk_ros.model.locations import CheckpointError, ModelNotFoundError, default_model_path
from emotalk_ros.units import SAMPLE_RATE, frame_count

if TYPE_CHECKING:
    from emotalk_ros.model.checkpoints import load_model
    from emotalk_ros.model.config import EmoTalkConfig
    from emotalk_ros.model.emotalk import EmoTalk
    from emotalk_ros.model.output import EmoTalkOutput

_LATER = {"load_model": "checkpoints", "EmoTalkConfig": "config", "EmoTalk": "emotalk", "EmoTalkOutput": "output"}

__all__ = [
    "SAMPLE_RATE",
    "Analysis",
    "CheckpointError",
    "EmoTalk",
    "EmoTalkConfig",
    "EmoTalkOutput",
    "EmotionControl",
    "ModelNotFoundError",
    "default_model_path",
    "frame_count",
    "load_model",
]


def __getattr__(name: str) -> Any:
    """What needs torch, by name."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
