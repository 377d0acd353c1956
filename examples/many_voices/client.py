"""A speaker whose face is computed elsewhere, and who goes on when the replica that did it dies.

    python client.py speech.wav [--server ws://127.0.0.1:8000/voice] [-o face.csv]

It keeps what was not answered yet and the four seconds before that. When its socket closes, or nothing comes back any
more, it opens another, which leads to another replica, and sends those again, beginning on the frame grid of its
stream: so stamps go on as they were, and the frames that it has already are left out. The new replica has then heard as
much as a window holds ("one context").
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from pathlib import Path

import numpy as np
import websockets

RATE, PIECE, NS = 16000, 1600, 1_000_000_000
CONTEXT = 4.0
"""Seconds that are sent again: two segments of the network's trunk."""
_FRAME = np.dtype([("stamp", "<i8"), ("coefficients", "<f4", 52)])


class Speaker:
    """One voice.

    Attributes:
        frames: (stamp in ns, coefficients (52,)), each once, in order.
        processes: process numbers of the replicas that it was at.
        breaks: seconds for which nothing came, at each change of the replica.
        spoken: pieces of 0.1 s said so far.
    """

    def __init__(self, server: str, patience: float = 3.0) -> None:
        self.server, self.patience = server, patience
        self.frames: list[tuple[int, np.ndarray]] = []
        self.processes: list[int] = []
        self.breaks: list[float] = []
        self.spoken = 0

    async def speak(self, audio: np.ndarray, origin_ns: int = 0) -> None:
        """Send int16 `audio` as it would be spoken, and collect the frames."""
        pieces = [(origin_ns + at * NS // RATE, audio[at : at + PIECE].tobytes()) for at in range(0, len(audio), PIECE)]
        expected = max(0, (len(audio) - 6000) * 30 // RATE)  # the last frames wait for more sound
        last = None
        while len(self.frames) < expected:
            try:
                async with websockets.connect(self.server, open_timeout=10) as socket:
                    self.processes.append(json.loads(await asyncio.wait_for(socket.recv(), self.patience))["process"])
                    sending = asyncio.create_task(self._send(socket, pieces, self._first_needed(origin_ns)))
                    try:
                        while len(self.frames) < expected:
                            message = await asyncio.wait_for(socket.recv(), self.patience)
                            if self._take(np.frombuffer(message, _FRAME)):
                                if last is not None and len(self.breaks) < len(self.processes) - 1:
                                    self.breaks.append(time.monotonic() - last)
                                last = time.monotonic()
                    finally:
                        sending.cancel()
            except (OSError, asyncio.TimeoutError, websockets.WebSocketException):
                await asyncio.sleep(0.05)

    def _first_needed(self, origin_ns: int) -> int:
        """The piece from which on another replica has to hear again."""
        if not self.frames:
            return 0
        return max(0, (self.frames[-1][0] - origin_ns) * RATE // (NS * PIECE) - round(CONTEXT * RATE / PIECE))

    def _take(self, rows: np.ndarray) -> bool:
        """Keep the frames that are new; whether there were any."""
        new = [row for row in rows if not self.frames or row["stamp"] > self.frames[-1][0]]
        self.frames += [(int(row["stamp"]), row["coefficients"].copy()) for row in new]
        return bool(new)

    async def _send(self, socket: websockets.ClientConnection, pieces: list[tuple[int, bytes]], first: int) -> None:
        for k in range(first, len(pieces)):
            if k >= self.spoken:
                await asyncio.sleep(PIECE / RATE)
                self.spoken = k + 1
            stamp, samples = pieces[k]
            await socket.send(np.int64(stamp).tobytes() + samples)


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
