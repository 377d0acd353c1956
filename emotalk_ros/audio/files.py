"""Audio files, in every format that libsndfile reads (wav, flac, ogg, opus, mp3, aiff, ...)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import numpy as np
import soundfile

from emotalk_ros.audio.pcm import AudioFormatError, Samples
from emotalk_ros.audio.resample import StreamResampler, check_rate


class AudioFile:
    """An open audio file, read in blocks of float32 at its own rate; use it as a context manager.

    Raises FileNotFoundError for a missing file and AudioFormatError for one that cannot be read as audio.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.exists():
            raise FileNotFoundError(f"no audio file {self.path}")
        if self.path.is_dir():
            raise AudioFormatError(f"{self.path} is a folder, not an audio file")
        try:
            self._file = soundfile.SoundFile(str(self.path))
        except (soundfile.LibsndfileError, RuntimeError, OSError) as error:
            raise AudioFormatError(
                f"cannot read {self.path} as audio ({error}); readable are wav, flac, ogg, opus, mp3, aiff and the "
                "other formats of libsndfile"
            ) from error
        try:
            self.sample_rate: int = check_rate(self._file.samplerate)
        except AudioFormatError as error:
            self._file.close()
            raise AudioFormatError(f"{self.path}: {error}") from error

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
            return np.asarray(self._file.read(count, dtype="float32", always_2d=True))
        except (soundfile.LibsndfileError, RuntimeError) as error:
            raise AudioFormatError(
                f"{self.path} is damaged near {self._file.tell() / self.sample_rate:.2f} s: {error}"
            ) from error

    def rewind(self) -> None:
        """Go back to the beginning, for a loop."""
        self._file.seek(0)

    def blocks(self, count: int) -> Iterator[Samples]:
        """The rest of the file in blocks of `count` samples, (n, channels); the last may be shorter."""
        while len(block := self.read(count)):
            yield block

    def close(self) -> None:
        """Close the file; harmless when closed already."""
        self._file.close()

    def __enter__(self) -> AudioFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def mono_blocks(file: AudioFile, seconds: float = 1.0) -> Iterator[Samples]:
    """The rest of `file` as mono 16 kHz pieces (n,) of about `seconds` each; NaN and inf become silence."""
    resampler = StreamResampler(file.sample_rate)
    for block in file.blocks(max(1, round(seconds * file.sample_rate))):
        yield resampler.push(np.nan_to_num(block.mean(axis=1), nan=0.0, posinf=0.0, neginf=0.0))
    yield resampler.flush()


def load_audio(path: str | Path) -> Samples:
    """A whole file as float32 mono at 16 kHz, shape (n,): channels are averaged, soxr resamples.

    Raises FileNotFoundError, and AudioFormatError for what is not audio or holds no sample.
    """
    with AudioFile(path) as file:
        samples = np.concatenate(list(mono_blocks(file, seconds=10.0)))
    if not len(samples):
        raise AudioFormatError(f"{path} holds no audio: 0 samples")
    return samples
