"""The network: configuration, encoders, emotion-guided decoder, checkpoints, controls (torch, transformers)."""

from emotalk_ros.model.checkpoints import ModelNotFoundError, default_model_path, load_model
from emotalk_ros.model.config import EmoTalkConfig
from emotalk_ros.model.controls import EmotionControl
from emotalk_ros.model.emotalk import EmoTalk
from emotalk_ros.model.inference import Analysis
from emotalk_ros.model.output import EmoTalkOutput
from emotalk_ros.model.published import CheckpointError
from emotalk_ros.units import SAMPLE_RATE, frame_count

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
