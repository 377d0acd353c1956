"""Streaming conversion to 16 kHz, or to a loudspeaker's rate, by soxr.

Measured delays (how long a sample waits inside before it comes out; 10 ms chunks at 44.1 or 48 kHz, soxr 1.1.0):

===================  ================  =====================================================
engine               delay             remark
===================  ================  =====================================================
HQ, fixed rate       6 to 40 ms        overlap-add in blocks: the delay swings within a block
MQ, LQ, fixed rate   2 to 41 ms        the same, and LQ is 13 dB down at 7 kHz
QQ, fixed rate       0 ms              does not filter: everything above 8 kHz folds down
HQ, variable rate    12.5 to 13.7 ms   constant; 115 dB of alias rejection, flat to 7 kHz
===================  ================  =====================================================

So the variable-rate engine is used, at a constant rate. Its output does not depend on how the input is cut, and is in
time with the input to 0.13 ms: the delay is waiting, not displacement, and stamps stay true.
"""

from __future__ import annotations

import numpy as np
import soxr

from emotalk_ros.audio.pcm import AudioFormatError, Samples
from emotalk_ros.units import SAMPLE_RATE

MIN_RATE = 1000
MAX_RATE = 384_000

_EMPTY: Samples = np.zeros(0, dtype=np.float32)


def check_rate(rate: float) -> int:
    """`rate` in Hz as an integer if it is one that can be resampled (1 to 384 kHz), otherwise AudioFormatError."""
    if not MIN_RATE <= rate <= MAX_RATE:
        raise AudioFormatError(f"sample rate {rate} Hz: must be {MIN_RATE} to {MAX_RATE} Hz")
    return int(rate)


def _open(rate: int, target: int) -> soxr.ResampleStream:
    try:
        return soxr.ResampleStream(rate, target, 1, dtype="float32", quality="HQ", vr=True)
    except TypeError:  # soxr before 1.0 has only the fixed-rate engine: the same sound, a longer delay
        return soxr.ResampleStream(rate, target, 1, dtype="float32", quality="HQ")


class StreamResampler:
    """Mono audio at `rate` Hz in, `target` Hz out; where both are equal, the samples pass untouched and at once."""

    def __init__(self, rate: int, target: int = SAMPLE_RATE) -> None:
        self.rate, self.target = check_rate(rate), check_rate(target)
        self._stream = None if self.rate == self.target else _open(self.rate, self.target)

    def push(self, samples: Samples) -> Samples:
        """Feed samples (n,); returns what is ready, (m,). Equal for every cutting of the input."""
        if self._stream is None:
            return samples
        if not len(samples):
            return _EMPTY
        return np.asarray(self._stream.resample_chunk(np.ascontiguousarray(samples, dtype=np.float32)))

    def flush(self) -> Samples:
        """The end of the input: what was still waiting, up to its last instant. Then ready for a new stream."""
        if self._stream is None:
            return _EMPTY
        tail = np.asarray(self._stream.resample_chunk(_EMPTY, last=True))
        self._stream = _open(self.rate, self.target)
        return tail


def resample(samples: Samples, rate: int) -> Samples:
    """A whole mono clip (n,) at `rate` Hz to 16 kHz, exactly as the stream would."""
    stream = StreamResampler(rate)
    return np.concatenate([stream.push(samples), stream.flush()])
