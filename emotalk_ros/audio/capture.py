"""Sound from a microphone through PortAudio (sounddevice), with true capture times. Knows nothing of ROS."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

from emotalk_ros.audio import decode_pcm
from emotalk_ros.units import NS


class MicrophoneError(RuntimeError):
    """The device can't be used at the moment; the message names it and the remedy."""


@dataclass(frozen=True)
class CaptureSettings:
    """Which device, and how its sound is taken.

    Attributes:
        device: name, part of a name, or index; empty for the system's default input.
        sample_rate: Hz; 0 for the device's own.
        channels: interleaved channels.
        chunk: seconds of a block.
        encoding: "s16le", "s24le", "s32le" or "f32le".
        timeout: seconds without sound after which the device counts as lost.
    """

    device: str = ""
    sample_rate: int = 0
    channels: int = 1
    chunk: float = 0.02
    encoding: str = "s16le"
    timeout: float = 1.0


@dataclass(frozen=True)
class Block:
    """Captured PCM: `stamp_ns` is the capture time of its first sample on the clock given to the microphone."""

    data: bytes
    stamp_ns: int
    overflow: bool


_DTYPES = {"s16le": "int16", "s24le": "int24", "s32le": "int32", "f32le": "float32"}


def portaudio() -> ModuleType:
    """The sounddevice module. Raises MicrophoneError that says what to install when it or PortAudio is missing."""
    try:
        return import_module("sounddevice")
    except ImportError as error:
        raise MicrophoneError("the Python package sounddevice is missing: pip install sounddevice") from error
    except OSError as error:
        raise MicrophoneError(
            "the PortAudio library is missing: apt install libportaudio2 (Debian, Ubuntu), "
            f"dnf install portaudio (Fedora) [{error}]"
        ) from error


def list_devices() -> str:
    """A table of the input devices, the default one marked. Raises MicrophoneError."""
    sound = portaudio()
    try:
        devices = list(sound.query_devices())
        default = sound.default.device[0]
    except sound.PortAudioError as error:
        raise MicrophoneError(f"the sound devices can't be listed: {error}") from error
    lines = [
        f"{'*' if index == default else ' '} {index:3d}  {device['name']}  "
        f"({device['max_input_channels']} channels, {device['default_samplerate']:.0f} Hz)"
        for index, device in enumerate(devices)
        if device["max_input_channels"] > 0
    ]
    if not lines:
        return "no input device found: is a microphone connected, and may this user use it (group audio)?"
    return "\n".join([*lines, "use one with -p device:=<index or part of the name>; * is the default"])


class CaptureClock:
    """Steady stamps from unsteady ones: counts samples, follows the measured times slowly, jumps when they part.

    Args:
        rate: Hz.
        follow: share of an error that is taken over with every block.
        jump: seconds of error beyond which samples must have been lost.
    """

    def __init__(self, rate: int, follow: float = 0.02, jump: float = 0.1) -> None:
        self._rate = rate
        self._follow = follow
        self._jump_ns = jump * NS
        self._next_ns: float | None = None

    def stamp(self, measured_ns: int, samples: int, lost: bool = False) -> int:
        """Stamp of a block of `samples` whose first was measured at `measured_ns`; `lost` tells of an overflow."""
        if self._next_ns is None or lost or abs(measured_ns - self._next_ns) > self._jump_ns:
            self._next_ns = float(measured_ns)
        else:
            self._next_ns += self._follow * (measured_ns - self._next_ns)
        stamp = round(self._next_ns)
        self._next_ns += samples * NS / self._rate
        return stamp


class Microphone:
    """An open input stream; `read()` hands out its blocks. Use as a context manager.

    Args:
        settings: which device, and how.
        now_ns: the clock of the stamps.

    Raises:
        MicrophoneError: no such device, or it refuses rate or channels.
    """

    def __init__(self, settings: CaptureSettings, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._settings = settings
        self._now_ns = now_ns
        self._sound = portaudio()
        self._blocks: queue.Queue[Block] = queue.Queue(maxsize=max(8, round(5.0 / settings.chunk)))
        self._dropped = False
        self.device_name, self.sample_rate = self._choose()
        self._clock = CaptureClock(self.sample_rate)
        self._stream = self._open()

    def _choose(self) -> tuple[str, int]:
        wanted = self._settings.device
        device: str | int | None = int(wanted) if wanted.isdigit() else (wanted or None)
        try:
            info = self._sound.query_devices(device, "input")
        except (ValueError, self._sound.PortAudioError) as error:
            name = f"input device {wanted!r}" if wanted else "default input device"
            raise MicrophoneError(
                f"no {name}: {error}; `python -m emotalk_ros.nodes microphone_node --list-devices` lists them"
            ) from error
        if info["max_input_channels"] < self._settings.channels:
            raise MicrophoneError(
                f"{info['name']} has {info['max_input_channels']} input channel(s), not {self._settings.channels}"
            )
        self._device = info.get("index", device)
        return str(info["name"]), self._settings.sample_rate or round(info["default_samplerate"])

    def _open(self) -> Any:
        try:
            stream = self._sound.RawInputStream(
                device=self._device,
                samplerate=self.sample_rate,
                channels=self._settings.channels,
                dtype=_DTYPES[self._settings.encoding],
                blocksize=max(1, round(self._settings.chunk * self.sample_rate)),
                latency="low",
                callback=self._captured,
            )
            stream.start()
        except (ValueError, self._sound.PortAudioError) as error:
            raise MicrophoneError(
                f"{self.device_name} can't be opened with {self.sample_rate} Hz, {self._settings.channels} channel(s), "
                f"{self._settings.encoding}: {error}; sample_rate:=0 takes the device's own rate"
            ) from error
        return stream

    def _captured(self, data: Any, frames: int, times: Any, status: Any) -> None:
        """PortAudio's thread: no work here but to take the bytes and the time."""
        age = times.currentTime - times.inputBufferAdcTime
        if not times.inputBufferAdcTime > 0.0 or not 0.0 <= age < 2.0:  # some host interfaces don't tell
            age = frames / self.sample_rate
        overflow = bool(status and status.input_overflow) or self._dropped
        stamp = self._clock.stamp(self._now_ns() - round(age * NS), frames, lost=overflow)
        try:
            self._blocks.put_nowait(Block(bytes(data), stamp, overflow))
            self._dropped = False
        except queue.Full:
            self._dropped = True

    def read(self) -> Block:
        """The next block. Raises MicrophoneError when the device has gone silent for the time-out, as if unplugged."""
        try:
            return self._blocks.get(timeout=self._settings.timeout)
        except queue.Empty:
            raise MicrophoneError(
                f"{self.device_name} delivers no sound since {self._settings.timeout:g} s: unplugged?"
            ) from None

    def close(self) -> None:
        """Stop the stream; harmless when the device is gone."""
        try:
            self._stream.abort()
            self._stream.close()
        except self._sound.PortAudioError:
            pass  # an unplugged device can't be stopped

    def __enter__(self) -> Microphone:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def rescan() -> None:
    """Make PortAudio look for devices again: it lists them once, and would never see one that was plugged in later."""
    sound = portaudio()
    sound._terminate()
    sound._initialize()


def peak(data: bytes, encoding: str) -> float:
    """Largest absolute sample of PCM `data`, full scale 1."""
    samples = decode_pcm(data, encoding, 1)
    return float(abs(samples).max()) if len(samples) else 0.0
