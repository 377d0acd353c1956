"""The engine: 16 kHz audio in, stamped frames of the network out. Pure: no clock, no thread, no randomness.

Contract (asserted by test/streaming): every frame of the grid n / fps comes out exactly once and in order, with the
same values (1e-5) however the audio was cut; memory does not grow with the length of the stream.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from emotalk_ros.audio.loudness import LoudnessTracker
from emotalk_ros.audio.pcm import Samples
from emotalk_ros.audio.pitch import WINDOW, pitch
from emotalk_ros.audio.ring import RingBuffer
from emotalk_ros.audio.voice import VoiceSettings
from emotalk_ros.face.names import COUNT
from emotalk_ros.motion.frame import FaceFrame
from emotalk_ros.streaming.emotion import EarListener, RunningEmotion, newest_state
from emotalk_ros.streaming.schedule import StreamSettings, Window, WindowSchedule
from emotalk_ros.units import NS, SAMPLE_RATE

if TYPE_CHECKING:
    from emotalk_ros.model.ear import Ear
    from emotalk_ros.model.ear_stream import StreamingEar

Array = NDArray[np.float32]

_CONTROL_FADE = 0.2  # seconds over which a change of controls takes hold
_STAMP_TOLERANCE_NS = 100_000_000


class Analysed(Protocol):
    """What a model says about a window: `coefficients` (T, 52), `frame_emotion_logits` (T, L).

    A model that makes speech and expression apart has besides `speech` and `expression` (T, 52), at intensity 1.
    """

    @property
    def coefficients(self) -> Array:
        """(T, 52)."""
        ...

    @property
    def frame_emotion_logits(self) -> Array:
        """(T, L) of each frame by itself; L may be 0."""
        ...


class FaceModel(Protocol):
    """What the engine asks of a model: `EmoTalk` and the baselines have it."""

    config: Any

    def analyse(
        self, audio: Array, person: Any = 0, level: float = 1.0, emotion: Any = None, **window: Any
    ) -> Analysed:
        """Coefficients and emotion logits of a clip, (ceil(n / 16000 * fps), ...).

        A model whose `stream_memory(frames, emotion_every)` is not None takes besides: `memory`, what that gave for
        this stream; `start`, the stream's frame that the window's frame 0 is; `frames`, how many are wanted.
        """
        ...


class Request(NamedTuple):
    """What a voice asks of the network: `analyse(audio, **arguments)`, to be answered with what that returns."""

    audio: Array
    """(n,)."""
    arguments: dict[str, Any]


T = TypeVar("T")
Asking = Generator[Request, Analysed, T]
"""Work of one voice that asks the network now and then. Whoever runs it sends the answers: see `streaming.hub`."""


def answered(work: Asking[T], model: FaceModel) -> T:
    """Run the work of one voice by itself; what it returns."""
    try:
        request = next(work)
        while True:
            try:
                answer = model.analyse(request.audio, **request.arguments)
            except Exception as error:
                request = work.throw(error)  # the work may go on without
            else:
                request = work.send(answer)
    except StopIteration as end:
        returned: T = end.value
        return returned


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


class Engine:
    """Feeds a model window by window and hands out its frames, with activity, loudness and the emotion heard.

    Of a model that makes speech and expression apart, `FaceFrame.coefficients` are the speech alone.

    Args:
        model: `EmoTalk`, a baseline, or whatever has `config` and `analyse`.
        settings: hop, context, look-ahead, frame rate; checked against the model (ValueError).
        controls: style and emotion.
        ear: hears the emotion in the states of the model's speech trunk; None: the model's own classifier does.
        voice: what counts as speech.
        watch_speaker: notice that another person speaks, and begin the picture of the speaker anew.
    """

    _prepared: tuple[Controls, _PreparedEmotion | None]
    _origin_ns: int | None
    _hop: int

    def __init__(
        self,
        model: FaceModel,
        settings: StreamSettings | None = None,
        controls: Controls | None = None,
        ear: Ear | StreamingEar | None = None,
        voice: VoiceSettings | None = None,
        watch_speaker: bool = True,
    ) -> None:
        self.model = model
        self.settings = settings or StreamSettings()
        self.schedule = WindowSchedule.build(self.settings, model.config)
        self.statistics = EngineStatistics()
        self.emotion_labels: tuple[str, ...] = tuple(getattr(model.config, "emotion_labels", ()) or ())
        self._ear = None if ear is None else EarListener(ear, self.schedule.model_fps, watch_speaker)
        if self._ear is not None:
            self.emotion_labels = self._ear.labels
        self._shortest = int(getattr(model.config, "min_samples", 1))
        self.controls = controls or Controls()
        self._ring = RingBuffer(self.schedule.capacity)
        self._tracker = LoudnessTracker(self._ring, self.schedule.model_fps, self.schedule.lookahead, voice)
        self._emotion = RunningEmotion(len(self.emotion_labels), self.schedule.model_fps)
        self._fade_frames = max(1, round(_CONTROL_FADE * self.schedule.model_fps))
        self.reset()

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
        self._prepared = (controls, self.check(controls))

    def check(self, controls: Controls) -> _PreparedEmotion | None:
        """What the model makes of an emotion that was asked for. Raises ValueError when it cannot follow `controls`."""
        controls.check(self.model)
        return None if controls.emotion is None else _PreparedEmotion(controls.emotion, self.model)

    @property
    def voice(self) -> VoiceSettings:
        """What counts as speech, with the detector that is at work; another threshold may be assigned."""
        return self._tracker.voice

    @voice.setter
    def voice(self, voice: VoiceSettings) -> None:
        self._tracker.voice = voice

    @property
    def voice_problem(self) -> str:
        """Why another detector than the one asked for is at work; "" where it is not so."""
        return self._tracker.problem

    @property
    def voice_probability(self) -> float | None:
        """Probability of a voice in the newest 32 ms of sound; None where no network listens."""
        return self._tracker.voice_probability

    @property
    def knows_speakers(self) -> bool:
        """Whether a picture of the speaker is kept (there is an ear)."""
        return self._ear is not None

    @property
    def speaker_changes(self) -> int:
        """How often another speaker was noticed."""
        return 0 if self._ear is None else self._ear.speaker_changes

    def reset_speaker(self) -> None:
        """Forget the picture of the speaker."""
        if self._ear is not None:
            self._ear.reset_speaker()

    @property
    def origin_ns(self) -> int | None:
        """Stamp of the stream's first sample; None before it."""
        return self._origin_ns

    @property
    def end_ns(self) -> int:
        """Stamp at which the next sample is expected; 0 before the first."""
        return (self._origin_ns or 0) + self._ring.end * NS // SAMPLE_RATE

    @property
    def skipping(self) -> bool:
        """Whether hops are still to be skipped."""
        return self._skip > 0

    def feed(self, samples: Samples, stamp_ns: int | None = None) -> list[FaceFrame]:
        """Take audio (n,), mono 16 kHz, finite; returns the frames whose look-ahead it completes, in order.

        Args:
            samples: checked by `FaceStream`.
            stamp_ns: time of the first sample. It counts for a stream's first audio (None: 0); afterwards it is only
                compared, since the frame grid runs on the count of samples.

        Raises ValueError when the stamp shows that audio is missing or doubled: `AudioIntake` is what fills and cuts.
        """
        return answered(self.feeding(samples, stamp_ns), self.model)

    def feeding(self, samples: Samples, stamp_ns: int | None = None) -> Asking[list[FaceFrame]]:
        """`feed`, for whoever answers the requests to the network: several voices in one pass."""
        if not len(samples):
            return []
        if self._origin_ns is None:
            self._origin_ns = 0 if stamp_ns is None else int(stamp_ns)
        elif stamp_ns is not None and abs(stamp_ns - self.end_ns) > _STAMP_TOLERANCE_NS:
            raise ValueError(
                f"audio stamped {stamp_ns} ns follows audio that ended at {self.end_ns} ns "
                f"({(stamp_ns - self.end_ns) / NS:+.3f} s): reset() first, or let AudioIntake fill and cut"
            )
        self.statistics.samples += len(samples)
        frames: list[FaceFrame] = []
        taken = 0
        while True:
            window = self.schedule.window(self._hop)
            missing = window.end - self._ring.end
            if missing <= 0:
                frames += yield from self._commit(window)
                continue
            if taken == len(samples):
                return frames
            piece = samples[taken : taken + missing]
            self._ring.append(piece)
            taken += len(piece)

    def flush(self, reset: bool = True) -> list[FaceFrame]:
        """The stream ends here: commits the frames left, up to ceil(duration * fps) of them, and resets.

        Args:
            reset: False leaves that to the caller, so that `pitch_at` can still be asked.
        """
        return answered(self.flushing(reset), self.model)

    def flushing(self, reset: bool = True) -> Asking[list[FaceFrame]]:
        """`flush`, as `feeding` is to `feed`."""
        if self._origin_ns is None:
            return []
        frames: list[FaceFrame] = []
        end = self._ring.end
        total = self.schedule.frames(end)
        while (window := self.schedule.window(self._hop)).first < total:
            frames += yield from self._commit(window._replace(end=end, stop=min(window.stop, total)))
        frames += self._emit(self.schedule.output_frames(end), last=True)
        if reset:
            self.reset()
        return frames

    def reset(self) -> None:
        """Forget the stream; the next audio begins a new one, with frame 0 at its first sample."""
        self._origin_ns = None
        self._hop = 0
        self._skip = 0  # hops still to be left out
        self._next = 0  # output frame that comes next
        self._known = 0  # model frame of row 0 of `_rows`
        self._rows = np.zeros((0, 2 * COUNT + 1 + len(self.emotion_labels) + 3), dtype=np.float32)
        self._split = False  # the model tells speech and expression apart
        self._used: Controls | None = None
        self._fade: Array | None = None
        self._fade_left = 0
        self._memory: Any = None  # the model's own, of this stream
        if hasattr(self.model, "stream_memory"):
            self._memory = self.model.stream_memory(self.schedule.longest, self.settings.emotion_every)
        self._ring.clear()
        self._tracker.reset()
        self._emotion.reset()
        if self._ear is not None:
            self._ear.reset()

    def pitch_at(self, index: int) -> float | None:
        """Pitch of the voice (see `audio.pitch`) around the instant of a frame that came out just now.

        None where nothing is voiced, and for the very last frame of a stream, behind which there is no audio.
        """
        end = self._instant(index) + WINDOW // 2
        start = end - WINDOW
        if start < self._ring.start or end > self._ring.end:
            return None
        return pitch(self._ring.read(start, end))

    def _instant(self, index: int) -> int:
        """Sample of an output frame's instant, rounded down."""
        fps = self.schedule.fps
        return index * SAMPLE_RATE * fps.denominator // fps.numerator

    def skip_hops(self, count: int) -> None:
        """Do not compute the next `count` hops: their frames never come, the grid and all stamps stay as they are."""
        if count < 0:
            raise ValueError(f"cannot skip {count} hops")
        self._skip += count

    # -- inside -------------------------------------------------------------------------------------------------------

    def _commit(self, window: Window) -> Asking[list[FaceFrame]]:
        """Run one hop (or skip it) and hand out what it completes."""
        self._hop += 1
        self._tracker.follow()
        loudness = self._tracker.loudness(window.stop)
        if self._skip:
            self._skip -= 1
            self.statistics.skipped_hops += 1
            self._rows, self._known = self._rows[:0], window.stop
            self._next = max(self._next, self.schedule.output_at_or_after(window.stop))
            self._fade_left = 0
            return []
        self.statistics.hops += 1
        parts, heard = yield from self._infer(window)
        rows = np.column_stack([parts, loudness, heard])
        # One frame of the hop before stays, to interpolate from.
        self._rows = np.concatenate([self._rows[-1:], rows.astype(np.float32)])
        self._known = window.stop - len(self._rows)
        return self._emit(self.schedule.output_at_or_after(window.stop), last=False)

    def _infer(self, window: Window) -> Asking[tuple[Array, Array]]:
        """The model's frames first..stop-1: speech beside expression (n, 104), and what was heard (n, L + 3)."""
        audio = self._ring.read(window.start, window.end)
        if len(audio) < self._shortest:
            audio = np.pad(audio, (0, self._shortest - len(audio)))
        controls, emotion = self._prepared  # one read: another thread may assign controls
        place: dict[str, Any] = {}
        if self._memory is not None:
            place = {"memory": self._memory, "start": window.base, "frames": window.stop - window.base}
        asked = {"person": controls.person, "level": controls.level, "emotion": emotion, **place}
        result = yield Request(audio, asked)
        available = len(result.coefficients) - 1
        take = np.minimum(np.arange(window.first, window.stop) - window.base, available)
        parts = self._parts(result)
        rows = parts[take]
        if not np.isfinite(rows).all():
            raise FloatingPointError("the network gave coefficients that are not numbers")
        heard = self._heard(result, window, take)
        if self._used is not None and controls is not self._used and len(self._rows) and window.first > window.base:
            before = parts[window.first - window.base - 1]
            self._fade, self._fade_left = self._rows[-1, : 2 * COUNT] - before, self._fade_frames
        self._used = controls
        return self._faded(rows), heard

    def _heard(self, result: Analysed, window: Window, take: NDArray[np.integer]) -> Array:
        """Probabilities, arousal, valence, confidence (n, L + 3) of the window's frames; NaN where nobody tells."""
        frames = range(window.first, window.stop)
        states = getattr(result, "features", None)
        if self._ear is not None and states is not None:
            ahead = int(getattr(self.model.config, "lookahead_samples", 0) or 0)
            return self._ear.push(states, newest_state(window.end, ahead), self._samples, frames)
        logits = np.asarray(result.frame_emotion_logits, dtype=np.float32).reshape(len(result.coefficients), -1)[take]
        activity = np.array([self._tracker.activity(self.schedule.instant(k)) for k in frames])
        unknown = np.full((len(activity), 3), np.nan, dtype=np.float32)
        return np.column_stack([self._emotion.push(logits, activity), unknown])

    def _samples(self, start: int, stop: int) -> Array:
        """Samples of the stream, silence where there are none any more, or not yet."""
        first, last = max(start, self._ring.start), min(stop, self._ring.end)
        out = np.zeros(stop - start, dtype=np.float32)
        if first < last:
            out[first - start : last - start] = self._ring.read(first, last)
        return out

    def _parts(self, result: Analysed) -> Array:
        """Speech beside expression, (T, 104); the latter is 0 where a model does not tell it apart."""
        speech: Array = getattr(result, "speech", None)  # type: ignore[assignment]
        expression: Array = getattr(result, "expression", None)  # type: ignore[assignment]
        self._split = speech is not None and expression is not None
        if not self._split:
            speech, expression = result.coefficients, np.zeros_like(result.coefficients)
        return np.concatenate([speech, expression], axis=1, dtype=np.float32)

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
            frame, share = self.schedule.position(self._next)
            if frame < self._known:  # its left neighbour was skipped
                self._next += 1
                continue
            if not last and (frame + (share > 0) > newest):
                break
            row = self._rows[min(frame, newest) - self._known]
            if share > 0.0 and frame < newest:
                row = row * np.float32(1 - share) + self._rows[frame + 1 - self._known] * np.float32(share)
            frames.append(self._frame(self._next, row))
            self._next += 1
        self.statistics.frames += len(frames)
        return frames

    def _frame(self, index: int, row: Array) -> FaceFrame:
        assert self._origin_ns is not None
        return FaceFrame(
            index=index,
            stamp_ns=self._origin_ns + self.schedule.nanoseconds(index),
            coefficients=row[:COUNT].copy(),
            activity=self._tracker.activity(self._instant(index)),
            loudness=float(row[2 * COUNT]),
            emotion=row[2 * COUNT + 1 : -3].copy(),
            arousal=float(row[-3]),
            valence=float(row[-2]),
            confidence=float(row[-1]),
            expression=row[COUNT : 2 * COUNT].copy() if self._split else None,
        )
