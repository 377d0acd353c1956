"""WAV files whose header does not say how long they are: a recorder that died, a pipe, a copy that was cut off."""

from __future__ import annotations

import io
import os
import struct
from dataclasses import dataclass
from pathlib import Path

_UNKNOWN = 0x7F000000  # what programs write that cannot go back to the header lies above
_OTHER_CHUNKS = (
    b"LIST",
    b"id3 ",
    b"ID3 ",
    b"bext",
    b"fact",
    b"cue ",
    b"smpl",
    b"JUNK",
    b"PEAK",
    b"inst",
    b"iXML",
    b"afsp",
)


@dataclass(frozen=True)
class WavLength:
    """What the header of a RIFF WAV promises, and what is there, in bytes of samples."""

    offset: int
    """Of the first sample."""
    promised: int
    there: int
    bytes_per_second: int
    empty: bool
    """The promise is 0, and what follows is no sound but another chunk, or nothing."""

    @property
    def open_ended(self) -> bool:
        """The header was written before the length was known."""
        return (self.promised == 0 and not self.empty) or self.promised > max(_UNKNOWN, self.there)

    @property
    def cut_off(self) -> str:
        """What is missing, in words; empty where nothing is."""
        if self.open_ended or self.there >= self.promised:
            return ""
        return (
            f"it is cut off: {self.there / self.bytes_per_second:.2f} s of the "
            f"{self.promised / self.bytes_per_second:.2f} s that its header promises are there"
        )


def wav_length(path: Path) -> WavLength | None:
    """The lengths of a RIFF WAV; None for anything else."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        if len(head) < 12 or head[:4] != b"RIFF" or head[8:] != b"WAVE":
            return None
        rate, at = 0, 12
        while len(chunk := file.read(8)) == 8:
            name, length = chunk[:4], struct.unpack("<I", chunk[4:])[0]
            if name == b"data":
                follows = file.read(8)
                known = follows[:4] in _OTHER_CHUNKS
                return WavLength(at + 8, length, size - at - 8, max(rate, 1), length == 0 and (known or not follows))
            body = file.read(min(length, 64))
            if name == b"fmt " and len(body) >= 12:
                rate = struct.unpack("<I", body[8:12])[0]
            at += 8 + length + length % 2
            file.seek(at)
    return None


class GrownWav(io.RawIOBase):
    """A WAV file as if its header knew the length: for libsndfile, which believes the header."""

    def __init__(self, path: Path, length: WavLength) -> None:
        super().__init__()
        self._file = path.open("rb")
        self._size = min(length.offset + length.there, 0xFFFFFFFE)
        there = self._size - length.offset
        head = bytearray(self._file.read(length.offset))
        head[4:8] = struct.pack("<I", self._size - 8)
        head[-4:] = struct.pack("<I", there)
        self._head = bytes(head)
        self._at = 0

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As of any file."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        """As of any file."""
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """The bytes at this place, those of the header mended."""
        wanted = min(len(buffer), max(0, self._size - self._at))
        head = self._head[self._at : self._at + wanted]
        data = head
        if len(head) < wanted:
            self._file.seek(self._at + len(head))
            data = head + self._file.read(wanted - len(head))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()
