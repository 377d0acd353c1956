"""PCM bytes to samples and back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emotalk_ros.audio import ENCODINGS, MAX_CHANNELS, AudioFormatError, canonical_encoding, decode_pcm, encode_pcm

STEP = {"s8": 2**-7, "u8": 2**-7, "s16le": 2**-15, "s16be": 2**-15, "s24le": 2**-23, "s24be": 2**-23}


@pytest.mark.parametrize(
    ("encoding", "data", "expected"),
    [
        ("s8", b"\x80\x00\x7f", [-1, 0, 127 / 128]),
        ("u8", b"\x00\x80\xff", [-1, 0, 127 / 128]),
        ("s16le", b"\x00\x80\x01\x00\xff\x7f", [-1, 2**-15, 1 - 2**-15]),
        ("s16be", b"\x80\x00\x00\x01\x7f\xff", [-1, 2**-15, 1 - 2**-15]),
        ("s24le", b"\x00\x00\x80\x01\x00\x00\xff\xff\x7f", [-1, 2**-23, 1 - 2**-23]),
        ("s24be", b"\x80\x00\x00\x00\x00\x01\x7f\xff\xff", [-1, 2**-23, 1 - 2**-23]),
        ("s32le", b"\x00\x00\x00\x80\x00\x00\x00\x40", [-1, 0.5]),
        ("f32le", np.array([-1.5, 0.25], "<f4").tobytes(), [-1.5, 0.25]),
        ("f64le", np.array([-1.5, 1e300], "<f8").tobytes(), [-1.5, np.inf]),
        ("f32be", np.array([-1.5, 0.25], ">f4").tobytes(), [-1.5, 0.25]),
    ],
)
def test_known_bytes(encoding, data, expected):
    out = decode_pcm(data, encoding, 1)
    assert out.dtype == np.float32 and out.shape == (len(expected), 1)
    np.testing.assert_allclose(out[:, 0], expected, rtol=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    encoding=st.sampled_from(ENCODINGS),
    channels=st.integers(1, 8),
    values=st.lists(st.floats(-1, 1, width=32), max_size=50),
)
def test_what_is_encoded_decodes_to_itself(encoding, channels, values):
    samples = np.array(values[: len(values) // channels * channels], np.float32).reshape(-1, channels)
    back = decode_pcm(encode_pcm(samples, encoding), encoding, channels)
    assert back.shape == samples.shape
    np.testing.assert_allclose(back, np.clip(samples, -1, 1), atol=STEP.get(encoding, 1e-7))


@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=200), encoding=st.sampled_from(ENCODINGS), channels=st.integers(-2, 70))
def test_any_bytes_decode_or_are_refused_with_a_reason(data, encoding, channels):
    try:
        out = decode_pcm(data, encoding, channels)
    except AudioFormatError as error:
        assert any(character.isdigit() for character in str(error))
    else:
        assert out.ndim == 2 and out.shape[1] == channels


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("s16le", "S16LE"),
        ("s16le", "pcm-s16"),
        ("f32le", "float"),
        ("s24le", "S24_3LE"),
        ("f64le", " float64 "),
        ("u8", "U8"),
    ],
)
def test_other_packages_spellings(ours, theirs):
    assert canonical_encoding(theirs) == ours


@pytest.mark.parametrize(
    ("data", "encoding", "channels", "words"),
    [
        (b"\0\0\0", "s16le", 1, "3 bytes.*1 bytes are left over"),
        (b"\0" * 6, "s16le", 2, "2-channel s16le samples"),
        (b"", "s16le", 0, f"0 channels.*1 to {MAX_CHANNELS}"),
        (b"", "s16le", 300, "300 channels"),
        (b"", "mp3", 1, "'mp3'.*format:=wave"),
        (b"", "ulaw", 1, "unknown encoding 'ulaw'.*s16le"),
    ],
)
def test_what_cannot_be_understood_is_named_with_the_remedy(data, encoding, channels, words):
    with pytest.raises(AudioFormatError, match=words):
        decode_pcm(data, encoding, channels)


def test_empty_data_and_memoryviews_are_fine():
    assert decode_pcm(b"", "s16le", 3).shape == (0, 3)
    assert decode_pcm(memoryview(b"\0\0\0\0"), "s16le", 2).shape == (1, 2)
    assert decode_pcm(bytearray(6), "s24le", 1).shape == (2, 1)


def test_encoding_clips_and_writes_nan_as_silence():
    assert encode_pcm([2.0, -2.0, np.nan], "s16le") == np.array([32767, -32768, 0], "<i2").tobytes()
