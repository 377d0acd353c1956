"""What the messages in a bag mean: type definitions, and audio, coefficients and emotions taken out of them.

Definitions recorded in the bag come first, then the home ones: this package's `msg/*.msg`, ROS 2 Jazzy's own types,
and the audio types of other packages in public use. Two packages share the name `audio_common_msgs`; types that only
one of them has tell which it is, and `AudioInfo` is told by its size.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from emotalk_ros.bags.storage import BagMessage, BagTopic
from emotalk_ros.share import places

AUDIO_CHUNK = "emotalk_ros/msg/AudioChunk"
BLENDSHAPES = "emotalk_ros/msg/BlendshapeCoefficients"
EMOTION = "emotalk_ros/msg/EmotionState"
AUDIO_DATA = "audio_common_msgs/msg/AudioData"
AUDIO_DATA_STAMPED = "audio_common_msgs/msg/AudioDataStamped"
AUDIO_STAMPED = "audio_common_msgs/msg/AudioStamped"
AUDIO_INFO = "audio_common_msgs/msg/AudioInfo"
RAW_AUDIO = "foxglove_msgs/msg/RawAudio"
JOINT_STATE = "sensor_msgs/msg/JointState"
MULTI_ARRAY = "std_msgs/msg/Float64MultiArray"

AUDIO_TYPES = (AUDIO_CHUNK, AUDIO_DATA_STAMPED, AUDIO_STAMPED, AUDIO_DATA, RAW_AUDIO)
"""Audio message types understood, the most telling first."""
COEFFICIENT_TYPES = (BLENDSHAPES, JOINT_STATE, MULTI_ARRAY)
"""Types that can carry reference coefficients: ours, JointState with ARKit names, Float64MultiArray of 52."""

UNKNOWN_DIGEST = "RIHS01_" + "0" * 64
"""Type hash written for a copied topic whose definition nobody knows."""

# Facts of other packages' interfaces: ros-drivers/audio_common (ROS 2 branch), mgonzs13/audio_common, foxglove schemas.
_FOREIGN = {
    # ros-drivers
    AUDIO_DATA: "uint8[] data",
    AUDIO_DATA_STAMPED: "std_msgs/Header header\naudio_common_msgs/AudioData audio",
    AUDIO_INFO: "uint8 channels\nuint32 sample_rate\nstring sample_format\nuint32 bitrate\nstring coding_format",
    RAW_AUDIO: (
        "builtin_interfaces/Time timestamp\nuint8[] data\nstring format\nuint32 sample_rate\nuint32 number_of_channels"
    ),
}
_MGONZS13 = {
    AUDIO_DATA: "float32[] float32_data\nint32[] int32_data\nint16[] int16_data\nint8[] int8_data\nuint8[] uint8_data",
    AUDIO_INFO: "int32 format\nint32 channels\nint32 rate\nint32 chunk",
    "audio_common_msgs/msg/Audio": ("audio_common_msgs/AudioData audio_data\naudio_common_msgs/AudioInfo info"),
    AUDIO_STAMPED: "std_msgs/Header header\naudio_common_msgs/Audio audio",
}


class MessageError(ValueError):
    """A message that can't be decoded, or that lacks what it needs."""


def message_folder() -> Path:
    """The folder with this package's `.msg` files: the source tree's, or the share folder of an installation.

    Raises:
        FileNotFoundError: when there is none, naming the places looked at.
    """
    looked = places("msg")
    for place in looked:
        if (place / "AudioChunk.msg").exists():
            return place
    raise FileNotFoundError(
        f"no AudioChunk.msg in {', '.join(map(str, looked))}; install the package again or source the workspace"
    )


def _store(definitions: dict[str, str]) -> Typestore:
    store = get_typestore(Stores.ROS2_JAZZY)
    types: dict[str, Any] = {}
    for name, text in definitions.items():
        types.update(get_types_from_msg(text, name))
    store.register(types)
    return store


@cache
def home_store() -> Typestore:
    """Type store with ROS 2 Jazzy's types, this package's, and ros-drivers' `audio_common_msgs`."""
    folder = message_folder()
    own = {f"emotalk_ros/msg/{path.stem}": path.read_text() for path in sorted(folder.glob("*.msg"))}
    return _store({**own, **_FOREIGN})


@cache
def mgonzs13_store() -> Typestore:
    """Type store with mgonzs13's `audio_common_msgs`, which shares names with ros-drivers'."""
    return _store(_MGONZS13)


class Decoder:
    """CDR bytes to message objects with named fields; remembers the type store of each topic's definition."""

    def __init__(self) -> None:
        self._stores: dict[tuple[str, str], Typestore | None] = {}

    @property
    def home(self) -> Typestore:
        """The store with this package's own types, for writing."""
        return home_store()

    def _recorded(self, topic: BagTopic) -> Typestore | None:
        """A store made of the definition in the bag, or None when that is absent, incomplete or malformed."""
        key = (topic.msgtype, topic.definition)
        if key not in self._stores:
            store: Typestore | None = None
            if topic.definition:
                try:
                    store = get_typestore(Stores.EMPTY)
                    store.register(_types_of(topic))
                    store.get_msgdef(topic.msgtype)
                except Exception:  # whatever the parser says of a foreign definition, the home one remains
                    store = None
            self._stores[key] = store
        return self._stores[key]

    def _candidates(self, topic: BagTopic) -> Iterator[Typestore]:
        recorded = self._recorded(topic)
        if recorded is not None:
            yield recorded
            return
        if topic.msgtype in home_store().fielddefs:
            yield home_store()
        if topic.msgtype in _MGONZS13:
            yield mgonzs13_store()

    def decode(self, topic: BagTopic, message: BagMessage) -> Any:
        """The message object. Raises MessageError when no known definition fits its bytes."""
        reason = "no definition of this type in the bag or in this package"
        for store in self._candidates(topic):
            try:
                return store.deserialize_cdr(message.data, topic.msgtype)
            except Exception as error:  # rosbags: SerdeError, struct and index errors on cut messages
                reason = str(error) or type(error).__name__
        raise MessageError(f"{topic.name} [{topic.msgtype}]: {reason}")

    def definition(self, topic: BagTopic) -> tuple[str, str]:
        """(definition text, type hash) to write for a copied topic."""
        if topic.definition and topic.digest:
            return topic.definition, topic.digest
        for store in self._candidates(topic):
            if topic.definition:
                return topic.definition, store.hash_rihs01(topic.msgtype)
            return store.generate_msgdef(topic.msgtype, ros_version=2)[0], store.hash_rihs01(topic.msgtype)
        return topic.definition, topic.digest or UNKNOWN_DIGEST


def _types_of(topic: BagTopic) -> dict[str, Any]:
    if not topic.idl:
        return dict(get_types_from_msg(topic.definition, topic.msgtype))
    separator = "=" * 80 + "\n"
    if not topic.definition.startswith(f"{separator}IDL: "):
        return dict(get_types_from_idl(topic.definition))
    types: dict[str, Any] = {}
    for part in topic.definition.split(separator)[1:]:
        types.update(get_types_from_idl(part.split("\n", 1)[1]))
    return types


def time_ns(stamp: Any) -> int:
    """A builtin_interfaces/Time as integer nanoseconds."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def make_time(store: Typestore, stamp_ns: int) -> Any:
    """Nanoseconds as a builtin_interfaces/Time of `store`."""
    sec, nanosec = divmod(stamp_ns, 1_000_000_000)
    return store.types["builtin_interfaces/msg/Time"](sec=sec, nanosec=nanosec)


def make_header(store: Typestore, stamp_ns: int, frame_id: str = "") -> Any:
    """A std_msgs/Header of `store`."""
    return store.types["std_msgs/msg/Header"](stamp=make_time(store, stamp_ns), frame_id=frame_id)
