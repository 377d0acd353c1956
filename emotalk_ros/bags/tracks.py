"""Tracks in a bag: the audio of a topic as PCM chunks, coefficients and emotions on the clock of the recording."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotalk_ros.audio import AudioFormatError, PcmChunk
from emotalk_ros.audio.messages import (
    AUDIO_INFO,
    AUDIO_TYPES,
    AudioDecoder,
    InputSettings,
    PcmFormat,
    from_time,
)
from emotalk_ros.bags import messages as types
from emotalk_ros.bags.bag import Bag, BagError, BagTopic
from emotalk_ros.bags.messages import MessageError
from emotalk_ros.face.names import ARKIT_NAMES, COUNT, reorder
from emotalk_ros.motion.frame import FrameKind

_MPEG_HEADS = (b"ID3", b"\xff\xfb", b"\xff\xf3", b"\xff\xf2")


@dataclass
class AudioTrack:
    """The chunks of an audio topic and when each was received; `skipped` counts what was left out, by reason."""

    topic: str
    msgtype: str
    chunks: list[PcmChunk] = field(default_factory=list)
    log_ns: list[int] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)


@dataclass
class CoefficientTrack:
    """Frames of a face: stamps (T,) and log times (T,) in ns, coefficients (T, 52).

    `sequence` (T,) numbers the frames of a stream (-1 where the type has no numbers), `kind` (T,) is of `FrameKind`.
    """

    topic: str
    stamp_ns: NDArray[np.int64]
    log_ns: NDArray[np.int64]
    coefficients: NDArray[np.float32]
    sequence: NDArray[np.int64]
    activity: NDArray[np.float32]
    kind: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.stamp_ns)


@dataclass
class EmotionTrack:
    """Emotion over time: stamps (T,) in ns, labels (L,), probabilities (T, L)."""

    topic: str
    stamp_ns: NDArray[np.int64]
    labels: tuple[str, ...]
    probabilities: NDArray[np.float32]


def find_audio(bag: Bag, name: str | None = None) -> BagTopic:
    """The audio topic called `name`, or the fullest one of a known type.

    Raises:
        BagError: names what the bag holds instead.
    """
    if name is not None:
        topic = bag.topics.get(name)
        if topic is None:
            raise BagError(f"no topic {name!r} in {bag.path}; it holds {bag.summary() or 'no topics'}")
        if topic.msgtype not in AUDIO_TYPES:
            raise BagError(f"{name} has type {topic.msgtype}; audio types are {', '.join(AUDIO_TYPES)}")
        if not topic.count:
            raise BagError(f"{name} holds no messages in {bag.path}")
        return topic
    found = sorted(bag.of_type(*AUDIO_TYPES), key=lambda t: AUDIO_TYPES.index(t.msgtype))
    if not found:
        raise BagError(f"no audio in {bag.path}; it holds {bag.summary() or 'no topics'}")
    return found[0]


def read_audio(bag: Bag, topic: BagTopic, settings: InputSettings | None = None) -> AudioTrack:
    """All chunks of `topic`, as a node with these settings hears them.

    For types that carry bare bytes, an `AudioInfo` topic in the bag tells the format, where the settings leave it open:
    its first message holds from the start, as a node that ran before the recording knew it.

    Raises:
        BagError: no message could be used, or the audio is compressed.
    """
    settings = settings or InputSettings()
    track = AudioTrack(topic.name, topic.msgtype)
    decoder = AudioDecoder(topic.msgtype, settings)
    infos = bag.of_type(AUDIO_INFO) if decoder.needs_info else []
    if decoder.needs_info:
        first = next(_decoded(bag, infos), None)
        if first is None:
            decoder = AudioDecoder(topic.msgtype, _guessed(bag, topic, settings))
        else:
            try:
                decoder.declare(first[2])
            except AudioFormatError as error:
                raise BagError(f"{topic.name}: {error}") from None
    for found, log_ns, message in _decoded(bag, [topic, *infos], track.skipped):
        try:
            if found is topic:
                track.chunks.append(decoder.decode(message, log_ns))
                track.log_ns.append(log_ns)
            else:
                decoder.declare(message)
        except AudioFormatError as error:
            if found is topic:
                track.skipped[str(error)] = track.skipped.get(str(error), 0) + 1
            elif f"{found.name}: {error}" not in bag.problems:
                bag.problems.append(f"{found.name}: {error}")
    bag.problems += [f"{topic.name}: {count} messages left out: {why}" for why, count in track.skipped.items()]
    if not track.chunks:
        raise BagError(
            f"no message of {topic.name} could be used: {'; '.join(track.skipped or bag.problems) or 'it is empty'}"
        )
    return track


def _decoded(
    bag: Bag, topics: list[BagTopic], skipped: dict[str, int] | None = None
) -> Iterator[tuple[BagTopic, int, Any]]:
    """(topic, log time, message) of `topics` in the order of the bag; what can't be decoded is counted in `skipped`."""
    by_name = {topic.name: topic for topic in topics}
    if not by_name:
        return
    for message in bag.messages(by_name.keys()):
        topic = by_name[message.topic]
        try:
            yield topic, message.log_ns, bag.decoder.decode(topic, message)
        except MessageError as error:
            if skipped is not None:
                skipped[str(error)] = skipped.get(str(error), 0) + 1


def _guessed(bag: Bag, topic: BagTopic, settings: InputSettings) -> InputSettings:
    """Settings for bytes whose format nobody declared: 16 kHz mono s16le, unless the topic begins like MP3."""
    heads = []
    for _, _, message in _decoded(bag, [topic]):
        heads.append(bytes(np.asarray(getattr(getattr(message, "audio", message), "data", ()), np.uint8)[:3]))
        if len(heads) == 3:
            break
    if heads and all(head.startswith(_MPEG_HEADS) for head in heads):
        raise BagError(f"{topic.name} holds MP3; record with format:=wave, or name another format with --audio-format")
    guess = PcmFormat()
    bag.problems.append(f"no AudioInfo in the bag: audio taken as {guess} (--audio-format changes it)")
    return replace(settings, format=guess)


def read_coefficients(bag: Bag, topic: BagTopic) -> CoefficientTrack:
    """Coefficients of a topic in order of their stamps' arrival; other types than ours are mapped by name.

    Raises:
        BagError: the topic carries no 52 coefficients.
    """
    rows: list[tuple[int, int, NDArray[np.float32], int, float, int]] = []
    bad: dict[str, int] = {}
    for message in bag.messages({topic.name}):
        try:
            decoded = bag.decoder.decode(topic, message)
            rows.append(_frame(topic, decoded, message.log_ns))
        except (MessageError, ValueError) as error:
            bad[str(error)] = bad.get(str(error), 0) + 1
    bag.problems += [f"{topic.name}: {count} frames left out: {why}" for why, count in bad.items()]
    if not rows:
        raise BagError(f"{topic.name} [{topic.msgtype}] holds no frame of 52 coefficients: {'; '.join(bad) or 'empty'}")
    stamps, logs, values, sequence, activity, kind = zip(*rows, strict=True)
    return CoefficientTrack(
        topic.name,
        np.array(stamps, np.int64),
        np.array(logs, np.int64),
        np.stack(values).astype(np.float32),
        np.array(sequence, np.int64),
        np.array(activity, np.float32),
        np.array(kind, np.uint8),
    )


def _frame(topic: BagTopic, message: Any, log_ns: int) -> tuple[int, int, NDArray[np.float32], int, float, int]:
    if topic.msgtype == types.BLENDSHAPES:
        values = np.asarray(message.coefficients, np.float32)
        stamp = from_time(message.header.stamp)
        kind = int(getattr(message, "kind", FrameKind.SPEECH))  # bags of version 0.1 do not tell
        frame = (stamp, log_ns, values, _frame_number(message), float(message.speech_activity), kind)
    elif topic.msgtype == types.JOINT_STATE:
        positions = np.asarray(message.position, np.float32)
        frame = (from_time(message.header.stamp), log_ns, reorder(positions, message.name, ARKIT_NAMES), -1, 1.0, 0)
    else:
        frame = (log_ns, log_ns, np.asarray(message.data, np.float32), -1, 1.0, 0)
    if frame[2].shape != (COUNT,):
        raise ValueError(f"{frame[2].size} values where {COUNT} are expected")
    if not np.isfinite(frame[2]).all():
        raise ValueError("values that are not finite")
    return frame


def _frame_number(message: Any) -> int:
    """The frame's number in its stream; bags of version 0.1 have it in `sequence`."""
    return int(message.frame if hasattr(message, "frame") else message.sequence)


def read_emotions(bag: Bag, topic: BagTopic) -> EmotionTrack | None:
    """Emotion probabilities of a topic of EmotionState, or None when it holds none with a label set."""
    stamps: list[int] = []
    rows: list[NDArray[np.float32]] = []
    labels: tuple[str, ...] = ()
    for message in bag.messages({topic.name}):
        try:
            state = bag.decoder.decode(topic, message)
        except MessageError:
            continue
        labels = labels or tuple(state.labels)
        values = np.asarray(state.probabilities, np.float32)
        if labels and tuple(state.labels) == labels and values.shape == (len(labels),):
            stamps.append(from_time(state.header.stamp))
            rows.append(values)
    if not rows:
        return None
    return EmotionTrack(topic.name, np.array(stamps, np.int64), labels, np.stack(rows))


def find_coefficients(bag: Bag, name: str | None, *, reference: bool) -> BagTopic | None:
    """A topic with coefficients: the one called `name`, else by type and name.

    Topics whose name holds reference, truth or label are references, every other BlendshapeCoefficients topic is the
    recorded output of a node.
    """
    if name is not None:
        if name not in bag.topics:
            raise BagError(f"no topic {name!r} in {bag.path}; it holds {bag.summary() or 'no topics'}")
        return bag.topics[name]
    for topic in bag.of_type(*(types.COEFFICIENT_TYPES if reference else (types.BLENDSHAPES,))):
        if _is_reference(topic.name) == reference:
            return topic
    return None


def _is_reference(name: str) -> bool:
    return any(word in name.lower() for word in ("reference", "truth", "label"))


def sorted_unique(track: CoefficientTrack) -> CoefficientTrack:
    """The track ordered by stamp with every stamp once (the first received wins)."""
    order = np.argsort(track.stamp_ns, kind="stable")
    _, first = np.unique(track.stamp_ns[order], return_index=True)
    keep = order[first]
    return selected(track, keep)


def selected(track: CoefficientTrack, keep: NDArray[np.integer] | NDArray[np.bool_]) -> CoefficientTrack:
    """The frames of a track at the indices, or where the mask, `keep`."""
    return replace(
        track,
        stamp_ns=track.stamp_ns[keep],
        log_ns=track.log_ns[keep],
        coefficients=track.coefficients[keep],
        sequence=track.sequence[keep],
        activity=track.activity[keep],
        kind=track.kind[keep],
    )
