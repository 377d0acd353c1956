"""The audio_file node: a wav, flac or ogg file as a live audio topic, at real time or faster, once or for ever.

A chunk appears when its last sample would have been captured, as from a microphone. Stamps are exact: sample n of
the stream carries start + n / rate, also through a loop, whatever the speed of playing.

With `use_sim_time` the clock of the topic /clock gives start and pace: the file waits for the clock's first message,
stands still while it does, is as fast as it is, and goes on from there when it jumps back.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from rclpy.clock import Clock
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

from emotalk_ros.audio import AudioFile, AudioFormatError, encode_pcm
from emotalk_ros.audio.pcm import Samples
from emotalk_ros.msg import AudioChunk
from emotalk_ros.nodes.diagnostics import DiagnosticPublisher, Report
from emotalk_ros.nodes.messages import audio_chunk
from emotalk_ros.nodes.parameters import ParameterTable, Row
from emotalk_ros.nodes.runtime import NodeError, run_program
from emotalk_ros.units import NS

PARAMETERS = (
    Row("file", "", "audio file to play: wav, flac, ogg, opus, mp3, aiff", live=False),
    Row("speed", 1.0, "times real time; stamps stay those of real time", 0.05, 1000.0, live=False),
    Row("loop", False, "begin again at the end, without a gap", live=False),
    Row("chunk", 0.02, "length of a message in seconds", 0.001, 1.0, live=False),
    Row("encoding", "s16le", "how samples are sent", choices=("s16le", "s24le", "s32le", "f32le"), live=False),
    Row("frame_id", "audio_file", "frame_id of the messages", live=False),
    Row(
        "subscribers",
        1,
        "subscribers to wait for, so that they hear the beginning; 0 begins at once",
        0,
        100,
        live=False,
    ),
    Row("subscriber_timeout", 10.0, "seconds to wait for them before playing anyway", 0.0, 3600.0, live=False),
    Row("exit_at_end", True, "end the program after the last sample (unless looping)", live=False),
)
"""Parameters of the audio_file node."""

AUDIO_QOS = QoSProfile(depth=500, reliability=ReliabilityPolicy.RELIABLE)
"""Of publishers of audio: serves reliable and best-effort listeners; deep, because a lost chunk can't be had again."""


class AudioFileNode(Node):
    """Publishes `audio` (AudioChunk) from its own thread; diagnostics tell the position in the file.

    Raises NodeError when the file is missing or not audio.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__("audio_file", **options)
        self._playing = False
        self.finished = False
        self._table = ParameterTable(self, PARAMETERS, active=lambda: self._playing)
        for problem in self._table.problems:
            self.get_logger().error(f"parameter {problem}")
        self._file = self._open(self._table["file"])
        self._publisher = self.create_publisher(
            AudioChunk, "audio", AUDIO_QOS, qos_overriding_options=QoSOverridingOptions.with_default_policies()
        )
        self._sent = 0
        self._late = 0.0
        self._stop = threading.Event()
        self._problem: str | None = None
        self._diagnostics = DiagnosticPublisher(self, self._report, self._file.path.name)
        self._thread = threading.Thread(target=self._run, name="audio_file", daemon=True)
        self._playing = True
        self._thread.start()

    def _open(self, path: str) -> AudioFile:
        if not path:
            raise NodeError("no audio file given: set the parameter `file`, as in --ros-args -p file:=/path/speech.wav")
        try:
            file = AudioFile(path)
        except (FileNotFoundError, AudioFormatError) as error:
            raise NodeError(str(error)) from error
        for text in file.warnings:
            self.get_logger().warning(text)
        if file.frames == 0:
            raise NodeError(f"{path} holds no audio: 0 samples")
        return file

    def _run(self) -> None:
        try:
            self._wait_for_subscribers()
            self._play()
        except AudioFormatError as error:
            self._problem = str(error)
            self.get_logger().error(self._problem)
        self._playing = False
        if self._problem or (self._table["exit_at_end"] and not self._stop.is_set()):
            self.finished = True

    @property
    def exit_status(self) -> int:
        """1 when the file turned out to be damaged."""
        return 1 if self._problem else 0

    def _wait_for_subscribers(self) -> None:
        wanted, limit = self._table["subscribers"], self._table["subscriber_timeout"]
        deadline = time.monotonic() + limit
        while self._publisher.get_subscription_count() < wanted and not self._stop.wait(0.02):
            if time.monotonic() > deadline:
                found = self._publisher.get_subscription_count()
                self.get_logger().warning(
                    f"{found} of {wanted} subscribers to {self._publisher.topic_name} after {limit:g} s; playing anyway"
                )
                return

    def _play(self) -> None:
        rate, channels, speed = self._file.sample_rate, self._file.channels, self._table["speed"]
        encoding, frame_id = self._table["encoding"], self._table["frame_id"]
        self.get_logger().info(
            f"playing {self._file.path} on {self._publisher.topic_name}: {self._file.duration:.2f} s, "
            f"{rate} Hz, {channels} channel(s){', looping' if self._table['loop'] else ''}"
        )
        pace = _SimulatedPace(self.get_clock(), self._stop) if self._simulated else _Pace(self._stop)
        if not pace.begin():
            return
        start_ns = self.get_clock().now().nanoseconds
        for block in self._blocks(max(1, round(self._table["chunk"] * rate))):
            late, jumped = pace.wait((self._sent + len(block)) / rate / speed)
            if self._stop.is_set():
                return
            if jumped:
                start_ns = self.get_clock().now().nanoseconds - self._sent * NS // rate
            self._late = late
            message = audio_chunk(
                encode_pcm(block, encoding),
                stamp_ns=start_ns + self._sent * NS // rate,
                sample_rate=rate,
                channels=channels,
                encoding=encoding,
                frame_id=frame_id,
            )
            self._publisher.publish(message)
            self._sent += len(block)
        self.get_logger().info(f"played {self._sent / rate:.2f} s")
        self._drain()

    def _blocks(self, count: int) -> Iterator[Samples]:
        """Blocks of exactly `count` samples through the loops; only the very last may be shorter."""
        held: list[Samples] = []
        missing = count
        while True:
            block = self._file.read(missing)
            if len(block) == 0 and self._table["loop"]:
                self._file.rewind()
                continue
            if len(block) == 0:
                break
            held.append(block)
            missing -= len(block)
            if missing == 0:
                yield _joined(held)
                held, missing = [], count
        if held:
            yield _joined(held)

    def _drain(self) -> None:
        """Give reliable listeners time to have the last chunks before this program ends."""
        if not self._stop.is_set():
            self._publisher.wait_for_all_acked(Duration(seconds=2))
            self._stop.wait(0.1)

    @property
    def _simulated(self) -> bool:
        return bool(self.get_parameter("use_sim_time").value)

    def _report(self) -> Report:
        report = Report()
        if self._problem:
            report.error(self._problem)
        elif self._simulated and not self.get_clock().now().nanoseconds:
            report.warn("waiting for /clock, as use_sim_time is true and nobody has published there")
        elif self._playing and self._sent == 0:
            report.warn(f"waiting for a subscriber to {self._publisher.topic_name}")
        elif not self._playing:
            report.messages.append("played to the end")
        report.show(
            {
                "file": self._file.path,
                "position_s": self._sent / self._file.sample_rate,
                "duration_s": self._file.duration,
                "sample_rate_hz": self._file.sample_rate,
                "channels": self._file.channels,
                "behind_s": max(0.0, self._late),
                "subscribers": self._publisher.get_subscription_count(),
            }
        )
        return report

    def close(self) -> None:
        """Stop playing and close the file."""
        self._stop.set()
        self._thread.join(timeout=5.0)
        self._file.close()


class _Pace:
    """When a place in the file is due, by the clock of this machine that nobody sets."""

    step = float("inf")
    """Seconds after which the clock is looked at again while waiting."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._begun = self._last = 0.0

    def now(self) -> float:
        """Seconds."""
        return time.monotonic()

    def begin(self) -> bool:
        """Place 0 is due now; False when it was stopped."""
        self._begun = self._last = self.now()
        return not self._stop.is_set()

    def wait(self, place: float) -> tuple[float, bool]:
        """Wait until `place`, in seconds from the beginning, is due, or for the stop.

        Returns by how many seconds it is late, and whether the clock jumped back: `place` then follows the last one.
        """
        jumped = False
        while True:
            now = self.now()
            if now < self._last:
                self._begun += now - self._last
                jumped = True
            self._last = now
            late = now - (self._begun + place)
            if late >= 0.0 or self._stop.wait(min(-late, self.step)):
                return late, jumped


class _SimulatedPace(_Pace):
    """The same by the topic /clock, which may run at any speed, stand still and jump back."""

    step = 0.002

    def __init__(self, clock: Clock, stop: threading.Event) -> None:
        super().__init__(stop)
        self._clock = clock

    def now(self) -> float:
        """Seconds; 0 before the clock's first message."""
        return float(self._clock.now().nanoseconds) / NS

    def begin(self) -> bool:
        """Waits for the clock's first message."""
        while self.now() == 0.0:
            if self._stop.wait(self.step):
                return False
        return super().begin()


def _joined(blocks: list[Samples]) -> Samples:
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def main(args: Sequence[str] | None = None) -> None:
    """Entry point of the program `audio_file_node`."""
    run_program("audio_file_node", __doc__ or "", PARAMETERS, AudioFileNode, args)
