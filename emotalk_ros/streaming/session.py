"""One voice: audio of any form in, finished frames out. What the node, replay, `animate` and evaluation all use."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emotalk_ros.audio.files import ABSURD
from emotalk_ros.audio.intake import AudioIntake, IntakeStatistics, PcmChunk, Segment
from emotalk_ros.audio.leveller import Level, Leveller
from emotalk_ros.audio.pcm import Samples, finite
from emotalk_ros.audio.timeline import TimelineSettings
from emotalk_ros.audio.voice import VoiceSettings
from emotalk_ros.face.names import BLINK, COUNT, LOWER_FACE
from emotalk_ros.motion.frame import FaceFrame, FrameKind
from emotalk_ros.motion.pipeline import CLOSING_SECONDS, MotionPipeline, MotionSettings, closing_frames, ease
from emotalk_ros.motion.stage import FrameContext
from emotalk_ros.streaming.commands import EmotionOrders
from emotalk_ros.streaming.engine import Analysed, Controls, Engine, EngineStatistics, FaceModel, Request
from emotalk_ros.streaming.schedule import StreamSettings, WindowSchedule
from emotalk_ros.units import NS, SAMPLE_RATE

if TYPE_CHECKING:
    from emotalk_ros.model.ear_stream import StreamingEar

OFFLINE_CAUSAL = StreamSettings(hop=20.0, context=10.0)
OFFLINE_FULL = StreamSettings(hop=10.0, context=10.0, lookahead=2.0)
DEFAULT_MOTION = MotionSettings()
DEFAULT_EAR = "free"
"""The ear that ships with a free licence."""
BLEND_SECONDS = 0.2
"""From the face that was shown without audio to the first frames of a stream."""
_LOG = logging.getLogger(__name__)
_CLOSING = np.concatenate([LOWER_FACE, BLINK])
_NOTHING: Samples = np.zeros(0, dtype=np.float32)


@dataclass(frozen=True)
class Step:
    """A piece of audio that the stream took, and the frames that it completed."""

    audio: Samples
    """(n,) mono 16 kHz as the network hears it; n may be 0 at the end of a stream."""
    stamp_ns: int
    """Time of its first sample."""
    frames: list[FaceFrame]
    begins: bool = False
    """The audio is the first of a new stream."""
    ends: bool = False
    """The frames are the last of a stream."""


Work = Generator[Request | Step, Analysed | None, None]
"""Work of one voice: yields requests to the network, each to be answered, and steps, to be answered with None."""


class FaceStream:
    """One voice: owns its intake, its engine and its motion pipeline. Several voices may share a model.

    No clock, no thread: the frames depend on the audio alone, and not on how it was cut. This is where audio is
    checked: NaN and infinite samples become silence, and are counted in `intake`.

    Args:
        model: `EmoTalk`, a baseline, or whatever has `config` and `analyse`.
        settings: hop, context, look-ahead, frame rate; checked against the model (ValueError).
        controls: style and emotion.
        motion: settings of the stages; None hands out the network's coefficients as they are.
        stamps: what the stamps of chunks are good for: auto, capture, publish or none (see `audio.timeline.STAMPS`).
        channel: which channel of chunks to listen to: mix, left, right, loudest, or a number counted from 0; None: mix.
        levelling: amplify chunks of quiet speech slowly (see `audio.leveller`).
        live: an emotion that was asked for by name stays when nobody speaks; False (recordings): it fades.
        ear: name or folder of the ear that hears the emotion, where the network has a speech trunk; "": the network's
            own classifier. The default ear is used where it is there.
        voice: what counts as speech, so that the mouth may move. Where the detector's weights cannot be had, the level
            decides alone: `voice_problem`.
        watch_speaker: notice that another person speaks, and begin the picture of the speaker anew.
    """

    def __init__(
        self,
        model: FaceModel,
        settings: StreamSettings | None = None,
        controls: Controls | None = None,
        motion: MotionSettings | None = DEFAULT_MOTION,
        *,
        stamps: str = "auto",
        channel: str | int | None = None,
        levelling: bool = True,
        live: bool = False,
        ear: str = DEFAULT_EAR,
        voice: VoiceSettings | None = None,
        watch_speaker: bool = True,
    ) -> None:
        self._live = live
        self._engine = Engine(model, settings, ear=ear_of(model, ear), voice=voice, watch_speaker=watch_speaker)
        self.orders = EmotionOrders()
        """Emotions asked for at an instant of the audio; between them holds the emotion of `controls`."""
        # A gap as long as the context leaves nothing to go on from.
        gap = self._engine.settings.context
        self._leveller = Leveller(levelling)
        self._intake = AudioIntake(TimelineSettings(max_gap=gap, stamps=stamps), channel, leveller=self._leveller)
        self._pipeline = None if motion is None else MotionPipeline(motion, self.fps)
        self.controls = controls or Controls()
        if motion is not None:  # tables that stages make when first asked are made now, not in the first hop
            empty = np.zeros(len(self.emotion_labels), np.float32)
            MotionPipeline(motion, self.fps).step(FaceFrame(0, 0, np.zeros(COUNT, np.float32), 1.0, empty))
        self._piece = max(1, round(self.schedule.hop_seconds * SAMPLE_RATE))
        self._heard: FaceFrame | None = None  # the last frame made from audio, before the stages
        self._shown: FaceFrame | None = None  # the last frame handed out
        self._idle = 0  # frames without audio since
        self._new = True  # the next frame made from audio is the first of its stream
        self._blend_from: NDArray[np.float32] | None = None
        self._blended = 0

    @property
    def model(self) -> FaceModel:
        """The network. Another one of the same kind may be assigned between two streams."""
        return self._engine.model

    @model.setter
    def model(self, model: FaceModel) -> None:
        self._engine.model = model
        self.reset()
        self._ask_network(self._controls)

    @property
    def fps(self) -> float:
        """Frames per second that come out."""
        return self._engine.fps

    @property
    def schedule(self) -> WindowSchedule:
        """Hop, look-ahead and context as they came out."""
        return self._engine.schedule

    @property
    def emotion_labels(self) -> tuple[str, ...]:
        """Names of the frames' `emotion`."""
        return self._engine.emotion_labels

    @property
    def controls(self) -> Controls:
        """Style and emotion; assign from any thread (ValueError when the model cannot follow): see `Controls`.

        Assigning forgets the `orders`: the last word counts.
        """
        return self._controls

    @controls.setter
    def controls(self, controls: Controls) -> None:
        self._ask_network(controls)
        self._controls = controls
        self.orders.clear()

    @property
    def motion(self) -> MotionSettings | None:
        """Settings of the stages; may be assigned between two steps, unless the stream was made without stages."""
        return None if self._pipeline is None else self._pipeline.settings

    @motion.setter
    def motion(self, settings: MotionSettings) -> None:
        if self._pipeline is None:
            raise ValueError("this stream was made without motion stages")
        shown = settings.expression.share > 0, self._pipeline.settings.expression.share > 0
        self._pipeline.settings = settings
        if shown[0] != shown[1]:
            self.controls = self._controls

    @property
    def voice(self) -> VoiceSettings:
        """What counts as speech, with the detector that is at work; another threshold may be assigned between two
        steps.
        """
        return self._engine.voice

    @voice.setter
    def voice(self, voice: VoiceSettings) -> None:
        self._engine.voice = voice

    @property
    def voice_problem(self) -> str:
        """Why another detector than the one asked for is at work; "" where it is not so."""
        return self._engine.voice_problem

    @property
    def voice_probability(self) -> float | None:
        """Probability of a voice in the newest 32 ms of sound; None where no network listens."""
        return self._engine.voice_probability

    @property
    def open(self) -> bool:
        """Whether a stream is under way: audio came since the last end."""
        return self._engine.origin_ns is not None

    @property
    def skipping(self) -> bool:
        """Whether hops are still to be skipped."""
        return self._engine.skipping

    @property
    def statistics(self) -> EngineStatistics:
        """Counts of samples, hops and frames."""
        return self._engine.statistics

    @property
    def intake(self) -> IntakeStatistics:
        """Counts of gaps, repairs and refusals of the audio."""
        return self._intake.statistics

    @property
    def level(self) -> Level:
        """How loud the chunks of the last 10 s were, and by how much they are amplified."""
        return self._leveller.level

    def take_warnings(self) -> list[str]:
        """What was repaired in the audio since the last call, readable, for a throttled log."""
        return self._intake.take_warnings()

    def push(self, audio: PcmChunk | ArrayLike, stamp_ns: int | None = None) -> list[FaceFrame]:
        """Take audio; returns the frames that it completes, in order. See `steps`."""
        return [frame for step in self.steps(audio, stamp_ns) for frame in step.frames]

    def steps(self, audio: PcmChunk | ArrayLike, stamp_ns: int | None = None) -> Iterator[Step]:
        """Take audio piece by piece, at most a hop each; what is not iterated over is not heard.

        Args:
            audio: a stamped chunk of any format (gaps, overlaps and jumps of its stamps are treated by `AudioIntake`),
                or (n,) mono 16 kHz samples, full scale +-1, that follow what came before.
            stamp_ns: of samples: time of the first one. It counts at the beginning of a stream (None: 0).

        Raises:
            AudioFormatError: a chunk that cannot be understood; it counts as lost, the stream goes on.
            ValueError: samples that are not (n,), or whose stamp does not follow the audio before them.
        """
        return self._alone(self.work(audio, stamp_ns))

    def work(self, audio: PcmChunk | ArrayLike, stamp_ns: int | None = None) -> Work:
        """`steps`, for whoever answers the requests to the network: several voices in one pass (`streaming.hub`)."""
        if not isinstance(audio, PcmChunk):
            yield from self._pieces(self._checked(audio), stamp_ns)
            return
        yield from self._segments(self._intake.push(audio))

    def end(self) -> list[FaceFrame]:
        """The stream is over: the frames left, up to ceil(duration * fps) of them. The next audio begins another."""
        return [frame for step in self.end_steps() for frame in step.frames]

    def end_steps(self) -> Iterator[Step]:
        """`end`, piece by piece."""
        return self._alone(self.end_work())

    def end_work(self) -> Work:
        """`end_steps`, as `work` is to `steps`."""
        yield from self._segments(self._intake.flush())
        yield from self._finish()

    def _alone(self, work: Work) -> Iterator[Step]:
        """The steps of work whose requests the network answers one by one."""
        answer: Analysed | None = None
        with suppress(StopIteration):
            while True:
                item = work.send(answer)
                answer = None
                if isinstance(item, Step):
                    yield item
                else:
                    answer = self._engine.model.analyse(item.audio, **item.arguments)

    @property
    def closed(self) -> bool:
        """Whether the mouth is at rest and no blink is half done: the next frame without audio closes nothing."""
        blinking = self._pipeline is not None and self._pipeline.blinking
        return self._heard is None or (self._idle + 1 >= CLOSING_SECONDS * self.fps and not blinking)

    def tail(self, seconds: float) -> list[FaceFrame]:
        """Frames that close a recording, after `end`: within `seconds` the mouth comes to rest and the lids open.

        The last one has mouth and lids at rest exactly; no blink begins in them. None for 0 s.
        """
        if self._pipeline is not None:
            self._pipeline.finish_blinks()
        count, frames = round(seconds * self.fps) if self._heard is not None else 0, []
        for k in range(1, count + 1):
            frame = self.idle()
            coefficients = frame.coefficients.copy()
            coefficients[_CLOSING] *= np.float32(ease(1.0 - k / count))
            frames.append(replace(frame, coefficients=coefficients, kind=FrameKind.CLOSING))
        return frames

    def idle(self, stamp_ns: int = 0) -> FaceFrame:
        """One frame without audio, on the grid after the last one: the mouth comes to rest within 0.3 s, then the face
        blinks, holds the emotion that was asked for, and rests. For live use, once a frame while no audio comes.

        Args:
            stamp_ns: audio time of the frame where nothing was shown before; afterwards the grid goes on.
        """
        if self._heard is None:  # as if the mouth had come to rest just before
            self._idle = round(CLOSING_SECONDS * self.fps)
            emotion = np.full(len(self.emotion_labels), 1 / max(1, len(self.emotion_labels)), np.float32)
            before = stamp_ns - round((self._idle + 1) * NS / self.fps)
            self._heard = FaceFrame(-1 - self._idle, before, np.zeros(COUNT, np.float32), 0.0, emotion)
        heard = self._heard
        self._idle += 1
        left = np.float32(ease(1.0 - self._idle / (CLOSING_SECONDS * self.fps)))
        frame = replace(
            heard,
            index=heard.index + self._idle,
            stamp_ns=heard.stamp_ns + round(self._idle * NS / self.fps),
            coefficients=heard.coefficients * left,
            expression=None if heard.expression is None else heard.expression * left,
            activity=0.0,
            loudness=0.0,
            kind=FrameKind.CLOSING if left > 0 else FrameKind.IDLE,
        )
        if self._pipeline is not None:
            frame = self._pipeline.step(frame, self._context(frame.stamp_ns, heard=False))
        self._shown = frame
        return frame

    def order(self, control: Any, at_ns: int | None = None, transition: float = 0.3, hold: float = 0.0) -> None:
        """Ask for an emotion at an instant of the audio, from any thread; see `EmotionOrders.give`.

        Raises ValueError when the model cannot show it.
        """
        controls = self.controls if control is None else replace(self.controls, emotion=control)
        self._engine.check(self._of_network(controls))
        if at_ns is None:  # the network follows from the next hop on
            self._ask_network(controls)
        self.orders.give(control, at_ns, transition, hold)

    @property
    def emotion_in_force(self) -> Any:
        """`EmotionControl` of the last frame: of the orders, or else of `controls`; None: the emotion heard."""
        order = self.orders.current
        return self.controls.emotion if order is None or order.control is None else order.control

    @property
    def knows_speakers(self) -> bool:
        """Whether the model keeps a picture of the speaker."""
        return self._engine.knows_speakers

    @property
    def speaker_changes(self) -> int:
        """How often another speaker was noticed, and his picture begun anew."""
        return self._engine.speaker_changes

    def reset_speaker(self) -> None:
        """Forget the picture of the speaker: somebody else speaks from now on."""
        self._engine.reset_speaker()

    def closing(self, seconds: float = 0.0) -> list[FaceFrame]:
        """Frames that bring the whole face to rest from what was shown last, `seconds` ago: before a face is left."""
        last, self._shown = self._shown, None
        return [] if last is None else closing_frames(last, self.fps, seconds)

    def skip(self, hops: int) -> None:
        """Do not compute the next hops: their frames never come, all others and their stamps stay what they are."""
        self._engine.skip_hops(hops)

    def reset(self) -> None:
        """Forget the stream; the next audio begins a new one."""
        self._engine.reset()
        self._new = True

    def _ask_network(self, controls: Controls) -> None:
        self._engine.controls = self._of_network(controls)
        self._asked = controls.emotion

    def _of_network(self, controls: Controls) -> Controls:
        """What the network is asked for where the expression stage shows the emotion: never an intensity but 1.

        A network that does not tell speech and expression apart is asked for neutral speech when an emotion was chosen
        by name: the stage shows that emotion, and the lips say the same in all of them.
        """
        control = controls.emotion
        if control is None or self._pipeline is None or self._pipeline.settings.expression.share == 0:
            return controls
        model = self._engine.model
        if control.labels and not getattr(model, "splits_expression", False):
            if not bool(getattr(model, "prototypes_set", True)):
                return replace(controls, emotion=None)
            return replace(controls, emotion=replace(control, labels={"neutral": 1.0}, intensity=1.0))
        return replace(controls, emotion=replace(control, intensity=1.0))

    def _checked(self, audio: ArrayLike) -> Samples:
        samples = np.asarray(audio, dtype=np.float32)
        if samples.ndim != 1:
            raise ValueError(f"expected mono audio of shape (n,), got {samples.shape}")
        samples, bad = finite(samples)
        absurd = np.abs(samples) > ABSURD
        if absurd.any():  # no sound; a single one would drown all others
            samples, bad = np.where(absurd, np.float32(0.0), samples), bad + int(absurd.sum())
        self._intake.statistics.invalid_samples += bad
        return samples

    def _segments(self, segments: Iterable[Segment]) -> Work:
        for segment in segments:
            if segment.reset:
                yield from self._finish()
            yield from self._pieces(segment.samples, segment.stamp_ns)

    def _pieces(self, samples: Samples, stamp_ns: int | None) -> Work:
        for at in range(0, len(samples), self._piece):
            piece, begins = samples[at : at + self._piece], not self.open
            frames = yield from self._engine.feeding(
                piece, None if stamp_ns is None else stamp_ns + at * NS // SAMPLE_RATE
            )
            stamp = self._engine.end_ns - len(piece) * NS // SAMPLE_RATE
            yield Step(piece, stamp, self._moved(frames), begins)

    def _finish(self) -> Work:
        if self.open:
            end_ns = self._engine.end_ns
            frames = self._moved((yield from self._engine.flushing(reset=False)))
            self.reset()
            yield Step(_NOTHING, end_ns, frames, ends=True)

    def _context(self, stamp_ns: int, heard: bool) -> FrameContext:
        """What the stages want to know of the frame at `stamp_ns`: the emotion asked for is that of its instant."""
        controls, order = self.controls, self.orders.at(stamp_ns)
        if order is not None and order.control is not None:
            controls = replace(controls, emotion=order.control)
        if controls.emotion is not self._asked:  # the network follows from the next hop on
            self._ask_network(controls)
        return FrameContext(
            self.fps,
            1,
            self.emotion_labels,
            controls.emotion,
            controls.person,
            controls.level,
            transition=None if order is None else order.transition,
            stays=self._live,
            **({"pitch": self._engine.pitch_at} if heard else {}),
        )

    def _moved(self, frames: list[FaceFrame]) -> list[FaceFrame]:
        """Frames made from audio through the stages."""
        if not frames:
            return frames
        if self._new:
            self._begin()
        self._heard, self._idle = frames[-1], 0
        if self._pipeline is None:
            frames = [_summed(frame, self.controls) for frame in frames]
        else:
            frames = [self._blended_in(self._pipeline.step(f, self._context(f.stamp_ns, heard=True))) for f in frames]
        self._shown = frames[-1]
        return frames

    def _begin(self) -> None:
        """The stages begin anew with each stream; a face that was shown meanwhile goes over into it."""
        self._new = False
        shown = self._shown
        self._blend_from = shown.coefficients if shown is not None and shown.kind is FrameKind.IDLE else None
        self._blended = 0
        if self._pipeline is not None:
            self._pipeline.reset()

    def _blended_in(self, frame: FaceFrame) -> FaceFrame:
        if self._blend_from is None:
            return frame
        self._blended += 1
        left = np.float32(ease(1.0 - self._blended / (BLEND_SECONDS * self.fps)))
        mixed = frame.coefficients + left * (self._blend_from - frame.coefficients)
        if left == 0.0:
            self._blend_from = None
        return replace(frame, coefficients=mixed)


def _summed(frame: FaceFrame, controls: Controls) -> FaceFrame:
    """Speech and expression together, where a model gives them apart."""
    if frame.expression is None:
        return frame
    intensity = 1.0 if controls.emotion is None else controls.emotion.intensity
    both = np.clip(frame.coefficients + np.float32(intensity) * frame.expression, 0.0, 1.0)
    return replace(frame, coefficients=both)


def ear_of(model: FaceModel, name: str) -> StreamingEar | None:
    """The ear called `name` (or in that folder) for a model with a speech trunk; None where there is none to use.

    Raises `model.ear_config.EarError` where another ear than the default is asked for and cannot be had.
    """
    if not name or getattr(model, "trunk", None) is None:
        return None
    from emotalk_ros.model.ear_config import EarError

    try:
        return _loaded_ear(name)
    except EarError as error:
        if name != DEFAULT_EAR:
            raise
        _LOG.warning("no ear listens, the network tells the emotion by itself: %s", error)
        return None


@lru_cache(maxsize=8)
def _loaded_ear(name: str) -> StreamingEar:
    from emotalk_ros.model.ear_stream import load_streaming_ear

    return load_streaming_ear(name)


def offline_settings(model: FaceModel, fps: float | None = None) -> StreamSettings:
    """Long hops and a long context: clips up to one hop are one pass of the model, longer ones need no more memory."""
    causal = getattr(model.config, "lookahead_samples", None) is not None
    best = OFFLINE_CAUSAL if causal else OFFLINE_FULL
    return StreamSettings(best.hop, best.context, best.lookahead, fps)


def animate(
    model: FaceModel,
    audio: Samples | Iterable[Samples],
    controls: Controls | None = None,
    motion: MotionSettings | None = DEFAULT_MOTION,
    fps: float | None = None,
    settings: StreamSettings | None = None,
    voice: VoiceSettings | None = None,
    tail: float = 0.0,
    ear: str = DEFAULT_EAR,
) -> Iterator[FaceFrame]:
    """Frames of a recording, ceil(duration * fps) of them (and those of the tail), as they are ready.

    Args:
        model: see `FaceStream`.
        audio: mono 16 kHz samples (n,), or pieces of them.
        controls: style and emotion.
        motion: settings of the stages; None leaves the network's coefficients as they are.
        fps: frames per second; None: the model's.
        settings: another geometry, for instance the live one; `fps` is then ignored.
        voice: what counts as speech.
        tail: seconds in which the face comes to rest afterwards, see `FaceStream.tail`.
        ear: see `FaceStream`.
    """
    stream = FaceStream(model, settings or offline_settings(model, fps), controls, motion, ear=ear, voice=voice)
    for piece in [audio] if isinstance(audio, np.ndarray) else audio:
        yield from stream.push(piece)
    yield from stream.end()
    yield from stream.tail(tail)
