"""Sending UDP packets to one place, and telling when nobody is there."""

from __future__ import annotations

import ipaddress
import socket
import time


class TargetError(ValueError):
    """An address that cannot be sent to; the message names it and the remedy."""


_RETRY = 1.0
"""Seconds of packets without a refusal after which somebody is believed to listen again."""


class UdpTarget:
    """Packets to `host:port`. Where nobody listens the system tells (on this machine always, elsewhere often).

    Raises TargetError for a host that has no address or a port that is none.
    """

    def __init__(self, host: str, port: int) -> None:
        if not 1 <= port <= 65535:
            raise TargetError(f"port {port}: must be 1 to 65535")
        self.host, self.port = host, port
        try:
            family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
            self._socket = socket.socket(family, socket.SOCK_DGRAM)
            self._socket.setblocking(False)
            if _is_broadcast(str(address[0])):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            self._socket.connect(address)
        except (OSError, UnicodeError) as error:
            raise TargetError(
                f"{host}:{port} cannot be reached ({error}): give the address of the machine that shows the avatar, "
                "such as 192.168.1.20"
            ) from None
        self.sent = 0
        self.lost = 0
        self._refused_at: float | None = None
        self._sent_at = 0.0
        self._reason = ""

    def send(self, packet: bytes) -> bool:
        """Send one packet; False where it could not be. Never blocks, never raises for a network that fails."""
        try:
            self._socket.send(packet)
        except OSError as error:  # also the refusal of a packet before this one
            self.lost += 1
            self._refused_at = time.monotonic()
            refused = isinstance(error, ConnectionRefusedError)
            self._reason = "no program listens there" if refused else str(error)
            return False
        self.sent += 1
        self._sent_at = time.monotonic()
        return True

    @property
    def problem(self) -> str:
        """What is wrong at the moment, in words, or ""."""
        if self._refused_at is None or self._sent_at - self._refused_at > _RETRY:
            return ""
        return (
            f"nothing arrives at {self.host}:{self.port}: {self._reason}; "
            "start the avatar's program, and compare its port and this machine's firewall"
        )

    def close(self) -> None:
        """Close the socket; harmless when closed already."""
        self._socket.close()


def _is_broadcast(address: str) -> bool:
    try:
        return str(ipaddress.ip_address(address)).endswith(".255")
    except ValueError:
        return False


def parse_address(text: str, port: int) -> tuple[str, int]:
    """`host`, `host:port` or `[v6]:port`; `port` is the default. Raises TargetError."""
    text = text.strip()
    host, given = text, ""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        given = rest.removeprefix(":")
    elif text.count(":") == 1:
        host, given = text.split(":")
    if not host or (given and not given.isdigit()):
        raise TargetError(f"{text!r} is no address: write host, host:port or [address]:port")
    return host, int(given) if given else port
