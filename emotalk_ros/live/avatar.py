"""Whether a file is an avatar that can move, told before a browser has to."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

LARGEST = 300_000_000
"""Bytes."""


class AvatarError(ValueError):
    """An avatar that cannot be shown; the message names the file, the fault and the remedy."""


def check_avatar(path: Path) -> bytes:
    """The content of a GLB file. Raises AvatarError where no browser could show it, FileNotFoundError without one."""
    if not path.is_file():
        raise FileNotFoundError(f"no avatar {path}")
    size = path.stat().st_size
    if size > LARGEST:
        raise AvatarError(
            f"{path}: {size / 1e6:.0f} MB: at most {LARGEST / 1e6:.0f} are served; make its textures smaller"
        )
    data = path.read_bytes()
    morph_names(data, str(path))
    return data


def morph_names(data: bytes, name: str = "avatar") -> list[str]:
    """The names of a GLB's morph targets, in order. Raises AvatarError for what is no whole GLB of version 2."""
    if data[:4] != b"glTF":
        raise AvatarError(f"{name}: not a GLB file; export the avatar as binary glTF (.glb or .vrm)")
    try:
        version, length = struct.unpack_from("<II", data, 4)
        size, kind = struct.unpack_from("<I4s", data, 12)
        if version != 2:
            raise AvatarError(f"{name}: glTF of version {version}: version 2 is needed")
        if length > len(data) or kind != b"JSON" or 20 + size > len(data):
            raise AvatarError(f"{name}: cut short: {len(data)} of {length} bytes are there")
        document: dict[str, Any] = json.loads(data[20 : 20 + size])
        names: list[str] = []
        for mesh in document.get("meshes", []):
            targets = max((len(part.get("targets", ())) for part in mesh.get("primitives", ())), default=0)
            own = (mesh.get("extras") or {}).get("targetNames") or [str(k) for k in range(targets)]
            names += own[:targets]
    except (struct.error, ValueError, AttributeError, TypeError) as error:
        if isinstance(error, AvatarError):
            raise
        raise AvatarError(f"{name}: a broken GLB ({error})") from None
    return list(dict.fromkeys(names))
