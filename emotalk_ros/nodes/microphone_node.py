"""The microphone node: the sound of an input device on the `audio` topic; waits for a device that is not there."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Sequence
from typing import Any

from rclpy.node import Node
from rclpy.qos_overriding_options import QoSOverridingOptions

from emotalk_ros.audio.capture import (
    CaptureSettings,
    Microphone,
    MicrophoneError,
    list_devices,
    peak,
    portaudio,
    rescan,
)
from emotalk_ros.msg import AudioChunk
from emotalk_ros.nodes.audio_file_node import AUDIO_QOS
from emotalk_ros.nodes.diagnostics import DiagnosticPublisher, Report
from emotalk_ros.nodes.messages import audio_chunk
from emotalk_ros.nodes.parameters import ParameterTable, Row
from emotalk_ros.nodes.runtime import NodeError, run_program

PARAMETERS = (
    Row("device", "", "name, part of a name, or index of the input device; empty for the default one", live=False),
    Row("sample_rate", 0, "Hz; 0 takes the device's own rate", 0, 384000, live=False),
    Row("channels", 1, "interleaved channels", 1, 64, live=False),
    Row("chunk", 0.02, "length of a message in seconds", 0.005, 1.0, live=False),
    Row("encoding", "s16le", "how samples are sent", choices=("s16le", "s24le", "s32le", "f32le"), live=False),
    Row("frame_id", "microphone", "frame_id of the messages", live=False),
    Row("timeout", 1.0, "seconds without sound after which the device counts as unplugged", 0.1, 60.0, live=False),
    Row(
        "retry_limit",
        10.0,
        "longest pause in seconds between attempts to open the device; they begin with 0.5",
        0.5,
        600.0,
    ),
)
"""Parameters of the microphone node."""

SILENCE = 10.0
"""Seconds of nothing but zeros after which diagnostics suspect a muted microphone."""


class MicrophoneNode(Node):
    """Captures in its own thread and publishes `audio` (AudioChunk); a lost device is tried again for ever.

    Raises NodeError when sounddevice or PortAudio is not installed.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__("microphone", **options)
        self._table = ParameterTable(self, PARAMETERS, active=lambda: True)
        for problem in self._table.problems:
            self.get_logger().error(f"parameter {problem}")
        try:
            portaudio()
        except MicrophoneError as error:
            raise NodeError(str(error)) from error
        self._publisher = self.create_publisher(
            AudioChunk, "audio", AUDIO_QOS, qos_overriding_options=QoSOverridingOptions.with_default_policies()
        )
        self._stop = threading.Event()
        self._microphone: Microphone | None = None
        self._problem = "not opened yet"
        self._chunks = self._overflows = self._losses = self._attempts = 0
        self._level = 0.0
        self._silent = 0.0
        self._diagnostics = DiagnosticPublisher(self, self._report, self._table["device"] or "default input")
        self._thread = threading.Thread(target=self._run, name="microphone", daemon=True)
        self._thread.start()

    def _settings(self) -> CaptureSettings:
        names = ("device", "sample_rate", "channels", "chunk", "encoding", "timeout")
        return CaptureSettings(**{name: self._table[name] for name in names})

    def _run(self) -> None:
        pause = 0.5
        while not self._stop.is_set():
            try:
                with Microphone(self._settings(), lambda: self.get_clock().now().nanoseconds) as microphone:
                    self._opened(microphone)
                    pause = 0.5
                    self._publish_from(microphone)
            except MicrophoneError as error:
                self._lost(str(error), pause)
            if self._stop.wait(pause):
                return
            pause = min(2.0 * pause, self._table["retry_limit"])
            rescan()

    def _opened(self, microphone: Microphone) -> None:
        self._microphone, self._problem, self._silent = microphone, "", 0.0
        self._attempts = 0
        self.get_logger().info(
            f"listening to {microphone.device_name}: {microphone.sample_rate} Hz, "
            f"{self._table['channels']} channel(s), publishing on {self._publisher.topic_name}"
        )

    def _lost(self, reason: str, pause: float) -> None:
        if self._microphone is not None:
            self._losses += 1
        self._microphone = None
        if reason != self._problem or self._attempts == 0:
            self.get_logger().error(f"{reason}; trying again in {pause:g} s and from then on")
        self._problem = reason
        self._attempts += 1

    def _publish_from(self, microphone: Microphone) -> None:
        encoding, channels, frame_id = self._table["encoding"], self._table["channels"], self._table["frame_id"]
        while not self._stop.is_set():
            block = microphone.read()
            message = audio_chunk(
                block.data,
                stamp_ns=block.stamp_ns,
                sample_rate=microphone.sample_rate,
                channels=channels,
                encoding=encoding,
                frame_id=frame_id,
            )
            self._publisher.publish(message)
            self._chunks += 1
            self._overflows += block.overflow
            level = peak(block.data, encoding)
            self._silent = 0.0 if level > 0.0 else self._silent + self._table["chunk"]
            self._level = max(level, 0.9 * self._level)

    def _report(self) -> Report:
        report = Report()
        if self._problem:
            report.error(self._problem)
        elif self._silent > SILENCE:
            report.warn(f"nothing but zeros for {self._silent:.0f} s: is the microphone muted?")
        microphone = self._microphone
        report.show(
            {
                "device": microphone.device_name if microphone else None,
                "sample_rate_hz": microphone.sample_rate if microphone else None,
                "channels": self._table["channels"],
                "chunks": self._chunks,
                "overflows": self._overflows,
                "devices_lost": self._losses,
                "attempts": self._attempts,
                "peak_dbfs": 20.0 * math.log10(max(self._level, 1e-5)),
                "subscribers": self._publisher.get_subscription_count(),
            }
        )
        return report

    def close(self) -> None:
        """Stop listening."""
        self._stop.set()
        self._thread.join(timeout=self._table["timeout"] + 1.0)


def main(args: Sequence[str] | None = None) -> None:
    """Entry point of the program `microphone_node`; `--list-devices` only lists the input devices."""
    words = sys.argv[1:] if args is None else list(args)
    if "--list-devices" in words:
        try:
            print(list_devices())
        except MicrophoneError as error:
            sys.exit(f"microphone_node: {error}")
        return
    run_program("microphone_node", __doc__ or "", PARAMETERS, MicrophoneNode, args)
