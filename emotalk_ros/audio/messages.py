"""The one decoder of audio messages: a message of any supported type in, a `PcmChunk` out. Knows nothing of ROS.

A message is any object with the right fields: as received through rclpy, or as read from a bag by rosbags. The node
and the replay of bags both use this module, so that the same messages give the same audio with the same stamps.

======================================  =================  =========================================================
message type                            its stamp means    what it carries
======================================  =================  =========================================================
`emotalk_ros/AudioChunk`                the first sample   stamp, rate, channels and encoding
`foxglove_msgs/RawAudio`                the first sample   stamp, rate, channels and encoding
`audio_common_msgs/AudioStamped`        the first sample   mgonzs13's: typed samples with their format, stamped
`audio_common_msgs/AudioDataStamped`    the end            ros-drivers': bytes and a stamp; `AudioInfo` has the format
`audio_common_msgs/AudioData`           (arrival: the end) ros-drivers': bytes alone; `AudioInfo` has the format
======================================  =================  =========================================================

**Which end a stamp means** (`stamp_of`): `auto` takes the table. All nodes of mgonzs13's audio_common (capturer, speech
synthesis, music) read the clock before a chunk is captured or played; its Python capturer, before November 2024, read
it afterwards: that one needs `end`. ros-drivers' audio_capture reads the clock when a block is complete. Both stamp
with the jitter of their threads, which `CaptureClock` takes out.

**Which format bare bytes have** is decided once for a stream, by what is declared first: the settings, or else
`AudioInfo`. Bytes are never searched for a format.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from emotalk_ros.audio.capture import CaptureClock
from emotalk_ros.audio.intake import PcmChunk, unstamped_begin
from emotalk_ros.audio.pcm import AudioFormatError, frame_bytes
from emotalk_ros.audio.timeline import STAMPS
from emotalk_ros.units import NS

AUDIO_CHUNK = "emotalk_ros/msg/AudioChunk"
AUDIO_DATA = "audio_common_msgs/msg/AudioData"
AUDIO_DATA_STAMPED = "audio_common_msgs/msg/AudioDataStamped"
AUDIO_STAMPED = "audio_common_msgs/msg/AudioStamped"
AUDIO_INFO = "audio_common_msgs/msg/AudioInfo"
RAW_AUDIO = "foxglove_msgs/msg/RawAudio"

AUDIO_TYPES = (AUDIO_CHUNK, AUDIO_DATA_STAMPED, AUDIO_STAMPED, AUDIO_DATA, RAW_AUDIO)
"""Message types that `AudioDecoder` understands; those that tell most about their audio come first."""
BARE_TYPES = (AUDIO_DATA, AUDIO_DATA_STAMPED)
"""Types whose messages do not tell the format of their bytes."""
STAMP_OF = ("auto", "begin", "end")
"""What a stamp may mean: `auto` by message type, the first sample of the chunk, or the instant after its last."""

_STAMPED_WHEN_PUBLISHED = (AUDIO_STAMPED, AUDIO_DATA_STAMPED, AUDIO_DATA)
_STAMPED_AT_THE_END = (AUDIO_DATA_STAMPED, AUDIO_DATA)

# PortAudio's sample formats, which mgonzs13's AudioInfo.format names: the field of the samples, encoding, numpy's type.
_PORTAUDIO = {
    1: ("float32_data", "f32le", "<f4"),
    2: ("int32_data", "s32le", "<i4"),
    8: ("int16_data", "s16le", "<i2"),
    16: ("int8_data", "s8", "i1"),
    32: ("uint8_data", "u8", "u1"),
}


@dataclass(frozen=True)
class PcmFormat:
    """What bare bytes mean."""

    encoding: str = "s16le"
    """One of `ENCODINGS`, or another package's spelling of it."""
    channels: int = 1
    """Interleaved channels."""
    sample_rate: int = 16_000
    """Hz."""

    def __str__(self) -> str:
        return f"{self.encoding}, {self.channels} channel(s), {self.sample_rate} Hz"


@dataclass(frozen=True)
class InputSettings:
    """How the messages of a topic are understood: the node's parameters `audio.*`, and the options of replay.

    Raises:
        ValueError: a word that is none of those allowed.
    """

    stamp_of: str = "auto"
    """One of `STAMP_OF`."""
    stamps: str = "auto"
    """One of `STAMPS`, see `audio.timeline`."""
    format: PcmFormat | None = None
    """The format of bare bytes; None: as `AudioInfo` declares it."""

    def __post_init__(self) -> None:
        for name, value, allowed in (("stamp_of", self.stamp_of, STAMP_OF), ("stamps", self.stamps, STAMPS)):
            if value not in allowed:
                raise ValueError(f"{name} {value!r}: use one of {', '.join(allowed)}")


def from_time(stamp: Any) -> int:
    """A `builtin_interfaces/Time` in nanoseconds."""
    return int(stamp.sec) * NS + int(stamp.nanosec)


class AudioDecoder:
    """Decodes the messages of one topic.

    Args:
        msgtype: one of `AUDIO_TYPES`.
        settings: which end of a chunk its stamp means, and the format of bare bytes.

    Raises:
        AudioFormatError: no such type.
    """

    def __init__(self, msgtype: str, settings: InputSettings | None = None) -> None:
        if msgtype not in AUDIO_TYPES:
            raise AudioFormatError(
                f"{msgtype} carries no audio that is understood; use one of {', '.join(AUDIO_TYPES)}"
            )
        self.msgtype = msgtype
        self.settings = settings or InputSettings()
        self._declared = self.settings.format
        self._refusal = ""
        self._clock: CaptureClock | None = None
        self._clock_rate = 0

    @property
    def needs_info(self) -> bool:
        """Whether nothing can be decoded before `declare` was called with an `AudioInfo`."""
        return self.msgtype in BARE_TYPES and self._declared is None

    def declare(self, info: Any) -> None:
        """Take ros-drivers' `AudioInfo`, the format of the bytes that follow. Another format begins another stream.

        Raises:
            AudioFormatError: compressed audio, or a format that contradicts the settings, which are then kept.
        """
        try:
            coding = str(info.coding_format).strip().lower()
            declared = PcmFormat(str(info.sample_format).strip().lower(), int(info.channels), int(info.sample_rate))
        except AttributeError as error:
            raise AudioFormatError(
                f"AudioInfo without the fields of ros-drivers' audio_common_msgs ({error})"
            ) from None
        compressed = coding not in ("wave", "wav", "")
        wanted = self.settings.format
        if wanted is not None:
            if compressed or declared != wanted:
                found = coding if compressed else str(declared)
                raise AudioFormatError(f"AudioInfo says {found}, the settings say {wanted}: the settings are used")
            return
        if compressed:
            self._refusal = (
                f"the audio is coded as {coding}, which is not understood here: start audio_capture with format:=wave"
            )
            raise AudioFormatError(self._refusal)
        self._refusal, self._declared = "", declared

    def decode(self, message: Any, arrival_ns: int = 0) -> PcmChunk:
        """The audio of a message.

        Args:
            message: an object with the fields of `msgtype`.
            arrival_ns: when it came in, on the clock of the stamps; stands in for a missing stamp. 0: unknown.

        Raises:
            AudioFormatError: its format is unknown or compressed, or a field is missing; names value and remedy.
        """
        try:
            if self.msgtype == AUDIO_CHUNK:
                form = PcmFormat(str(message.encoding), int(message.channels), int(message.sample_rate))
                return self._chunk(_bytes(message.data), form, from_time(message.header.stamp), arrival_ns)
            if self.msgtype == RAW_AUDIO:
                form = PcmFormat(str(message.format), int(message.number_of_channels), int(message.sample_rate))
                return self._chunk(_bytes(message.data), form, from_time(message.timestamp), arrival_ns)
            if self.msgtype == AUDIO_STAMPED:
                data, form = _typed_samples(message.audio)
                return self._chunk(data, form, from_time(message.header.stamp), arrival_ns)
            stamped = self.msgtype == AUDIO_DATA_STAMPED
            data = _bytes((message.audio if stamped else message).data)
            stamp = from_time(message.header.stamp) if stamped else 0
        except AttributeError as error:
            raise AudioFormatError(
                f"a message without the fields of {self.msgtype} ({error}): two packages are named audio_common_msgs; "
                "audio.type must name a type of the one that publishes"
            ) from None
        return self._chunk(data, self._bare_format(), stamp, arrival_ns)

    def _bare_format(self) -> PcmFormat:
        if self._refusal:
            raise AudioFormatError(self._refusal)
        if self._declared is None:
            raise AudioFormatError(
                "the format of the audio is not known yet: nothing came on the topic audio_info "
                "(remap it, or set audio.sample_rate, audio.channels and audio.encoding)"
            )
        return self._declared

    def _chunk(self, data: bytes, form: PcmFormat, stamp: int, arrival_ns: int) -> PcmChunk:
        begin = self._begin(stamp, len(data), form, arrival_ns)
        return PcmChunk(data, form.encoding, form.channels, form.sample_rate, begin, arrival_ns)

    def _begin(self, stamp: int, size: int, form: PcmFormat, arrival_ns: int) -> int:
        """Capture time of the first sample; 0 where neither stamp nor arrival tells it, or the format is nonsense."""
        jitters = self.msgtype in _STAMPED_WHEN_PUBLISHED or self.settings.stamp_of == "end"
        measured = stamp or (arrival_ns if jitters else 0)
        try:
            samples = size // frame_bytes(form.encoding, form.channels)
        except AudioFormatError:
            return 0  # the intake refuses the chunk, with the reason
        if not measured or form.sample_rate <= 0:
            return 0
        if self._means_end(stamped=bool(stamp)):
            seconds = samples / form.sample_rate
            measured = measured - samples * NS // form.sample_rate if stamp else unstamped_begin(measured, seconds)
        if not jitters:
            return measured
        if self._clock is None or self._clock_rate != form.sample_rate:
            self._clock, self._clock_rate = CaptureClock(form.sample_rate), form.sample_rate
        return self._clock.stamp(measured, samples)

    def _means_end(self, stamped: bool) -> bool:
        if self.settings.stamp_of != "auto":
            return self.settings.stamp_of == "end"
        return not stamped or self.msgtype in _STAMPED_AT_THE_END


def _typed_samples(audio: Any) -> tuple[bytes, PcmFormat]:
    """The samples and format of mgonzs13's `Audio`."""
    info = audio.info
    if int(info.format) not in _PORTAUDIO:
        known = ", ".join(f"{number} ({name})" for number, (_, name, _) in _PORTAUDIO.items())
        raise AudioFormatError(f"unknown audio format {info.format}; PortAudio's are {known}")
    name, encoding, dtype = _PORTAUDIO[int(info.format)]
    data = np.asarray(getattr(audio.audio_data, name)).astype(dtype, copy=False).tobytes()
    return data, PcmFormat(encoding, int(info.channels), int(info.rate))


def _bytes(data: Any) -> bytes:
    """The bytes of a field `uint8[]`: an array.array, a numpy array, bytes, or a list where it was set by hand."""
    return bytes(data) if isinstance(data, (bytes, bytearray, memoryview, list)) else data.tobytes()
