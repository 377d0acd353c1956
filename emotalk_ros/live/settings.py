"""Where the live page is served, to whom, and how much each visitor may ask of it."""

from __future__ import annotations

import ipaddress
import secrets
from dataclasses import dataclass, field


@dataclass(frozen=True)
class LiveSettings:
    """Of one server. Times in seconds.

    Raises ValueError that names the value and the range when one is out of range.
    """

    host: str = "127.0.0.1"
    port: int = 8765
    """0: any free one."""
    token: str = ""
    """Secret that a visitor must bring; made by itself where the address is not this machine's own."""
    visitors: int = 8
    """Voices at a time."""
    max_message: int = 256 * 1024
    """Bytes of one message of a visitor."""
    max_chunk: float = 1.0
    """Audio in one message."""
    burst: float = 10.0
    """How far a visitor's audio may run ahead of the clock, as after a browser that stood still; what goes beyond is
    left out, and who goes beyond by as much again must leave."""
    max_lag: float = 1.0
    """How far a voice may be behind before hops are skipped."""
    idle_timeout: float = 0.5
    """Pause after which the frames held back for look-ahead are computed with silence."""
    max_recording: float = 1800.0
    recordings: int = 4
    """Kept at a time, for all visitors; the oldest is forgotten."""
    certificate: str = ""
    """PEM file for https; a browser gives the microphone only to https or to this machine."""
    key: str = ""
    made_token: str = field(default_factory=lambda: secrets.token_urlsafe(16), repr=False)

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port {self.port}: must be 0 to 65535")
        if not 1 <= self.visitors <= 256:
            raise ValueError(f"visitors {self.visitors}: must be 1 to 256")
        if self.token and (len(self.token) < 8 or not self.token.isascii() or not self.token.isprintable()):
            raise ValueError("the token must have 8 printable ASCII characters or more")
        if bool(self.certificate) != bool(self.key):
            raise ValueError("https needs both a certificate and its key")

    @property
    def local(self) -> bool:
        """Whether only this machine can reach the page."""
        return is_local(self.host)

    @property
    def secret(self) -> str:
        """The token that counts: the one given, one made by itself, or "" where none is needed."""
        return self.token or ("" if self.local else self.made_token)


def is_local(host: str) -> bool:
    """Whether `host` is a name or address of this machine itself."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
