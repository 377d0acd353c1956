"""Configuration of the network: the paper's, the one that ships, and everything between."""

from __future__ import annotations

import copy
from typing import Any, ClassVar

from transformers import PreTrainedConfig, Wav2Vec2Config

from emotalk_ros.emotions import EMOTIONS, PUBLISHED_EMOTIONS
from emotalk_ros.model.timing import FEATURE_RATE, PROSODY_WINDOW, conv_extent
from emotalk_ros.units import SAMPLE_RATE, ratio_ceil

FRONTENDS = ("wave", "mel")
EMOTION_FRONTENDS = (*FRONTENDS, "prosody")
ATTENTIONS = ("full", "causal")
NORMALIZATIONS = ("utterance", "none")
RESAMPLINGS = ("align_corners", "grid")
OUTPUT_ACTIVATIONS = ("none", "sigmoid")

_LARGE_ENCODER: dict[str, Any] = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
    "conv_bias": True,
    "attention_dropout": 0.1,
    "hidden_dropout": 0.1,
    "activation_dropout": 0.05,
    "feat_proj_dropout": 0.1,
    "layerdrop": 0.1,
}
_BASE_ENCODER: dict[str, Any] = {}  # Wav2Vec2Config's own defaults are wav2vec2-base


def _frame_encoder(hidden: int, layers: int, heads: int, channels: int, strides: tuple[int, ...]) -> dict[str, Any]:
    """A small encoder on windows at the frame rate times the product of `strides`."""
    return {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 4 * hidden,
        "conv_dim": [channels, channels, hidden],
        "conv_kernel": [3, 4, 4],
        "conv_stride": list(strides),
        "conv_bias": True,
        "feat_extract_norm": "layer",
        "do_stable_layer_norm": True,
        "num_conv_pos_embeddings": 15,
        "num_conv_pos_embedding_groups": 16,
        "hidden_dropout": 0.1,
        "attention_dropout": 0.1,
        "activation_dropout": 0.0,
        "feat_proj_dropout": 0.0,
        "layerdrop": 0.0,
    }


_PRESETS: dict[str, dict[str, Any]] = {
    "large": {
        "content_config": _LARGE_ENCODER,
        "emotion_config": _LARGE_ENCODER,
        "emotion_labels": PUBLISHED_EMOTIONS,
    },
    "base": {
        "content_config": _BASE_ENCODER,
        "emotion_config": _BASE_ENCODER,
        "emotion_labels": PUBLISHED_EMOTIONS,
    },
    "tiny": {
        "content_config": _frame_encoder(hidden=192, layers=4, heads=4, channels=96, strides=(1, 2, 2)),
        "emotion_config": _frame_encoder(hidden=96, layers=1, heads=4, channels=64, strides=(1, 2, 1)),
        "frontend": "mel",
        "emotion_frontend": "prosody",
        "attention": "causal",
        "lookahead_frames": 3,
        "normalization": "none",
        "resampling": "grid",
        "content_dim": 128,
        "emotion_condition_dim": 64,
        "level_dim": 16,
        "person_dim": 16,
        "decoder_ff": 448,
        "emotion_labels": EMOTIONS,
    },
}


class SpeechConfig(PreTrainedConfig):
    """What every network of this room shares: how speech becomes features on coefficient frames.

    Args:
        content_config: `Wav2Vec2Config` (or its dict) of the content encoder; None: the paper's (wav2vec2-large). With
            the "mel" front end `conv_dim`, `conv_kernel`, `conv_stride` describe the convolutions on top of the
            log-mel spectra, and the product of the strides is the number of spectra per coefficient frame.
        fps: coefficient frames per second.
        frontend: "wave" (wav2vec2's convolutions on samples) or "mel" (log-mel spectra, then a few convolutions).
        attention: "full" (every frame of a clip sees all others: the paper) or "causal" (streaming).
        lookahead_frames: only with "causal": output frame t is read at position t + lookahead_frames, so it depends
            on `lookahead_samples` samples after its own instant and on nothing later.
        normalization: "utterance" (zero mean, unit variance per clip: the paper) or "none".
        min_std: floor of the standard deviation in "utterance" normalisation; 0 is the paper's. Near-silent windows
            are amplified thousands of times without one.
        resampling: "align_corners" (the paper: a clip's features are stretched to its frame count) or "grid" (the
            features of frame t depend on the time t / fps only).
        mel_bands, mel_window, mel_fft: bands, window and transform length in samples of the log-mel front end.
        mel_floor, mel_mean, mel_std: (log(power + floor) - mean) / std, constants and never statistics.
        num_persons: personal styles (24).
        num_coefficients: 52.
        emotion_labels: names of the emotion logits, in order; empty for a network without.

    Raises:
        ValueError: a combination that cannot work, with the reason.
    """

    sub_configs: ClassVar[dict[str, type]] = {"content_config": Wav2Vec2Config}

    def __init__(
        self,
        content_config: Wav2Vec2Config | dict[str, Any] | None = None,
        fps: int = 30,
        frontend: str = "wave",
        attention: str = "full",
        lookahead_frames: int = 0,
        normalization: str = "utterance",
        min_std: float = 0.0,
        resampling: str = "align_corners",
        mel_bands: int = 80,
        mel_window: int = 400,
        mel_fft: int = 512,
        mel_floor: float = 1e-6,
        mel_mean: float = -9.5,
        mel_std: float = 3.5,
        num_persons: int = 24,
        num_coefficients: int = 52,
        emotion_labels: tuple[str, ...] | list[str] = (),
        **kwargs: Any,
    ) -> None:
        self.content_config = encoder_config(content_config)
        self.fps = fps
        self.frontend = frontend
        self.attention = attention
        self.lookahead_frames = lookahead_frames
        self.normalization = normalization
        self.min_std = min_std
        self.resampling = resampling
        self.mel_bands = mel_bands
        self.mel_window = mel_window
        self.mel_fft = mel_fft
        self.mel_floor = mel_floor
        self.mel_mean = mel_mean
        self.mel_std = mel_std
        self.num_persons = num_persons
        self.num_coefficients = num_coefficients
        self.emotion_labels = list(emotion_labels)
        # transformers keeps the labels a second time; both must tell the same story.
        kwargs["id2label"] = dict(enumerate(self.emotion_labels)) or None
        kwargs["label2id"] = {name: index for index, name in enumerate(self.emotion_labels)} or None
        super().__init__(**kwargs)
        self._validate()

    @property
    def frontend_samples(self) -> int:
        """Samples after the instant of position t that the front ends' features at t may depend on ("grid" only)."""
        return max(self._extent(front, config) for _, front, config in self._fronts())

    @property
    def lookahead_samples(self) -> int | None:
        """Samples after the instant t / fps that output frame t may depend on, exactly; None without a bound ("full").

        Output t may depend on samples with index < floor(t * 16000 / fps) + lookahead_samples.
        """
        if self.attention != "causal":
            return None
        return ratio_ceil(self.lookahead_frames * SAMPLE_RATE, self.fps) + self.frontend_samples

    @property
    def min_samples(self) -> int:
        """The shortest clip, in samples, that the network can take."""
        if self.resampling == "grid":
            return 1
        return conv_extent(self.content_config.conv_kernel, self.content_config.conv_stride)

    def _extent(self, frontend: str, config: Wav2Vec2Config) -> int:
        if frontend in ("mel", "prosody"):  # windows are centred on rounded instants
            return (self.mel_window if frontend == "mel" else PROSODY_WINDOW) // 2 + 1
        return conv_extent(config.conv_kernel, config.conv_stride) // 2 + total_stride(config) + 1

    def _fronts(self) -> list[tuple[str, str, Wav2Vec2Config]]:
        """Name, front end and sizes of each encoder."""
        return [("content_config", self.frontend, self.content_config)]

    def _validate(self) -> None:
        one_of("frontend", self.frontend, FRONTENDS)
        one_of("attention", self.attention, ATTENTIONS)
        one_of("normalization", self.normalization, NORMALIZATIONS)
        one_of("resampling", self.resampling, RESAMPLINGS)
        for name in ("fps", "num_persons", "num_coefficients"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if len(set(self.emotion_labels)) != len(self.emotion_labels):
            raise ValueError(f"emotion_labels must be distinct, got {self.emotion_labels}")
        if self.lookahead_frames < 0:
            raise ValueError(f"lookahead_frames must be 0 or more, got {self.lookahead_frames}")
        if self.min_std < 0:
            raise ValueError(f"min_std must be 0 or more, got {self.min_std}")
        self._validate_streaming()
        self._validate_mel()

    def _validate_streaming(self) -> None:
        if self.attention == "full":
            if self.lookahead_frames:
                raise ValueError('lookahead_frames needs attention="causal"; "full" sees the whole clip anyway')
            return
        if self.normalization != "none" or self.resampling != "grid":
            raise ValueError(
                'attention="causal" promises that no frame depends on later audio, so it needs '
                f'normalization="none" and resampling="grid", got {self.normalization!r} and {self.resampling!r}'
            )
        for name, front, config in self._fronts():
            if front == "wave" and config.feat_extract_norm == "group":
                raise ValueError(
                    f'{name}.feat_extract_norm="group" takes statistics over the whole clip and '
                    'cannot be causal; use "layer"'
                )

    def _validate_mel(self) -> None:
        for name, front, config in self._fronts():
            if front == "wave":
                continue
            if self.resampling != "grid":
                raise ValueError(f'the "{front}" front end works on the frame grid: set resampling="grid"')
            if any(stride > kernel for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True)):
                raise ValueError(f"{name}: a convolution's stride exceeds its kernel, windows would be skipped")
        if self.mel_window > self.mel_fft or self.mel_window < 2:
            raise ValueError(f"mel_window must be 2..mel_fft = {self.mel_fft}, got {self.mel_window}")
        if self.mel_floor <= 0 or self.mel_std <= 0:
            raise ValueError(f"mel_floor and mel_std must be positive, got {self.mel_floor} and {self.mel_std}")


class EmoTalkConfig(SpeechConfig):
    """Sizes and behaviour of `EmoTalk`. Without arguments: the published network (Peng et al., ICCV 2023).

    Args:
        emotion_config: `Wav2Vec2Config` (or its dict) of the emotion encoder; None: the paper's.
        emotion_frontend: front end of the emotion encoder: one of `frontend`'s, or "prosody" (statistics of pitch,
            voice quality and rhythm, see `model.prosody`); None: as `frontend`.
        content_dim, emotion_condition_dim, level_dim, person_dim: widths of the four parts of the decoder's input
            (512, 256, 32, 32 in the paper); their sum is the decoder's width and that of the emotion embedding.
        num_levels: intensity levels, always 2.
        emotion_labels: names of the emotion logits, in order.
        decoder_layers, decoder_heads, decoder_ff, decoder_dropout, decoder_activation: post-norm transformer decoder;
            decoder_ff None means the decoder's width (832 in the paper).
        period: frames per step of the decoder's attention bias (30).
        output_activation: "none" (the paper) or "sigmoid".
        disentangle: False is the ablation with one encoder: emotion is read from the content encoder.
        emotion_guided: False is the ablation without emotion-guided attention in the decoder.
        **kwargs: see `SpeechConfig`.

    Raises:
        ValueError: a combination that cannot work, with the reason.
    """

    model_type = "emotalk"
    sub_configs: ClassVar[dict[str, type]] = {"content_config": Wav2Vec2Config, "emotion_config": Wav2Vec2Config}

    def __init__(
        self,
        emotion_config: Wav2Vec2Config | dict[str, Any] | None = None,
        emotion_frontend: str | None = None,
        content_dim: int = 512,
        emotion_condition_dim: int = 256,
        level_dim: int = 32,
        person_dim: int = 32,
        num_levels: int = 2,
        emotion_labels: tuple[str, ...] | list[str] = PUBLISHED_EMOTIONS,
        decoder_layers: int = 1,
        decoder_heads: int = 4,
        decoder_ff: int | None = None,
        decoder_dropout: float = 0.1,
        decoder_activation: str = "relu",
        period: int = 30,
        output_activation: str = "none",
        disentangle: bool = True,
        emotion_guided: bool = True,
        **kwargs: Any,
    ) -> None:
        self.emotion_config = encoder_config(emotion_config)
        self.emotion_frontend = emotion_frontend or kwargs.get("frontend", "wave")
        self.content_dim = content_dim
        self.emotion_condition_dim = emotion_condition_dim
        self.level_dim = level_dim
        self.person_dim = person_dim
        self.num_levels = num_levels
        self.decoder_layers = decoder_layers
        self.decoder_heads = decoder_heads
        self.decoder_ff = decoder_ff
        self.decoder_dropout = decoder_dropout
        self.decoder_activation = decoder_activation
        self.period = period
        self.output_activation = output_activation
        self.disentangle = disentangle
        self.emotion_guided = emotion_guided
        kwargs.pop("sonority_share", None)  # of older checkpoints: now `motion.stages.level_jaw`
        super().__init__(emotion_labels=emotion_labels, **kwargs)

    @classmethod
    def preset(cls, name: str, **overrides: Any) -> EmoTalkConfig:
        """The configuration called `name`, with fields replaced by `overrides`.

        "large": the paper's (640 M parameters); "base": the same with wav2vec2-base encoders (194 M);
        "tiny": causal, on log-mel spectra and prosody (2.9 M), what the one that ships starts from (recipe `tiny`).
        """
        if name not in _PRESETS:
            raise ValueError(f"unknown preset {name!r}; known: {', '.join(_PRESETS)}")
        return cls(**{**copy.deepcopy(_PRESETS[name]), **overrides})

    @property
    def decoder_dim(self) -> int:
        """Width of the decoder and of the emotion embedding (832 in the paper)."""
        return self.content_dim + self.emotion_condition_dim + self.level_dim + self.person_dim

    @property
    def decoder_ff_dim(self) -> int:
        """Width of the decoder's feed-forward part."""
        return self.decoder_ff or self.decoder_dim

    @property
    def emotion_encoder_config(self) -> Wav2Vec2Config:
        """Configuration of the encoder that emotion is read from: the content encoder's without disentangling."""
        return self.emotion_config if self.disentangle else self.content_config

    @property
    def min_samples(self) -> int:
        """The shortest clip, in samples, that `EmoTalk` can take (720 for the paper's)."""
        if self.resampling == "grid" or not self.disentangle:
            return super().min_samples
        # The emotion encoder runs on int(features / 50 * fps) frames: at least one has to be left.
        features = 1
        while int(features / FEATURE_RATE * self.fps) < 1:
            features += 1
        sizes = self.emotion_config
        extent = conv_extent(sizes.conv_kernel, sizes.conv_stride)
        return max(super().min_samples, extent + (features - 1) * total_stride(sizes))

    def _fronts(self) -> list[tuple[str, str, Wav2Vec2Config]]:
        fronts = super()._fronts()
        if self.disentangle:
            fronts.append(("emotion_config", self.emotion_frontend, self.emotion_config))
        return fronts

    def _validate(self) -> None:
        super()._validate()
        one_of("emotion_frontend", self.emotion_frontend, EMOTION_FRONTENDS)
        one_of("output_activation", self.output_activation, OUTPUT_ACTIVATIONS)
        one_of("decoder_activation", self.decoder_activation, ("relu", "gelu"))
        for name in ("period", "decoder_layers", "decoder_heads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.num_levels != 2:
            raise ValueError(f"num_levels must be 2 (level is a number between them), got {self.num_levels}")
        if not self.emotion_labels:
            raise ValueError("emotion_labels must name at least one emotion")
        if self.decoder_dim % self.decoder_heads:
            raise ValueError(
                f"the decoder's width {self.decoder_dim} (content_dim + emotion_condition_dim + level_dim + "
                f"person_dim) must be a multiple of decoder_heads = {self.decoder_heads}"
            )


def encoder_config(value: Wav2Vec2Config | dict[str, Any] | None) -> Wav2Vec2Config:
    """A `Wav2Vec2Config` from itself, its fields, or None: the paper's."""
    if isinstance(value, Wav2Vec2Config):
        return value
    if value is None:
        value = _LARGE_ENCODER
    return Wav2Vec2Config(**{key: item for key, item in value.items() if key != "model_type"})


def total_stride(config: Wav2Vec2Config) -> int:
    """Samples (or spectra) between features."""
    stride = 1
    for step in config.conv_stride:
        stride *= step
    return stride


def one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    """ValueError unless `value` is one of `known`."""
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")


def presets() -> tuple[str, ...]:
    """Names that `EmoTalkConfig.preset` knows."""
    return tuple(_PRESETS)
