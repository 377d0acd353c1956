"""Audio of several message types, made one: each listener turns its messages into `PcmChunk`s.

Two unrelated packages are both named `audio_common_msgs`. They are imported only when asked for, and told apart by
what they contain:

===================================  =========================================================================
`audio.type`                         what arrives
===================================  =========================================================================
`emotalk_ros/AudioChunk`             this package's own: stamp, rate, channels and encoding in every message
`audio_common_msgs/AudioData`        ros-drivers: bytes alone; format from `audio_info` or parameters
`audio_common_msgs/AudioDataStamped` ros-drivers: bytes and a stamp; format likewise
`audio_common_msgs/AudioStamped`     mgonzs13: samples and their format, stamped
===================================  =========================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any, Protocol

from emotalk_ros.audio import AudioFormatError, PcmChunk, frame_bytes
from emotalk_ros.audio.capture import CaptureClock
from emotalk_ros.msg import AudioChunk
from emotalk_ros.nodes.messages import from_time
from emotalk_ros.units import NS

AUDIO_TYPES = (
    "emotalk_ros/AudioChunk",
    "audio_common_msgs/AudioData",
    "audio_common_msgs/AudioDataStamped",
    "audio_common_msgs/AudioStamped",
)
"""What the parameter `audio.type` may say."""


class AudioTypeError(RuntimeError):
    """The audio type can't be had here; the message says why and what helps."""


class AudioNotUnderstood(ValueError):
    """A message that can't be turned into audio; the message names the value and the remedy."""


@dataclass(frozen=True)
class PcmFormat:
    """What bare bytes mean: Hz, interleaved channels, encoding."""

    sample_rate: int
    channels: int
    encoding: str


class AudioListener(Protocol):
    """One message type: `message_type` to subscribe with, `info_type` of a second topic or None."""

    message_type: type
    info_type: type | None

    def chunk(self, message: Any, arrival_ns: int) -> PcmChunk:
        """The audio of a message that arrived at `arrival_ns`. Raises AudioNotUnderstood."""
        ...

    def on_info(self, message: Any) -> None:
        """Take a message of the info topic. Raises AudioNotUnderstood."""
        ...


def make_listener(audio_type: str, fallback: PcmFormat | None = None) -> AudioListener:
    """The listener for one of `AUDIO_TYPES`.

    Args:
        audio_type: the value of the parameter `audio.type`.
        fallback: the format of bare bytes until (or instead of) a message on the info topic.

    Raises:
        AudioTypeError: the package is not installed, or it is the other package of that name.
    """
    if audio_type == "emotalk_ros/AudioChunk":
        return ChunkListener()
    package = _audio_common_msgs(audio_type)
    name = audio_type.split("/")[1]
    if name == "AudioStamped":
        if not hasattr(package, "AudioStamped"):
            raise AudioTypeError(
                _other_package(audio_type, "mgonzs13's", "ros-drivers'", "AudioDataStamped or AudioData")
            )
        return FloatListener(package.AudioStamped)
    if not hasattr(package, "AudioData") or not hasattr(package.AudioData(), "data"):
        raise AudioTypeError(_other_package(audio_type, "ros-drivers'", "mgonzs13's", "AudioStamped"))
    if not hasattr(package, name):
        raise AudioTypeError(f"the installed audio_common_msgs has no {name}; use audio_common_msgs/AudioData")
    return BytesListener(getattr(package, name), getattr(package, "AudioInfo", None), fallback)


def _audio_common_msgs(audio_type: str) -> ModuleType:
    try:
        return import_module("audio_common_msgs.msg")
    except ImportError as error:
        raise AudioTypeError(
            f"audio.type is {audio_type}, but the package audio_common_msgs can't be imported ({error}): install it "
            "(apt install ros-$ROS_DISTRO-audio-common-msgs, or build it) and source its workspace"
        ) from error


def _other_package(audio_type: str, wanted: str, found: str, use: str) -> str:
    return (
        f"audio.type is {audio_type}, of {wanted} audio_common_msgs, but {found} is installed here; "
        f"use audio_common_msgs/{use}, or source the workspace of the other"
    )


class ChunkListener:
    """This package's AudioChunk."""

    info_type = None

    def __init__(self) -> None:
        self.message_type: type = AudioChunk

    def chunk(self, message: Any, arrival_ns: int) -> PcmChunk:
        """As it says."""
        return PcmChunk(
            data=_bytes(message.data),
            encoding=message.encoding,
            channels=message.channels,
            sample_rate=message.sample_rate,
            stamp_ns=from_time(message.header.stamp),
            arrival_ns=arrival_ns,
        )

    def on_info(self, message: Any) -> None:
        """There is no info topic."""


class BytesListener:
    """ros-drivers' AudioData and AudioDataStamped: bytes whose format comes on `audio_info`.

    audio_capture stamps a block when it publishes it, that is at the block's end, with the scheduler's jitter.
    """

    def __init__(self, message_type: type, info_type: type | None, fallback: PcmFormat | None) -> None:
        self.message_type = message_type
        self.info_type = info_type
        self._stamped = hasattr(message_type(), "header")
        self._format = fallback
        self._refused: str | None = None
        self._clock: CaptureClock | None = None

    def on_info(self, message: Any) -> None:
        """Take the format; compressed sound is refused, as everything that follows will be."""
        coding = str(message.coding_format).strip().lower()
        if coding not in ("wave", "wav", ""):
            self._refused = (
                f"the audio is coded as {message.coding_format}, which is not understood here; "
                "start audio_capture with format:=wave"
            )
            raise AudioNotUnderstood(self._refused)
        self._refused = None
        found = PcmFormat(int(message.sample_rate), int(message.channels), str(message.sample_format).strip().lower())
        if found != self._format:
            self._format, self._clock = found, None

    def chunk(self, message: Any, arrival_ns: int) -> PcmChunk:
        """The bytes with the format heard last."""
        if self._refused:
            raise AudioNotUnderstood(self._refused)
        if self._format is None:
            raise AudioNotUnderstood(
                "the format of the audio is not known yet: nothing heard on the topic audio_info "
                "(remap it, or set audio.sample_rate, audio.channels and audio.encoding)"
            )
        audio = message.audio if self._stamped else message
        data = _bytes(audio.data)
        published = from_time(message.header.stamp) if self._stamped else 0
        form = self._format
        return PcmChunk(
            data,
            form.encoding,
            form.channels,
            form.sample_rate,
            self._begin(published or arrival_ns, len(data)),
            arrival_ns,
        )

    def _begin(self, end_ns: int, size: int) -> int:
        """Capture time of the first sample of a block that ended at `end_ns`; 0 when its format makes no sense."""
        form = self._format
        assert form is not None
        try:
            samples = size // frame_bytes(form.encoding, form.channels)
        except AudioFormatError:
            return 0  # the intake refuses it, with the reason
        if form.sample_rate <= 0:
            return 0
        if self._clock is None:
            self._clock = CaptureClock(form.sample_rate)
        return self._clock.stamp(end_ns - samples * NS // form.sample_rate, samples)


# PortAudio's sample formats, as mgonzs13's AudioInfo.format carries them
_PORTAUDIO = {
    1: ("float32_data", "f32le"),
    2: ("int32_data", "s32le"),
    8: ("int16_data", "s16le"),
    16: ("int8_data", "s8"),
    32: ("uint8_data", "u8"),
}


class FloatListener:
    """mgonzs13's AudioStamped: typed samples with their format; stamped when published, at the block's end."""

    info_type = None

    def __init__(self, message_type: type) -> None:
        self.message_type = message_type
        self._clock: CaptureClock | None = None
        self._rate = 0

    def on_info(self, message: Any) -> None:
        """There is no info topic."""

    def chunk(self, message: Any, arrival_ns: int) -> PcmChunk:
        """The samples of the array that the format names."""
        info = message.audio.info
        if info.format not in _PORTAUDIO:
            known = ", ".join(f"{number} ({name})" for number, (_, name) in _PORTAUDIO.items())
            raise AudioNotUnderstood(f"unknown audio format {info.format}; PortAudio's are {known}")
        field, encoding = _PORTAUDIO[info.format]
        samples = getattr(message.audio.audio_data, field)
        stamp = self._begin(from_time(message.header.stamp) or arrival_ns, len(samples), info)
        return PcmChunk(_bytes(samples), encoding, int(info.channels), int(info.rate), stamp, arrival_ns)

    def _begin(self, end_ns: int, count: int, info: Any) -> int:
        if info.rate <= 0 or info.channels <= 0:
            return 0  # the intake refuses it, with the reason
        if self._clock is None or info.rate != self._rate:
            self._clock, self._rate = CaptureClock(info.rate), info.rate
        samples = count // info.channels
        return self._clock.stamp(end_ns - samples * NS // info.rate, samples)


def _bytes(data: Any) -> bytes:
    """The raw bytes of a received array (an array.array, or a list where fields were set by hand)."""
    return bytes(data) if isinstance(data, (bytes, bytearray, list)) else data.tobytes()
