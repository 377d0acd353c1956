"""Which samples a hop hears and which frames it commits: the window schedule, in whole samples and frames."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

from emotalk_ros.units import SAMPLE_RATE

_FEATURE_STRIDE = 320  # wav2vec2's features: one every 20 ms
_FULL_LOOKAHEAD = 0.3  # seconds; for models that would see everything, the most common choice of live systems


@dataclass(frozen=True)
class StreamSettings:
    """The geometry of a stream, in seconds. Checked against the model by `WindowSchedule.build`."""

    hop: float = 0.1
    """Audio between two calls of the model. Shorter: less delay, more work."""
    context: float = 2.0
    """Audio before the hop that the model hears again with it."""
    lookahead: float | None = None
    """Audio after a frame that is waited for. None: exactly what the model needs (0.3 for one that sees everything)."""
    fps: float | None = None
    """Frames per second that come out, 10 to 120. None: the model's own; others are interpolated from these."""
    emotion_every: float = 0.0
    """Audio between two runs of the emotion encoder of a model that hears each window anew (full attention), 0 to 10.
    0: with each hop, which is exact. Others hear the emotion frame by frame and have no use for it."""


class Window(NamedTuple):
    """One call of the model: it hears samples start..end-1, and commits frames first..stop-1 of the model's grid."""

    start: int
    end: int
    first: int
    stop: int
    base: int
    """The frame that row 0 of the window's result is."""


@dataclass(frozen=True)
class WindowSchedule:
    """The windows of a stream.

    Frame t shows the instant t / fps. Hop k commits `hop_frames` frames as soon as the last one's look-ahead is there::

        audio    |.....................|==================|.........|
                 ^                     ^                  ^         ^
                 start                 k * hop            (k+1)*hop end
                 <------ context ------><----- hop -------><-------->
                                        t  t  t  t  t  t     look-ahead, from the instant of the last frame on
        frames                         first ......... stop-1

    The start is rounded down to a multiple of `align` samples, where the grids of samples, features and frames meet
    (1600 at 30 fps: 3 frames, 5 features): cut there, a window's frames fall on the same instants as the whole
    stream's, so a causal model gives the same numbers. At the beginning of a stream windows start at 0 and grow.

    Args:
        model_fps: frames per second of the model.
        hop_frames: frames per hop.
        context: samples before the hop.
        lookahead: samples from a frame's instant that must be there: indices below floor(t * 16000 / fps) + lookahead.
        align: windows start at multiples of this many samples.
        whole: windows also end at multiples of `align` (models that stretch a window's features to its frames).
        fps: frames per second that come out.
    """

    model_fps: int
    hop_frames: int
    context: int
    lookahead: int
    align: int
    whole: bool
    fps: Fraction

    @classmethod
    def build(cls, settings: StreamSettings, config: Any) -> WindowSchedule:
        """The schedule of `settings` for a model with this configuration (`fps`, `lookahead_samples`, `resampling`).

        Raises ValueError that names the value, what is wrong with it, and the nearest valid ones.
        """
        model_fps = int(config.fps)
        align = math.lcm(_FEATURE_STRIDE, SAMPLE_RATE // math.gcd(SAMPLE_RATE, model_fps))
        whole = getattr(config, "resampling", "grid") != "grid"
        unit = align * model_fps // SAMPLE_RATE if whole else 1
        hop = (
            _steps("hop", settings.hop, Fraction(unit, model_fps), f"{unit} frame{'s' * (unit > 1)} of this model")
            * unit
        )
        context = _steps("context", settings.context, Fraction(align, SAMPLE_RATE), "the frame grid's step") * align
        needed = getattr(config, "lookahead_samples", None)
        if needed is None and context < hop * SAMPLE_RATE // model_fps:
            raise ValueError(
                f"context {settings.context} s must not be shorter than the hop ({settings.hop} s) with a model that "
                "sees the whole window"
            )
        if not 0 <= settings.emotion_every <= 10:
            raise ValueError(f"emotion_every {settings.emotion_every} s: must be 0 (each hop) to 10 s")
        lookahead = _lookahead(settings.lookahead, needed)
        if whole:
            lookahead = -(-lookahead // align) * align
        return cls(model_fps, hop, context, lookahead, align, whole, _output_fps(settings.fps, model_fps))

    @property
    def hop_seconds(self) -> float:
        """Audio between two calls of the model."""
        return self.hop_frames / self.model_fps

    @property
    def lookahead_seconds(self) -> float:
        """Audio after a frame's instant that is waited for."""
        return self.lookahead / SAMPLE_RATE

    @property
    def latency(self) -> float:
        """Longest wait for audio, in seconds, from a frame's instant to the moment its hop can be computed."""
        window = self.window(1)
        return (window.end - self.instant(window.first)) / SAMPLE_RATE

    @property
    def capacity(self) -> int:
        """Samples that the longest window holds."""
        return max(window.end - window.start for window in self._settled())

    @property
    def longest(self) -> int:
        """Frames from the base of a window to the last one it commits, at most."""
        return max(window.stop - window.base for window in self._settled())

    def _settled(self) -> list[Window]:
        """Windows that have their full context, enough of them to show every length there is."""
        first = -(-(self.context + self.align) * self.model_fps // (SAMPLE_RATE * self.hop_frames)) + 1
        return [self.window(hop) for hop in range(first, first + 64)]

    def instant(self, frame: int) -> int:
        """Sample index of a model frame's instant, rounded down."""
        return frame * SAMPLE_RATE // self.model_fps

    def window(self, hop: int) -> Window:
        """The window of hop number `hop` (from 0)."""
        first, stop = hop * self.hop_frames, (hop + 1) * self.hop_frames
        start = max(0, self.instant(first) - self.context) // self.align * self.align
        end = self.instant(stop) + self.lookahead if self.whole else self.instant(stop - 1) + max(self.lookahead, 1)
        return Window(start, end, first, stop, start * self.model_fps // SAMPLE_RATE)

    def frames(self, samples: int) -> int:
        """Model frames of a stream of so many samples: ceil(samples / 16000 * fps)."""
        return -(-samples * self.model_fps // SAMPLE_RATE)

    def output_frames(self, samples: int) -> int:
        """Frames that come out of a stream of so many samples."""
        return math.ceil(samples * self.fps / SAMPLE_RATE)

    def position(self, index: int) -> tuple[int, float]:
        """Output frame `index` on the model's grid: the frame at or before it, and the share of the one after."""
        exact = index * self.model_fps / self.fps
        return exact.numerator // exact.denominator, float(exact % 1)

    def output_at_or_after(self, frame: int) -> int:
        """The first output frame that does not lie before model frame `frame`."""
        return math.ceil(frame * self.fps / self.model_fps)

    def nanoseconds(self, index: int) -> int:
        """Time of output frame `index` after the stream's first sample: round(index * 1e9 / fps)."""
        return round(Fraction(index * 1_000_000_000) / self.fps)


def _steps(name: str, seconds: float, step: Fraction, what: str) -> int:
    """How many steps `seconds` is, if a whole number (to 2 % of a step) and at least one."""
    if not (math.isfinite(seconds) and seconds > 0):
        raise ValueError(f"{name} {seconds} s: must be above 0")
    count = seconds / float(step)
    if abs(count - round(count)) > 0.02 or round(count) < 1:
        below, above = max(1, math.floor(count)), max(1, math.ceil(count))
        nearest = " or ".join(f"{n * float(step):.4g} s" for n in sorted({below, above}))
        raise ValueError(f"{name} {seconds} s: must be a multiple of {float(step):.4g} s ({what}); nearest: {nearest}")
    return round(count)


def _lookahead(seconds: float | None, needed: int | None) -> int:
    """Samples of look-ahead; `needed` None means the model is not bounded (it sees the whole window)."""
    if seconds is None:
        return round(_FULL_LOOKAHEAD * SAMPLE_RATE) if needed is None else needed
    if not (math.isfinite(seconds) and 0 <= seconds <= 10):
        raise ValueError(f"lookahead {seconds} s: must be 0 to 10 s, or unset for what the model needs")
    samples = round(seconds * SAMPLE_RATE)
    if needed is not None and samples < needed:
        raise ValueError(
            f"lookahead {seconds} s: this model needs {needed / SAMPLE_RATE:.4f} s ({needed} samples) or more; "
            "leave it unset for exactly that"
        )
    return samples


def _output_fps(fps: float | None, model_fps: int) -> Fraction:
    if fps is None:
        return Fraction(model_fps)
    if not (math.isfinite(fps) and 10 <= fps <= 120):
        raise ValueError(f"fps {fps}: must be 10 to 120")
    return Fraction(fps).limit_denominator(1001)  # 59.94 is 60000/1001
