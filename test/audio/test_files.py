"""Audio files of several formats, and what is not one."""

import os

import numpy as np
import pytest
import soundfile

from emotalk_ros.audio import AudioFile, AudioFormatError, containers, load_audio, mono_blocks


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


# -- files that are not as they should be ----------------------------------------------------------------------------


def headed(path, samples, rate=16000, promised=None):
    """A 16 bit mono WAV whose header promises `promised` bytes of samples."""
    soundfile.write(path, samples, rate, subtype="PCM_16")
    data = bytearray(path.read_bytes())
    at = data.index(b"data") + 4
    if promised is not None:
        data[at : at + 4] = promised.to_bytes(4, "little")
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("promised", [0, 0xFFFFFFFF, 0x7FFFFFFF - 36])
def test_a_wav_whose_header_does_not_know_its_length_is_read_to_the_end(tmp_path, tone, promised):
    """A recorder that died writes 0, a pipe as much as there can be."""
    path = headed(tmp_path / "died.wav", tone, 22050, promised)
    with AudioFile(path) as file:
        assert (file.frames, file.sample_rate) == (22050, 22050)
        read = np.concatenate(list(file.blocks(1000)))[:, 0]
        np.testing.assert_allclose(read, tone, atol=1e-4)
        assert [("0 s; the 1.00 s" in text) for text in file.warnings] == ([True] if promised == 0 else [])


def test_an_empty_wav_with_other_chunks_stays_empty(tmp_path):
    path = headed(tmp_path / "empty.wav", np.zeros(0))
    path.write_bytes(path.read_bytes() + b"LIST\x04\x00\x00\x00INFO")
    with pytest.raises(AudioFormatError, match="holds no audio"):
        load_audio(path)


def test_a_wav_that_is_cut_off_says_so(tmp_path):
    path = headed(tmp_path / "cut.wav", np.full(32000, 0.1))
    path.write_bytes(path.read_bytes()[: 44 + 2 * 8000])
    with AudioFile(path) as file:
        assert file.frames == 8000
        assert file.warnings == [f"{path}: it is cut off: 0.50 s of the 2.00 s that its header promises are there"]


def test_one_absurd_sample_is_cut_out_and_named(tmp_path, tone):
    path = tmp_path / "float.wav"
    broken = tone.copy()
    broken[4410] = 1e20
    soundfile.write(path, broken, 22050, subtype="FLOAT")
    with AudioFile(path) as file:
        heard = np.concatenate(list(mono_blocks(file)))
        assert file.warnings == [f"{path}: the sample at 0.200 s is 1e+20, which is no sound: cut out"]
    assert np.isfinite(heard).all() and np.abs(heard).max() < 0.45
    soundfile.write(path, tone * 12000, 22050, subtype="FLOAT")
    with AudioFile(path) as file:
        assert np.abs(np.concatenate(list(mono_blocks(file)))).max() < 1.6
        assert "full scale is 1.0" in file.warnings[0]


def test_a_damaged_mp3_is_one_warning_and_nothing_on_standard_error(tmp_path, capfd):
    path = tmp_path / "speech.mp3"
    sound = 0.3 * np.sin(2 * np.pi * 300 * np.arange(64000) / 16000)
    soundfile.write(path, sound, 16000)
    data = bytearray(path.read_bytes())
    for at in range(2000, len(data) - 2000, 3000):
        data[at : at + 200] = bytes(200)
    path.write_bytes(data)
    with AudioFile(path) as file:
        assert sum(len(block) for block in mono_blocks(file)) > 0
        assert len(file.warnings) <= 1
        assert all("damaged" in text for text in file.warnings)
    assert capfd.readouterr().err == ""


def test_a_name_that_is_not_utf8_is_read(tmp_path, tone):
    path = tmp_path / os.fsdecode(b"m\xfcller [red].wav")
    soundfile.write(os.fsencode(path), tone, 22050, format="WAV")
    assert len(load_audio(path)) == 16000


@pytest.mark.parametrize("name", ["voice.m4a", "clip.mp4", "a.webm", "b.wma", "c.aac"])
def test_without_pyav_and_ffmpeg_the_remedy_is_said(tmp_path, monkeypatch, name):
    monkeypatch.setattr(containers, "import_module", lambda name: (_ for _ in ()).throw(ImportError(name)))
    monkeypatch.setattr(containers.shutil, "which", lambda name: None)
    (tmp_path / name).write_bytes(b"\0\0\0 ftypM4A ")
    stem = name.split(".")[0]
    with pytest.raises(AudioFormatError, match=rf"pip install av.*apt install ffmpeg.*ffmpeg -i {name} {stem}\.wav"):
        load_audio(tmp_path / name)


def test_ffmpeg_decodes_what_libsndfile_does_not(tmp_path, tone, monkeypatch):
    """A stand-in that writes what ffmpeg writes when it is called so."""
    sound = tmp_path / "sound.w64"
    soundfile.write(sound, np.stack([tone, tone], axis=1), 22050, format="W64")
    program = tmp_path / "bin" / "ffmpeg"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/words\nfor last; do :; done\ncp {sound} "$last"\n')
    program.chmod(0o755)
    monkeypatch.setattr(containers, "import_module", lambda name: (_ for _ in ()).throw(ImportError(name)))
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "voice.m4a").write_bytes(b"\0\0\0 ftypM4A ")
    assert len(load_audio(tmp_path / "voice.m4a")) == 16000
    assert "-i" in (tmp_path / "words").read_text() and "voice.m4a" in (tmp_path / "words").read_text()
    program.write_text("#!/bin/sh\necho 'moov atom not found' >&2\nexit 1\n")
    with pytest.raises(AudioFormatError, match=r"ffmpeg cannot decode .*voice\.m4a: moov atom not found"):
        load_audio(tmp_path / "voice.m4a")


@pytest.mark.parametrize(
    ("name", "codec", "rate"),
    [
        ("voice.m4a", "aac", 44100),
        ("voice.aac", "aac", 44100),
        ("clip.mp4", "aac", 44100),
        ("clip.webm", "libopus", 48000),
        ("voice.wma", "wmav2", 44100),
    ],
)
def test_pyav_decodes_what_libsndfile_does_not(tmp_path, name, codec, rate):
    av = pytest.importorskip("av", reason="PyAV (the extra `media`) is not installed")
    path = tmp_path / name
    sound = (0.3 * np.sin(2 * np.pi * 220 * np.arange(rate) / rate)).astype(np.float32)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout="mono", bit_rate=64000)
        size = stream.codec_context.frame_size or 1024
        resampler = av.AudioResampler(format=stream.codec_context.format, layout="mono", rate=rate, frame_size=size)
        frame = av.AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts = rate, 0
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    heard = load_audio(path)
    loud = np.sqrt(np.square(heard[4000:12000]).mean())
    assert abs(len(heard) - 16000) < 2000 and loud == pytest.approx(0.3 / np.sqrt(2), rel=0.05)
