"""Live Link Face over UDP (port 11111): what Epic's iPhone app sends to Unreal Engine and MetaHumans.

One packet a frame, big-endian: uint8 6 (version); int32 length and device name; int32 length and subject name; int32
frame, float32 sub-frame, int32 numerator and denominator of the frame rate; uint8 61; 61 float32: Apple's 52 in their
own order, then yaw, pitch, roll of head, left eye, right eye in radians.
"""

from __future__ import annotations

import datetime
import socket
import struct
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from emotalk_ros.bridges.remix import Remix
from emotalk_ros.bridges.udp import TargetError, UdpTarget
from emotalk_ros.face.aliases import MappingFile
from emotalk_ros.face.names import COUNT, LIVE_LINK_NAMES, reorder
from emotalk_ros.motion.frame import FaceFrame

PORT = 11111
VERSION, VALUES = 6, 61
_TIME = struct.Struct(">ifii")
_LONGEST_NAME = 256


class PacketError(ValueError):
    """A packet that is no frame of this protocol; the message says what is wrong with it."""


@dataclass(frozen=True)
class LiveLinkFrame:
    """One packet's content."""

    coefficients: NDArray[np.float32]
    """(52,) in the home order."""
    angles: NDArray[np.float32] = field(default_factory=lambda: np.zeros(9, dtype=np.float32))
    """(9,) yaw, pitch, roll of head, left eye, right eye, rad."""
    frame: int = 0
    """Frame of the time code, counted from midnight."""
    sub_frame: float = 0.0
    fps: float = 30.0
    subject: str = ""
    device: str = ""

    @property
    def seconds(self) -> float:
        """Time of day of the time code."""
        return (self.frame + self.sub_frame) / self.fps


def encode(frame: LiveLinkFrame) -> bytes:
    """A packet."""
    numerator, denominator = _rate(frame.fps)
    device, subject = frame.device.encode(), frame.subject.encode()
    values = np.concatenate([reorder(frame.coefficients, target=LIVE_LINK_NAMES), frame.angles]).astype(">f4")
    return b"".join(
        [
            struct.pack(">Bi", VERSION, len(device)),
            device,
            struct.pack(">i", len(subject)),
            subject,
            _TIME.pack(frame.frame, frame.sub_frame, numerator, denominator),
            bytes([VALUES]),
            values.tobytes(),
        ]
    )


def _rate(fps: float) -> tuple[int, int]:
    whole = round(fps)
    return (whole, 1) if abs(fps - whole) < 1e-3 else (round(fps * 1001), 1001)


def decode(packet: bytes) -> LiveLinkFrame | None:
    """What a packet says; None for the app's packets without a face (it sees none). Raises PacketError."""
    try:
        (version,) = struct.unpack_from(">B", packet)
        if version != VERSION:
            raise PacketError(f"version {version} of the protocol: {VERSION} is understood")
        device, at = _text(packet, 1)
        subject, at = _text(packet, at)
        number, part, numerator, denominator = _TIME.unpack_from(packet, at)
        at += _TIME.size
        if at == len(packet):
            return None
        count = packet[at]
        if count == 0:
            return None
        if count != VALUES or len(packet) < at + 1 + 4 * VALUES:
            raise PacketError(f"{count} values in {len(packet)} bytes: {VALUES} are expected")
    except (struct.error, IndexError):
        raise PacketError(f"cut short after {len(packet)} bytes") from None
    values = np.frombuffer(packet, ">f4", VALUES, at + 1).astype(np.float32)
    if not np.isfinite(values).all() or numerator <= 0 or denominator <= 0:
        raise PacketError("values or a frame rate that are no numbers")
    return LiveLinkFrame(
        coefficients=np.clip(reorder(values[:COUNT], LIVE_LINK_NAMES), 0.0, 1.0),
        angles=values[COUNT:],
        frame=number,
        sub_frame=part,
        fps=numerator / denominator,
        subject=subject,
        device=device,
    )


def _text(packet: bytes, at: int) -> tuple[str, int]:
    (length,) = struct.unpack_from(">i", packet, at)
    if not 0 <= length <= _LONGEST_NAME or at + 4 + length > len(packet):
        raise PacketError(f"a name of {length} bytes")
    return packet[at + 4 : at + 4 + length].decode(errors="replace"), at + 4 + length


class LiveLinkOutput:
    """Frames to Unreal Engine (Live Link source "Live Link Face", the subject appears under its name).

    Args:
        host, port: the machine that runs the engine.
        subject: name of the face.
        mapping: gains and sums of the 52.
        fps: of the time code.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = PORT,
        subject: str = "emotalk",
        mapping: MappingFile | None = None,
        fps: float = 30.0,
    ) -> None:
        if not 1 <= len(subject.encode()) <= _LONGEST_NAME:
            raise ValueError(f"subject {subject!r}: must have 1 to {_LONGEST_NAME} bytes")
        self._remix = Remix.arkit(mapping)
        self.target = UdpTarget(host, port)
        self._subject, self._fps = subject, fps
        # The app sends an id of 36 characters, with a letter before those of an UUID cut to length.
        self._device = str(uuid.uuid5(uuid.NAMESPACE_DNS, f"emotalk:{subject}")).upper()
        self._midnight = _since_midnight()
        self._first: int | None = None

    def send(self, frame: FaceFrame) -> bool:
        """Send one frame; False where the network took none."""
        if self._first is None or frame.stamp_ns < self._first:
            self._first, self._midnight = frame.stamp_ns, _since_midnight()
        time = (self._midnight + (frame.stamp_ns - self._first) / 1e9) * self._fps + 1e-6
        return self.target.send(
            encode(
                LiveLinkFrame(
                    self._remix(frame.coefficients),
                    frame.angles,
                    int(time) % round(86400 * self._fps),
                    time % 1.0,
                    self._fps,
                    self._subject,
                    self._device,
                )
            )
        )

    def close(self) -> None:
        """Close the socket."""
        self.target.close()


def _since_midnight() -> float:
    now = datetime.datetime.now()
    return (now - now.replace(hour=0, minute=0, second=0, microsecond=0)).total_seconds()


class LiveLinkReceiver:
    """Packets of a phone that runs Live Link Face (set this machine's address as its target).

    Raises TargetError when the port is taken.
    """

    def __init__(self, port: int = PORT, host: str = "0.0.0.0") -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.bind((host, port))
        except OSError as error:
            self._socket.close()
            raise TargetError(
                f"the port {port} cannot be listened at ({error.strerror}): another receiver (Unreal Engine?) has it; "
                "choose another with --port, here and in the app"
            ) from None
        self.port = int(self._socket.getsockname()[1])
        self.refused = 0
        self.last_error = ""

    def frames(
        self, timeout: float = 0.5, ending: Callable[[], bool] = lambda: False
    ) -> Iterator[LiveLinkFrame | None]:
        """Frames as they come, and None whenever none came for `timeout` seconds; until `ending` says so.

        Packets that are none are counted in `refused`, the reason of the last is in `last_error`.
        """
        self._socket.settimeout(timeout)
        while not ending():
            try:
                packet = self._socket.recv(65536)
            except TimeoutError:
                yield None
                continue
            try:
                frame = decode(packet)
            except PacketError as error:
                self.refused += 1
                self.last_error = str(error)
                continue
            if frame is not None:
                yield frame

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
