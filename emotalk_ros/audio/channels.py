"""From several channels to one: their mean, one of them, or the loudest; channels that cancel each other are noticed.

A stereo recording with one channel inverted has a mean of nothing. `mix` notices it (the mean lies far below the
channels) and goes over to the loudest one. Decisions fall every 100 ms of the stream, counted from its first sample:
how it was cut into chunks does not matter.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from emotalk_ros.audio.pcm import AudioFormatError, Samples

CHOICES = ("mix", "left", "right", "loudest")
"""What may be asked for by name; a number, counted from 0, names one channel."""
_BLOCK = 0.1  # seconds between two decisions
_MEMORY = 20  # blocks over which powers are averaged
_CANCELLED = 10 ** (-15 / 10)  # a mean so far below the channels is not that of one voice
_AUDIBLE = 1e-7  # mean square from which on a block counts: -70 dBFS
_LOUDER = 4.0  # another channel must be 6 dB louder to take over


def channel_index(choice: str | int | None) -> int | None:
    """The channel that `choice` names; None for `mix` and `loudest`.

    Raises ValueError that lists the choices.
    """
    if choice is None or choice in ("mix", "loudest"):
        return None
    if choice in ("left", "right"):
        return CHOICES.index(str(choice)) - 1
    if (isinstance(choice, int) or str(choice).isdecimal()) and 0 <= int(choice) < 64:
        return int(choice)
    raise ValueError(f"channel {choice}: use {', '.join(CHOICES)}, or a number counted from 0")


class ChannelMixer:
    """Makes one channel of several, chunk by chunk.

    Args:
        choice: one of `CHOICES`, or a channel counted from 0; None: `mix`.
    """

    def __init__(self, choice: str | int | None = None) -> None:
        self._fixed = channel_index(choice)
        self._loudest = choice == "loudest"
        self.warning = ""
        """What was noticed, once; the caller takes it away."""
        self._told = False
        self.reset()

    def reset(self) -> None:
        """Another stream begins."""
        self._channels = 0
        self._chosen: int | None = self._fixed
        self._left = 0
        self._powers: NDArray[np.float64] = np.zeros(0)
        self._mixed = 0.0
        self._block: NDArray[np.float64] = np.zeros(0)
        self._block_mix = 0.0

    def check(self, channels: int) -> None:
        """Raises AudioFormatError where there is no such channel."""
        if self._fixed is not None and self._fixed >= channels > 1:
            raise AudioFormatError(f"channel {self._fixed} is asked for, but the audio has {channels} (counted from 0)")

    def preview(self, samples: Samples) -> Samples:
        """(n, channels) to (n,) as the last decision says, without learning from it."""
        if samples.shape[1] == 1:
            return samples[:, 0]
        chosen = self._chosen if samples.shape[1] == self._channels or self._fixed is not None else None
        if chosen is not None:
            return samples[:, chosen]
        with np.errstate(over="ignore"):  # what is beyond all numbers is clipped later
            return samples.mean(axis=1, dtype=np.float32)

    def mix(self, samples: Samples, rate: int) -> Samples:
        """(n, channels) samples at `rate` Hz to (n,)."""
        channels = samples.shape[1]
        if channels == 1 or self._fixed is not None:
            return samples[:, 0 if channels == 1 else self._fixed]
        if channels != self._channels:
            self.reset()
            self._channels = channels
            self._powers, self._block = np.zeros(channels), np.zeros(channels)
            self._left = max(1, round(_BLOCK * rate))
        out = np.empty(len(samples), np.float32)
        at = 0
        while at < len(samples):
            part = samples[at : at + self._left]
            out[at : at + len(part)] = self.preview(part)
            wide = part.astype(np.float64).clip(-1.0, 1.0)
            self._block += (wide**2).sum(axis=0)
            self._block_mix += float((wide.mean(axis=1) ** 2).sum())
            at += len(part)
            self._left -= len(part)
            if not self._left:
                self._decide(max(1, round(_BLOCK * rate)))
        return out

    def _decide(self, size: int) -> None:
        if self._block.max() > _AUDIBLE * size:
            share = 1.0 / _MEMORY if self._powers.any() else 1.0
            self._powers += share * (self._block / size - self._powers)
            self._mixed += share * (self._block_mix / size - self._mixed)
            best = int(self._powers.argmax())
            cancelled = self._mixed < _CANCELLED * float(self._powers.max()) and int((self._powers > 0).sum()) > 1
            both = float(np.sort(self._powers)[-2]) > 0.05 * float(self._powers.max())
            if self._loudest:
                now = self._chosen
                if now is None or self._powers[best] > _LOUDER * self._powers[now]:
                    self._chosen = best
            elif self._chosen is None and cancelled and both:
                self._chosen = best
                if not self._told:
                    below = 10 * np.log10(max(self._mixed, 1e-20) / float(self._powers.max()))
                    self.warning = (
                        f"the channels cancel each other (their mean lies {-below:.0f} dB below them, as if one were "
                        f"inverted): channel {best} is used alone; choose with left, right or loudest"
                    )
                    self._told = True
        self._left, self._block_mix = size, 0.0
        self._block[:] = 0.0
