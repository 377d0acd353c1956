"""A speaker whose face is computed elsewhere, and who goes on when the replica that did it dies.

    python client.py speech.wav [--server ws://127.0.0.1:8000/voice] [-o face.csv]

It keeps the last seconds of what it sent. When its socket closes it opens another, which leads to another replica, and
sends those again, beginning on the frame grid of its stream: so stamps go on as they were, and the frames that it has
already are left out. The new replica has then heard as much as a window holds ("one context").
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections import deque
from pathlib import Path

import numpy as np
import websockets

RATE, PIECE, NS = 16000, 1600, 1_000_000_000
CONTEXT = 4.0
"""Seconds that are sent again: two segments of the network's trunk."""
_FRAME = np.dtype([("stamp", "<i8"), ("coefficients", "<f4", 52)])


class Speaker:
    """One voice. `frames` are (stamp in ns, coefficients (52,)), each once, in order; `breaks` the seconds without."""

    def __init__(self, server: str, context: float = CONTEXT) -> None:
        self.server = server
        self.frames: list[tuple[int, np.ndarray]] = []
        self.processes: list[int] = []
        self.breaks: list[float] = []
        self.kept: deque[tuple[int, bytes]] = deque(maxlen=round(context * RATE / PIECE))
        self.sent = 0

    async def speak(self, audio: np.ndarray, origin_ns: int = 0, pace: float = 1.0) -> None:
        """Send int16 `audio` piece by piece, `pace` times as fast as it was spoken, and collect the frames."""
        pieces = [(origin_ns + at * NS // RATE, audio[at : at + PIECE].tobytes()) for at in range(0, len(audio), PIECE)]
        expected = max(0, (len(audio) - 6000) * 30 // RATE)
        lost: float | None = None
        while self.sent < len(pieces) or len(self.frames) < expected:
            try:
                async with websockets.connect(self.server, open_timeout=10) as socket:
                    self.processes.append(json.loads(await socket.recv())["process"])
                    for stamp, samples in list(self.kept):  # what the replica before had heard lately
                        await socket.send(np.int64(stamp).tobytes() + samples)
                    sending = asyncio.create_task(self._send(socket, pieces, pace))
                    try:
                        while self.sent < len(pieces) or len(self.frames) < expected:
                            for row in np.frombuffer(await asyncio.wait_for(socket.recv(), 30), _FRAME):
                                if self.frames and row["stamp"] <= self.frames[-1][0]:
                                    continue
                                if lost is not None:
                                    self.breaks.append(time.monotonic() - lost)
                                    lost = None
                                self.frames.append((int(row["stamp"]), row["coefficients"].copy()))
                    finally:
                        sending.cancel()
            except (OSError, websockets.WebSocketException):
                lost = time.monotonic() if lost is None else lost
                await asyncio.sleep(0.05)

    async def _send(self, socket: websockets.ClientConnection, pieces: list[tuple[int, bytes]], pace: float) -> None:
        while self.sent < len(pieces):
            stamp, samples = pieces[self.sent]
            await socket.send(np.int64(stamp).tobytes() + samples)
            self.kept.append(pieces[self.sent])
            self.sent += 1
            await asyncio.sleep(PIECE / RATE / pace)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("audio", type=Path)
    parser.add_argument("--server", default="ws://127.0.0.1:8000/voice")
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    from emotalk_ros.audio import load_audio

    speaker = Speaker(arguments.server)
    samples = (np.clip(load_audio(arguments.audio), -1, 1) * 32767).astype("<i2")
    asyncio.run(speaker.speak(samples))
    print(f"{len(speaker.frames)} frames from {len(speaker.processes)} replica(s)")
    if arguments.output:
        rows = np.array([[stamp / NS, *coefficients] for stamp, coefficients in speaker.frames])
        np.savetxt(arguments.output, rows, delimiter=",", fmt="%.6f")


if __name__ == "__main__":
    main()
