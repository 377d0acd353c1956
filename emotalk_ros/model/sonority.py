"""Sonority: how much of the voice an open mouth lets out, and a mouth that follows it whatever the language.

What lies between 0.5 and 3 kHz leaves the mouth when it is open; the voice itself, nasals and murmurs lie below,
fricatives above. That level alone correlates .70 with the jaw of a captured Mandarin take, where a network that knows
English guesses phones. So a share of the opening that the decoder made may follow it, at inference only.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from emotalk_ros.face.names import INDEX, indices
from emotalk_ros.model.frontend import FrameAnalysis
from emotalk_ros.model.timing import SAMPLE_RATE

_WINDOW, _FFT = 800, 1024
_BAND_HZ = (500.0, 3000.0)
_SPAN_DB = 40.0
"""How far below the loudest a sound leaves the mouth shut."""
_FLOOR_DB = -60.0
"""Mean level of the band's bins, re full scale, below which nothing counts as loud."""
_MEMORY_SECONDS = 2.5
"""What is loud, and how wide this mouth opens, is what it was in so much of the past; a stream has about as much."""
_MOST_AHEAD = 4
"""Frames of the look-ahead in which what is loud may be heard coming."""
_APART = 0.02
"""jawOpen minus mouthClose above which lips are surely apart: closed ones stay closed however loud it is."""
_OF_LIPS = 0.7
"""Lips open and shut with the jaw by this power of its change."""
_LIPS = indices(["mouthLowerDownLeft", "mouthLowerDownRight", "mouthUpperUpLeft", "mouthUpperUpRight"])


class Sonority(FrameAnalysis):
    """Level of the band at two windows a frame; `follow` lets a mouth go with it.

    Args:
        fps: frames per second.
        lookahead_frames: of the network: later sound is not listened to.
    """

    def __init__(self, fps: int, lookahead_frames: int) -> None:
        super().__init__(_WINDOW, _FFT, 2 * fps)
        self.channels = 1
        self.memory = round(_MEMORY_SECONDS * fps)
        # The window of a frame is centred half a frame before it: it ends before the look-ahead does.
        self.ahead = min(_MOST_AHEAD, max(0, lookahead_frames - 1))
        low, high = (round(hertz * _FFT / SAMPLE_RATE) for hertz in _BAND_HZ)
        self.bins = slice(low, high)
        self.reset_constants()

    def forward(self, values: Tensor, first: int, count: int) -> Tensor:
        """Level of windows first .. first + count - 1 of clips (B, N), dB re full scale: (B, count, 1) float32."""
        return 10 * torch.log10(self.power(values, first, count)[..., self.bins].mean(-1, keepdim=True) + 1e-10)

    def heard(self, values: Tensor, frames: int) -> Tensor:
        """Sonority 0..1 of each frame of clips (B, N): (B, frames).

        Captured jaws lag their sound: so does this, by half a frame.
        """
        level = self(values, -1, 2 * (frames + self.ahead))[:, ::2, 0]
        loudest = _largest(level, self.memory + self.ahead).clamp(min=_FLOOR_DB)[:, self.ahead :]
        return ((level[:, :frames] - loudest) / _SPAN_DB + 1.0).clamp(0.0, 1.0)

    def follow(self, coefficients: Tensor, values: Tensor, share: float) -> Tensor:
        """Coefficients (B, T, 52) of speech (B, N) whose mouth opens by `share` as the sonority says.

        The jaw goes towards the widest it was of late times the sonority, the lips go along; closed lips stay closed.
        """
        made = coefficients.float()
        jaw, close = made[..., INDEX["jawOpen"]], made[..., INDEX["mouthClose"]]
        wanted = _largest(jaw, self.memory) * self.heard(values, made.shape[1])
        apart = ((jaw - close) / _APART).clamp(0.0, 1.0)
        moved = jaw + share * apart * (wanted - jaw)
        ratio = (moved / jaw.clamp(min=1e-3)).clamp(0.3, 2.0) ** _OF_LIPS
        factor = torch.ones_like(made)
        factor[..., torch.as_tensor(_LIPS, device=made.device)] = ratio[..., None]
        made = made * factor
        made[..., INDEX["jawOpen"]] = moved
        return made.to(coefficients.dtype)


def _largest(values: Tensor, memory: int) -> Tensor:
    """The largest of each frame and the `memory` frames before it, (B, T)."""
    padded = functional.pad(values[:, None], (memory, 0), value=-torch.inf)
    return functional.max_pool1d(padded, memory + 1, 1)[:, 0]
