"""One voice of the emotalk node: an audio topic, and the topics and services that belong to it.

The topic `audio` has `blendshapes`, `emotion`, `emotion_command`, `interrupt`, `~/set_emotion` and so on beside it. A
topic `NAME/audio` (or `NAME`) has them as `NAME/blendshapes` and `~/NAME/set_emotion`.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from std_msgs.msg import Empty
from std_srvs.srv import Trigger

from emotalk_ros.audio import AudioFormatError
from emotalk_ros.audio.messages import AudioDecoder
from emotalk_ros.motion import FaceFrame, closing_frames
from emotalk_ros.motion.pacing import Pacer
from emotalk_ros.motion.stages.rest import SPEAKING
from emotalk_ros.msg import BlendshapeCoefficients, EmotionCommand, EmotionState
from emotalk_ros.nodes import emotalk_parameters as table
from emotalk_ros.nodes import emotions
from emotalk_ros.nodes.audio_inputs import AudioClasses
from emotalk_ros.nodes.audio_watch import silence_reason
from emotalk_ros.nodes.diagnostics import Report
from emotalk_ros.nodes.messages import blendshapes, from_time
from emotalk_ros.nodes.parameters import Values
from emotalk_ros.srv import SetEmotion
from emotalk_ros.streaming import FaceStream
from emotalk_ros.streaming.worker import Crew, Worker, WorkerSettings
from emotalk_ros.units import NS, SAMPLE_RATE

AUDIO_QOS = QoSProfile(depth=500, reliability=ReliabilityPolicy.BEST_EFFORT)
"""Hears reliable and best-effort publishers; deep, because a lost chunk can't be had again."""
OUTPUT_QOS = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
EMOTION_RATE = 10.0
"""Messages a second on `emotion`."""
OWN_ECHO = 0.2
"""Seconds within which an `interrupt` on the topic is this node's own."""
NO_SPEECH = 30.0
"""Seconds of sound without speech after which diagnostics say so."""
QUIET = 5.0
"""Seconds without audio after which diagnostics say so."""

Warn = Callable[[str, str], object]


def base_of(topic: str) -> str:
    """What the other topics of a voice begin with: "" of `audio`, `anna/` of `anna/audio` and of `anna`."""
    last = topic.rsplit("/", 1)[-1]
    return topic[: -len(last)] if last == "audio" else f"{topic}/"


def make_stream(model: Any, values: Values, controls: Any, face: str = "") -> FaceStream:
    """A voice as the parameters say; `face`: the full name of the topic on which its face is published."""
    return FaceStream(
        model,
        table.stream_settings(values),
        controls,
        table.motion_settings(values, face),
        stamps=values["audio.stamps"],
        channel=values["audio.channel"],
        levelling=values["audio.levelling"],
        live=True,
        ear=values["emotion.ear"],
        watch_speaker=values["emotion.watch_speaker"],
        voice=table.voice_settings(values),
    )


def warm_up(model: Any, values: Values) -> None:
    """The first hops of a process are slow: they are made of silence, before anybody waits for them."""
    make_stream(model, values, table.controls(values)).push(np.zeros(SAMPLE_RATE, dtype=np.float32))


class TopicVoice:
    """See the module. Made when the node is configured, started when it is activated.

    Args:
        node: the node.
        topic: of the audio, relative or absolute.
        values: the parameters.
        warn, remind: take a kind and a text for a throttled log.
        commanded: called with the emotion that a command asks for, or None when commands are over.
        discovered: the topic was found by a pattern: that it is silent is nothing to warn of.
    """

    def __init__(
        self,
        node: LifecycleNode,
        topic: str,
        values: Callable[[], Values],
        warn: Warn,
        remind: Warn,
        commanded: Callable[[Any], object] = lambda control: None,
        discovered: bool = False,
    ) -> None:
        self._node, self.topic, self._values, self.discovered = node, topic, values, discovered
        self.base = base_of(topic)
        self._commanded = commanded
        self._log_warning, self._log_reminder = warn, remind
        self._told_at = -OWN_ECHO
        self._published = itertools.count()
        self._active_since = self._spoke_at = time.monotonic()
        self.stream: FaceStream | None = None
        self.worker: Worker | None = None
        self._decoder: AudioDecoder | None = None
        self._pacer: Pacer[FaceFrame] | None = None
        self._released: FaceFrame | None = None
        self._inputs: list[Any] = []
        self.seen_at = time.monotonic()
        """When its audio had a publisher last; of a discovered one."""
        qos = QoSOverridingOptions.with_default_policies()
        self._tell = node.create_publisher(Empty, f"{self.base}interrupt", 10)
        self._outputs = [
            node.create_lifecycle_publisher(kind, f"{self.base}{name}", OUTPUT_QOS, qos_overriding_options=qos)
            for kind, name in ((BlendshapeCoefficients, "blendshapes"), (EmotionState, "emotion"))
        ]
        own = "~/" + self.base.lstrip("/")
        self._offered = [
            node.create_service(SetEmotion, f"{own}set_emotion", self._on_set_emotion),
            node.create_service(Trigger, f"{own}reset_speaker", self._on_reset_speaker),
            node.create_service(Trigger, f"{own}interrupt", self._on_interrupt),
        ]

    # -- life ----------------------------------------------------------------------------------------------------------

    def start(self, model: Any, crew: Crew, classes: AudioClasses, enable: bool = False) -> None:
        """Listen. `enable`: the node is active already. Raises ValueError for settings that the network refuses."""
        values = self._values()
        self.stream = make_stream(model, values, table.controls(values), self.face)
        if self.stream.voice_problem:
            self._warn("voice detector", self.stream.voice_problem)
        if values["output.pacing"] == "paced":
            self._pacer = Pacer(self.stream.fps, self._release, self._audio_clock)
            self._pacer.start()
        pace = WorkerSettings(
            max_lag=values["stream.max_lag"],
            max_chunk=values["audio.max_chunk"],
            idle_timeout=values["stream.idle_timeout"],
            idle=values["output.idle"],
        )
        self.worker = Worker(self.stream, pace, self._publish, self._warn, audio_now_ns=self._idle_time_ns, crew=crew)
        self._decoder = AudioDecoder(classes.msgtype, table.input_settings(values))
        self._active_since = time.monotonic()
        if enable:
            for publisher in self._outputs:
                publisher.on_activate(None)
        self.worker.start()
        self._subscribe(classes)

    def _subscribe(self, classes: AudioClasses) -> None:
        qos = QoSOverridingOptions.with_default_policies()
        subscribe = self._node.create_subscription
        self._inputs = [
            subscribe(classes.message, self.topic, self._on_audio, AUDIO_QOS, qos_overriding_options=qos),
            subscribe(
                EmotionCommand, f"{self.base}emotion_command", self._on_command, OUTPUT_QOS, qos_overriding_options=qos
            ),
            subscribe(Empty, f"{self.base}interrupt", self._on_interrupted, 10),
        ]
        if classes.info is not None:
            self._inputs.append(subscribe(classes.info, f"{self.topic}_info", self._on_info, 10))

    @property
    def face(self) -> str:
        """Full name of the topic on which the face is published."""
        return str(self._node.resolve_topic_name(f"{self.base}blendshapes"))

    def stop(self) -> list[FaceFrame]:
        """Listen no more; returns the frames that bring the face to rest, to be given to `release` one by one."""
        for subscription in self._inputs:
            self._node.destroy_subscription(subscription)
        self._inputs = []
        if self.worker is not None:
            self.worker.stop()
        if self._pacer is not None:
            self._pacer.stop()
        self.worker = self._decoder = self._pacer = None
        if self.stream is None or self._released is None:
            return []
        return closing_frames(self._released, self.stream.fps, 0.0)

    def forget(self) -> None:
        """After `stop`, when the face is at rest."""
        self.stream = self._released = None

    def close(self) -> None:
        """Give topics and services back; after `stop`."""
        for publisher in self._outputs:
            self._node.destroy_lifecycle_publisher(publisher)
        for service in self._offered:
            self._node.destroy_service(service)
        self._node.destroy_publisher(self._tell)
        self._outputs, self._offered = [], []

    # -- audio and faces -----------------------------------------------------------------------------------------------

    def _on_audio(self, message: Any) -> None:
        """Only enqueues."""
        if self.worker is None or self._decoder is None:
            return
        try:
            self.worker.offer(self._decoder.decode(message, self._node.get_clock().now().nanoseconds))
        except AudioFormatError as error:
            self._warn("audio", str(error))

    def _on_info(self, message: Any) -> None:
        try:
            if self._decoder is not None:
                self._decoder.declare(message)
        except AudioFormatError as error:
            self._warn("info", str(error))

    def _audio_clock(self) -> float:
        """Seconds on the clock of the stamps."""
        return float(self._node.get_clock().now().nanoseconds) / NS

    def _idle_time_ns(self) -> int:
        """Audio time of a first frame without audio: as far behind the clock as frames made from audio are."""
        delay = self._pacer.delay if self._pacer is not None else None
        return int(self._node.get_clock().now().nanoseconds - round((delay or 0.0) * NS))

    def _publish(self, frames: list[FaceFrame]) -> None:
        """Called from the crew's thread: released at an even rate, or at once."""
        if self._pacer is not None:
            self._pacer.put(frames)
            return
        for frame in frames:
            self._release(frame)

    def release(self, frame: FaceFrame) -> None:
        """Publish a frame now."""
        self._release(frame)

    def _release(self, frame: FaceFrame) -> None:
        """Publish a frame, and what emotion it shows ten times a second."""
        stream, frame_id = self.stream, self._values()["output.frame_id"]
        if stream is None or not self._outputs:
            return
        faces, feelings = self._outputs
        number = next(self._published)
        faces.publish(blendshapes(frame, number, frame_id))
        self._released = frame
        if frame.activity >= SPEAKING:
            self._spoke_at = time.monotonic()
        if stream.emotion_labels and number % max(1, round(stream.fps / EMOTION_RATE)) == 0:
            control = stream.emotion_in_force
            feelings.publish(emotions.shown(stream.emotion_labels, frame, control, frame_id))

    # -- commands ------------------------------------------------------------------------------------------------------

    def _on_command(self, message: EmotionCommand) -> None:
        try:
            self._command(message)
        except ValueError as error:
            self._warn("command", f"emotion command refused: {error}")

    def _on_set_emotion(self, request: SetEmotion.Request, response: SetEmotion.Response) -> SetEmotion.Response:
        try:
            response.message = self._command(request.command)
            response.success = True
        except ValueError as error:
            response.success, response.message = False, str(error)
        return response

    def _command(self, message: EmotionCommand) -> str:
        """Take a command; returns what it asks for. Raises ValueError that names what is wrong."""
        stream = self.stream
        if stream is None:
            raise ValueError(f"{self._node.get_name()} is not active")
        control = emotions.control_of(message)
        at_ns = from_time(message.header.stamp) or None
        before = stream.orders.current
        stream.order(control, at_ns, float(message.transition), float(message.hold))
        text = emotions.describe(control) + (f"; from {at_ns / NS:.3f} s on" if at_ns else "")
        if before is None or emotions.describe(before.control) != emotions.describe(control):
            self._node.get_logger().info(self._named(f"emotion command: {text}"))
        self._commanded(control)
        return text

    def _on_reset_speaker(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Forget the picture of the speaker: somebody else speaks now."""
        stream, worker = self.stream, self.worker
        if stream is None or worker is None:
            response.success, response.message = False, f"{self._node.get_name()} is not active"
        elif not stream.knows_speakers:
            response.success, response.message = False, "this network keeps no picture of the speaker"
        else:
            worker.call(stream.reset_speaker)
            response.success, response.message = True, "the picture of the speaker begins anew"
        return response

    def _on_interrupt(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Somebody interrupts the speaker: forget the audio that waits, close the mouth."""
        if self.worker is None:
            response.success, response.message = False, f"{self._node.get_name()} is not active"
            return response
        dropped = self._interrupt()
        self._told_at = time.monotonic()
        self._tell.publish(Empty())
        response.success, response.message = True, f"{dropped} frames that waited are dropped"
        return response

    def _on_interrupted(self, message: Empty) -> None:
        """Another node says so; what this one said itself is heard here too, and done already."""
        if self.worker is not None and time.monotonic() - self._told_at > OWN_ECHO:
            self._interrupt()

    def _interrupt(self) -> int:
        """How many frames that waited are dropped."""
        assert self.worker is not None
        self.worker.interrupt()
        return self._pacer.drop() if self._pacer is not None else 0

    # -- reports -------------------------------------------------------------------------------------------------------

    def report(self, report: Report, named: bool) -> None:
        """Its figures, and what is wrong with it.

        Args:
            report: of the node.
            named: there are several voices: the figures' names begin with the topic's.
        """
        worker, stream = self.worker, self.stream
        if worker is None or stream is None:
            return
        self._judge(report, worker, stream)
        values = self._values()
        if stream.voice_problem:
            report.warn(stream.voice_problem)
        figures = {
            "backlog_s": worker.backlog.seconds,
            "emotion": values["emotion.source"],
            "voice_detector": stream.voice.detector,
            "voice_probability": stream.voice_probability,
            "speaker_changes": stream.speaker_changes if stream.knows_speakers else None,
            "paced_delay_s": self._pacer.delay if self._pacer is not None else None,
            "late_frames": self._pacer.late if self._pacer is not None else None,
            "input_level_dbfs": stream.level.loudest,
            "input_gain_db": stream.level.gain,
            "seed": table.seed(values, self.face),
            **worker.figures.reading(time.monotonic()),
            **{f"audio_{name}": count for name, count in stream.intake.as_dict().items()},
        }
        order = stream.orders.current
        if order is not None and order.control is not None:
            figures["emotion"] = emotions.describe(stream.emotion_in_force)
        report.show({f"{self.topic}: {name}": value for name, value in figures.items()} if named else figures)

    def _judge(self, report: Report, worker: Worker, stream: FaceStream) -> None:
        """Warn of silence on the topic, of more than one publisher, and of what was lost since the last report."""
        now = time.monotonic()
        figures = worker.figures
        quiet = now - max(figures.last_arrival or 0.0, self._active_since)
        topic = self._node.resolve_topic_name(self.topic)
        if quiet > QUIET and self._decoder is not None and not self.discovered:
            reason = silence_reason(self._node, topic, self._values()["audio.type"])
            report.warn(f"no audio for {quiet:.0f} s: {reason}")
            if figures.last_arrival is None:
                self._log_reminder("quiet", f"no audio yet: {reason}")
        if (publishers := self._node.count_publishers(topic)) > 1:
            report.warn(f"{publishers} publishers share {topic}: only one can be heard")
        self._judge_level(report, worker, stream, now)
        intake = stream.intake
        lost = figures.new_faults(
            refused_messages=intake.rejected_chunks,
            messages_dropped_from_the_queue=worker.backlog.dropped,
            ms_of_audio_dropped=1000 * intake.dropped_samples // SAMPLE_RATE,
        )
        for name, count in lost.items():
            if count > 0:
                report.warn(self._named(f"{count} {name} in the last second"))

    def _judge_level(self, report: Report, worker: Worker, stream: FaceStream, now: float) -> None:
        """Tell of quiet sound, and of sound without speech."""
        level = stream.level
        if level.gain > 0:
            report.warn(self._named(f"the sound is quiet ({level.loudest:.0f} dBFS): amplified by {level.gain:.0f} dB"))
        mute = now - max(self._spoke_at, self._active_since)
        if mute > NO_SPEECH and now - (worker.figures.last_arrival or 0.0) < 2.0:
            loudest = f"its loudest moments lie at {level.loudest:.0f} dBFS"
            report.messages.append(self._named(f"sound comes, but no speech for {mute:.0f} s; {loudest}"))

    def _warn(self, kind: str, text: str) -> None:
        self._log_warning(kind, self._named(text))

    def _named(self, text: str) -> str:
        return text if not self.base else f"{self.topic}: {text}"
