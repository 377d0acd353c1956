"""Tracks in a bag: the audio of a topic as PCM chunks, coefficients and emotions on the clock of the recording."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotalk_ros.audio import PcmChunk
from emotalk_ros.bags import messages as types
from emotalk_ros.bags.bag import Bag, BagError, BagTopic
from emotalk_ros.face.names import ARKIT_NAMES, COUNT, reorder

# PortAudio's flags, which mgonzs13's AudioInfo carries, and the sequence that then holds the samples.
_PORTAUDIO = {1: ("float32_data", "f32le", "<f4"), 2: ("int32_data", "s32le", "<i4"), 8: ("int16_data", "s16le", "<i2")}
_PORTAUDIO_BYTES = {16: ("int8_data", "s8", "i1"), 32: ("uint8_data", "u8", "u1")}
_FORMATS = {**_PORTAUDIO, **_PORTAUDIO_BYTES}


@dataclass(frozen=True)
class AudioFormat:
    """What a message type that only carries bytes leaves open."""

    encoding: str = "s16le"
    channels: int = 1
    sample_rate: int = 16000


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
    """Frames of a face: stamps (T,) and log times (T,) in ns, coefficients (T, 52), sequence numbers (T,) or -1."""

    topic: str
    stamp_ns: NDArray[np.int64]
    log_ns: NDArray[np.int64]
    coefficients: NDArray[np.float32]
    sequence: NDArray[np.int64]
    activity: NDArray[np.float32]

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
        if topic.msgtype not in types.AUDIO_TYPES:
            raise BagError(f"{name} has type {topic.msgtype}; audio types are {', '.join(types.AUDIO_TYPES)}")
        if not topic.count:
            raise BagError(f"{name} holds no messages in {bag.path}")
        return topic
    found = sorted(bag.of_type(*types.AUDIO_TYPES), key=lambda t: types.AUDIO_TYPES.index(t.msgtype))
    if not found:
        raise BagError(f"no audio in {bag.path}; it holds {bag.summary() or 'no topics'}")
    return found[0]


def read_audio(bag: Bag, topic: BagTopic, fallback: AudioFormat | None = None) -> AudioTrack:
    """All chunks of `topic`. What an `AudioInfo` topic in the bag says is used for types that carry bytes only."""
    track = AudioTrack(topic.name, topic.msgtype)
    form = fallback
    if topic.msgtype in (types.AUDIO_DATA, types.AUDIO_DATA_STAMPED) and fallback is None:
        form = _info(bag)
    for message in bag.messages({topic.name}):
        try:
            chunk = _chunk(topic, bag.decoder.decode(topic, message), message.log_ns, form or AudioFormat())
        except types.MessageError as error:
            track.skipped[str(error)] = track.skipped.get(str(error), 0) + 1
            continue
        track.chunks.append(chunk)
        track.log_ns.append(message.log_ns)
    bag.problems += [f"{topic.name}: {count} messages left out: {why}" for why, count in track.skipped.items()]
    if not track.chunks:
        raise BagError(f"no message of {topic.name} could be used: {'; '.join(track.skipped) or 'it is empty'}")
    return track


def _info(bag: Bag) -> AudioFormat:
    """The format that ros-drivers' AudioInfo announces, or 16 kHz mono s16le with a remark."""
    for topic in bag.of_type(types.AUDIO_INFO):
        for message in bag.messages({topic.name}):
            try:
                info = bag.decoder.decode(topic, message)
            except types.MessageError:
                continue
            if hasattr(info, "coding_format"):
                if info.coding_format not in ("wave", ""):
                    raise BagError(f"{topic.name} says the audio is {info.coding_format}; record it with format:=wave")
                return AudioFormat(
                    str(info.sample_format or "S16LE").lower(), int(info.channels), int(info.sample_rate)
                )
    bag.problems.append(
        "no AudioInfo in the bag: audio taken as s16le, 1 channel, 16000 Hz (--audio-format changes it)"
    )
    return AudioFormat()


def _chunk(topic: BagTopic, message: Any, log_ns: int, form: AudioFormat) -> PcmChunk:
    """The chunk in a message. Without a stamp it is placed by the time at which it came in."""
    if topic.msgtype == types.AUDIO_CHUNK:
        stamp, encoding = types.time_ns(message.header.stamp), str(message.encoding)
        form = AudioFormat(encoding, int(message.channels), int(message.sample_rate))
        return PcmChunk(message.data.tobytes(), form.encoding, form.channels, form.sample_rate, stamp, log_ns)
    if topic.msgtype == types.AUDIO_STAMPED:
        return _mgonzs13(message.audio, types.time_ns(message.header.stamp), log_ns)
    if topic.msgtype == types.RAW_AUDIO:
        stamp, encoding = types.time_ns(message.timestamp), str(message.format)
        form = AudioFormat(encoding, int(message.number_of_channels), int(message.sample_rate))
        return PcmChunk(message.data.tobytes(), form.encoding, form.channels, form.sample_rate, stamp, log_ns)
    stamped = hasattr(message, "header")
    payload = message.audio if stamped else message
    if not hasattr(payload, "data"):
        raise types.MessageError("AudioData without a data field: mgonzs13's audio is read from AudioStamped")
    data = payload.data.tobytes()
    if data.startswith(b"ID3") or data[:2] in (b"\xff\xfb", b"\xff\xf3", b"\xff\xf2"):
        raise types.MessageError("MP3 data; record with format:=wave")
    stamp = types.time_ns(message.header.stamp) if stamped else 0
    return PcmChunk(data, form.encoding, form.channels, form.sample_rate, stamp, log_ns)


def _mgonzs13(audio: Any, stamp_ns: int, log_ns: int) -> PcmChunk:
    info = audio.info
    if int(info.format) not in _FORMATS:
        known = ", ".join(map(str, _FORMATS))
        raise types.MessageError(f"PortAudio format {info.format}; understood are {known}")
    name, encoding, dtype = _FORMATS[int(info.format)]
    samples = np.asarray(getattr(audio.audio_data, name)).astype(dtype)
    return PcmChunk(samples.tobytes(), encoding, int(info.channels), int(info.rate), stamp_ns, log_ns)


def read_coefficients(bag: Bag, topic: BagTopic) -> CoefficientTrack:
    """Coefficients of a topic in order of their stamps' arrival; other types than ours are mapped by name.

    Raises:
        BagError: the topic carries no 52 coefficients.
    """
    rows: list[tuple[int, int, NDArray[np.float32], int, float]] = []
    bad: dict[str, int] = {}
    for message in bag.messages({topic.name}):
        try:
            decoded = bag.decoder.decode(topic, message)
            rows.append(_frame(topic, decoded, message.log_ns))
        except (types.MessageError, ValueError) as error:
            bad[str(error)] = bad.get(str(error), 0) + 1
    bag.problems += [f"{topic.name}: {count} frames left out: {why}" for why, count in bad.items()]
    if not rows:
        raise BagError(f"{topic.name} [{topic.msgtype}] holds no frame of 52 coefficients: {'; '.join(bad) or 'empty'}")
    stamps, logs, values, sequence, activity = zip(*rows, strict=True)
    return CoefficientTrack(
        topic.name,
        np.array(stamps, np.int64),
        np.array(logs, np.int64),
        np.stack(values).astype(np.float32),
        np.array(sequence, np.int64),
        np.array(activity, np.float32),
    )


def _frame(topic: BagTopic, message: Any, log_ns: int) -> tuple[int, int, NDArray[np.float32], int, float]:
    if topic.msgtype == types.BLENDSHAPES:
        values = np.asarray(message.coefficients, np.float32)
        stamp = types.time_ns(message.header.stamp)
        frame = (stamp, log_ns, values, _frame_number(message), float(message.speech_activity))
    elif topic.msgtype == types.JOINT_STATE:
        positions = np.asarray(message.position, np.float32)
        frame = (types.time_ns(message.header.stamp), log_ns, reorder(positions, message.name, ARKIT_NAMES), -1, 1.0)
    else:
        frame = (log_ns, log_ns, np.asarray(message.data, np.float32), -1, 1.0)
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
        except types.MessageError:
            continue
        labels = labels or tuple(state.labels)
        values = np.asarray(state.probabilities, np.float32)
        if labels and tuple(state.labels) == labels and values.shape == (len(labels),):
            stamps.append(types.time_ns(state.header.stamp))
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
    return replace(
        track,
        stamp_ns=track.stamp_ns[keep],
        log_ns=track.log_ns[keep],
        coefficients=track.coefficients[keep],
        sequence=track.sequence[keep],
        activity=track.activity[keep],
    )
