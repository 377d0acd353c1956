"""Live replay: the audio of a bag published at a given rate, the frames of a running emotalk node collected.

Measures what only a live run can: transport, queueing, computing. `evaluation.replay_findings` does the judging.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy

from emotalk_ros.audio import AudioIntake, PcmChunk
from emotalk_ros.bags.bag import Bag
from emotalk_ros.bags.tracks import AudioTrack
from emotalk_ros.evaluation.replay import Frames, HeardAudio, Replay, Topics, read_tracks, segments
from emotalk_ros.evaluation.subject import Subject
from emotalk_ros.msg import AudioChunk, BlendshapeCoefficients, EmotionState
from emotalk_ros.nodes.messages import audio_chunk, from_time
from emotalk_ros.nodes.processes import with_ros2
from emotalk_ros.units import NS

DISCOVERY_S = 60.0
"""How long to wait for a node that listens to `audio` and publishes `blendshapes`."""
SETTLE_S = 0.5
"""Pause after discovery: the first messages after a match may still be lost."""
QUIET_S = 2.0
"""The replay is over when no frame has come for this long after the last chunk."""
_QOS = QoSProfile(depth=2000, reliability=ReliabilityPolicy.RELIABLE)


class ReplayNode(Node):
    """Publishes `audio`, collects `blendshapes` and `emotion` with their times of arrival (monotonic ns)."""

    def __init__(self) -> None:
        super().__init__("replay_evaluation")
        self.audio = self.create_publisher(AudioChunk, "audio", _QOS)
        self.frames: list[tuple[int, BlendshapeCoefficients]] = []
        self.emotions: list[EmotionState] = []
        self._inputs = [
            self.create_subscription(BlendshapeCoefficients, "blendshapes", self._on_frame, _QOS),
            self.create_subscription(EmotionState, "emotion", self.emotions.append, _QOS),
        ]

    def _on_frame(self, message: BlendshapeCoefficients) -> None:
        self.frames.append((time.monotonic_ns(), message))

    def connected(self) -> bool:
        """Whether somebody listens to the audio and somebody publishes frames."""
        return self.audio.get_subscription_count() > 0 and self.count_publishers("blendshapes") > 0

    def send(self, chunk: PcmChunk, stamp_ns: int) -> None:
        """Publish a chunk under `stamp_ns`."""
        self.audio.publish(
            audio_chunk(
                bytes(chunk.data),
                stamp_ns=stamp_ns,
                sample_rate=chunk.sample_rate,
                channels=chunk.channels,
                encoding=chunk.encoding,
            )
        )


def through_node(
    bag: Bag, subject: Subject, model: Any, topics: Topics, settings: dict[str, Any], *, rate: float = 1.0
) -> Replay:
    """Replay the audio of `bag` at `rate` times real time through the emotalk node that runs in this ROS graph.

    Chunks go out at their recorded times of arrival with their recorded stamps. Frames are logged on the recording's
    clock; at a rate other than 1, latencies are therefore `rate` times what a stopwatch shows.

    Raises:
        RuntimeError: no node listens, or none answers.
        BagError: no usable audio.
    """
    del subject, model  # the node has its own; they only describe it in the report
    track, recorded, reference, emotion = read_tracks(bag, topics)
    heard, problems = _heard(track)
    bag.problems += problems
    own_context = not rclpy.ok()
    if own_context:
        rclpy.init()
    try:
        node = ReplayNode()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        try:
            _wait(node, executor, node.connected, 1.0)
            if not node.connected():
                node.get_logger().info(f"waiting up to {DISCOVERY_S:.0f} s for a node that listens to audio")
                _wait(node, executor, node.connected, DISCOVERY_S)
            if not node.connected():
                launch = with_ros2(" or `ros2 launch emotalk_ros emotalk.launch.py`", "")
                raise RuntimeError(
                    f"no emotalk node found within {DISCOVERY_S:.0f} s on {node.audio.topic_name}; start one with "
                    f"`emotalk run`{launch} (same ROS_DOMAIN_ID and namespace)"
                )
            _wait(node, executor, lambda: False, SETTLE_S)
            started = _play(node, executor, track, heard, settings, rate)
        finally:
            executor.shutdown()
            node.destroy_node()
    except ExternalShutdownException:
        raise KeyboardInterrupt from None
    finally:
        if own_context:
            rclpy.try_shutdown()
    if not node.frames:
        way = with_ros2(" (`ros2 lifecycle set /emotalk activate`)", "")
        raise RuntimeError(f"the node answered with no frame; is it activated?{way}")
    frames = _collect(node, track.log_ns[0], started, rate, heard)
    settings = {**settings, "rate": rate}
    return Replay(frames, heard, track, recorded, reference, emotion, settings["fps"], "live", settings)


def _heard(track: AudioTrack) -> tuple[HeardAudio, list[str]]:
    """The audio as the node's intake will see it, for the report."""
    problems: list[str] = []
    lines: list[tuple[int, list[Any]]] = []
    intake = AudioIntake()
    for _, segment in segments(track, intake, problems):
        if segment.reset or not lines:
            lines.append((segment.stamp_ns, []))
        lines[-1][1].append(segment.samples)
    joined = [(stamp, np.concatenate(parts)) for stamp, parts in lines]
    return HeardAudio(joined, intake.statistics.as_dict(), intake.take_warnings()), problems


def _wait(node: ReplayNode, executor: SingleThreadedExecutor, until: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not until() and (left := end - time.monotonic()) > 0:
        executor.spin_once(timeout_sec=min(left, 0.05))


def _play(
    node: ReplayNode,
    executor: SingleThreadedExecutor,
    track: AudioTrack,
    heard: HeardAudio,
    settings: dict[str, Any],
    rate: float,
) -> int:
    """Publish all chunks at their times and a little silence behind; returns the monotonic start in ns."""
    started = time.monotonic_ns()
    first = track.log_ns[0]
    for chunk, log_ns in zip(track.chunks, track.log_ns, strict=True):
        due = started + round((log_ns - first) / rate)
        _wait(node, executor, lambda: False, max((due - time.monotonic_ns()) / NS, 0))
        node.send(chunk, chunk.stamp_ns)
    # A node cannot know that the stream is over: silence brings out the frames whose look-ahead was still missing.
    tail = settings["audio_wait_s"] + settings["hop_s"]
    start_ns, samples = heard.lines[-1]
    end_ns = start_ns + len(samples) * NS // 16000
    node.send(PcmChunk(bytes(2 * round(tail * 16000)), "s16le", 1, 16000), end_ns)
    count, quiet_since = len(node.frames), time.monotonic()
    while time.monotonic() - quiet_since < QUIET_S:
        executor.spin_once(timeout_sec=0.05)
        if len(node.frames) != count:
            count, quiet_since = len(node.frames), time.monotonic()
    return started


def _collect(node: ReplayNode, first_log_ns: int, started: int, rate: float, heard: HeardAudio) -> Frames:
    ends = [start + len(samples) * NS // 16000 for start, samples in heard.lines]
    starts = [start for start, _ in heard.lines]

    def real(stamp: int) -> bool:
        """Not of the silence put behind the end."""
        return any(a - NS // 2 <= stamp < b for a, b in zip(starts, ends, strict=True))

    kept = [(arrival, m, from_time(m.header.stamp)) for arrival, m in node.frames if real(from_time(m.header.stamp))]
    labels, emotion = _emotions(node.emotions, [stamp for _, _, stamp in kept])
    return Frames(
        stamp_ns=np.array([stamp for _, _, stamp in kept], np.int64),
        log_ns=np.array([first_log_ns + round((arrival - started) * rate) for arrival, _, _ in kept], np.int64),
        coefficients=np.array([m.coefficients for _, m, _ in kept], np.float32).reshape(-1, 52),
        activity=np.array([m.speech_activity for _, m, _ in kept], np.float32),
        emotion=emotion,
        sequence=np.array([m.frame for _, m, _ in kept], np.int64),
        kind=np.array([m.kind for _, m, _ in kept], np.uint8),
        labels=labels,
    )


def _emotions(states: list[EmotionState], stamps: list[int]) -> tuple[tuple[str, ...], np.ndarray]:
    """Labels and, for each frame, the probabilities last published at or before its stamp."""
    usable = sorted((from_time(s.header.stamp), tuple(s.labels), list(s.probabilities)) for s in states if s.labels)
    if not usable or not stamps:
        return (), np.zeros((len(stamps), 0), np.float32)
    labels = usable[0][1]
    usable = [entry for entry in usable if entry[1] == labels]
    times = np.array([entry[0] for entry in usable], np.int64)
    values = np.array([entry[2] for entry in usable], np.float32)
    return labels, values[np.maximum(np.searchsorted(times, stamps, side="right") - 1, 0)]
