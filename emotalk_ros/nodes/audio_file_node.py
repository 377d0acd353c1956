"""The audio_file node: a wav, flac or ogg file as a live audio topic, at real time or faster, once or for ever.

A chunk appears when its last sample would have been captured, as from a microphone. Stamps are exact: sample n of
the stream carries start + n / rate, also through a loop, whatever the speed of playing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
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
        start_ns, begun = self.get_clock().now().nanoseconds, time.monotonic()
        for block in self._blocks(max(1, round(self._table["chunk"] * rate))):
            due = begun + (self._sent + len(block)) / rate / speed
            self._late = time.monotonic() - due
            if self._stop.wait(max(0.0, -self._late)):
                return
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

    def _report(self) -> Report:
        report = Report()
        if self._problem:
            report.error(self._problem)
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


def _joined(blocks: list[Samples]) -> Samples:
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def main(args: Sequence[str] | None = None) -> None:
    """Entry point of the program `audio_file_node`."""
    run_program("audio_file_node", __doc__ or "", PARAMETERS, AudioFileNode, args)
