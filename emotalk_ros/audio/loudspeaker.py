"""A loudspeaker through PortAudio (sounddevice) that asks for its samples, with the time at which they are heard."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from emotalk_ros.audio.capture import MicrophoneError, portaudio
from emotalk_ros.audio.pcm import Samples, encode_pcm

Fill = Callable[[int, float], Samples]
"""Number of samples, and when the first is heard (seconds) -> samples (n,), full scale 1."""


class LoudspeakerError(RuntimeError):
    """The device can't be used at the moment; the message names it and the remedy."""


@dataclass(frozen=True)
class LoudspeakerSettings:
    """Which device.

    Attributes:
        device: name, part of a name, or index; empty for the system's default output.
        sample_rate: Hz; 0 for the device's own.
        block: seconds that the device asks for at a time.
        timeout: seconds without a question after which the device counts as lost.
    """

    device: str = ""
    sample_rate: int = 0
    block: float = 0.01
    timeout: float = 2.0


def check_portaudio() -> Any:
    """The sounddevice module. Raises LoudspeakerError that says what to install."""
    try:
        return portaudio()
    except MicrophoneError as error:
        raise LoudspeakerError(str(error)) from error


def list_outputs() -> str:
    """A table of the output devices, the default one marked. Raises LoudspeakerError."""
    sound = check_portaudio()
    try:
        devices = list(sound.query_devices())
        default = sound.default.device[1]
    except sound.PortAudioError as error:
        raise LoudspeakerError(f"the sound devices can't be listed: {error}") from error
    lines = [
        f"{'*' if index == default else ' '} {index:3d}  {device['name']}  "
        f"({device['max_output_channels']} channels, {device['default_samplerate']:.0f} Hz)"
        for index, device in enumerate(devices)
        if device.get("max_output_channels", 0) > 0
    ]
    if not lines:
        return "no output device found: is a loudspeaker connected, and may this user use it (group audio)?"
    return "\n".join([*lines, "use one with -p device:=<index or part of the name>; * is the default"])


class Loudspeaker:
    """An open output stream, mono on every channel. Use as a context manager.

    Args:
        settings: which device.
        make_fill: given the device's rate, returns what is asked for samples, from PortAudio's thread.
        clock: seconds, on the clock of the stamps.

    Raises:
        LoudspeakerError: no such device, or it can't be opened.
    """

    def __init__(
        self, settings: LoudspeakerSettings, make_fill: Callable[[int], Fill], clock: Callable[[], float] = time.time
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._sound = check_portaudio()
        self.underflows = 0
        self._asked = time.monotonic()
        info = self._choose()
        self.device_name, self._device = str(info["name"]), info.get("index")
        self.sample_rate = settings.sample_rate or round(info["default_samplerate"])
        self.channels = min(2, int(info["max_output_channels"]))
        self._fill = make_fill(self.sample_rate)
        self._stream = self._open()

    def _choose(self) -> Any:
        wanted = self._settings.device
        device: str | int | None = int(wanted) if wanted.isdigit() else (wanted or None)
        try:
            info = self._sound.query_devices(device, "output")
        except (ValueError, self._sound.PortAudioError) as error:
            name = f"output device {wanted!r}" if wanted else "default output device"
            raise LoudspeakerError(
                f"no {name}: {error}; `python -m emotalk_ros.nodes speaker_node --list-devices` lists them"
            ) from error
        if info["max_output_channels"] < 1:
            raise LoudspeakerError(f"{info['name']} plays nothing: it has no output channels")
        return info

    def _open(self) -> Any:
        try:
            stream = self._sound.RawOutputStream(
                device=self._device,
                samplerate=self.sample_rate,
                channels=self.channels,
                dtype="int16",
                blocksize=max(1, round(self._settings.block * self.sample_rate)),
                latency="low",
                callback=self._asks,
            )
            stream.start()
        except (ValueError, self._sound.PortAudioError) as error:
            raise LoudspeakerError(
                f"{self.device_name} can't be opened with {self.sample_rate} Hz, {self.channels} channel(s): {error}; "
                "sample_rate:=0 takes the device's own rate"
            ) from error
        return stream

    def _asks(self, data: Any, frames: int, times: Any, status: Any) -> None:
        """PortAudio's thread."""
        self._asked = time.monotonic()
        self.underflows += bool(status and status.output_underflow)
        latency = times.outputBufferDacTime - times.currentTime
        if not times.outputBufferDacTime > 0.0 or not 0.0 <= latency < 2.0:  # some host interfaces don't tell
            latency = frames / self.sample_rate
        samples = self._fill(frames, self._clock() + latency)
        data[:] = encode_pcm(np.repeat(samples, self.channels), "s16le")

    @property
    def alive(self) -> bool:
        """Whether the device has asked for samples lately."""
        return time.monotonic() - self._asked < self._settings.timeout

    def close(self) -> None:
        """Stop the stream; harmless when the device is gone."""
        try:
            self._stream.abort()
            self._stream.close()
        except self._sound.PortAudioError:
            pass  # an unplugged device can't be stopped

    def __enter__(self) -> Loudspeaker:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
