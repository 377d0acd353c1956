"""Configuration of the streaming network on a pretrained trunk."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig

from emotalk_ros.emotions import EMOTIONS
from emotalk_ros.model.feature_grid import lookahead_samples


class StreamingEmoTalkConfig(PreTrainedConfig):
    """Sizes of `StreamingEmoTalk`.

    Args:
        fps: coefficient frames per second.
        trunk_width, trunk_heads, trunk_ff, mel_bands: of Whisper's encoder (tiny: 384, 6, 1536, 80).
        trunk_segment: features (20 ms each) of context of the trunk's segments, and how many each gives.
        trunk_rights: features that each layer sees after its own; their sum is most of the look-ahead.
        content_dim, level_dim, person_dim: widths of the three parts of the decoder's input; their sum is its width.
        emotion_dim: width of the emotion embedding and of the emotion-guided decoder.
        emotion_channels: channels whose running mean and deviation the emotion embedding is made of.
        emotion_memory, emotion_prior: seconds after which what was heard counts 1/e, and seconds of speech after which
            it counts half.
        decoder_layers, decoder_heads, decoder_ff, decoder_dropout, period: as in `EmoTalkConfig`.
        decoder_reach: frames that each decoder layer sees before its own.
        seal: mouthClose beyond jawOpen where the lips are closed.
        num_persons, num_levels, num_coefficients, emotion_labels: as in `EmoTalkConfig`.

    Raises:
        ValueError: a combination that cannot work, with the reason.
    """

    model_type = "emotalk-streaming"

    def __init__(
        self,
        fps: int = 30,
        trunk_width: int = 384,
        trunk_heads: int = 6,
        trunk_ff: int = 1536,
        mel_bands: int = 80,
        trunk_segment: int = 100,
        trunk_rights: tuple[int, ...] | list[int] = (3, 2, 2),
        content_dim: int = 192,
        level_dim: int = 16,
        person_dim: int = 16,
        emotion_dim: int = 96,
        emotion_channels: int = 96,
        emotion_memory: float = 6.0,
        emotion_prior: float = 0.5,
        decoder_layers: int = 2,
        decoder_heads: int = 4,
        decoder_ff: int = 384,
        decoder_dropout: float = 0.1,
        decoder_reach: int = 60,
        period: int = 30,
        seal: float = 0.02,
        num_persons: int = 24,
        num_levels: int = 2,
        num_coefficients: int = 52,
        emotion_labels: tuple[str, ...] | list[str] = EMOTIONS,
        **kwargs: Any,
    ) -> None:
        self.fps = fps
        self.trunk_width = trunk_width
        self.trunk_heads = trunk_heads
        self.trunk_ff = trunk_ff
        self.mel_bands = mel_bands
        self.trunk_segment = trunk_segment
        self.trunk_rights = list(trunk_rights)
        self.content_dim = content_dim
        self.level_dim = level_dim
        self.person_dim = person_dim
        self.emotion_dim = emotion_dim
        self.emotion_channels = emotion_channels
        self.emotion_memory = emotion_memory
        self.emotion_prior = emotion_prior
        self.decoder_layers = decoder_layers
        self.decoder_heads = decoder_heads
        self.decoder_ff = decoder_ff
        self.decoder_dropout = decoder_dropout
        self.decoder_reach = decoder_reach
        self.period = period
        self.seal = seal
        self.num_persons = num_persons
        self.num_levels = num_levels
        self.num_coefficients = num_coefficients
        self.emotion_labels = list(emotion_labels)
        kwargs["id2label"] = dict(enumerate(self.emotion_labels))
        kwargs["label2id"] = {name: index for index, name in enumerate(self.emotion_labels)}
        super().__init__(**kwargs)
        self._validate()

    @property
    def resampling(self) -> str:
        """Features are read at the instants t / fps, as with the same field of `SpeechConfig`."""
        return "grid"

    @property
    def min_samples(self) -> int:
        """The shortest clip, in samples."""
        return 1

    @property
    def decoder_dim(self) -> int:
        """Width of the decoder."""
        return self.content_dim + self.level_dim + self.person_dim

    @property
    def lookahead_samples(self) -> int:
        """Samples after the instant t / fps that output frame t may depend on, exactly.

        Output t may depend on samples with index < floor(t * 16000 / fps) + lookahead_samples.
        """
        return lookahead_samples(self.fps, self.trunk_rights)

    def _validate(self) -> None:
        for name in ("fps", "trunk_segment", "decoder_layers", "decoder_reach", "num_persons", "emotion_channels"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.trunk_rights or min(self.trunk_rights) < 0:
            raise ValueError(f"trunk_rights must hold a number of 0 or more for each layer, got {self.trunk_rights}")
        if self.trunk_width % self.trunk_heads:
            raise ValueError(f"trunk_width {self.trunk_width} must be a multiple of trunk_heads {self.trunk_heads}")
        for name, width in (("decoder's width", self.decoder_dim), ("emotion_dim", self.emotion_dim)):
            if width % self.decoder_heads:
                raise ValueError(f"the {name} {width} must be a multiple of decoder_heads = {self.decoder_heads}")
        if self.num_levels != 2:
            raise ValueError(f"num_levels must be 2 (level is a number between them), got {self.num_levels}")
        if not self.emotion_labels or len(set(self.emotion_labels)) != len(self.emotion_labels):
            raise ValueError(f"emotion_labels must be distinct and at least one, got {self.emotion_labels}")
        if self.emotion_memory <= 0 or self.emotion_prior <= 0:
            raise ValueError("emotion_memory and emotion_prior must be positive seconds")
