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
from emotalk_ros.model.frontend import FrameAnalysis, WindowMemory
from emotalk_ros.units import SAMPLE_RATE

_WINDOW, _FFT = 800, 1024
_BAND_HZ = (500.0, 3000.0)
_SPAN_DB = 40.0
"""How far below the loudest a sound leaves the mouth shut."""
_FLOOR_DB = -60.0
"""Mean level of the band's bins, re full scale, below which nothing counts as loud."""
_MEMORY_SECONDS = 2.5
"""What is loud, and how wide this mouth opens, is what it was in so much of the past; a stream has about as much."""
_MOST_AHEAD = 4
"""Frames of the look-ahead that are listened to: what is loud may be heard coming."""
_MOMENT = (0.25, 0.5, 0.25)
"""Weights of the frame before, of the frame and of the one after: a mouth has mass."""
_WIDE = 0.14
"""jawOpen of a loud vowel. How wide the decoder's opens of late counts as much: emphasis and emotion lie in that."""
_SPEAKING = (0.03, 0.06)
"""Widest jawOpen of late from which a mouth begins to follow, and from which it follows in full: noise opens none."""
_APART = 0.02
"""jawOpen minus mouthClose above which lips are surely apart. Closed ones stay closed while the jaw behind goes."""
_TOO_LOUD = (0.75, 1.0)
"""Sonority from which lips believed closed begin to part, and at which they have: no closed mouth is so loud."""
_PRESS = 0.25
"""Share by which mouthClose grows where lips are believed closed: a decoder that is not sure leaves a gap of a hair."""
_BELIEVED = (0.8, 1.0)
"""mouthClose over jawOpen from which lips begin to be believed closed, and at which they are."""
_OF_LIPS = 0.7
"""Lips open and shut with the jaw by this power of its change."""
_LIPS = indices(["mouthLowerDownLeft", "mouthLowerDownRight", "mouthUpperUpLeft", "mouthUpperUpRight"])
_JAW, _CLOSE = INDEX["jawOpen"], INDEX["mouthClose"]


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

    def forward(self, values: Tensor, first: int, count: int, step: int = 1) -> Tensor:
        """Level of `count` windows of clips (B, N) from `first` on, each `step`-th, dB re full scale: (B, count, 1)."""
        power = self.power(values, first, count, step)
        return 10 * torch.log10(power[..., self.bins].mean(-1, keepdim=True) + 1e-10)

    def heard(self, values: Tensor, frames: int, memory: WindowMemory | None = None) -> Tensor:
        """Sonority 0..1 of each frame of clips (B, N): (B, frames). `memory` counts frames.

        Captured jaws lag their sound: so does this, by half a frame.
        """

        def find(begin: int, number: int) -> tuple[Tensor, ...]:
            return (self(values, 2 * begin - 1, number, step=2)[..., 0],)

        count = frames + self.ahead
        (level,) = memory.recall(0, count, find) if memory else find(0, count)
        coming = max(0, self.ahead - 1)  # the last frame heard is for the mean over neighbours
        loudest = _largest(level, self.memory + coming).clamp(min=_FLOOR_DB)[:, coming:]
        share = ((level[:, : loudest.shape[1]] - loudest) / _SPAN_DB + 1.0).clamp(0.0, 1.0)
        if self.ahead:
            before, at, after = _MOMENT
            earlier = torch.cat([share[:, :1], share[:, :-2]], 1)
            share = before * earlier + at * share[:, :-1] + after * share[:, 1:]
        return share

    def follow(self, coefficients: Tensor, values: Tensor, share: float, memory: WindowMemory | None = None) -> Tensor:
        """Coefficients (B, T, 52) of speech (B, N) whose mouth opens by `share` as the sonority says.

        The jaw goes towards a wide one times the sonority and open lips go along. Closed lips stay closed, and press,
        whatever the jaw behind them does, unless it is too loud for that.
        """
        made = coefficients.float()
        jaw, close = made[..., _JAW], made[..., _CLOSE]
        heard, widest = self.heard(values, made.shape[1], memory), _largest(jaw, self.memory)
        speaking = _between(widest, *_SPEAKING)
        wide = 0.5 * (widest + _WIDE * speaking)
        moved = jaw + share * speaking * (wide * heard - jaw)
        parted = share * _between(heard, *_TOO_LOUD)
        shut = 1.0 - ((jaw - close) / _APART).clamp(0.0, 1.0)
        ratio = (moved / jaw.clamp(min=1e-3)).clamp(0.3, 2.0) ** _OF_LIPS
        ratio = 1.0 + (ratio - 1.0) * torch.maximum(1.0 - shut, parted)
        factor = torch.ones_like(made)
        factor[..., torch.as_tensor(_LIPS, device=made.device)] = ratio[..., None]
        made = made * factor
        made[..., _JAW] = moved
        believed = speaking * _between(close / jaw.clamp(min=1e-3), *_BELIEVED)
        close = (close + shut * (1.0 - parted) * (moved - jaw)).clamp(min=0.0)
        made[..., _CLOSE] = close * (1.0 + _PRESS * believed) * (1.0 - parted * shut)
        return made.to(coefficients.dtype)


def _between(values: Tensor, low: float, high: float) -> Tensor:
    """0 up to `low`, 1 from `high` on, linear between."""
    return ((values - low) / (high - low)).clamp(0.0, 1.0)


def _largest(values: Tensor, memory: int) -> Tensor:
    """The largest of each frame and the `memory` frames before it, (B, T)."""
    padded = functional.pad(values[:, None], (memory, 0), value=-torch.inf)
    return functional.max_pool1d(padded, memory + 1, 1)[:, 0]
