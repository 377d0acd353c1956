"""Audio messages of every type, decoded: look-alikes as rclpy and rosbags hand them out, same fields, same arrays."""

import array
from types import SimpleNamespace

import numpy as np
import pytest

from emotalk_ros.audio import AudioFormatError, decode_pcm
from emotalk_ros.audio.messages import (
    AUDIO_CHUNK,
    AUDIO_DATA,
    AUDIO_DATA_STAMPED,
    AUDIO_STAMPED,
    AUDIO_TYPES,
    RAW_AUDIO,
    AudioDecoder,
    InputSettings,
    PcmFormat,
)
from emotalk_ros.units import NS

STAMP = 1_500 * NS
ARRIVAL = 2_000 * NS
MONO = PcmFormat("s16le", 1, 16000)


def time(nanoseconds):
    return SimpleNamespace(sec=nanoseconds // NS, nanosec=nanoseconds % NS)


def header(stamp=STAMP):
    return SimpleNamespace(stamp=time(stamp), frame_id="")


def uint8(data, like):
    """A field uint8[]: an array.array from rclpy, a numpy array from rosbags, a list set by hand."""
    return {"rclpy": lambda: array.array("B", data), "rosbags": lambda: np.frombuffer(data, np.uint8)}.get(
        like, lambda: list(data)
    )()


def info(channels=2, sample_rate=48000, sample_format="S16LE", coding_format="wave"):
    return SimpleNamespace(
        channels=channels, sample_rate=sample_rate, sample_format=sample_format, coding_format=coding_format, bitrate=0
    )


def message(msgtype, samples=320, stamp=STAMP, like="rclpy", data=None):
    """`samples` of 16 kHz mono s16le in a message of `msgtype`."""
    data = np.arange(samples, dtype="<i2").tobytes() if data is None else data
    if msgtype == AUDIO_CHUNK:
        return SimpleNamespace(
            header=header(stamp), sample_rate=16000, channels=1, encoding="s16le", data=uint8(data, like)
        )
    if msgtype == RAW_AUDIO:
        return SimpleNamespace(
            timestamp=time(stamp), sample_rate=16000, number_of_channels=1, format="pcm-s16", data=uint8(data, like)
        )
    if msgtype == AUDIO_STAMPED:
        return SimpleNamespace(header=header(stamp), audio=typed(8, "int16_data", np.frombuffer(data, "<i2"), like))
    payload = SimpleNamespace(data=uint8(data, like))
    return SimpleNamespace(header=header(stamp), audio=payload) if msgtype == AUDIO_DATA_STAMPED else payload


FIELDS = {"float32_data": "f", "int32_data": "i", "int16_data": "h", "int8_data": "b", "uint8_data": "B"}


def typed(number, name, values, like="rclpy", rate=16000, channels=1):
    """mgonzs13's Audio with `values` in the field `name`."""
    code = FIELDS[name]
    filled = array.array(code, np.asarray(values, code).tolist()) if like == "rclpy" else np.asarray(values, code)
    arrays = {field: filled if field == name else array.array(FIELDS[field]) for field in FIELDS}
    return SimpleNamespace(
        audio_data=SimpleNamespace(**arrays),
        info=SimpleNamespace(format=number, channels=channels, rate=rate, chunk=512),
    )


BEGIN, END, DATED_BACK = STAMP, STAMP - 20_000_000, ARRIVAL - 20_000_000
WHAT_A_STAMP_MEANS = [
    (AUDIO_CHUNK, "auto", BEGIN),
    (RAW_AUDIO, "auto", BEGIN),
    (AUDIO_STAMPED, "auto", BEGIN),  # all of mgonzs13's nodes since its C++ rewrite
    (AUDIO_DATA_STAMPED, "auto", END),
    (AUDIO_DATA, "auto", DATED_BACK),  # no stamp: it arrived when it was complete
    *((msgtype, "begin", BEGIN) for msgtype in AUDIO_TYPES if msgtype != AUDIO_DATA),
    *((msgtype, "end", END) for msgtype in AUDIO_TYPES if msgtype != AUDIO_DATA),
    (AUDIO_DATA, "begin", ARRIVAL),  # speech synthesis that sends as it begins to speak
    (AUDIO_DATA, "end", DATED_BACK),
]


@pytest.mark.parametrize(("msgtype", "stamp_of", "begin"), WHAT_A_STAMP_MEANS)
@pytest.mark.parametrize("like", ["rclpy", "rosbags", "list"])
def test_the_first_sample_is_dated_by_the_end_that_the_stamp_means(msgtype, stamp_of, begin, like):
    decoder = AudioDecoder(msgtype, InputSettings(stamp_of, format=MONO))
    chunk = decoder.decode(message(msgtype, like=like), ARRIVAL)
    assert (chunk.stamp_ns, chunk.arrival_ns) == (begin, ARRIVAL)
    assert chunk.sample_rate == 16000
    decoded = decode_pcm(chunk.data, chunk.encoding, chunk.channels)
    np.testing.assert_array_equal(decoded[:, 0] * 32768, np.arange(320))


def test_a_stamp_of_zero_means_in_line_where_the_message_says_so_and_the_arrival_elsewhere():
    for msgtype in (AUDIO_CHUNK, RAW_AUDIO):
        assert AudioDecoder(msgtype).decode(message(msgtype, stamp=0), ARRIVAL).stamp_ns == 0
    for msgtype in (AUDIO_STAMPED, AUDIO_DATA_STAMPED):
        decoder = AudioDecoder(msgtype, InputSettings(format=MONO))
        assert decoder.decode(message(msgtype, stamp=0), ARRIVAL).stamp_ns == DATED_BACK


@pytest.mark.parametrize("msgtype", [AUDIO_STAMPED, AUDIO_DATA_STAMPED, AUDIO_DATA])
def test_the_jitter_of_publishing_is_not_taken_over_and_exact_stamps_are_kept(msgtype):
    decoder = AudioDecoder(msgtype, InputSettings(format=MONO))
    late = [0, 26_000_000, 40_000_000]
    stamps = [decoder.decode(message(msgtype, stamp=STAMP + at), ARRIVAL + at).stamp_ns for at in late]
    assert np.abs(np.diff(stamps) - 20_000_000).max() < 200_000
    exact = AudioDecoder(AUDIO_CHUNK)
    assert [exact.decode(message(AUDIO_CHUNK, stamp=STAMP + at), 0).stamp_ns - STAMP for at in late] == late


def test_bare_bytes_wait_for_their_format():
    decoder = AudioDecoder(AUDIO_DATA_STAMPED)
    with pytest.raises(AudioFormatError, match="audio_info"):
        decoder.decode(message(AUDIO_DATA_STAMPED), ARRIVAL)
    assert decoder.needs_info
    decoder.declare(info())
    chunk = decoder.decode(message(AUDIO_DATA_STAMPED, samples=960), ARRIVAL)
    assert (chunk.encoding, chunk.channels, chunk.sample_rate) == ("s16le", 2, 48000)
    assert chunk.stamp_ns == STAMP - 10_000_000  # stamped at its end, 480 samples later
    decoder.declare(info(channels=1, sample_rate=16000))  # a publisher that was started anew
    assert decoder.decode(message(AUDIO_DATA_STAMPED), ARRIVAL).sample_rate == 16000


@pytest.mark.parametrize("head", [b"\xff\xfb", b"\xff\xf3", b"\xff\xf2", b"ID"])
def test_declared_as_wave_bytes_are_never_taken_for_mp3(head):
    data = head + bytes(638)
    for decoder in (AudioDecoder(AUDIO_DATA), AudioDecoder(AUDIO_DATA, InputSettings(format=MONO))):
        if decoder.needs_info:
            decoder.declare(info(channels=1, sample_rate=16000))
        assert decoder.decode(message(AUDIO_DATA, data=data), ARRIVAL).data == data


def test_what_is_declared_first_holds_and_a_contradiction_is_told():
    decoder = AudioDecoder(AUDIO_DATA, InputSettings(format=MONO))
    with pytest.raises(AudioFormatError, match=r"AudioInfo says s16le, 2 channel.*48000 Hz.*the settings are used"):
        decoder.declare(info())
    with pytest.raises(AudioFormatError, match=r"AudioInfo says mp3"):
        decoder.declare(info(coding_format="mp3"))
    decoder.declare(info(channels=1, sample_rate=16000))
    assert decoder.decode(message(AUDIO_DATA), ARRIVAL).sample_rate == 16000


def test_compressed_sound_is_refused_with_the_remedy():
    decoder = AudioDecoder(AUDIO_DATA)
    for _ in range(2):
        with pytest.raises(AudioFormatError, match=r"mp3.*format:=wave"):
            decoder.declare(info(coding_format="mp3"))
        with pytest.raises(AudioFormatError, match=r"format:=wave"):
            decoder.decode(message(AUDIO_DATA), ARRIVAL)
    decoder.declare(info())
    assert decoder.decode(message(AUDIO_DATA), ARRIVAL).sample_rate == 48000


@pytest.mark.parametrize(
    ("number", "name", "encoding"),
    [(1, "float32_data", "f32le"), (2, "int32_data", "s32le"), (8, "int16_data", "s16le"),
     (16, "int8_data", "s8"), (32, "uint8_data", "u8")],
)  # fmt: skip
@pytest.mark.parametrize("like", ["rclpy", "rosbags"])
def test_typed_samples(number, name, encoding, like):
    found = SimpleNamespace(header=header(), audio=typed(number, name, np.ones(512), like))
    chunk = AudioDecoder(AUDIO_STAMPED).decode(found, ARRIVAL)
    assert (chunk.encoding, chunk.channels, chunk.sample_rate) == (encoding, 1, 16000)
    assert decode_pcm(chunk.data, encoding, 1).shape == (512, 1)


def test_what_is_wrong_is_named():
    decoder = AudioDecoder(AUDIO_STAMPED)
    wrong = SimpleNamespace(header=header(), audio=typed(4, "int16_data", np.ones(4)))
    with pytest.raises(AudioFormatError, match=r"format 4; PortAudio's are 1 \(f32le\)"):
        decoder.decode(wrong, ARRIVAL)
    nonsense = SimpleNamespace(header=header(), audio=typed(8, "int16_data", np.ones(4), rate=0, channels=0))
    assert decoder.decode(nonsense, ARRIVAL).channels == 0  # the intake refuses it by name
    with pytest.raises(AudioFormatError, match=r"without the fields of .*AudioStamped.*two packages"):
        decoder.decode(message(AUDIO_DATA_STAMPED), ARRIVAL)
    with pytest.raises(AudioFormatError, match="JointState carries no audio"):
        AudioDecoder("sensor_msgs/msg/JointState")
    with pytest.raises(ValueError, match="stamp_of 'middle': use one of auto, begin, end"):
        InputSettings("middle")
    with pytest.raises(ValueError, match="stamps 'maybe': use one of auto, capture, publish, none"):
        InputSettings(stamps="maybe")


@pytest.mark.parametrize("stamp_of, begins", [("auto", 0.0), ("begin", 0.0), ("end", -4096 / 22050)])
def test_speech_of_mgonzs13s_tts_node_begins_at_its_stamp(stamp_of, begins):
    """Its node reads the clock, then sends a chunk, then sleeps for the chunk's length: 4096 samples at 22.05 kHz."""
    decoder = AudioDecoder(AUDIO_STAMPED, InputSettings(stamp_of))
    sent = SimpleNamespace(header=header(), audio=typed(1, "float32_data", np.ones(4096, np.float32), rate=22050))
    chunk = decoder.decode(sent, STAMP + 1_000_000)
    assert (chunk.stamp_ns - STAMP) / 1e9 == pytest.approx(begins, abs=1e-6)


def test_a_sentence_without_a_stamp_in_one_message_begins_when_it_arrives():
    decoder = AudioDecoder(AUDIO_DATA, InputSettings(format=MONO))
    sentence = SimpleNamespace(data=array.array("B", bytes(2 * 160000)))
    assert decoder.decode(sentence, ARRIVAL).stamp_ns == ARRIVAL
