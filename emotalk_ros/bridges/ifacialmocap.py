"""iFacialMocap over UDP (port 49983): text, a packet a frame, for its receivers in Unity, Maya, Blender, Cinema 4D.

`name-value|...|=head#pitch,yaw,roll,x,y,z|rightEye#pitch,yaw,roll|leftEye#...|` with values 0..100 and degrees;
sides are written `_L` and `_R`. Source: ifacialmocap.com, "for developer".
"""

from __future__ import annotations

import math
import re

import numpy as np
from numpy.typing import NDArray

from emotalk_ros.bridges.livelink import PacketError
from emotalk_ros.bridges.remix import Remix
from emotalk_ros.bridges.udp import UdpTarget
from emotalk_ros.face.aliases import MappingFile
from emotalk_ros.face.names import ARKIT_NAMES, COUNT
from emotalk_ros.motion.frame import FaceFrame

PORT = 49983
HELLO = b"iFacialMocap_sahuasouryya9218sauhuiayeta91555dy3719"
"""What a receiver sends to ask for frames."""
_CENTRAL = {"jawLeft", "jawRight", "mouthLeft", "mouthRight"}


def own_name(name: str) -> str:
    """`mouthSmileLeft` as `mouthSmile_L`; jawLeft and mouthLeft have no side and stay."""
    if name in _CENTRAL:
        return name
    return re.sub(r"(Left|Right)$", lambda side: "_" + side[1][0], name)


_OWN = tuple(own_name(name) for name in ARKIT_NAMES)
_HOME = {own: k for k, own in enumerate(_OWN)}


def encode(coefficients: NDArray[np.float32], angles: NDArray[np.float32]) -> bytes:
    """A packet of (52,) coefficients and (9,) angles in rad. Values are whole, as the app's own."""
    parts = [f"{own}-{round(100 * float(value))}" for own, value in zip(_OWN, coefficients, strict=True)]
    degrees = [math.degrees(float(angle)) for angle in angles]

    def turn(at: int) -> str:
        yaw, pitch, roll = degrees[at : at + 3]
        return f"{pitch:.4f},{yaw:.4f},{roll:.4f}"

    parts += [f"=head#{turn(0)},0,0,0", f"rightEye#{turn(6)}", f"leftEye#{turn(3)}", ""]
    return "|".join(parts).encode()


def decode(packet: bytes) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Coefficients (52,) and angles (9,) of a packet. Raises PacketError."""
    coefficients, angles = np.zeros(COUNT, dtype=np.float32), np.zeros(9, dtype=np.float32)
    found = 0
    try:
        for part in packet.decode().split("|"):
            name, mark, value = part.rpartition("-") if "#" not in part else part.partition("#")
            name = name.lstrip("=")
            if "#" in part:
                at = {"head": 0, "leftEye": 3, "rightEye": 6}.get(name)
                pitch, yaw, roll = (math.radians(float(v)) for v in value.split(",")[:3])
                if at is not None:
                    angles[at : at + 3] = yaw, pitch, roll
            elif mark and name in _HOME:
                coefficients[_HOME[name]] = float(value) / 100.0
                found += 1
    except (ValueError, UnicodeDecodeError) as error:
        raise PacketError(f"no packet of iFacialMocap ({error})") from None
    if not found:
        raise PacketError("no packet of iFacialMocap: no known shape in it")
    return coefficients, angles


class IFacialMocapOutput:
    """Frames to an iFacialMocap receiver.

    Args:
        host, port: where it listens.
        mapping: gains and sums of the 52.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = PORT, mapping: MappingFile | None = None) -> None:
        self._remix = Remix.arkit(mapping)
        self.target = UdpTarget(host, port)

    def send(self, frame: FaceFrame) -> bool:
        """Send one frame; False where the network took none."""
        return self.target.send(encode(self._remix(frame.coefficients), frame.angles))

    def close(self) -> None:
        """Close the socket."""
        self.target.close()
