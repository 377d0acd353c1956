"""Replay of a bag, deterministic mode: the voice fed by recorded stamps, as fast as the machine can.

The same bag, model, settings and seed give the same frames, findings and JSON, byte for byte. The live mode, through
a running node, is in `emotalk_ros.nodes.replay_live`; both end in a `Replay`, which `replay_report` judges.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotalk_ros.audio import AudioFormatError, AudioIntake, Segment
from emotalk_ros.audio.messages import InputSettings
from emotalk_ros.bags import messages as types
from emotalk_ros.bags.bag import Bag
from emotalk_ros.bags.tracks import (
    AudioTrack,
    CoefficientTrack,
    EmotionTrack,
    find_audio,
    find_coefficients,
    read_audio,
    read_coefficients,
    read_emotions,
)
from emotalk_ros.bags.writing import Result
from emotalk_ros.face.names import COUNT
from emotalk_ros.motion import FaceFrame
from emotalk_ros.streaming import FaceStream, Step
from emotalk_ros.streaming.worker import WorkerSettings, duration
from emotalk_ros.units import NS, SAMPLE_RATE


@dataclass(frozen=True)
class Topics:
    """Which topics to use (None: found by type and name), and how the messages of the audio topic are read."""

    audio: str | None = None
    reference: str | None = None
    recorded: str | None = None
    input: InputSettings = field(default_factory=InputSettings)


@dataclass
class Frames:
    """Frames of a replay in order: stamps and the log times at which their audio was complete (T,) in ns.

    coefficients (T, 52), activity (T,), emotion (T, L) with `labels`, sequence (T,) counting from 0 in each stream,
    kind (T,) of `FrameKind`.
    """

    stamp_ns: NDArray[np.int64]
    log_ns: NDArray[np.int64]
    coefficients: NDArray[np.float32]
    activity: NDArray[np.float32]
    emotion: NDArray[np.float32]
    sequence: NDArray[np.int64]
    kind: NDArray[np.uint8]
    labels: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.stamp_ns)

    def track(self, topic: str) -> CoefficientTrack:
        """The same as a track of a topic."""
        return CoefficientTrack(
            topic, self.stamp_ns, self.log_ns, self.coefficients, self.sequence, self.activity, self.kind
        )


@dataclass
class HeardAudio:
    """The audio as the engine saw it: each time line's first stamp and samples, and what the intake counted."""

    lines: list[tuple[int, NDArray[np.float32]]]
    statistics: dict[str, int]
    warnings: list[str]

    @property
    def seconds(self) -> float:
        """Length of all lines together."""
        return sum(len(samples) for _, samples in self.lines) / SAMPLE_RATE

    def longest(self) -> tuple[int, NDArray[np.float32]]:
        """First stamp and samples of the longest line."""
        return max(self.lines, key=lambda line: len(line[1]), default=(0, np.zeros(0, np.float32)))


@dataclass
class Replay:
    """Everything one replay found, before it is judged."""

    frames: Frames
    heard: HeardAudio
    audio: AudioTrack
    recorded: CoefficientTrack | None
    reference: CoefficientTrack | None
    recorded_emotion: EmotionTrack | None
    fps: float
    mode: str = "deterministic"
    settings: dict[str, Any] = field(default_factory=dict)


def read_tracks(
    bag: Bag, topics: Topics
) -> tuple[AudioTrack, CoefficientTrack | None, CoefficientTrack | None, EmotionTrack | None]:
    """Audio, recorded frames, reference frames and recorded emotion of a bag; None for what it does not hold.

    Raises:
        BagError: no audio that can be used, or a topic that was asked for by name is missing.
    """
    audio = read_audio(bag, find_audio(bag, topics.audio), topics.input)
    recorded_topic = find_coefficients(bag, topics.recorded, reference=False)
    reference_topic = find_coefficients(bag, topics.reference, reference=True)
    recorded = read_coefficients(bag, recorded_topic) if recorded_topic else None
    reference = read_coefficients(bag, reference_topic) if reference_topic else None
    emotions = [track for topic in bag.of_type(types.EMOTION) if (track := read_emotions(bag, topic))]
    return audio, recorded, reference, emotions[0] if emotions else None


def segments(track: AudioTrack, intake: AudioIntake, problems: list[str]) -> Iterator[tuple[int, Segment]]:
    """(log time, segment) of a track through the intake; chunks of a broken format end up in `problems`, counted."""
    bad: dict[str, int] = {}
    for chunk, log_ns in zip(track.chunks, track.log_ns, strict=True):
        try:
            ready = intake.push(chunk)
        except AudioFormatError as error:
            bad[str(error)] = bad.get(str(error), 0) + 1
            continue
        for segment in ready:
            yield log_ns, segment
    for segment in intake.flush():
        yield track.log_ns[-1], segment
    problems += [f"{track.topic}: {count} chunks left out: {why}" for why, count in bad.items()]


def run_stream(
    track: AudioTrack,
    voice: FaceStream,
    pauses: WorkerSettings | None = None,
    *,
    until_ns: int = 0,
    progress: Callable[[float], None] | None = None,
) -> tuple[Frames, HeardAudio, list[str]]:
    """Push every chunk of `track` at its log time, as the node's worker does; returns frames, audio as heard, problems.

    Args:
        track: the chunks.
        voice: a fresh stream.
        pauses: after which pause of the chunks a stream ends, whether idle frames follow; None: the node's defaults.
        until_ns: log time of the end of the recording, where that lies behind the last chunk.
        progress: called with the share done, 0 to 1.
    """
    pauses = pauses or WorkerSettings()
    rows: list[tuple[FaceFrame, int]] = []
    lines: list[tuple[int, list[NDArray[np.float32]]]] = []
    bad: Counter[str] = Counter()
    first_ns, last_ns = track.log_ns[0], max(track.log_ns)
    pause_ns: int | None = None  # log time at which the running stream ends
    idle: list[int] = []
    played_ns = 0  # log time until which the audio so far would have been played

    def take(steps: Iterable[Step], log_ns: int) -> bool:
        any_step = False
        for step in steps:
            any_step = True
            if step.begins:
                lines.append((step.stamp_ns, []))
            if len(step.audio):
                lines[-1][1].append(step.audio)
            if step.frames:
                idle.clear()
            rows.extend((frame, log_ns) for frame in step.frames)
        return any_step

    def pause(now_ns: int) -> None:
        """What a node does by itself until `now_ns`."""
        nonlocal pause_ns
        if pause_ns is None or now_ns <= pause_ns:
            return
        take(voice.end_steps(), pause_ns)
        idle.append(pause_ns)
        pause_ns = None

    def idle_frames(now_ns: int) -> None:
        """Frames without audio until `now_ns`; `idle` holds when they began, and one more time for each since then."""
        while idle and (at := idle[0] + round((len(idle) - 1) * NS / voice.fps)) <= now_ns:
            if voice.closed and not pauses.idle:
                idle.clear()
                return
            rows.append((voice.idle(at), at))
            idle.append(at)

    for chunk, log_ns in zip(track.chunks, track.log_ns, strict=True):
        pause(log_ns)
        idle_frames(log_ns)
        due_ns = max(log_ns, played_ns)
        played_ns = due_ns + round(duration(chunk) * NS)
        try:
            if take(voice.steps(chunk), log_ns):
                pause_ns = played_ns + round(pauses.idle_timeout * NS)
        except AudioFormatError as error:
            bad[str(error)] += 1
        if progress is not None:
            progress((log_ns - first_ns) / max(last_ns - first_ns, 1))
    pause(until_ns)
    idle_frames(until_ns)
    take(voice.end_steps(), track.log_ns[-1])
    if progress is not None:
        progress(1.0)
    joined = [(stamp, np.concatenate(parts)) for stamp, parts in lines]
    heard = HeardAudio(joined, voice.intake.as_dict(), voice.take_warnings())
    return _collect(rows), heard, [f"{track.topic}: {count} chunks left out: {why}" for why, count in bad.items()]


def _collect(rows: list[tuple[FaceFrame, int]]) -> Frames:
    frames = [frame for frame, _ in rows]
    labels = len(frames[0].emotion) if frames else 0
    return Frames(
        stamp_ns=np.array([frame.stamp_ns for frame in frames], np.int64),
        log_ns=np.array([log_ns for _, log_ns in rows], np.int64),
        coefficients=np.array([frame.coefficients for frame in frames], np.float32).reshape(len(frames), COUNT),
        activity=np.array([frame.activity for frame in frames], np.float32),
        emotion=np.array([frame.emotion for frame in frames], np.float32).reshape(len(frames), labels),
        sequence=np.array([frame.index for frame in frames], np.int64),
        kind=np.array([frame.kind for frame in frames], np.uint8),
    )


def replay(
    bag: Bag,
    voice: FaceStream,
    *,
    topics: Topics | None = None,
    pauses: WorkerSettings | None = None,
    settings: dict[str, Any] | None = None,
    progress: Callable[[float], None] | None = None,
) -> Replay:
    """Deterministic replay of `bag` through `voice`. Problems are added to `bag.problems`.

    Raises:
        BagError: see `read_tracks`.
    """
    audio, recorded, reference, emotion = read_tracks(bag, topics or Topics())
    until_ns = int(recorded.log_ns.max()) if recorded is not None else 0
    frames, heard, problems = run_stream(audio, voice, pauses, until_ns=until_ns, progress=progress)
    frames.labels = voice.emotion_labels
    bag.problems += [problem for problem in problems if problem not in bag.problems]
    return Replay(frames, heard, audio, recorded, reference, emotion, voice.fps, settings=settings or {})


def bag_digest(bag: Bag, topics: Iterable[str]) -> str:
    """SHA-256 (16 hex digits) over the messages of `topics`: the same recording under any name, storage or path."""
    digest = hashlib.sha256()
    for name in sorted(set(topics)):
        digest.update(name.encode())
        for message in bag.messages({name}):
            digest.update(message.log_ns.to_bytes(8, "little", signed=True))
            digest.update(hashlib.sha256(message.data).digest())
    return digest.hexdigest()[:16]


def results(replayed: Replay, prefix: str = "/replay") -> Iterator[Result]:
    """The replayed frames as messages to merge into a bag: `<prefix>/blendshapes` and `<prefix>/emotion`.

    Stamps are those of the audio; the log time is when the audio that completes a frame had been recorded, so that all
    topics share one clock.
    """
    store = types.package_types()
    frames = replayed.frames
    for k in range(len(frames)):
        stamp, log_ns = int(frames.stamp_ns[k]), int(frames.log_ns[k])
        message = store.types[types.BLENDSHAPES](
            header=types.make_header(store, stamp),
            sequence=k,
            frame=int(frames.sequence[k]),
            kind=int(frames.kind[k]),
            head=np.zeros(3, np.float32),
            speech_activity=float(frames.activity[k]),
            coefficients=frames.coefficients[k].astype(np.float32),
        )
        yield Result(f"{prefix}/blendshapes", types.BLENDSHAPES, log_ns, message)
        if frames.labels and len(frames.labels) == frames.emotion.shape[1]:
            yield Result(f"{prefix}/emotion", types.EMOTION, log_ns, _emotion_message(frames, k, stamp))


def _emotion_message(frames: Frames, k: int, stamp_ns: int) -> Any:
    store = types.package_types()
    probabilities = frames.emotion[k].astype(np.float32)
    return store.types[types.EMOTION](
        header=types.make_header(store, stamp_ns),
        labels=list(frames.labels),
        probabilities=probabilities,
        dominant=frames.labels[int(probabilities.argmax())],
        intensity=1.0,
        blend=0.0,
        source=0,
        heard=probabilities,
        arousal=math.nan,
        valence=math.nan,
        confidence=math.nan,
    )
