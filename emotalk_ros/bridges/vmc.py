"""VMC protocol (OSC over UDP, port 39539): VRM avatars in VSeeFace, VMagicMirror, Warudo, VNyan, Unity, Blender.

For each frame: `/VMC/Ext/Blend/Val` (name, value) for every shape, `/VMC/Ext/Bone/Pos` (name, position, quaternion) of
head and eyes where the frame gives them, then `/VMC/Ext/Blend/Apply`. Source: protocol.vmc.info (marionette
specification 2.x). Names are case-sensitive. Messages travel in bundles that fit an Ethernet packet.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from pythonosc.osc_bundle_builder import IMMEDIATELY, OscBundleBuilder
from pythonosc.osc_message import OscMessage
from pythonosc.osc_message_builder import OscMessageBuilder

from emotalk_ros.bridges.remix import Remix
from emotalk_ros.bridges.udp import UdpTarget
from emotalk_ros.face.aliases import VRM0_PRESETS, VRM1_PRESETS, MappingFile, preset_weights
from emotalk_ros.face.names import ARKIT_NAMES
from emotalk_ros.motion.frame import FaceFrame

PORT = 39539
LARGEST = 1400
"""Bytes of a packet."""
_BUNDLE_HEAD = 16


def _pascal(name: str) -> str:
    return name[0].upper() + name[1:]


NAMES: dict[str, dict[str, dict[str, float]]] = {
    "perfect-sync": {_pascal(name): {name: 1.0} for name in ARKIT_NAMES},
    "arkit": {name: {name: 1.0} for name in ARKIT_NAMES},
    "vrm0": {name: preset_weights(preset) for name, preset in VRM0_PRESETS.items() if name not in ("Fun",)},
    "vrm1": {name: preset_weights(preset) for name, preset in VRM1_PRESETS.items() if name not in ("relaxed",)},
}
"""Sets of names: the 52 clips of a "Perfect Sync" avatar (JawOpen), the same as Apple writes them (jawOpen), and the
presets that every avatar of VRM 0 and VRM 1 has: five vowels, blinks, emotions."""


def messages(frame: FaceFrame, remix: Remix) -> list[OscMessage]:
    """All messages of a frame, in order."""
    out = [
        _message("/VMC/Ext/Blend/Val", name, float(value))
        for name, value in zip(remix.names, remix(frame.coefficients), strict=True)
    ]
    out.append(_message("/VMC/Ext/Blend/Apply"))
    if frame.head is not None:
        out.append(_bone("Head", frame.head))
    if frame.eyes is not None:
        eyes = np.array([frame.eyes[0], frame.eyes[1], 0.0])
        out += [_bone("LeftEye", eyes), _bone("RightEye", eyes)]
    return out


def packets(content: list[OscMessage]) -> list[bytes]:
    """Messages in bundles of at most `LARGEST` bytes."""
    out: list[bytes] = []
    builder, size, filled = OscBundleBuilder(IMMEDIATELY), _BUNDLE_HEAD, False
    for message in content:
        length = message.size + 4
        if filled and size + length > LARGEST:
            out.append(builder.build().dgram)
            builder, size = OscBundleBuilder(IMMEDIATELY), _BUNDLE_HEAD
        builder.add_content(message)
        size, filled = size + length, True
    if filled:
        out.append(builder.build().dgram)
    return out


def _message(address: str, *values: object) -> OscMessage:
    builder = OscMessageBuilder(address)
    for value in values:
        builder.add_arg(value, "f" if isinstance(value, float) else None)  # type: ignore[arg-type]
    return builder.build()


def _bone(name: str, angles: NDArray[np.float32]) -> OscMessage:
    """In Unity's axes: x to the subject's right, y up, z forward, so that turns about y and z change their sign."""
    x, y, z, w = quaternion(angles)
    return _message("/VMC/Ext/Bone/Pos", name, 0.0, 0.0, 0.0, x, -y, -z, w)


def quaternion(angles: NDArray[np.float32]) -> tuple[float, float, float, float]:
    """Angles (3,) as of `FaceFrame.head`, in turns about left, up and forward: x, y, z, w."""
    yaw, pitch, roll = float(angles[0]) / 2, -float(angles[1]) / 2, -float(angles[2]) / 2
    cy, sy, cp, sp, cr, sr = (
        math.cos(yaw),
        math.sin(yaw),
        math.cos(pitch),
        math.sin(pitch),
        math.cos(roll),
        math.sin(roll),
    )
    return (
        cy * sp * cr + sy * cp * sr,
        sy * cp * cr - cy * sp * sr,
        cy * cp * sr - sy * sp * cr,
        cy * cp * cr + sy * sp * sr,
    )


class VmcOutput:
    """Frames to a VRM avatar's program.

    Args:
        host, port: where it listens.
        names: a key of `NAMES`.
        mapping: more names, other sums, gains.
    """

    def __init__(
        self, host: str = "127.0.0.1", port: int = PORT, names: str = "perfect-sync", mapping: MappingFile | None = None
    ) -> None:
        if names not in NAMES:
            raise ValueError(f"names {names!r}: must be one of {', '.join(NAMES)}")
        self.remix = Remix.named(NAMES[names], mapping)
        self.target = UdpTarget(host, port)

    def send(self, frame: FaceFrame) -> bool:
        """Send one frame; False where the network took none of it."""
        sent = [self.target.send(packet) for packet in packets(messages(frame, self.remix))]
        return all(sent)

    def close(self) -> None:
        """Close the socket."""
        self.target.close()
