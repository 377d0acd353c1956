"""What the tests of the live page share: a server in this process, speech, and a page as the server sees it."""

import json
import threading
import time
from contextlib import contextmanager

import numpy as np
from sounds import vowels

from emotalk_ros.live.frames import read_frames, write_audio

RATE = 48000


@contextmanager
def running(server):
    address = server.bind()
    thread = threading.Thread(target=server.run, name="server", daemon=True)
    thread.start()
    try:
        yield address
    finally:
        server.stop()
        thread.join(15)
        assert not thread.is_alive()


def speech(seconds, seed=0):
    """Sung syllables, int16 at 48 kHz."""
    return (32767 * vowels(seconds, seed, RATE)).astype(np.int16)


class Visitor:
    """A page as the server sees it."""

    def __init__(self, server, **headers):
        from websockets.sync.client import connect

        self.socket = connect(
            f"ws://127.0.0.1:{server.port}/live", additional_headers=headers, max_size=None, open_timeout=20
        )
        self.frames, self.words = [], []

    def say(self, kind, **values):
        self.socket.send(json.dumps({"type": kind, **values}))

    def speak(self, samples, piece=960, first=0, hurry=0.25):
        """Send audio a little faster than real time."""
        for at in range(0, len(samples), piece):
            self.socket.send(write_audio(first + at, RATE, samples[at : at + piece]))
            time.sleep(hurry * piece / RATE)

    def listen(self, until, seconds=20.0):
        """Take what comes until `until(self)`; fails after so many seconds."""
        end = time.monotonic() + seconds
        while not until(self):
            message = self.socket.recv(timeout=max(0.01, end - time.monotonic()))
            if isinstance(message, bytes):
                self.frames += read_frames(message)
            else:
                self.words.append(json.loads(message))
        return self

    def wait_for(self, frames):
        """Take what comes until there are so many frames."""
        return self.listen(lambda v: len(v.frames) >= frames)

    def word(self, kind):
        """The last message of a kind, or None."""
        return next((w for w in reversed(self.words) if w["type"] == kind), None)

    def close(self):
        self.socket.close()
