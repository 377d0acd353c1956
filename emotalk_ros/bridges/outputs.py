"""The outputs by name: what `emotalk send`, `emotalk doctor` and the bridge nodes choose from."""

from __future__ import annotations

from typing import Protocol

from emotalk_ros.bridges import ifacialmocap, livelink, vmc
from emotalk_ros.bridges.udp import UdpTarget, parse_address
from emotalk_ros.face.aliases import MappingFile
from emotalk_ros.motion.frame import FaceFrame

OUTPUTS: dict[str, int] = {"livelink": livelink.PORT, "vmc": vmc.PORT, "ifacialmocap": ifacialmocap.PORT}
"""Protocols and their usual ports."""


class Output(Protocol):
    """Where frames go."""

    target: UdpTarget

    def send(self, frame: FaceFrame) -> bool:
        """Send one frame; False where the network took none."""
        ...

    def close(self) -> None:
        """Close what is open."""
        ...


def make_output(
    protocol: str,
    address: str = "127.0.0.1",
    *,
    names: str = "perfect-sync",
    subject: str = "emotalk",
    mapping: MappingFile | None = None,
    fps: float = 30.0,
) -> Output:
    """An output to `address` (host or host:port).

    Args:
        protocol: a key of `OUTPUTS`.
        address: of the machine that shows the avatar.
        names: for vmc, see `vmc.NAMES`.
        subject: for livelink.
        mapping: see `face.aliases`.
        fps: for livelink's time code.

    Raises ValueError (TargetError, MappingError among them) that names the value.
    """
    if protocol not in OUTPUTS:
        raise ValueError(f"protocol {protocol!r}: must be one of {', '.join(OUTPUTS)}")
    host, port = parse_address(address, OUTPUTS[protocol])
    if protocol == "livelink":
        return livelink.LiveLinkOutput(host, port, subject, mapping, fps)
    if protocol == "vmc":
        return vmc.VmcOutput(host, port, names, mapping)
    return ifacialmocap.IFacialMocapOutput(host, port, mapping)
