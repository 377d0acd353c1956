"""Which classes are subscribed to, with look-alikes of other packages' messages."""

import array
import sys
from dataclasses import dataclass, field
from types import ModuleType

import pytest

from emotalk_ros.audio.messages import AUDIO_DATA_STAMPED, AUDIO_STAMPED, RAW_AUDIO
from emotalk_ros.msg import AudioChunk
from emotalk_ros.nodes.audio_inputs import AudioTypeError, audio_classes


@dataclass
class Bytes:  # ros-drivers' AudioData
    data: array.array = field(default_factory=lambda: array.array("B"))


class BytesStamped:  # ros-drivers' AudioDataStamped
    pass


class BytesInfo:  # ros-drivers' AudioInfo
    pass


class Typed:  # mgonzs13's AudioData
    pass


class AudioStamped:  # mgonzs13's
    pass


@pytest.fixture
def install(monkeypatch):
    """Make `audio_common_msgs.msg` hold the given classes."""

    def put(name="audio_common_msgs", **classes):
        package, module = ModuleType(name), ModuleType(f"{name}.msg")
        for short, kind in classes.items():
            setattr(module, short, kind)
        monkeypatch.setitem(sys.modules, name, package)
        monkeypatch.setitem(sys.modules, f"{name}.msg", module)

    return put


def test_each_type_has_its_classes(install):
    assert audio_classes("emotalk_ros/AudioChunk").message is AudioChunk
    install(AudioData=Bytes, AudioDataStamped=BytesStamped, AudioInfo=BytesInfo)
    found = audio_classes("audio_common_msgs/AudioDataStamped")
    assert (found.msgtype, found.message, found.info) == (AUDIO_DATA_STAMPED, BytesStamped, BytesInfo)
    install(AudioData=Typed, AudioStamped=AudioStamped)
    found = audio_classes("audio_common_msgs/AudioStamped")
    assert (found.msgtype, found.message, found.info) == (AUDIO_STAMPED, AudioStamped, None)
    install("foxglove_msgs", RawAudio=Bytes)
    found = audio_classes("foxglove_msgs/RawAudio")
    assert (found.msgtype, found.message, found.info) == (RAW_AUDIO, Bytes, None)


def test_the_two_packages_of_one_name_are_told_apart(install):
    install(AudioData=Typed, AudioStamped=AudioStamped)
    with pytest.raises(AudioTypeError, match=r"ros-drivers' .*mgonzs13's is installed.*AudioStamped"):
        audio_classes("audio_common_msgs/AudioData")
    install(AudioData=Bytes, AudioDataStamped=BytesStamped, AudioInfo=BytesInfo)
    with pytest.raises(AudioTypeError, match=r"mgonzs13's .*ros-drivers' is installed"):
        audio_classes("audio_common_msgs/AudioStamped")
    install(AudioData=Bytes)
    with pytest.raises(AudioTypeError, match="has no AudioDataStamped"):
        audio_classes("audio_common_msgs/AudioDataStamped")


def test_a_missing_package_is_named():
    with pytest.raises(AudioTypeError, match=r"audio_common_msgs can't be imported.*apt install"):
        audio_classes("audio_common_msgs/AudioStamped")
