"""A PortAudio that needs no sound card. What it does is written in the file $FAKE_PORTAUDIO:

"plugged" (a sine arrives in real time), "silent" (the device is there, but no block comes), "absent" (no device).
"""

import math
import os
import struct
import threading
import time
from types import SimpleNamespace


class PortAudioError(Exception):
    pass


def _mode():
    with open(os.environ["FAKE_PORTAUDIO"]) as file:
        return file.read().strip()


_known = [_mode()]  # PortAudio looks for devices once, when it is initialised
default = SimpleNamespace(device=(0, -1))


def _initialize():
    _known[0] = _mode()


def _terminate():
    pass


def query_devices(device=None, kind=None):
    found = [{"index": 0, "name": "Robot Ears: USB", "max_input_channels": 2, "default_samplerate": 48000.0}]
    found = [] if _known[0] == "absent" else found
    if kind is None:
        return found
    if not found and device is None:
        raise PortAudioError("Error querying device -1")
    matching = [d for d in found if device in (None, d["index"]) or (isinstance(device, str) and device in d["name"])]
    if not matching:
        raise ValueError(f"No input device matching {device!r}")
    return matching[0]


class RawInputStream:
    def __init__(self, *, device, samplerate, channels, dtype, blocksize, latency, callback):
        if samplerate > 96000:
            raise PortAudioError("Invalid sample rate [PaErrorCode -9997]")
        assert (device, dtype, latency) == (0, "int16", "low")
        self._format = (samplerate, channels, blocksize)
        self._callback = callback
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self):
        self._thread.start()

    def abort(self):
        self._stop.set()
        self._thread.join(1.0)

    close = abort

    def _run(self):
        rate, channels, size = self._format
        begin, block = time.monotonic(), 0
        while not self._stop.wait(max(0.0, begin + (block + 1) * size / rate - time.monotonic())):
            if _mode() != "plugged":
                continue_at = 0.02
                if self._stop.wait(continue_at):
                    return
                begin, block = time.monotonic(), 0
                continue
            waves = [round(9000 * math.sin(0.05 * (block * size + k))) for k in range(size)]
            data = b"".join(struct.pack("<h", wave) * channels for wave in waves)
            now = time.monotonic()
            times = SimpleNamespace(inputBufferAdcTime=now - size / rate, currentTime=now)
            self._callback(data, size, times, SimpleNamespace(input_overflow=False))
            block += 1
