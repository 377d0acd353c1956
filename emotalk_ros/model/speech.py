"""What every network of this room does the same: lengths, normalisation, features on coefficient frames, persons."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel, Wav2Vec2Config
from transformers import initialization as init

from emotalk_ros.model.config import SpeechConfig, total_stride
from emotalk_ros.model.encoder import SpeechEncoder
from emotalk_ros.model.frontend import FrameAnalysis
from emotalk_ros.model.inference import SpeechToFace
from emotalk_ros.model.mel import LogMel
from emotalk_ros.model.prosody import Prosody
from emotalk_ros.model.timing import published_frame_count, stretch, valid_mask
from emotalk_ros.model.wave_memory import NORMALIZATION_EPS, WaveMemory
from emotalk_ros.units import SAMPLE_RATE, frame_count


class SpeechNetwork(SpeechToFace, PreTrainedModel):
    """Base of `EmoTalk` and of the baselines: batches of clips of different lengths to encoder states per frame."""

    config: SpeechConfig
    config_class: type[PreTrainedConfig] | None = SpeechConfig
    content_encoder: SpeechEncoder
    main_input_name = "input_values"
    supports_gradient_checkpointing = True
    _supports_sdpa = True

    def __init__(self, config: SpeechConfig) -> None:
        super().__init__(config)
        self.min_samples = config.min_samples  # once: a compiled graph need not follow how it comes about

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            init.xavier_uniform_(module.weight)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, FrameAnalysis):
            module.reset_constants()
        else:
            super()._init_weights(module)

    def _check_inputs(self, values: Tensor, lengths: Tensor | None, batch: int | None = None) -> None:
        if values.dim() != 2 or not values.is_floating_point():
            raise ValueError(
                f"expected samples as a float tensor (batch, samples), got {values.dtype} {tuple(values.shape)}"
            )
        if batch is not None and values.shape[0] != batch:
            raise ValueError(f"expected {batch} clips to take the emotion from, got {values.shape[0]}")
        shortest = self.min_samples
        if values.shape[1] < shortest:
            raise ValueError(f"expected at least {shortest} samples, got {values.shape[1]}")
        if lengths is not None and lengths.shape != (values.shape[0],):
            raise ValueError(f"expected lengths of shape ({values.shape[0]},), got {tuple(lengths.shape)}")
        if lengths is not None and not torch.compiler.is_compiling():
            inside = (lengths >= shortest) & (lengths <= values.shape[1])
            if not bool(inside.all()):
                raise ValueError(f"lengths must be {shortest}..{values.shape[1]} samples, got {lengths.tolist()}")

    def _frames(self, values: Tensor, lengths: Tensor | None, frames: Tensor | int | None) -> tuple[Tensor | None, int]:
        """Frame count per clip (None: all the same) and the frames of the longest."""
        fps = self.config.fps
        published = self.config.resampling == "align_corners"
        if isinstance(frames, int):
            return None if lengths is None else torch.full_like(lengths, frames), frames
        if frames is not None:
            return frames, int(frames.max())
        size = (published_frame_count if published else frame_count)(values.shape[1], fps)
        if lengths is None:
            return None, size
        if published:
            return torch.ceil(lengths.double() / SAMPLE_RATE * fps).long(), size
        return -torch.div(-lengths * fps, SAMPLE_RATE, rounding_mode="floor"), size

    def _prepare(self, values: Tensor, lengths: Tensor | None) -> Tensor:
        """Silence behind each clip's end, and the normalisation."""
        valid = None if lengths is None else valid_mask(lengths, values.shape[1])
        if valid is not None:
            values = torch.where(valid, values, 0.0)
        if self.config.normalization == "none":
            return values
        values = values.float()
        number = values.shape[1] if lengths is None else lengths[:, None].float()
        mean = values.sum(-1, keepdim=True) / number
        centred = values - mean if valid is None else torch.where(valid, values - mean, 0.0)
        variance = centred.square().sum(-1, keepdim=True) / number
        floor = self.config.min_std**2
        return centred / torch.sqrt(variance.clamp(min=floor) + NORMALIZATION_EPS)

    def _content_states(
        self,
        values: Tensor,
        lengths: Tensor | None,
        frames: Tensor | None,
        size: int,
        memory: WaveMemory | None = None,
    ) -> Tensor:
        """(B, T, H) of the content encoder, T frames: resampled before the transformer."""
        encoder = self.content_encoder
        if self.config.resampling == "grid":
            return self._grid_states(encoder, values, frames, size)
        features, in_lengths = self._wave_features(encoder, values, lengths, memory)
        out_lengths = torch.full_like(in_lengths, size) if frames is None else frames
        return encoder(stretch(features, in_lengths, out_lengths, size), frames, memory is not None and memory.reuse)

    def _grid_states(self, encoder: SpeechEncoder, values: Tensor, frames: Tensor | None, size: int) -> Tensor:
        """States of `size` frames at the instants t / fps, each read `lookahead_frames` positions later."""
        ahead = self.config.lookahead_frames
        features = encoder.grid_features(values, size + ahead, self.config.fps)
        return encoder(features, None if frames is None else frames + ahead)[:, ahead:]

    def _wave_features(
        self, encoder: SpeechEncoder, values: Tensor, lengths: Tensor | None, memory: WaveMemory | None = None
    ) -> tuple[Tensor, Tensor]:
        if memory is None:
            features = encoder.features(values, lengths)
        else:
            kept = memory.content if encoder is self.content_encoder else memory.emotion
            features = memory.features(encoder, values, kept)
        if lengths is None:
            return features, torch.full((features.shape[0],), features.shape[1], device=features.device)
        return features, encoder.feature_lengths(lengths)


def build_encoder(config: SpeechConfig, sizes: Wav2Vec2Config, frontend: str) -> SpeechEncoder:
    """The encoder of `sizes` with its front end, causal if the configuration says so."""
    rate = config.fps * total_stride(sizes)
    analysis: FrameAnalysis | None = None  # "wave": wav2vec2's own convolutions
    if frontend == "mel":
        analysis = build_log_mel(config, rate)
    elif frontend == "prosody":
        analysis = Prosody(rate)
    return SpeechEncoder(sizes, analysis, causal=config.attention == "causal")


def build_log_mel(config: SpeechConfig, rate: int) -> LogMel:
    """Log-mel spectra, `rate` per second, with the configuration's constants."""
    return LogMel(
        config.mel_bands,
        config.mel_window,
        config.mel_fft,
        config.mel_floor,
        config.mel_mean,
        config.mel_std,
        rate,
    )
