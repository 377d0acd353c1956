"""The engine: 16 kHz audio in, stamped frames out. Pure: no clock, no thread, no randomness.

Contract (asserted by test/streaming): every frame of the grid n / fps comes out exactly once and in order, with the
same values (1e-5) however the audio was cut; memory does not grow with the length of the stream.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emotalk_ros.audio.activity import BLOCK, SpeechActivity
from emotalk_ros.audio.ring import RingBuffer
from emotalk_ros.motion.finish import Finisher
from emotalk_ros.motion.frame import FaceFrame
from emotalk_ros.streaming.schedule import StreamSettings, Window, WindowSchedule
from emotalk_ros.units import SAMPLE_RATE

Array = NDArray[np.float32]

_ACTIVITY_LOOKAHEAD = 1920  # 120 ms: how long before a sound the face may begin to wake
_EMOTION_SMOOTHING = 0.5  # seconds of speech
_EMOTION_IN_SILENCE = 0.1  # how much a frame of silence counts: what was heard fades slowly
_CONTROL_FADE = 0.2  # seconds over which a change of controls takes hold
_STAMP_TOLERANCE_NS = 100_000_000


class Analysed(Protocol):
    """What a model says about a window: `coefficients` (T, 52), `emotion_probabilities` (T, L)."""

    @property
    def coefficients(self) -> Array:
        """(T, 52)."""
        ...

    @property
    def emotion_probabilities(self) -> Array:
        """(T, L); L may be 0."""
        ...


class FaceModel(Protocol):
    """What the engine asks of a model: `EmoTalk` and the baselines have it."""

    config: Any

    def analyse(
        self, audio: Array, person: Any = 0, level: float = 1.0, emotion: Any = None, **window: Any
    ) -> Analysed:
        """Coefficients and running emotion probabilities of a clip, (ceil(n / 16000 * fps), ...).

        A model whose `stream_memory(frames)` is not None takes besides: `memory`, what that gave for this stream;
        `start`, the stream's frame that the window's frame 0 is; `frames`, how many are wanted.
        """
        ...


@dataclass(frozen=True)
class Controls:
    """Style and emotion; a new one takes hold from the next hop on, faded over 0.2 s."""

    person: Any = 0
    """Personal style: an index, or one weight per person that together sum to 1."""
    level: float = 1.0
    """Intensity, 0..1."""
    emotion: Any = None
    """`model.EmotionControl`; None: the emotion heard."""

    def check(self, model: FaceModel) -> None:
        """Raise ValueError, with the range, when this model cannot follow them."""
        if not 0 <= self.level <= 1:
            raise ValueError(f"level {self.level}: must be 0..1")
        count = int(getattr(model.config, "num_persons", 1))
        if np.ndim(self.person) == 0:
            if self.person != int(self.person) or not 0 <= self.person < count:
                raise ValueError(f"person {self.person}: must be a whole number 0..{count - 1}")
        else:
            weights = np.asarray(self.person, dtype=np.float64)
            if weights.shape != (count,) or not (weights >= 0).all() or abs(weights.sum() - 1) > 1e-3:
                raise ValueError(f"person weights must be {count} numbers, none negative, that sum to 1")
        if getattr(self.emotion, "stretch", False):
            raise ValueError("an emotion clip can be stretched to whole clips only, not to a stream: leave out stretch")


class _PreparedEmotion:
    """An emotion control whose arguments for the model are worked out once, not at every hop."""

    def __init__(self, control: Any, model: FaceModel) -> None:
        self._inputs: dict[str, Any] = control.model_inputs(model)

    def model_inputs(self, model: FaceModel) -> dict[str, Any]:
        """What `EmotionControl.model_inputs` gave."""
        return self._inputs


@dataclass
class EngineStatistics:
    """Counts since the engine was made."""

    samples: int = 0
    hops: int = 0
    skipped_hops: int = 0
    frames: int = 0
    invalid_samples: int = 0
    """NaN or infinite, replaced by silence before the model."""


class Engine:
    """Feeds a model window by window and hands out finished frames.

    Args:
        model: `EmoTalk`, a baseline, or whatever has `config` and `analyse`.
        settings: hop, context, look-ahead, frame rate; checked against the model (ValueError).
        controls: style and emotion.
        finisher: smoothing, limits, rest pose, blinks; its fps must be the stream's. None hands out the model's
            coefficients as they are.
    """

    _prepared: tuple[Controls, _PreparedEmotion | None]
    _origin_ns: int | None
    _hop: int
    _skip: int  # hops still to be left out
    _next: int  # output frame that comes next
    _known: int  # model frame of row 0 of the two below
    _rows: Array
    _heard: Array
    _emotion: Array
    _memory: Any  # the model's own, of this stream
    _active: list[float]
    _active_from: int  # block of the first of them
    _used: Controls | None
    _fade: Array | None
    _fade_left: int

    def __init__(
        self,
        model: FaceModel,
        settings: StreamSettings | None = None,
        controls: Controls | None = None,
        finisher: Finisher | None = None,
    ) -> None:
        self.model = model
        self.settings = settings or StreamSettings()
        self.schedule = WindowSchedule.build(self.settings, model.config)
        if finisher is not None and abs(finisher.fps - self.fps) > 1e-6 * self.fps:
            raise ValueError(f"the finisher runs at {finisher.fps:g} fps, the stream at {self.fps:g} fps")
        self.finisher = finisher
        self.statistics = EngineStatistics()
        self.emotion_labels: tuple[str, ...] = tuple(getattr(model.config, "emotion_labels", ()) or ())
        self._shortest = int(getattr(model.config, "min_samples", 1))
        self.controls = controls or Controls()
        self._ring = RingBuffer(self.schedule.capacity)
        self._activity = SpeechActivity()
        self._weight = np.float32(-np.expm1(-1 / (self.fps * _EMOTION_SMOOTHING)))
        self._clear()

    @property
    def fps(self) -> float:
        """Frames per second that come out."""
        return float(self.schedule.fps)

    @property
    def controls(self) -> Controls:
        """Style and emotion; assign to change them (ValueError when the model cannot follow)."""
        return self._prepared[0]

    @controls.setter
    def controls(self, controls: Controls) -> None:
        controls.check(self.model)
        emotion = None if controls.emotion is None else _PreparedEmotion(controls.emotion, self.model)
        self._prepared = (controls, emotion)

    @property
    def origin_ns(self) -> int | None:
        """Stamp of the stream's first sample; None before it."""
        return self._origin_ns

    def feed(self, samples: ArrayLike, stamp_ns: int | None = None) -> list[FaceFrame]:
        """Take audio (n,), mono 16 kHz; returns the frames whose look-ahead it completes, in order.

        Args:
            samples: NaN and inf count as silence.
            stamp_ns: time of the first sample. It counts for a stream's first audio (None: 0); afterwards it is only
                compared, since the frame grid runs on the count of samples.

        Raises ValueError when the shape is not (n,), or when the stamp shows that audio is missing or doubled:
        `AudioIntake` is what fills and cuts.
        """
        values = self._checked(samples)
        if not len(values):
            return []
        if self._origin_ns is None:
            self._origin_ns = 0 if stamp_ns is None else int(stamp_ns)
        elif stamp_ns is not None:
            self._compare(int(stamp_ns))
        self.statistics.samples += len(values)
        frames: list[FaceFrame] = []
        taken = 0
        while True:
            window = self.schedule.window(self._hop)
            missing = window.end - self._ring.end
            if missing <= 0:
                frames += self._commit(window)
                continue
            if taken == len(values):
                return frames
            piece = values[taken : taken + missing]
            self._ring.append(piece)
            self._remember(self._activity.push(piece))
            taken += len(piece)

    def flush(self, settle: float = 0.0) -> list[FaceFrame]:
        """The stream ends here: commits the frames left, up to ceil(duration * fps) of them, and resets.

        Args:
            settle: seconds of silence to put behind the end first, so that the face comes to rest (0.5 is enough).
        """
        if self._origin_ns is None:
            return []
        frames = self.feed(np.zeros(round(settle * SAMPLE_RATE), dtype=np.float32))
        end = self._ring.end
        total = self.schedule.frames(end)
        while (window := self.schedule.window(self._hop)).first < total:
            frames += self._commit(window._replace(end=end, stop=min(window.stop, total)))
        frames += self._emit(self.schedule.output_frames(end), last=True)
        self.reset()
        return frames

    def reset(self) -> None:
        """Forget the stream; the next audio begins a new one, with frame 0 at its first sample."""
        self._clear()
        self._ring.clear()
        self._activity.reset()
        if self.finisher is not None:
            self.finisher.reset()

    def skip_hops(self, count: int) -> None:
        """Do not compute the next `count` hops: their frames never come, the grid and all stamps stay as they are."""
        if count < 0:
            raise ValueError(f"cannot skip {count} hops")
        self._skip += count

    # -- inside -------------------------------------------------------------------------------------------------------

    def _clear(self) -> None:
        labels = len(self.emotion_labels)
        self._origin_ns = None
        self._hop = self._skip = self._next = self._known = 0
        self._rows = np.zeros((0, 52), dtype=np.float32)
        self._heard = np.zeros((0, labels), dtype=np.float32)
        self._emotion = np.full(labels, 1 / max(1, labels), dtype=np.float32)
        self._active, self._active_from = [], 0
        self._used, self._fade, self._fade_left = None, None, 0
        self._memory = None
        if hasattr(self.model, "stream_memory"):
            self._memory = self.model.stream_memory(self.schedule.longest)

    def _checked(self, samples: ArrayLike) -> Array:
        values = np.asarray(samples, dtype=np.float32)
        if values.ndim != 1:
            raise ValueError(f"expected mono audio of shape (n,), got {values.shape}")
        finite = np.isfinite(values)
        if finite.all():
            return values
        self.statistics.invalid_samples += int(len(values) - np.count_nonzero(finite))
        return np.where(finite, values, np.float32(0.0))

    def _compare(self, stamp_ns: int) -> None:
        assert self._origin_ns is not None
        expected = self._origin_ns + self._ring.end * 1_000_000_000 // SAMPLE_RATE
        if abs(stamp_ns - expected) > _STAMP_TOLERANCE_NS:
            raise ValueError(
                f"audio stamped {stamp_ns} ns follows audio that ended at {expected} ns "
                f"({(stamp_ns - expected) / 1e9:+.3f} s): reset() first, or let AudioIntake fill and cut"
            )

    def _remember(self, blocks: Array) -> None:
        """Keep the activity of as many blocks as the frames of one window can ask for."""
        self._active.extend(blocks.tolist())
        surplus = len(self._active) - (self.schedule.capacity // BLOCK + 2)
        if surplus > 0:
            del self._active[:surplus]
            self._active_from += surplus

    def _commit(self, window: Window) -> list[FaceFrame]:
        """Run one hop (or skip it) and hand out what it completes."""
        self._hop += 1
        if self._skip:
            self._skip -= 1
            self.statistics.skipped_hops += 1
            self._rows, self._heard, self._known = self._rows[:0], self._heard[:0], window.stop
            self._next = max(self._next, self.schedule.output_at_or_after(window.stop))
            self._fade_left = 0
            return []
        self.statistics.hops += 1
        rows, heard = self._infer(window)
        # One frame of the hop before stays, to interpolate from.
        self._rows = np.concatenate([self._rows[-1:], rows])
        self._heard = np.concatenate([self._heard[-1:], heard])
        self._known = window.stop - len(self._rows)
        return self._emit(self.schedule.output_at_or_after(window.stop), last=False)

    def _infer(self, window: Window) -> tuple[Array, Array]:
        """The model's frames first..stop-1: coefficients (n, 52) and emotion probabilities (n, L)."""
        audio = self._ring.read(window.start, window.end)
        if len(audio) < self._shortest:
            audio = np.pad(audio, (0, self._shortest - len(audio)))
        controls, emotion = self._prepared  # one read: another thread may assign controls
        place: dict[str, Any] = {}
        if self._memory is not None:
            place = {"memory": self._memory, "start": window.base, "frames": window.stop - window.base}
        result = self.model.analyse(audio, person=controls.person, level=controls.level, emotion=emotion, **place)
        available = len(result.coefficients) - 1
        take = np.minimum(np.arange(window.first, window.stop) - window.base, available)
        rows = np.asarray(result.coefficients, dtype=np.float32)[take]
        heard = np.asarray(result.emotion_probabilities, dtype=np.float32).reshape(available + 1, -1)[take]
        if self._used is not None and controls is not self._used and len(self._rows) and window.first > window.base:
            before = np.asarray(result.coefficients[window.first - window.base - 1], dtype=np.float32)
            self._fade, self._fade_left = self._rows[-1] - before, self._fade_frames
        self._used = controls
        return self._faded(rows), heard[:, : len(self.emotion_labels)]

    @property
    def _fade_frames(self) -> int:
        return max(1, round(_CONTROL_FADE * self.schedule.model_fps))

    def _faded(self, rows: Array) -> Array:
        """After a change of controls: the difference to what was shown, worn down frame by frame."""
        count = min(self._fade_left, len(rows))
        if not count or self._fade is None:
            return rows
        left = self._fade_left - 1 - np.arange(count, dtype=np.float32)
        self._fade_left -= count
        rows = rows.copy()
        rows[:count] += (left / self._fade_frames)[:, None] * self._fade
        return rows

    def _emit(self, stop: int, last: bool) -> list[FaceFrame]:
        """Output frames from the next one up to `stop` (exclusive) that lie within the model frames known."""
        frames: list[FaceFrame] = []
        newest = self._known + len(self._rows) - 1
        while self._next < stop and len(self._rows):
            index = self._next
            frame, share = self.schedule.position(index)
            if frame < self._known:  # its left neighbour was skipped
                self._next += 1
                continue
            if not last and (frame + (share > 0) > newest):
                break
            at = min(frame, newest) - self._known
            after = min(frame + 1, newest) - self._known
            frames.append(self._frame(index, _mix(self._rows, at, after, share), _mix(self._heard, at, after, share)))
            self._next += 1
        self.statistics.frames += len(frames)
        return frames

    def _frame(self, index: int, coefficients: Array, heard: Array) -> FaceFrame:
        assert self._origin_ns is not None
        activity = self._activity_at(index)
        counts = np.float32(max(activity, _EMOTION_IN_SILENCE))
        self._emotion = self._emotion + self._weight * counts * (heard - self._emotion)
        if self.finisher is not None:
            coefficients = self.finisher.step(coefficients, activity, index)
        stamp = self._origin_ns + self.schedule.nanoseconds(index)
        return FaceFrame(index, stamp, coefficients, activity, self._emotion)

    def _activity_at(self, index: int) -> float:
        """The highest activity from the frame's instant to its look-ahead: a face wakes with the sound, not after."""
        instant = index * SAMPLE_RATE * self.schedule.fps.denominator // self.schedule.fps.numerator
        stop = (instant + min(self.schedule.lookahead, _ACTIVITY_LOOKAHEAD)) // BLOCK
        start = min(instant // BLOCK, stop - 1)
        newest = self._active_from + len(self._active)
        blocks = self._active[max(0, min(start, newest - 1) - self._active_from) : max(0, stop - self._active_from)]
        return max(blocks, default=0.0)


def _mix(rows: Array, at: int, after: int, share: float) -> Array:
    """Row `at`, with `share` of row `after`."""
    if share == 0.0 or after == at:
        return rows[at].copy()
    return rows[at] * np.float32(1 - share) + rows[after] * np.float32(share)
