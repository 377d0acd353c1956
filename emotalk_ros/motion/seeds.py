"""Seeds of what is drawn at random (blinks, sway, gaze), where none is given: others for every clip and every node."""

from __future__ import annotations

import socket
import zlib
from pathlib import Path

from emotalk_ros.files import file_digest


def seed_of(text: str) -> int:
    """A seed 0..2^31-1 for a name: the same name, the same seed."""
    return zlib.crc32(text.encode("utf-8", "surrogateescape")) & 0x7FFFFFFF


def clip_seed(path: Path) -> int:
    """The seed of a recording: of its content, whatever it is called."""
    return seed_of(file_digest(path)) if path.is_file() else 0


def face_seed(topic: str) -> int:
    """The seed of a node's face: of the machine's name and the full name of the face's topic."""
    return seed_of(f"{socket.gethostname()} {topic}")
