"""Audio files: what libsndfile reads (wav, flac, ogg, opus, mp3, aiff, ...), other formats through PyAV or ffmpeg.

What is wrong with a file and can be mended is mended and told in `AudioFile.warnings`: a WAV whose header does not know
its length, one that is cut off, single samples that are no sound, damaged parts of an mp3.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import soundfile

from emotalk_ros.audio import containers
from emotalk_ros.audio.channels import ChannelMixer
from emotalk_ros.audio.pcm import AudioFormatError, Samples
from emotalk_ros.audio.resample import StreamResampler, check_rate
from emotalk_ros.audio.wav import GrownWav, wav_length

ABSURD = 16.0
"""Times full scale; what lies beyond is no loud sample but a broken one."""
_MOST_WARNINGS = 20


class AudioFile:
    """An open audio file, read in blocks of float32 at its own rate; use it as a context manager.

    Raises FileNotFoundError for a missing file and AudioFormatError for one that cannot be read as audio, with what
    helps.

    Attributes:
        warnings: what was mended, in words, as it is found.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.warnings: list[str] = []
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._grown: GrownWav | None = None
        self._read = 0
        if not self.path.exists():
            raise FileNotFoundError(f"no audio file {self.path}")
        if self.path.is_dir():
            raise AudioFormatError(f"{self.path} is a folder, not an audio file")
        try:
            self._file = self._open()
            self.sample_rate: int = check_rate(self._file.samplerate)
        except AudioFormatError as error:
            self.close()
            text = str(error)
            raise AudioFormatError(text if str(self.path) in text else f"{self.path}: {error}") from error
        except BaseException:
            self.close()
            raise

    def _open(self) -> soundfile.SoundFile:
        if containers.is_container(self.path):
            self._folder = tempfile.TemporaryDirectory(prefix="emotalk-sound-")
            target = Path(self._folder.name) / "sound.w64"
            containers.decode(self.path, target)
            return soundfile.SoundFile(str(target))
        try:
            source: Any = os.fsencode(self.path) if os.name == "posix" else str(self.path)
            length = wav_length(self.path) if self.path.is_file() else None
            if length is not None and length.open_ended:
                source = self._grown = GrownWav(self.path, length)
                if length.promised == 0:
                    seconds = length.there / length.bytes_per_second
                    self.warnings.append(
                        f"{self.path}: its header says 0 s; the {seconds:.2f} s that are there are read"
                    )
            elif length is not None and length.cut_off:
                self.warnings.append(f"{self.path}: {length.cut_off}")
            with self._decoder_silenced():
                return soundfile.SoundFile(source)
        except (soundfile.LibsndfileError, RuntimeError, OSError) as error:
            raise AudioFormatError(
                f"cannot read {self.path} as audio ({_reason(error)}); readable are wav, flac, ogg, opus, mp3, aiff "
                f"and the other formats of libsndfile; {', '.join(containers.SUFFIXES[:5])}, ... with PyAV or ffmpeg"
            ) from error

    @contextmanager
    def _decoder_silenced(self) -> Iterator[None]:
        """libsndfile's mpg123 writes of damaged parts to the process's standard error: they become one warning."""
        if self.path.suffix.lower() not in (".mp3", ".mp2", ".mpga") and not _begins_like_mp3(self.path):
            yield
            return
        with _STDERR:
            sys.stderr.flush()
            kept = os.dup(2)
            with tempfile.TemporaryFile() as said:
                os.dup2(said.fileno(), 2)
                try:
                    yield
                finally:
                    os.dup2(kept, 2)
                    os.close(kept)
                    if said.tell() or os.fstat(said.fileno()).st_size:
                        self._warn(f"{self.path}: parts of it are damaged and were left out or concealed")

    def _warn(self, text: str) -> None:
        if text not in self.warnings and len(self.warnings) < _MOST_WARNINGS:
            self.warnings.append(text)

    @property
    def channels(self) -> int:
        """Interleaved channels."""
        return int(self._file.channels)

    @property
    def frames(self) -> int:
        """Length in samples per channel, at the file's own rate."""
        return int(self._file.frames)

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.frames / self.sample_rate

    def read(self, count: int) -> Samples:
        """The next samples, (n, channels) with n <= count; n = 0 at the end. Raises AudioFormatError if damaged."""
        try:
            with self._decoder_silenced():
                block = np.asarray(self._file.read(count, dtype="float32", always_2d=True))
        except (soundfile.LibsndfileError, RuntimeError) as error:
            raise AudioFormatError(
                f"{self.path} is damaged near {self._read / self.sample_rate:.2f} s: {_reason(error)}"
            ) from error
        block = self._sound(block)
        self._read += len(block)
        return block

    def _sound(self, block: Samples) -> Samples:
        """A block (n, channels) without what is no sound: single samples are cut out, another scale is clipped."""
        bad = ~(np.abs(block) <= ABSURD)  # NaN compares false
        if not bad.any():
            return block
        count, at = int(bad.sum()), int(bad.any(axis=1).argmax())
        place = f"{(self._read + at) / self.sample_rate:.3f} s"
        value = float(block[at][bad[at]][0])
        if count > 0.1 * bad.size and np.isfinite(block).all():
            self._warn(f"{self.path}: samples reach {value:.6g} at {place}, full scale is 1.0: they are clipped")
            return np.clip(block, -1.0, 1.0)
        many = f" ({count} samples of this second)" if count > 1 else ""
        self._warn(f"{self.path}: the sample at {place} is {value:.6g}{many}, which is no sound: cut out")
        return np.where(bad, np.float32(0.0), block)

    def rewind(self) -> None:
        """Go back to the beginning, for a loop."""
        self._file.seek(0)
        self._read = 0

    def blocks(self, count: int) -> Iterator[Samples]:
        """The rest of the file in blocks of `count` samples, (n, channels); the last may be shorter."""
        while len(block := self.read(count)):
            yield block

    def close(self) -> None:
        """Close the file; harmless when closed already."""
        if hasattr(self, "_file"):
            self._file.close()
        if self._grown is not None:
            self._grown.close()
        if self._folder is not None:
            self._folder.cleanup()

    def __enter__(self) -> AudioFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


_STDERR = threading.Lock()


def _begins_like_mp3(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(3)
    return head == b"ID3" or (head[:1] == b"\xff" and head[1:2] > b"\xe1")


def _reason(error: BaseException) -> str:
    """What libsndfile says, without the name of the file, which is said already."""
    return str(error).rsplit(": ", 1)[-1] if isinstance(error, soundfile.LibsndfileError) else str(error)


def mono_blocks(
    file: AudioFile, seconds: float = 1.0, channel: str | int | None = None, gain: float = 1.0
) -> Iterator[Samples]:
    """The rest of `file` as mono 16 kHz pieces (n,) of about `seconds` each.

    Args:
        file: what is wrong with it ends up in its `warnings`.
        seconds: length of a piece.
        channel: which channel, see `audio.channels.CHOICES`; None: the mean of all.
        gain: factor of the samples.
    """
    resampler, mixer = StreamResampler(file.sample_rate), ChannelMixer(channel)
    mixer.check(file.channels)
    for block in file.blocks(max(1, round(seconds * file.sample_rate))):
        mono = mixer.mix(block, file.sample_rate)
        if mixer.warning:
            file.warnings.append(f"{file.path}: {mixer.warning}")
            mixer.warning = ""
        yield resampler.push(np.ascontiguousarray(mono if gain == 1.0 else mono * np.float32(gain)))
    yield resampler.flush()


def load_audio(path: str | Path, channel: str | int | None = None) -> Samples:
    """A whole file as float32 mono at 16 kHz, shape (n,): channels are averaged (or one is chosen), soxr resamples.

    Raises FileNotFoundError, and AudioFormatError for what is not audio or holds no sample.
    """
    with AudioFile(path) as file:
        samples = np.concatenate(list(mono_blocks(file, seconds=10.0, channel=channel)))
    if not len(samples):
        raise AudioFormatError(f"{path} holds no audio: 0 samples")
    return samples
