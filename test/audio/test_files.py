"""Audio files of several formats, and what is not one."""

import numpy as np
import pytest
import soundfile

from emotalk_ros.audio import AudioFile, AudioFormatError, load_audio, mono_blocks


@pytest.fixture
def tone():
    return (0.3 * np.sin(2 * np.pi * 220 * np.arange(22050) / 22050)).astype(np.float32)


@pytest.mark.parametrize(("suffix", "tolerance"), [("wav", 5e-3), ("flac", 5e-3), ("ogg", 0.05), ("aiff", 5e-3)])
def test_formats_and_rates_come_as_mono_at_16_khz(tmp_path, tone, suffix, tolerance):
    path = tmp_path / f"tone.{suffix}"
    soundfile.write(path, np.stack([tone, tone], axis=1), 22050)
    out = load_audio(path)
    assert out.dtype == np.float32 and abs(len(out) - 16000) <= 1
    time = np.arange(len(out)) / 16000 - 0.0001  # soxr's displacement at this rate, 0.1 ms
    assert np.abs(out - 0.3 * np.sin(2 * np.pi * 220 * time))[500:15000].max() < tolerance


def test_reading_in_blocks_gives_the_same_audio(tmp_path, tone):
    path = tmp_path / "tone.wav"
    soundfile.write(path, tone, 22050, subtype="FLOAT")
    with AudioFile(path) as file:
        assert (file.sample_rate, file.channels, file.frames) == (22050, 1, 22050)
        assert file.duration == 1.0
        parts = np.concatenate(list(mono_blocks(file, 0.013)))
        file.rewind()
        assert [len(block) for block in file.blocks(10000)] == [10000, 10000, 2050]
    np.testing.assert_array_equal(parts, load_audio(path))


def test_samples_that_are_not_numbers_become_silence(tmp_path):
    path = tmp_path / "bad.wav"
    soundfile.write(path, np.array([0.1, np.nan, np.inf, 0.2], np.float32), 16000, subtype="FLOAT")
    np.testing.assert_allclose(load_audio(path), [0.1, 0, 0, 0.2])


def test_errors_name_the_file_and_the_reason(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no audio file .*missing\.wav"):
        load_audio(tmp_path / "missing.wav")
    with pytest.raises(AudioFormatError, match="is a folder"):
        load_audio(tmp_path)
    text = tmp_path / "text.wav"
    text.write_text("not audio at all")
    with pytest.raises(AudioFormatError, match=r"cannot read .*text\.wav as audio"):
        load_audio(text)
    empty = tmp_path / "empty.wav"
    soundfile.write(empty, np.zeros(0), 16000)
    with pytest.raises(AudioFormatError, match=r"empty\.wav holds no audio"):
        load_audio(empty)
    slow = tmp_path / "slow.wav"
    soundfile.write(slow, np.zeros(10), 500)
    with pytest.raises(AudioFormatError, match=r"slow\.wav: sample rate 500 Hz"):
        load_audio(slow)
