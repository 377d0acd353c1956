"""What the windows of a stream pass on to each other in a network that hears all of a window at once (the paper's).

Each frame of such a network depends on the whole window, so both transformers run over all of it with every hop. What a
window has in common with the one before is found before them: the features of wav2vec2's convolutions, which depend on
their own 400 samples only, as long as the samples are normalised alike. So the constants of the normalisation are
frozen, and frozen anew by the rule of `RunningNormalisation`. Equal to a pass over the window with the same constants.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emotalk_ros.model.encoder import SpeechEncoder
from emotalk_ros.model.kept_rows import KeptRows
from emotalk_ros.units import SAMPLE_RATE

PIECE = SAMPLE_RATE // 10
"""Samples of the pieces that levels are taken of."""
_PIECES = 300
_LOUD, _NEAR = 1 / 20, 5
_PAUSE, _PAUSE_PIECES = 1 / 10, 2
_DRIFT, _JUMP = 1.1, 2.0
_HELD = 1.0  # seconds of heard emotion whose mean stands for what was not heard yet
NORMALIZATION_EPS = 1e-7
"""Added to the variance, as Hugging Face's wav2vec2 feature extractor does."""


@dataclass
class RunningNormalisation:
    """Mean and deviation of a stream, frozen for a while.

    They are frozen with the stream's first window and are then those of that window, as the paper's of a clip. Later
    ones are taken of the last 30 s without long silence: pieces of 0.1 s count that have one within half a second that
    is less than 26 dB below the loudest. They are frozen anew

    - in a pause (0.2 s at less than a tenth of the frozen deviation), where they have moved by 10 %: nobody speaks, so
      nobody sees the step, and the features that have to be made again may take their time;
    - at once, where they have moved by a factor of 2: a stream that began with silence, another speaker, a gain.
    """

    floor: float = 0.0
    """Least deviation (`SpeechConfig.min_std`)."""
    mean: float = 0.0
    deviation: float = 0.0
    """0 before the first samples."""
    _pieces: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 3)))
    """Samples, their sum and the sum of their squares, of each piece."""

    def follow(self, samples: NDArray[np.float32]) -> bool:
        """Take the stream's next samples (n,); True where the constants were frozen anew."""
        if len(samples):
            cuts = np.split(samples.astype(np.float64), range(PIECE, len(samples), PIECE))
            new = [(len(cut), cut.sum(), np.square(cut).sum()) for cut in cuts]
            self._pieces = np.concatenate([self._pieces, new])[-_PIECES:]
        if not len(self._pieces):
            return False
        count, total, squares = self._pieces.T
        level = np.sqrt(np.maximum(squares / count - np.square(total / count), 0.0))
        counted = np.ones(len(level), bool)
        if self.deviation:
            loud = level >= _LOUD * level.max()
            counted = np.convolve(loud, np.ones(2 * _NEAR + 1))[_NEAR : _NEAR + len(loud)] > 0.5
        number = count[counted].sum()
        mean = float(total[counted].sum() / number)
        variance = float(squares[counted].sum() / number) - mean**2
        deviation = float(np.sqrt(max(variance, self.floor**2, 0.0) + NORMALIZATION_EPS))
        if self.deviation:
            ratio = deviation / self.deviation
            moved = max(ratio, 1 / ratio) + abs(mean - self.mean) / max(deviation, self.deviation)
            pause = (level[-_PAUSE_PIECES:] < _PAUSE * self.deviation).all()
            if moved <= (_DRIFT if pause else _JUMP):
                return False
        self.mean, self.deviation = mean, deviation
        return True


@dataclass
class FeatureMemory:
    """Features of one encoder's convolutions, of the window before."""

    first: int = 0
    """The stream's feature that the first one kept is."""
    kept: Tensor | None = None
    """(1, n, channels)."""
    statistics: tuple[Tensor, Tensor] | None = None
    """Of group normalisation (wav2vec2-base), those of the window with which the constants were frozen."""

    def clear(self) -> None:
        """The constants are others."""
        self.kept = self.statistics = None

    def features(self, encoder: SpeechEncoder, values: Tensor, start: int) -> Tensor:
        """`encoder.features` of a window (1, N) of normalised samples that begins at the stream's sample `start`."""
        first, rest = divmod(start, encoder.stride)
        known = 0
        if self.kept is not None and not rest and first >= self.first:
            known = max(0, self.first + self.kept.shape[1] - first)
        total = encoder.feature_count(values.shape[1])
        if known == 0 or self.kept is None:
            if self.statistics is None:
                self.statistics = encoder.group_statistics(values)
            self.kept = encoder.features(values, statistics=self.statistics)
        else:
            self.kept = self.kept[:, first - self.first :]
            if known < total:
                new = encoder.features(values[:, known * encoder.stride :], statistics=self.statistics)
                self.kept = torch.cat([self.kept, new], 1)
        self.first = first
        return self.kept[:, :total]


@dataclass
class WaveMemory(KeptRows):
    """All that a network with full attention on wav2vec2's features keeps of one stream."""

    fps: int = 30
    normalisation: RunningNormalisation | None = None
    """None of a network without constants to freeze."""
    normalised: bool = True
    """Whether samples are normalised; otherwise the constants only tell when those of group normalisation are old."""
    emotion_every: float = 0.0
    """Seconds between two runs of the emotion encoder; 0: with each window, which is exact."""
    reuse: bool = True
    """False: nothing but the constants of the normalisation is kept. What the rest is measured against."""
    content: FeatureMemory = field(default_factory=FeatureMemory)
    emotion: FeatureMemory = field(default_factory=FeatureMemory)
    end: int = 0
    """Samples of the stream that were heard."""
    refrozen: int = 0
    """How often the constants were frozen."""
    _heard: Tensor | None = None
    """(1, n, H) emotion states of frames from `_heard_first` on."""
    _heard_first: int = 0
    _heard_end: int = 0
    _heard_length: int = 0
    _start: int = 0

    def prepare(self, values: Tensor, frame: int) -> Tensor:
        """The samples (1, N) of the window that begins with the stream's `frame`, by the frozen constants."""
        self._start = frame * SAMPLE_RATE // self.fps
        end = self._start + values.shape[1]
        if self.normalisation is not None:
            fresh = values[0, max(0, self.end - self._start) :].float().cpu().numpy()
            if self.normalisation.follow(fresh):
                self.refrozen += 1
                self.content.clear()
                self.emotion.clear()
        if self.normalisation is not None and self.normalised:
            values = (values.float() - self.normalisation.mean) / self.normalisation.deviation
        self.end = max(self.end, end)
        return values

    def features(self, encoder: SpeechEncoder, values: Tensor, memory: FeatureMemory) -> Tensor:
        """Features (1, n, channels) of the window at hand."""
        if not self.reuse:
            memory.kept = None
        return memory.features(encoder, values, self._start)

    def keep_up(self, encoder: SpeechEncoder, values: Tensor) -> None:
        """Make the emotion encoder's new features in a hop that does not run it: they shall not all fall on the one
        that does. Where the constants were frozen anew, that one makes them: this hop has enough to do.
        """
        if self.reuse and self.emotion.kept is not None:
            self.features(encoder, values, self.emotion)

    def emotion_states(self, frame: int, size: int, samples: int, hear: Callable[[], Tensor]) -> Tensor:
        """States (1, size, H) of the emotion encoder of a window of `samples` from the stream's `frame` on.

        `hear` runs the encoder. Between two runs, frames that it has not heard have the mean of the last second that it
        has. A window that is shorter than `emotion_every` waits no longer than it is long.
        """
        end = self._start + samples
        gone = frame - self._heard_first
        known = 0 if self._heard is None else self._heard.shape[1] - gone
        waited = end - self._heard_end
        due = not self.reuse or waited >= min(round(self.emotion_every * SAMPLE_RATE), self._heard_length)
        if self._heard is None or due or gone < 0 or known < 1 or waited < 0:
            self._heard, self._heard_first = hear(), frame
            self._heard_end, self._heard_length = end, samples
            return self._heard
        states = self._heard[:, gone : gone + size]
        if states.shape[1] < size:
            recent = self._heard[:, -round(_HELD * self.fps) :].mean(1, keepdim=True)
            states = torch.cat([states, recent.expand(-1, size - states.shape[1], -1)], 1)
        return states
