"""The pretrained encoder as a teacher of the streaming trunk.

The teacher hears the clip as it was recorded, the trunk hears it with noise, gain and a dull microphone: so it
learns to see through them.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional
from transformers import WhisperConfig, WhisperModel
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from emotalk_ros.model.feature_grid import FEATURE_STRIDE
from emotalk_ros.model.timing import valid_mask
from emotalk_ros.model.trunk import LogMel, SpeechTrunk
from emotalk_ros.training.recipe import RecipeError

_RANGE = 2.0
"""Whisper's spectra reach 8 powers of ten below the clip's loudest, in its units."""
_FLOOR = 1e-3
"""Share of a level's mean variance below which a channel's variance is not believed."""


def load_whisper_encoder(name: str) -> WhisperEncoder:
    """The encoder of a Whisper model.

    Args:
        name: name or folder of a transformers Whisper model (`openai/whisper-tiny.en`), or a folder with `config.json`
            and the encoder alone in `encoder.safetensors`.

    Raises:
        RecipeError: it cannot be read.
    """
    folder = Path(name).expanduser()
    try:
        if not (folder / "encoder.safetensors").is_file():
            return WhisperModel.from_pretrained(name).encoder.float().eval()
        encoder = WhisperEncoder(WhisperConfig.from_json_file(str(folder / "config.json")))
        encoder.load_state_dict(
            {key: value.float() for key, value in load_file(folder / "encoder.safetensors").items()}
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise RecipeError(f"model.trunk: {name!r} is no readable Whisper model ({error})") from error
    return encoder.eval()


@torch.no_grad()
def start_from_whisper(trunk: SpeechTrunk, encoder: WhisperEncoder) -> None:
    """Copies Whisper's weights into the trunk, as many layers as it has.

    Raises RecipeError when the sizes are others.
    """
    weights = encoder.state_dict()
    own = trunk.state_dict()
    wrong = [key for key in own if key not in weights or weights[key].shape != own[key].shape]
    if wrong:
        raise RecipeError(f"model.trunk: Whisper's sizes do not fit, first {wrong[0]!r}: change model.options.trunk_*")
    trunk.load_state_dict({key: weights[key] for key in own})


class Teacher(nn.Module):
    """A frozen Whisper encoder.

    Args:
        encoder: its weights stay as they are.
        layers: how many of its layers are taught.
    """

    def __init__(self, encoder: WhisperEncoder, layers: int) -> None:
        super().__init__()
        self.encoder = encoder.requires_grad_(False)
        self.layers = layers
        self.spectra = LogMel(encoder.conv1.in_channels)

    def train(self, mode: bool = True) -> Teacher:
        """Always in evaluation mode: nothing is dropped."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, samples: Tensor) -> Tensor:
        """Clips (B, N) to the levels (B, n, levels, width) that a trunk should give within its first segment.

        Each clip is brought to a common loudness.
        """
        samples = samples * (0.7 / samples.abs().amax(1, keepdim=True).clamp(min=1e-3))
        spectra = self.spectra.whole(samples)
        spectra = spectra.maximum(spectra.amax((1, 2), keepdim=True) - _RANGE).transpose(1, 2)
        encoder = self.encoder
        hidden = functional.gelu(encoder.conv2(functional.gelu(encoder.conv1(spectra)))).transpose(1, 2)
        levels = [hidden]
        hidden = hidden + encoder.embed_positions.weight[: hidden.shape[1]]
        for layer in encoder.layers[: self.layers]:
            made = layer(hidden, None)
            hidden = made[0] if isinstance(made, tuple) else made
            levels.append(hidden)
        return torch.stack(levels, 2)


def unexplained(made: Tensor, wanted: Tensor, samples: Tensor) -> Tensor:
    """How far levels (B, n, levels, width) are from the teacher's, summed over valid features: the mean over levels and
    channels of the squared error in units of the channel's variance. samples (B,): lengths of the clips.
    """
    count = min(made.shape[1], wanted.shape[1])
    made, wanted = made[:, :count].float(), wanted[:, :count].float()
    valid = valid_mask(samples // FEATURE_STRIDE, count)[..., None, None]
    number = valid.sum().clamp(min=1)
    mean = (wanted * valid).sum((0, 1)) / number
    variance = ((wanted - mean).square() * valid).sum((0, 1)) / number
    variance = variance + _FLOOR * variance.mean(-1, keepdim=True) + 1e-8
    return (((made - wanted).square() / variance).mean((2, 3)) * valid[..., 0, 0]).sum()
