"""Audio of other packages, with look-alikes of their messages: same fields, same types of arrays."""

import array
import sys
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from builtin_interfaces.msg import Time

from emotalk_ros.audio import decode_pcm
from emotalk_ros.nodes.audio_inputs import AudioNotUnderstood, AudioTypeError, PcmFormat, make_listener

NS = 1_000_000_000
ARRIVAL = 2_000 * NS


def _header():
    return SimpleNamespace(stamp=Time(sec=1500), frame_id="")


@dataclass
class Bytes:  # ros-drivers' AudioData
    data: array.array = field(default_factory=lambda: array.array("B"))


@dataclass
class BytesStamped:  # ros-drivers' AudioDataStamped
    header: SimpleNamespace = field(default_factory=_header)
    audio: Bytes = field(default_factory=Bytes)


@dataclass
class BytesInfo:  # ros-drivers' AudioInfo
    channels: int = 2
    sample_rate: int = 48000
    sample_format: str = "S16LE"
    bitrate: int = 0
    coding_format: str = "wave"


@dataclass
class Typed:  # mgonzs13's AudioData
    float32_data: array.array = field(default_factory=lambda: array.array("f"))
    int32_data: array.array = field(default_factory=lambda: array.array("i"))
    int16_data: array.array = field(default_factory=lambda: array.array("h"))
    int8_data: array.array = field(default_factory=lambda: array.array("b"))
    uint8_data: array.array = field(default_factory=lambda: array.array("B"))


@dataclass
class TypedInfo:  # mgonzs13's AudioInfo
    format: int = 8
    channels: int = 1
    rate: int = 16000
    chunk: int = 512


@dataclass
class Audio:
    audio_data: Typed = field(default_factory=Typed)
    info: TypedInfo = field(default_factory=TypedInfo)


@dataclass
class AudioStamped:
    header: SimpleNamespace = field(default_factory=_header)
    audio: Audio = field(default_factory=Audio)


@pytest.fixture
def install(monkeypatch):
    """Make `audio_common_msgs.msg` hold the given classes."""

    def put(**classes):
        package, module = ModuleType("audio_common_msgs"), ModuleType("audio_common_msgs.msg")
        for name, kind in classes.items():
            setattr(module, name, kind)
        monkeypatch.setitem(sys.modules, "audio_common_msgs", package)
        monkeypatch.setitem(sys.modules, "audio_common_msgs.msg", module)

    return put


@pytest.fixture
def ros_drivers(install):
    install(AudioData=Bytes, AudioDataStamped=BytesStamped, AudioInfo=BytesInfo)


@pytest.fixture
def mgonzs13(install):
    install(AudioData=Typed, AudioInfo=TypedInfo, Audio=Audio, AudioStamped=AudioStamped)


def test_bare_bytes_wait_for_their_format(ros_drivers):
    listener = make_listener("audio_common_msgs/AudioDataStamped")
    assert (listener.message_type, listener.info_type) == (BytesStamped, BytesInfo)
    samples = np.arange(960, dtype="<i2")
    message = BytesStamped(audio=Bytes(array.array("B", samples.tobytes())))
    with pytest.raises(AudioNotUnderstood, match="audio_info"):
        listener.chunk(message, ARRIVAL)
    listener.on_info(BytesInfo())
    chunk = listener.chunk(message, ARRIVAL)
    assert (chunk.encoding, chunk.channels, chunk.sample_rate) == ("s16le", 2, 48000)
    np.testing.assert_array_equal(decode_pcm(chunk.data, chunk.encoding, 2) * 32768, samples.reshape(-1, 2))
    assert chunk.stamp_ns == 1500 * NS - 10_000_000  # published at its end, 480 samples later


def test_bytes_without_a_stamp_take_the_time_of_arrival(ros_drivers):
    listener = make_listener("audio_common_msgs/AudioData", PcmFormat(16000, 1, "s16le"))
    message = Bytes(array.array("B", bytes(640)))
    first, second = listener.chunk(message, ARRIVAL), listener.chunk(message, ARRIVAL + 26_000_000)
    assert first.stamp_ns == ARRIVAL - 20_000_000
    assert abs(second.stamp_ns - first.stamp_ns - 20_000_000) < 200_000  # the jitter of the arrival is not taken over


def test_compressed_sound_is_refused_with_the_remedy(ros_drivers):
    listener = make_listener("audio_common_msgs/AudioData")
    with pytest.raises(AudioNotUnderstood, match=r"mp3.*format:=wave"):
        listener.on_info(BytesInfo(coding_format="mp3"))
    with pytest.raises(AudioNotUnderstood, match=r"format:=wave"):
        listener.chunk(Bytes(array.array("B", b"ID3")), ARRIVAL)
    listener.on_info(BytesInfo())
    assert listener.chunk(Bytes(array.array("B", bytes(4))), ARRIVAL).sample_rate == 48000


@pytest.mark.parametrize(
    ("number", "name", "code", "encoding"),
    [(1, "float32_data", "f", "f32le"), (2, "int32_data", "i", "s32le"), (8, "int16_data", "h", "s16le"),
     (16, "int8_data", "b", "s8"), (32, "uint8_data", "B", "u8")],
)  # fmt: skip
def test_typed_samples(mgonzs13, number, name, code, encoding):
    listener = make_listener("audio_common_msgs/AudioStamped")
    message = AudioStamped()
    message.audio.info.format = number
    setattr(message.audio.audio_data, name, array.array(code, [1] * 512))
    chunk = listener.chunk(message, ARRIVAL)
    assert (chunk.encoding, chunk.channels, chunk.sample_rate) == (encoding, 1, 16000)
    assert decode_pcm(chunk.data, encoding, 1).shape == (512, 1)
    assert chunk.stamp_ns == 1500 * NS - 32_000_000


def test_wrong_formats_are_named(mgonzs13):
    listener = make_listener("audio_common_msgs/AudioStamped")
    message = AudioStamped()
    message.audio.info.format = 4
    with pytest.raises(AudioNotUnderstood, match="format 4"):
        listener.chunk(message, ARRIVAL)
    message.audio.info = TypedInfo(rate=0, channels=0)
    assert listener.chunk(message, ARRIVAL).channels == 0  # the intake refuses it by name


def test_the_two_packages_of_one_name_are_told_apart(install, request):
    install(AudioData=Typed, AudioInfo=TypedInfo, Audio=Audio, AudioStamped=AudioStamped)
    with pytest.raises(AudioTypeError, match=r"ros-drivers' .*mgonzs13's is installed.*AudioStamped"):
        make_listener("audio_common_msgs/AudioData")
    install(AudioData=Bytes, AudioDataStamped=BytesStamped, AudioInfo=BytesInfo)
    with pytest.raises(AudioTypeError, match=r"mgonzs13's .*ros-drivers' is installed"):
        make_listener("audio_common_msgs/AudioStamped")
    install(AudioData=Bytes)
    with pytest.raises(AudioTypeError, match="has no AudioDataStamped"):
        make_listener("audio_common_msgs/AudioDataStamped")


def test_a_missing_package_is_named():
    with pytest.raises(AudioTypeError, match=r"audio_common_msgs can't be imported.*apt install"):
        make_listener("audio_common_msgs/AudioStamped")
