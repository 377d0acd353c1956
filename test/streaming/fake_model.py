"""A small model with the interface of the real ones, whose every frame is a known function of the audio it may hear."""

from dataclasses import dataclass, field

import numpy as np

LABELS = ("neutral", "happy", "sad")


@dataclass
class FakeConfig:
    fps: int = 30
    lookahead_samples: int | None = 1801
    resampling: str = "grid"
    min_samples: int = 1
    num_persons: int = 24
    emotion_labels: tuple[str, ...] = LABELS


@dataclass
class Result:
    coefficients: np.ndarray
    frame_emotion_logits: np.ndarray


@dataclass
class CausalFake:
    """Frame t: sums of the audio over the second before its instant plus the look-ahead, in several weightings.

    Audio outside the clip counts as silence, as in the real causal models. Everything is a function of time only.
    """

    config: FakeConfig = field(default_factory=FakeConfig)
    calls: list[int] = field(default_factory=list)
    reach: int = 16000

    def analyse(self, audio, person=0, level=1.0, emotion=None):
        assert audio.dtype == np.float32 and audio.ndim == 1 and np.isfinite(audio).all()
        self.calls.append(len(audio))
        count = -(-len(audio) * self.config.fps // 16000)
        ahead = self.config.lookahead_samples or 4000
        padded = np.concatenate([np.zeros(self.reach), audio.astype(np.float64), np.zeros(ahead + 1600)])
        rows, heard = np.zeros((count, 52)), np.zeros((count, len(LABELS)))
        for t in range(count):
            end = t * 16000 // self.config.fps + ahead + self.reach
            window = padded[end - self.reach : end]
            parts = np.abs(window.reshape(50, -1)).mean(axis=1)
            rows[t, :50] = parts * level
            rows[t, 50] = window[-1]  # the last sample that may be heard
            rows[t, 51] = float(person if np.ndim(person) == 0 else np.argmax(person)) / 24
            heard[t] = 20 * parts[:3]
        return Result(rows.astype(np.float32), heard.astype(np.float32))

    def predict(self, audio, **controls):
        return self.analyse(audio, **controls).coefficients
