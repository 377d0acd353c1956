"""MeshTalk (Richard et al., ICCV 2021) for coefficients."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedConfig

from emotalk_ros.face.names import ARKIT_NAMES
from emotalk_ros.model.baselines.base import Baseline
from emotalk_ros.model.config import SpeechConfig
from emotalk_ros.model.speech import build_log_mel

MOUTH_PREFIXES = ("jaw", "mouth", "tongue", "cheekPuff")
"""Coefficients that should follow the audio; the rest, eyes and brows, should follow the expression."""


class MeshTalkConfig(SpeechConfig):
    """Sizes of `MeshTalk`; defaults are the paper's.

    Args:
        width: of the audio and expression codes (128).
        latent_heads, latent_classes: the categorical latent space (64 heads of 128 classes).
        dilations: of the residual convolutions of the audio encoder.
        spectra_per_frame: log-mel spectra per coefficient frame.
        gumbel_temperature: of the Gumbel softmax.
        **kwargs: see `SpeechConfig`; of the audio settings only the mel_ ones matter.
    """

    model_type = "meshtalk"

    def __init__(
        self,
        width: int = 128,
        latent_heads: int = 64,
        latent_classes: int = 128,
        dilations: tuple[int, ...] | list[int] = (2, 4, 6, 2, 4, 6),
        spectra_per_frame: int = 4,
        gumbel_temperature: float = 2.0,
        **kwargs: Any,
    ) -> None:
        self.width = width
        self.latent_heads = latent_heads
        self.latent_classes = latent_classes
        self.dilations = list(dilations)
        self.spectra_per_frame = spectra_per_frame
        self.gumbel_temperature = gumbel_temperature
        super().__init__(**{"resampling": "grid", "normalization": "none", **kwargs})


class MeshTalk(Baseline):
    """Categorical latent space of audio and expression, and an autoregressive model of it given audio alone.

    In training `target` is encoded as the expression; audio and expression codes fuse to the logits of
    `latent_heads` categories, sampled with a straight-through Gumbel softmax, and an LSTM decoder makes the
    coefficients. The own loss holds the cross-modality terms (with another clip's expression the mouth must stay,
    with another clip's audio the upper face must) and the autoregressive model's cross-entropy. Without `target` that
    model chooses the categories, most likely first, head by head and frame by frame.

    Two things differ from the original: both stages train at once, the second on detached categories; and the audio
    encoder's convolutions run over the clip before the mean over a centred second, not over each second alone.
    """

    config: MeshTalkConfig
    mouth: Tensor
    config_class: type[PreTrainedConfig] | None = MeshTalkConfig
    wants_target = True

    def __init__(self, config: MeshTalkConfig) -> None:
        super().__init__(config)
        width = config.width
        self.audio_encoder = AudioEncoder(config)
        self.expression_encoder = ExpressionEncoder(config)
        self.fusion = nn.Sequential(
            nn.Linear(2 * width, width),
            nn.LeakyReLU(0.2),
            nn.Linear(width, config.latent_heads * config.latent_classes),
        )
        self.decoder = LatentDecoder(config)
        self.prior = CategoryModel(config)
        mouth = torch.tensor([name.startswith(MOUTH_PREFIXES) for name in ARKIT_NAMES], dtype=torch.float32)
        self.register_buffer("mouth", mouth)
        self.post_init()

    def animate(
        self,
        values: Tensor,
        lengths: Tensor | None,
        frames: Tensor | None,
        size: int,
        persons: Tensor,
        target: Tensor | None,
    ) -> tuple[Tensor, Tensor | None]:
        """See `Baseline.animate`."""
        audio = self.audio_encoder(values, size)
        if target is None or not self.training:
            return self.decoder(self.prior.choose(audio), persons), None
        expression = self.expression_encoder(target.to(audio.dtype))
        codes, choice = self._latent(audio, expression)
        coefficients = self.decoder(codes, persons)
        weight = self._frame_weight(frames, size, target)
        loss = self._cross_modality(audio, expression, persons, target, weight)
        logits = self.prior(audio.detach(), choice)
        entropy = functional.cross_entropy(logits.flatten(0, 2), choice.flatten(), reduction="none").view(choice.shape)
        return coefficients, loss + (entropy.mean(-1) * weight).sum()

    def _latent(self, audio: Tensor, expression: Tensor) -> tuple[Tensor, Tensor]:
        """One-hot categories (B, T, H, V) with gradients to their logits, and their indices (B, T, H)."""
        shape = (*audio.shape[:2], self.config.latent_heads, self.config.latent_classes)
        logits = self.fusion(torch.cat([audio, expression], dim=-1)).view(shape)
        codes = functional.gumbel_softmax(logits, tau=self.config.gumbel_temperature, hard=True)
        return codes, codes.argmax(-1)

    def _cross_modality(
        self, audio: Tensor, expression: Tensor, persons: Tensor, target: Tensor, weight: Tensor
    ) -> Tensor:
        """Mouth from this audio with another clip's expression, upper face the other way round."""
        if audio.shape[0] < 2:
            return audio.new_zeros(())
        other = torch.roll(torch.arange(audio.shape[0], device=audio.device), 1)
        mouth = self.mouth.to(audio.dtype)
        heard = self.decoder(self._latent(audio, expression[other])[0], persons)
        shown = self.decoder(self._latent(audio[other], expression)[0], persons)
        error = (heard - target).square() * mouth + (shown - target).square() * (1 - mouth)
        return (error.mean(-1) * weight).sum()

    def _frame_weight(self, frames: Tensor | None, size: int, like: Tensor) -> Tensor:
        """(B, T) weights that average over the batch's frames."""
        if frames is None:
            return like.new_full(like.shape[:2], 1 / (like.shape[0] * size))
        valid = torch.arange(size, device=like.device) < frames[:, None]
        return valid.to(like.dtype) / valid.sum()


class AudioEncoder(nn.Module):
    """Log-mel spectra, a convolution, dilated residual ones, the mean over a second around each frame, dense."""

    def __init__(self, config: MeshTalkConfig) -> None:
        super().__init__()
        self.fps, self.step, width = config.fps, config.spectra_per_frame, config.width
        self.log_mel = build_log_mel(config, config.fps * config.spectra_per_frame)
        self.first = nn.Conv1d(config.mel_bands, width, kernel_size=3)
        self.residuals = nn.ModuleList(nn.Conv1d(width, width, kernel_size=3, dilation=d) for d in config.dilations)
        self.reach = 1 + sum(config.dilations)
        self.last = nn.Linear(width, width)

    def forward(self, values: Tensor, size: int) -> Tensor:
        """(B, N) samples to (B, size, width)."""
        half = self.fps * self.step // 2
        margin = half + self.reach
        spectra = self.log_mel(values, -margin, (size - 1) * self.step + 1 + 2 * margin)
        hidden = functional.leaky_relu(self.first(spectra.to(self.last.weight.dtype).transpose(1, 2)), 0.2)
        for convolution in self.residuals:
            inner = functional.leaky_relu(convolution(hidden), 0.2)
            cut = (hidden.shape[-1] - inner.shape[-1]) // 2
            hidden = (hidden[..., cut : hidden.shape[-1] - cut] + inner) / 2
        pooled = functional.avg_pool1d(hidden, 2 * half + 1, stride=self.step)
        return self.last(pooled.transpose(1, 2))


class ExpressionEncoder(nn.Module):
    """Coefficients to a code per frame: dense 256, dense 128, LSTM."""

    def __init__(self, config: MeshTalkConfig) -> None:
        super().__init__()
        self.dense = nn.Sequential(
            nn.Linear(config.num_coefficients, 2 * config.width),
            nn.LeakyReLU(0.2),
            nn.Linear(2 * config.width, config.width),
            nn.LeakyReLU(0.2),
        )
        self.lstm = nn.LSTM(config.width, config.width, batch_first=True)
        self.last = nn.Linear(config.width, config.width)

    def forward(self, coefficients: Tensor) -> Tensor:
        """(B, T, 52) to (B, T, width)."""
        return self.last(self.lstm(self.dense(coefficients))[0])


class LatentDecoder(nn.Module):
    """Categories and person to coefficients: fusion, two-layer LSTM, dense with skips from what went in."""

    def __init__(self, config: MeshTalkConfig) -> None:
        super().__init__()
        width = config.width
        self.latent = nn.Linear(config.latent_heads * config.latent_classes, width)
        self.person = nn.Linear(config.num_persons, width)
        self.fusion = nn.Linear(2 * width, width)
        self.lstm = nn.LSTM(width, width, num_layers=2, batch_first=True)
        self.dense = nn.Linear(2 * width, 2 * width)
        self.output = nn.Linear(2 * width, config.num_coefficients)

    def forward(self, codes: Tensor, persons: Tensor) -> Tensor:
        """(B, T, H, V) one-hot categories and (B, persons) to (B, T, 52)."""
        latent = functional.leaky_relu(self.latent(codes.flatten(2)), 0.2)
        person = functional.leaky_relu(self.person(persons), 0.2)[:, None].expand_as(latent)
        hidden = functional.leaky_relu(self.fusion(torch.cat([latent, person], dim=-1)), 0.2)
        moved = self.lstm(hidden)[0] + hidden
        return self.output(functional.leaky_relu(self.dense(torch.cat([moved, latent], dim=-1)), 0.2))


class CategoryModel(nn.Module):
    """p(category of head h at t | categories before t, heads before h at t, audio up to its window at t)."""

    def __init__(self, config: MeshTalkConfig) -> None:
        super().__init__()
        self.heads, self.classes, width = config.latent_heads, config.latent_classes, config.width
        self.embedding = nn.Embedding(self.heads * self.classes, width)
        self.audio = nn.Linear(width, width)
        self.dilations = (1, 2, 4)
        self.past = nn.ModuleList(nn.Conv1d(width, width, kernel_size=2, dilation=d) for d in self.dilations)
        self.reach = sum(self.dilations)
        self.heads_out = nn.Parameter(torch.empty(self.heads, width, self.classes))
        nn.init.xavier_uniform_(self.heads_out)

    def forward(self, audio: Tensor, choice: Tensor) -> Tensor:
        """(B, T, width) audio codes and the true categories (B, T, H) to logits (B, T, H, V)."""
        embedded = self._embed(choice)
        frames = embedded.sum(2)
        before = functional.pad(frames, (0, 0, 1, 0))[:, :-1]
        earlier_heads = embedded.cumsum(2) - embedded
        hidden = (self._context(before) + self.audio(audio))[:, :, None] + earlier_heads
        return torch.einsum("bthd,hdv->bthv", torch.relu(hidden), self.heads_out)

    @torch.no_grad()
    def choose(self, audio: Tensor) -> Tensor:
        """Most likely categories, one after the other: one-hot (B, T, H, V)."""
        batch, size, width = audio.shape
        heard = self.audio(audio)
        frames = audio.new_zeros(batch, size + 1, width)  # [:, t + 1] is the embedding of frame t
        chosen = torch.empty(batch, size, self.heads, dtype=torch.long, device=audio.device)
        offsets = torch.arange(self.heads, device=audio.device) * self.classes
        for frame in range(size):
            recent = frames[:, max(0, frame - self.reach) : frame + 1]
            hidden = self._context(recent)[:, -1] + heard[:, frame]
            total = torch.zeros_like(hidden)
            for head in range(self.heads):
                best = (torch.relu(hidden + total) @ self.heads_out[head]).argmax(-1)
                chosen[:, frame, head] = best
                total = total + self.embedding(best + offsets[head])
            frames[:, frame + 1] = total
        return functional.one_hot(chosen, self.classes).to(audio.dtype)

    def _embed(self, choice: Tensor) -> Tensor:
        offsets = torch.arange(self.heads, device=choice.device) * self.classes
        return self.embedding(choice + offsets)

    def _context(self, before: Tensor) -> Tensor:
        """Causal convolutions over (B, T, width), where entry t is the frame before t; missing ones are zeros."""
        hidden = before.transpose(1, 2)
        for convolution, dilation in zip(self.past, self.dilations, strict=True):
            hidden = hidden + torch.relu(convolution(functional.pad(hidden, (dilation, 0))))
        return hidden.transpose(1, 2)
