"""Definitions of message types, and the bytes of a message made an object with named fields.

The definition recorded in the bag comes first. Where it is missing: this package's `msg/*.msg`, ROS 2 Jazzy's types,
and the audio types of other packages in public use. Two of them are both named `audio_common_msgs`; where the type
alone does not tell which one was recorded, the definition that fits the bytes does.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from emotalk_ros.audio.messages import (
    AUDIO_DATA,
    AUDIO_DATA_STAMPED,
    AUDIO_INFO,
    AUDIO_STAMPED,
    RAW_AUDIO,
)
from emotalk_ros.bags.storage import BagMessage, BagTopic
from emotalk_ros.share import candidate_paths
from emotalk_ros.units import NS

BLENDSHAPES = "emotalk_ros/msg/BlendshapeCoefficients"
EMOTION = "emotalk_ros/msg/EmotionState"
JOINT_STATE = "sensor_msgs/msg/JointState"
MULTI_ARRAY = "std_msgs/msg/Float64MultiArray"

COEFFICIENT_TYPES = (BLENDSHAPES, JOINT_STATE, MULTI_ARRAY)
"""Types that can carry reference coefficients: ours, JointState with ARKit names, Float64MultiArray of 52."""

UNKNOWN_DIGEST = "RIHS01_" + "0" * 64
"""Type hash written for a copied topic whose definition nobody knows."""

# Interfaces of ros-drivers/audio_common (ROS 2 branch), mgonzs13/audio_common and Foxglove's schemas.
FOREIGN_DEFINITIONS = {
    "ros-drivers": {
        AUDIO_DATA: "uint8[] data",
        AUDIO_DATA_STAMPED: "std_msgs/Header header\naudio_common_msgs/AudioData audio",
        AUDIO_INFO: "uint8 channels\nuint32 sample_rate\nstring sample_format\nuint32 bitrate\nstring coding_format",
    },
    "mgonzs13": {
        AUDIO_DATA: (
            "float32[] float32_data\nint32[] int32_data\nint16[] int16_data\nint8[] int8_data\nuint8[] uint8_data"
        ),
        AUDIO_INFO: "int32 format\nint32 channels\nint32 rate\nint32 chunk",
        "audio_common_msgs/msg/Audio": "audio_common_msgs/AudioData audio_data\naudio_common_msgs/AudioInfo info",
        AUDIO_STAMPED: "std_msgs/Header header\naudio_common_msgs/Audio audio",
    },
    "foxglove": {
        RAW_AUDIO: (
            "builtin_interfaces/Time timestamp\nuint8[] data\nstring format\nuint32 sample_rate\n"
            "uint32 number_of_channels"
        ),
    },
}
"""Definitions of the audio types of other projects: project, type name, fields."""


class MessageError(ValueError):
    """A message that can't be decoded, or that lacks what it needs."""


def message_folder() -> Path:
    """The folder with this package's `.msg` files: the source tree's, or the share folder of an installation.

    Raises:
        FileNotFoundError: when there is none, naming the places looked at.
    """
    looked = candidate_paths("msg")
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
def package_types() -> Typestore:
    """Type store with ROS 2 Jazzy's types, this package's, and ros-drivers' `audio_common_msgs`."""
    folder = message_folder()
    own = {f"emotalk_ros/msg/{path.stem}": path.read_text() for path in sorted(folder.glob("*.msg"))}
    return _store({**own, **FOREIGN_DEFINITIONS["ros-drivers"], **FOREIGN_DEFINITIONS["foxglove"]})


@cache
def mgonzs13_types() -> Typestore:
    """Type store with mgonzs13's `audio_common_msgs`, which shares names with ros-drivers'."""
    return _store(FOREIGN_DEFINITIONS["mgonzs13"])


def type_description(store: Typestore, msgtype: str) -> tuple[str, str]:
    """Definition and type hash (RIHS01) of a type that `store` knows."""
    return store.generate_msgdef(msgtype, ros_version=2)[0], store.hash_rihs01(msgtype)


class CdrDecoder:
    """CDR bytes to message objects with named fields; remembers the type store of each topic's definition."""

    def __init__(self) -> None:
        self._stores: dict[tuple[str, str], Typestore | None] = {}

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
                except Exception:  # whatever the parser says of it, the definitions known here remain
                    store = None
            self._stores[key] = store
        return self._stores[key]

    def _candidates(self, topic: BagTopic) -> Iterator[Typestore]:
        recorded = self._recorded(topic)
        if recorded is not None:
            yield recorded
            return
        if topic.msgtype in package_types().fielddefs:
            yield package_types()
        if topic.msgtype in FOREIGN_DEFINITIONS["mgonzs13"]:
            yield mgonzs13_types()

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
            definition, digest = type_description(store, topic.msgtype)
            return topic.definition or definition, digest
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


def make_time(store: Typestore, stamp_ns: int) -> Any:
    """Nanoseconds as a builtin_interfaces/Time of `store`."""
    sec, nanosec = divmod(stamp_ns, NS)
    return store.types["builtin_interfaces/msg/Time"](sec=sec, nanosec=nanosec)


def make_header(store: Typestore, stamp_ns: int, frame_id: str = "") -> Any:
    """A std_msgs/Header of `store`."""
    return store.types["std_msgs/msg/Header"](stamp=make_time(store, stamp_ns), frame_id=frame_id)


def installed_types(msgtype: str) -> Typestore:
    """A type store that knows `msgtype` and everything in it, from the .msg files of the installed packages.

    Raises:
        LookupError: a definition is not installed here; names the files looked for.
    """
    store = get_typestore(Stores.EMPTY)
    found: dict[str, Any] = {}
    waiting = [msgtype]
    while waiting:
        name = waiting.pop()
        types = get_types_from_msg(_installed_definition(name), name)
        found.update(types)
        waiting += [inner for _, fields in types.values() for inner in _inner_types(fields) if inner not in found]
    store.register(found)
    return store


def _inner_types(fields: Any) -> list[str]:
    """Names of the message types among `fields`: rosbags describes a field as (kind, detail), a name being kind 2."""
    names = []
    for _, (kind, detail) in fields:
        while kind in (3, 4):  # array and sequence: detail is ((kind, detail), length)
            kind, detail = detail[0]
        if kind == 2:
            names.append(detail)
    return names


def _installed_definition(msgtype: str) -> str:
    package, _, name = msgtype.split("/")
    prefixes = [*os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep), sys.prefix]
    files = [Path(prefix) / "share" / package / "msg" / f"{name}.msg" for prefix in prefixes if prefix]
    for file in files:
        if file.exists():
            return file.read_text()
    raise LookupError(f"no definition of {msgtype} is installed here: there is no {', '.join(map(str, files))}")
