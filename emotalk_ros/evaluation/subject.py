"""What is under test: a model with its stream's geometry, controls and motion stages, as the node runs it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emotalk_ros.audio.voice import VoiceSettings
from emotalk_ros.files import model_digest
from emotalk_ros.motion import MotionSettings
from emotalk_ros.streaming import DEFAULT_EAR, Controls, FaceStream, StreamSettings, ear_of

if TYPE_CHECKING:
    from emotalk_ros.model.ear import Ear

GENERIC_NAMES = frozenset({"model", "best", "run"})
"""Folders that the trainer makes, which tell nothing about the model in them."""
LATE_MARGIN_S = 0.05
"""A frame is late when it comes later than look-ahead and hop demand plus this."""


@dataclass(frozen=True)
class Subject:
    """How to run a model; plain values, so that it can be sent to another process and written into a report.

    Attributes:
        path: checkpoint folder.
        person, level: style.
        emotion: a label to show instead of what is heard, with `intensity`.
        stream: hop, context, look-ahead.
        detector: what counts as speech.
        motion: settings of the motion stages; None takes the model's coefficients as they are.
        label: what to call it in tables; None: the checkpoint folder's name.
        ear: name or folder of the ear that hears the emotion, where the model has a speech trunk; "": the model's own
            classifier.
    """

    path: Path
    person: int = 0
    level: float = 1.0
    emotion: str | None = None
    intensity: float = 1.0
    stream: StreamSettings = field(default_factory=StreamSettings)
    motion: MotionSettings | None = field(default_factory=MotionSettings)
    label: str | None = None
    detector: VoiceSettings = field(default_factory=VoiceSettings)
    ear: str = DEFAULT_EAR

    @property
    def name(self) -> str:
        """The label, or the checkpoint folder's name; of `runs/tiny/model` that is `tiny`."""
        path = self.path.resolve()
        while path.name in GENERIC_NAMES and path.parent.name:
            path = path.parent
        return self.label or path.name

    def load(self, device: str = "cpu") -> Any:
        """The model in eval mode. Raises `model.ModelNotFoundError` that names how to get one."""
        from emotalk_ros.model import load_model

        return load_model(self.path, device=device)

    def controls(self) -> Controls:
        """Style and emotion for the engine."""
        if self.emotion is None and self.intensity == 1.0:
            return Controls(self.person, self.level)
        from emotalk_ros.model import EmotionControl

        if self.emotion is None:
            return Controls(self.person, self.level, EmotionControl.heard(self.intensity))
        return Controls(self.person, self.level, EmotionControl.of(self.emotion, self.intensity))

    def voice(self, model: Any, stamps: str = "auto") -> FaceStream:
        """A fresh stream. Raises ValueError when the model can't follow the settings."""
        controls = self.controls()
        return FaceStream(model, self.stream, controls, self.motion, stamps=stamps, voice=self.detector, ear=self.ear)

    def ear_for(self, model: Any) -> Ear | None:
        """What hears the emotion, as in the node; None: the model's own classifier.

        Raises `model.ear.EarError` where another ear than the default is asked for and cannot be had.
        """
        from emotalk_ros.model.ear import load_ear

        return None if ear_of(model, self.ear) is None else load_ear(self.ear)

    def emotion_labels(self, model: Any) -> tuple[str, ...]:
        """Names of the probabilities of what is heard."""
        ear = self.ear_for(model)
        return ear.config.labels if ear is not None else tuple(getattr(model.config, "emotion_labels", ()) or ())

    def describe(self, model: Any) -> dict[str, Any]:
        """The model for a report: name, digest of its files, size, and the ear that hears for it."""
        ear = self.ear_for(model)
        heard_by = None
        if ear is not None:
            heard_by = {"name": ear.config.name, "licence": ear.config.licence, "digest": ear.digest}
        return {
            "name": self.name,
            "digest": model_digest(self.path),
            "type": str(getattr(model.config, "model_type", type(model).__name__)),
            "parameters": int(sum(p.numel() for p in model.parameters())),
            "ear": heard_by,
        }

    def settings(self, voice: FaceStream) -> dict[str, Any]:
        """The settings for a report, all in seconds.

        `late_limit_s` is when a frame counts as late that was sent as soon as it was computed, `paced_late_limit_s`
        when one does that a node released at an even rate: it waits as long as the last of its hop, and for its turn.
        """
        schedule = voice.schedule
        return {
            "fps": voice.fps,
            "hop_s": schedule.hop_seconds,
            "context_s": schedule.context / 16000,
            "lookahead_s": schedule.lookahead_seconds,
            "audio_wait_s": schedule.latency,
            "late_limit_s": schedule.latency + LATE_MARGIN_S,
            "paced_late_limit_s": schedule.lookahead_seconds + schedule.hop_seconds + LATE_MARGIN_S + 1.0 / voice.fps,
            "person": self.person,
            "level": self.level,
            "emotion": self.emotion or "heard",
            "intensity": self.intensity,
            "voice_detector": asdict(voice.voice),
            "motion": asdict(self.motion) if self.motion is not None else None,
        }
