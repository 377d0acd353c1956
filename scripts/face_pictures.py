#!/usr/bin/env python3
"""Draw the pictures of docs/face.md: the project's own face, and all of its 52 shapes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from emotalk_ros.face import ARKIT_NAMES, COUNT, INDEX, default_face
from emotalk_ros.reports.render import contact_sheet, render_frames

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "images"

POSES: dict[str, dict[str, float]] = {
    "at rest": {},
    "jawOpen .3": {"jawOpen": 0.3},
    "+ mouthClose .3": {"jawOpen": 0.3, "mouthClose": 0.3},
    "oo": {"mouthFunnel": 0.35, "mouthPucker": 0.4, "jawOpen": 0.12},
    "happy": {
        "mouthSmileLeft": 0.7,
        "mouthSmileRight": 0.7,
        "cheekSquintLeft": 0.7,
        "cheekSquintRight": 0.7,
        "eyeSquintLeft": 0.3,
        "eyeSquintRight": 0.3,
        "mouthUpperUpLeft": 0.3,
        "mouthUpperUpRight": 0.3,
        "jawOpen": 0.08,
    },
    "sad": {"browInnerUp": 0.9, "mouthFrownLeft": 0.7, "mouthFrownRight": 0.7, "mouthShrugLower": 0.3},
    "angry": {
        "browDownLeft": 1.0,
        "browDownRight": 1.0,
        "eyeSquintLeft": 0.5,
        "eyeSquintRight": 0.5,
        "noseSneerLeft": 0.5,
        "noseSneerRight": 0.5,
        "mouthPressLeft": 0.8,
        "mouthPressRight": 0.8,
    },
    "surprised": {
        "browInnerUp": 0.8,
        "browOuterUpLeft": 0.8,
        "browOuterUpRight": 0.8,
        "eyeWideLeft": 0.9,
        "eyeWideRight": 0.9,
        "jawOpen": 0.4,
    },
}


def save(picture: np.ndarray, name: str) -> None:
    """Write a PNG of 256 well chosen colours: small, and good enough for a page."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / name
    Image.fromarray(picture).quantize(256, kmeans=2, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1024:.0f} KiB")


def main() -> None:
    """Draw both pictures."""
    face = default_face()
    coefficients = np.zeros((len(POSES), COUNT), dtype=np.float32)
    for row, pose in zip(coefficients, POSES.values(), strict=True):
        for name, value in pose.items():
            row[INDEX[name]] = value
    poses = render_frames(face, coefficients, 256)[:, :, 24:-24]
    save(contact_sheet(poses, list(POSES), columns=4), "face.png")
    shapes = render_frames(face, np.eye(COUNT), 156)[:, 2:-8, 22:-22]
    save(contact_sheet(shapes, list(ARKIT_NAMES), columns=9, text_height=13), "shapes.png")


if __name__ == "__main__":
    main()
