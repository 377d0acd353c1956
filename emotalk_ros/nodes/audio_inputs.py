"""Message classes for the parameter `audio.type`, imported only when they are asked for.

What the messages mean is decided in `emotalk_ros.audio.messages`. Two unrelated packages are both named
`audio_common_msgs`; they are told apart by what they contain.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from types import ModuleType

from emotalk_ros.audio.messages import AUDIO_CHUNK, AUDIO_INFO, AUDIO_STAMPED, AUDIO_TYPES, BARE_TYPES, RAW_AUDIO

TYPE_NAMES = tuple(name.replace("/msg/", "/") for name in AUDIO_TYPES)
"""What the parameter `audio.type` may say."""
_INSTALL = {
    "audio_common_msgs": "apt install ros-$ROS_DISTRO-audio-common-msgs, or build it",
    "foxglove_msgs": "apt install ros-$ROS_DISTRO-foxglove-msgs",
    "emotalk_ros": "build this package",
}


class AudioTypeError(RuntimeError):
    """The audio type can't be had here; the message says why and what helps."""


@dataclass(frozen=True)
class AudioClasses:
    """Classes to subscribe with: `message` on `audio`, `info` (or None) on `audio_info`; `msgtype` names the first."""

    msgtype: str
    message: type
    info: type | None


def audio_classes(type_name: str) -> AudioClasses:
    """The classes of one of `TYPE_NAMES`.

    Raises:
        AudioTypeError: the package is not installed, or it is the other package of that name.
    """
    msgtype = type_name.replace("/", "/msg/")
    package, _, name = msgtype.split("/")
    module = _messages_of(package, type_name)
    if msgtype in (AUDIO_CHUNK, RAW_AUDIO):
        return AudioClasses(msgtype, _class(module, name), None)
    if msgtype == AUDIO_STAMPED:
        if not hasattr(module, name):
            raise AudioTypeError(
                _other_package(type_name, "mgonzs13's", "ros-drivers'", "AudioDataStamped or AudioData")
            )
        return AudioClasses(msgtype, _class(module, name), None)
    assert msgtype in BARE_TYPES
    if not hasattr(module, "AudioData") or not hasattr(module.AudioData(), "data"):
        raise AudioTypeError(_other_package(type_name, "ros-drivers'", "mgonzs13's", "AudioStamped"))
    if not hasattr(module, name):
        raise AudioTypeError(f"the installed audio_common_msgs has no {name}; use audio_common_msgs/AudioData")
    return AudioClasses(msgtype, _class(module, name), getattr(module, AUDIO_INFO.split("/")[2], None))


def _class(module: ModuleType, name: str) -> type:
    found: type = getattr(module, name)
    return found


def _messages_of(package: str, type_name: str) -> ModuleType:
    try:
        return import_module(f"{package}.msg")
    except ImportError as error:
        raise AudioTypeError(
            f"audio.type is {type_name}, but the package {package} can't be imported ({error}): install it "
            f"({_INSTALL[package]}) and source its workspace"
        ) from error


def _other_package(type_name: str, wanted: str, found: str, use: str) -> str:
    return (
        f"audio.type is {type_name}, of {wanted} audio_common_msgs, but {found} is installed here; "
        f"use audio_common_msgs/{use}, or source the workspace of the other"
    )
