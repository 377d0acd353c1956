"""A PortAudio that needs no sound card. What it does is written in the file $FAKE_PORTAUDIO:

"plugged" (a sine arrives in real time), "silent" (the device is there, but no block comes), "absent" (no device).
What the loudspeaker is given is noted in the file $FAKE_LOUDSPEAKER: a line for each block, "seconds peak".
"""

import math
import os
import struct
import threading
import time
from types import SimpleNamespace

import numpy as np


class PortAudioError(Exception):
    pass


def _mode():
    with open(os.environ["FAKE_PORTAUDIO"]) as file:
        return file.read().strip()


_known = [_mode()]  # PortAudio looks for devices once, when it is initialised
default = SimpleNamespace(device=(0, 1))


def _initialize():
    _known[0] = _mode()


def _terminate():
    pass


def query_devices(device=None, kind=None):
    found = [
        {
            "index": index,
            "name": name,
            "max_input_channels": 2 - 2 * index,
            "max_output_channels": 2 * index,
            "default_samplerate": 48000.0,
        }
        for index, name in enumerate(("Robot Ears: USB", "Robot Mouth: USB"))
    ]
    found = [] if _known[0] == "absent" else found
    if kind is None:
        return found
    if not found and device is None:
        raise PortAudioError("Error querying device -1")
    matching = [d for d in found if device in (None, d["index"]) or (isinstance(device, str) and device in d["name"])]
    matching = [d for d in matching if d[f"max_{kind}_channels"] or device is not None]
    if not matching:
        raise ValueError(f"No {kind} device matching {device!r}")
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


class RawOutputStream:
    def __init__(self, *, device, samplerate, channels, dtype, blocksize, latency, callback):
        assert (device, dtype, latency) == (1, "int16", "low")
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
        with open(os.environ["FAKE_LOUDSPEAKER"], "a", buffering=1) as heard:
            while not self._stop.wait(max(0.0, begin + block * size / rate - time.monotonic())):
                data = bytearray(2 * channels * size)
                now = time.monotonic()
                times = SimpleNamespace(outputBufferDacTime=now + 0.01, currentTime=now)
                self._callback(memoryview(data), size, times, SimpleNamespace(output_underflow=False))
                peak = np.abs(np.frombuffer(data, "<i2").astype(int)).max()
                heard.write(f"{time.time() + 0.01:.4f} {peak}\n")
                block += 1
