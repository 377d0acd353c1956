"""wav2vec2's convolutional position embedding of a stream's windows, by the spectra of its weights.

The convolution's kernel (128 positions) is longer than a window (75 frames for 2.5 s), so most of what it multiplies is
padding, and its weights are the product of a norm and a direction that torch forms with each call. The product of
spectra costs a fifth of that and differs by rounding (1e-6).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_LONGEST = 4
"""Windows of up to so many kernels: the spectra of longer ones would take more memory than they are worth."""


class WindowPositions:
    """Position embeddings of windows, one or several side by side. Keeps the spectra of the weights for one length."""

    def __init__(self) -> None:
        self._known: tuple[Any, ...] = ()
        self._spectra = torch.zeros(0)

    def __call__(self, embed: Any, hidden: Tensor) -> Tensor:
        """What transformers' `Wav2Vec2PositionalConvEmbedding` gives for hidden states (B, T, H)."""
        convolution = embed.conv
        (kernel,), (pad,) = convolution.kernel_size, convolution.padding
        batch, count, width = hidden.shape
        if count > _LONGEST * kernel:
            made: Tensor = embed(hidden)
            return made
        # In steps of two kernels, so that the windows at a stream's beginning share their spectra.
        size = -(-(count + kernel - 1) // (2 * kernel)) * 2 * kernel
        weights = self._weights(convolution, size)
        groups = convolution.groups
        spectrum = torch.fft.rfft(hidden.float().transpose(1, 2), n=size)  # (B, H, F)
        apart = spectrum.view(batch, groups, width // groups, -1).permute(3, 1, 0, 2)  # (F, G, B, H / G)
        mixed = torch.bmm(apart.reshape(-1, batch, width // groups), weights)
        turned = mixed.view(-1, groups, batch, width // groups).permute(2, 1, 3, 0).reshape(batch, width, -1)
        moved = torch.roll(torch.fft.irfft(turned, n=size), pad, 2)[..., :count] + convolution.bias.float()[:, None]
        return embed.activation(moved).transpose(1, 2).to(hidden.dtype)

    def _weights(self, convolution: Any, size: int) -> Tensor:
        """Conjugate spectra of the weights, (F * G, inputs, outputs) of a group."""
        state = [(0 if p.is_inference() else p._version, p.data_ptr()) for p in convolution.parameters()]
        known = (size, convolution.bias.device, *state)
        if known != self._known:
            groups, weight = convolution.groups, convolution.weight.detach().float()
            spectra = torch.fft.rfft(weight, n=size).conj()  # (outputs, inputs of a group, F)
            apart = spectra.view(groups, -1, *spectra.shape[1:]).permute(3, 0, 2, 1)
            self._spectra = apart.resolve_conj().reshape(-1, *apart.shape[2:]).contiguous()
            self._known = known
        return self._spectra
