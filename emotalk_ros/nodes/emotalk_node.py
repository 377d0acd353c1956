"""The emotalk node: speech on `audio` in, the face on `blendshapes` and `emotion` out. A lifecycle node.

==============  ======================================================================================
configure       loads the network and runs it once; fails with the reason in the log
activate        subscribes, and starts the one thread that owns the network
deactivate      unsubscribes, ends that thread, and brings the face to rest within 0.3 s
cleanup         frees the network
==============  ======================================================================================

While it is active it publishes frames at an even rate: from audio where there is some, else idle ones.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import numpy as np
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from std_msgs.msg import Empty
from std_srvs.srv import Trigger

from emotalk_ros.audio import AudioFormatError
from emotalk_ros.audio.messages import AudioDecoder
from emotalk_ros.motion import FaceFrame, closing_frames
from emotalk_ros.motion.pacing import Pacer
from emotalk_ros.msg import BlendshapeCoefficients, EmotionCommand, EmotionState
from emotalk_ros.nodes import emotalk_parameters as table
from emotalk_ros.nodes import emotions, network
from emotalk_ros.nodes.audio_inputs import AudioClasses, AudioTypeError, audio_classes
from emotalk_ros.nodes.audio_watch import silence_reason
from emotalk_ros.nodes.diagnostics import DiagnosticPublisher, Report
from emotalk_ros.nodes.messages import blendshapes, from_time
from emotalk_ros.nodes.parameters import ParameterTable, Values
from emotalk_ros.nodes.runtime import Throttled, run_program
from emotalk_ros.srv import SetEmotion
from emotalk_ros.streaming import FaceStream
from emotalk_ros.streaming.worker import Worker, WorkerSettings
from emotalk_ros.units import NS, SAMPLE_RATE

Transition = Callable[["EmotalkNode", LifecycleState], TransitionCallbackReturn]


def _failure_reported(transition: Transition) -> Transition:
    """rclpy swallows exceptions of transitions: a failure must say its reason."""

    @wraps(transition)
    def wrapped(node: EmotalkNode, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            return transition(node, state)
        except Exception as error:
            return node._failed(f"{type(error).__name__}: {error}")

    return wrapped


SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE

AUDIO_QOS = QoSProfile(depth=500, reliability=ReliabilityPolicy.BEST_EFFORT)
"""Hears reliable and best-effort publishers; deep, because a lost chunk can't be had again."""
OUTPUT_QOS = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
EMOTION_RATE = 10.0
"""Messages a second on `emotion`."""
OWN_ECHO = 0.2
"""Seconds within which an `interrupt` on the topic is this node's own."""
QUIET = 5.0
"""Seconds without audio after which diagnostics say so."""


class EmotalkNode(LifecycleNode):
    """See the module. Topics are relative and can be remapped; their QoS can be overridden by parameters."""

    def __init__(self, **options: Any) -> None:
        super().__init__("emotalk", **options)
        self._model: Any = None
        self._loaded: Values = {}
        self._worker: Worker | None = None
        self._stream: FaceStream | None = None
        self._decoder: AudioDecoder | None = None
        self._pacer: Pacer[FaceFrame] | None = None
        self._released: FaceFrame | None = None
        self._standing: Values = {}  # emotion.* as they were before the command in force
        self._mirroring = False
        self._finalized = False
        self._offered: list[Any] = []
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._tell = self.create_publisher(Empty, "interrupt", 10)
        self._told_at = -OWN_ECHO
        self._failure = ""
        self._published = itertools.count()
        self._active_since = time.monotonic()
        self._warn = Throttled(self.get_logger().warning)
        self._remind = Throttled(self.get_logger().warning, period=60.0)
        self._table = ParameterTable(
            self,
            table.PARAMETERS,
            active=lambda: self._worker is not None,
            cross_check=lambda values: table.cross_check(values, self._model),
            changed=self._changed,
        )
        for problem in self._table.problems:
            self.get_logger().error(f"parameter {problem}")
        self._diagnostics = DiagnosticPublisher(self, self._report, self._table["model.device"])
        self._starter = self.create_timer(0.0, self._autostart)
        self.finished = False
        self.exit_status = 0

    # -- lifecycle -----------------------------------------------------------------------------------------------------

    def _autostart(self) -> None:
        """Once, when the executor runs."""
        self.destroy_timer(self._starter)
        name = self.get_fully_qualified_name()
        if not self._table["autostart"]:
            self.get_logger().info(
                "autostart is off: a launch file or a lifecycle manager activates this node, or: "
                f"ros2 lifecycle set {name} configure; ros2 lifecycle set {name} activate"
            )
        elif self.trigger_configure() != SUCCESS or self.trigger_activate() != SUCCESS:
            self.exit_status = 1
            self.finished = self._table["exit_on_failure"]
            self.get_logger().error(
                f"not active; when that is mended: ros2 lifecycle set {name} configure; "
                f"ros2 lifecycle set {name} activate"
            )

    @_failure_reported
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the network, advertise the outputs."""
        if not self._load():
            return FAILURE
        qos = QoSOverridingOptions.with_default_policies()
        self._outputs = [
            self.create_lifecycle_publisher(kind, topic, OUTPUT_QOS, qos_overriding_options=qos)
            for kind, topic in ((BlendshapeCoefficients, "blendshapes"), (EmotionState, "emotion"))
        ]
        self._offered = [
            self.create_service(SetEmotion, "~/set_emotion", self._on_set_emotion),
            self.create_service(Trigger, "~/reset_speaker", self._on_reset_speaker),
            self.create_service(Trigger, "~/interrupt", self._on_interrupt),
        ]
        return super().on_configure(state)

    @_failure_reported
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe and start the worker."""
        values = self._table.values
        if any(self._loaded[key] != values[key] for key in network.KEYS) and not self._load():
            return FAILURE
        try:
            classes = audio_classes(values["audio.type"])
            self._worker = self._make_worker(values)
        except (AudioTypeError, ValueError) as error:
            return self._failed(str(error))
        self._failure = ""
        self._decoder = AudioDecoder(classes.msgtype, table.input_settings(values))
        self._active_since = time.monotonic()
        super().on_activate(state)
        if self._pacer is not None:
            self._pacer.start()
        self._worker.start()
        self._subscribe(classes)
        self.get_logger().info(self._greeting(values))
        return SUCCESS

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe and end the worker."""
        self._quiesce()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the network."""
        self._free()
        return SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """The end, from any state."""
        self._quiesce()
        self._free()
        self._finalized = True
        return SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Back to unconfigured, from where it can be tried again."""
        self._quiesce()
        self._free()
        return SUCCESS

    def close(self) -> None:
        """End the worker before the publishers go."""
        self._quiesce()

    def _load(self) -> bool:
        values = self._table.values
        try:
            self._model = network.load_network(values)
        except network.NetworkError as error:
            self._model = None
            self._failed(str(error))
            return False
        reason = table.cross_check(values, self._model)
        if reason:
            self._failed(reason)
            return False
        self._loaded = values
        self._failure = ""
        return True

    def _failed(self, reason: str) -> TransitionCallbackReturn:
        self._failure = reason
        self.get_logger().error(reason)
        return FAILURE

    def _quiesce(self) -> None:
        for subscription in self._inputs:
            self.destroy_subscription(subscription)
        self._inputs = []
        if self._worker is not None:
            self._worker.stop()
        if self._pacer is not None:
            self._pacer.stop()
        if self._stream is not None and self._released is not None:
            self._rest(closing_frames(self._released, self._stream.fps, 0.0), self._stream.fps)
        self._worker = self._stream = self._decoder = self._pacer = self._released = None
        self._end_of_commands()

    def _rest(self, frames: list[FaceFrame], fps: float) -> None:
        """The last frames before the face is left alone: to rest, at the frame rate."""
        for frame in frames:
            self._release(frame)
            time.sleep(1.0 / fps)

    def _free(self) -> None:
        for publisher in self._outputs:
            self.destroy_lifecycle_publisher(publisher)
        for service in self._offered:
            self.destroy_service(service)
        self._outputs, self._offered = [], []
        model, self._model = self._model, None
        if model is not None:
            network.release(model)

    # -- work ----------------------------------------------------------------------------------------------------------

    def _make_voice(self, values: Values) -> FaceStream:
        channel = values["audio.channel"]
        return FaceStream(
            self._model,
            table.stream_settings(values),
            self._controls(values),
            table.motion_settings(values),
            trust_stamps=table.input_settings(values).trust_stamps,
            channel=None if channel < 0 else channel,
            live=True,
            ear=values["emotion.ear"],
        )

    def _make_worker(self, values: Values) -> Worker:
        # The first hops of a process are slow: they are made of silence, before anybody waits for them.
        self._make_voice(values).push(np.zeros(SAMPLE_RATE, dtype=np.float32))
        self._stream = self._make_voice(values)
        if values["output.pacing"] == "paced":
            self._pacer = Pacer(self._stream.fps, self._release, self._audio_clock)
        pace = WorkerSettings(
            max_lag=values["stream.max_lag"],
            max_chunk=values["audio.max_chunk"],
            idle_timeout=values["stream.idle_timeout"],
            idle=values["output.idle"],
        )
        return Worker(self._stream, pace, self._publish, self._warn, audio_now_ns=self._idle_time_ns)

    def _audio_clock(self) -> float:
        """Seconds on the clock of the stamps."""
        return float(self.get_clock().now().nanoseconds) / NS

    def _idle_time_ns(self) -> int:
        """Audio time of a first frame without audio: as far behind the clock as frames made from audio are."""
        delay = self._pacer.delay if self._pacer is not None else None
        return int(self.get_clock().now().nanoseconds - round((delay or 0.0) * NS))

    def _controls(self, values: Values) -> Any:
        return table.controls({**values, **self._standing})

    def _subscribe(self, classes: AudioClasses) -> None:
        qos = QoSOverridingOptions.with_default_policies()
        self._inputs = [
            self.create_subscription(classes.message, "audio", self._on_audio, AUDIO_QOS, qos_overriding_options=qos),
            self.create_subscription(
                EmotionCommand, "emotion_command", self._on_command, OUTPUT_QOS, qos_overriding_options=qos
            ),
            self.create_subscription(Empty, "interrupt", self._on_interrupted, 10),
        ]
        if classes.info is not None:
            self._inputs.append(self.create_subscription(classes.info, "audio_info", self._on_info, 10))

    def _on_audio(self, message: Any) -> None:
        """Only enqueues."""
        if self._worker is None or self._decoder is None:
            return
        try:
            self._worker.offer(self._decoder.decode(message, self.get_clock().now().nanoseconds))
        except AudioFormatError as error:
            self._warn("audio", str(error))

    def _on_info(self, message: Any) -> None:
        try:
            if self._decoder is not None:
                self._decoder.declare(message)
        except AudioFormatError as error:
            self._warn("info", str(error))

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
        stream = self._stream
        if stream is None:
            raise ValueError(f"{self.get_name()} is not active")
        control = emotions.control_of(message)
        at_ns = from_time(message.header.stamp) or None
        before = stream.orders.current
        stream.order(control, at_ns, float(message.transition), float(message.hold))
        text = emotions.describe(control) + (f"; from {at_ns / NS:.3f} s on" if at_ns else "")
        if before is None or emotions.describe(before.control) != emotions.describe(control):
            self.get_logger().info(f"emotion command: {text}")
        if control is None:
            self._end_of_commands()
        else:
            self._mirror(control)
        return text

    def _mirror(self, control: Any) -> None:
        """The parameters tell what is in force, as `/emotion` does."""
        values = self._table.values
        if not self._standing:
            self._standing = {name: value for name, value in values.items() if name.startswith("emotion.")}
        label = max(control.labels, key=control.labels.get)
        wanted = {"source": "command", "label": label, "intensity": control.intensity, "blend": control.blend}
        self._set_emotion_parameters({f"emotion.{name}": value for name, value in wanted.items()})

    def _end_of_commands(self) -> None:
        """Parameters tell again what holds without a command."""
        standing, self._standing = self._standing, {}
        if standing:
            self._set_emotion_parameters(standing)

    def _set_emotion_parameters(self, values: Values) -> None:
        self._mirroring = True
        try:
            self.set_parameters_atomically([Parameter(name, value=value) for name, value in values.items()])
        finally:
            self._mirroring = False

    def _on_reset_speaker(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Forget the picture of the speaker: somebody else speaks now."""
        stream, worker = self._stream, self._worker
        if stream is None or worker is None:
            response.success, response.message = False, f"{self.get_name()} is not active"
        elif not stream.knows_speakers:
            response.success, response.message = False, "this network keeps no picture of the speaker"
        else:
            worker.call(stream.reset_speaker)
            response.success, response.message = True, "the picture of the speaker begins anew"
        return response

    def _on_interrupt(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Somebody interrupts the speaker: forget the audio that waits, close the mouth."""
        if self._worker is None:
            response.success, response.message = False, f"{self.get_name()} is not active"
            return response
        dropped = self._interrupt()
        self._told_at = time.monotonic()
        self._tell.publish(Empty())
        response.success, response.message = True, f"{dropped} frames that waited are dropped"
        return response

    def _on_interrupted(self, message: Empty) -> None:
        """Another node says so; what this one said itself is heard here too, and done already."""
        if self._worker is not None and time.monotonic() - self._told_at > OWN_ECHO:
            self._interrupt()

    def _interrupt(self) -> int:
        """How many frames that waited are dropped."""
        assert self._worker is not None
        self._worker.interrupt()
        return self._pacer.drop() if self._pacer is not None else 0

    def _changed(self, values: Values, names: frozenset[str]) -> None:
        """Of parameters that were accepted: hand them to the running stream."""
        stream, worker = self._stream, self._worker
        if stream is None or worker is None or self._mirroring:
            return
        if any(name.startswith(("emotion.", "style.")) for name in names):
            if any(name.startswith("emotion.") for name in names):
                self._standing = {}  # the last word counts
            orders = stream.orders.current if self._standing else None
            stream.controls = self._controls(values)
            if orders is not None and orders.control is not None:  # style changed under a command: that goes on
                stream.order(orders.control, None, orders.transition)
        if any(name.startswith("output.") for name in names):
            settings = table.motion_settings(values)
            worker.call(lambda: setattr(stream, "motion", settings))

    def _publish(self, frames: list[FaceFrame]) -> None:
        """Called from the worker's thread: released at an even rate, or at once."""
        if self._pacer is not None:
            self._pacer.put(frames)
            return
        for frame in frames:
            self._release(frame)

    def _release(self, frame: FaceFrame) -> None:
        """Publish a frame, and what emotion it shows ten times a second."""
        stream, frame_id = self._stream, self._table["output.frame_id"]
        if stream is None or not self._outputs:
            return
        faces, feelings = self._outputs
        number = next(self._published)
        faces.publish(blendshapes(frame, number, frame_id))
        self._released = frame
        if stream.emotion_labels and number % max(1, round(stream.fps / EMOTION_RATE)) == 0:
            control = stream.emotion_in_force
            feelings.publish(emotions.shown(stream.emotion_labels, frame, control, frame_id))

    # -- reports -------------------------------------------------------------------------------------------------------

    def _greeting(self, values: Values) -> str:
        schedule = self._stream.schedule  # type: ignore[union-attr]
        return (
            f"listening to {self.resolve_topic_name('audio')} [{values['audio.type']}], publishing on "
            f"{self.resolve_topic_name('blendshapes')} and {self.resolve_topic_name('emotion')}: "
            f"{float(schedule.fps):g} frames/s, hop {schedule.hop_seconds:.3f} s, look-ahead "
            f"{schedule.lookahead_seconds:.3f} s, on {self._model.device}"
        )

    def _report(self) -> Report:
        report = Report()
        state = "active" if self._worker else "inactive" if self._model else "unconfigured"
        state = "finalized" if self._finalized else state
        report.show({"state": state})
        self._forget_ended_commands()
        if self._failure:
            report.error(self._failure)
        elif self._finalized:
            report.error("finalized: this process does nothing any more; start it again")
        elif self._worker is None:
            report.messages.append(f"{state}: works when it is activated")
        for problem in self._table.problems:
            report.warn(f"parameter {problem}")
        worker, stream = self._worker, self._stream
        if worker is None or stream is None:
            return report
        self._judge(report, worker)
        values = self._table.values
        report.show(
            {
                "device": self._model.device,
                "model": self._model.config.name_or_path or type(self._model).__name__,
                "hop_s": stream.schedule.hop_seconds,
                "lookahead_s": stream.schedule.lookahead_seconds,
                "backlog_s": worker.backlog.seconds,
                "emotion": emotions.describe(stream.emotion_in_force) if self._standing else values["emotion.source"],
                "paced_delay_s": self._pacer.delay if self._pacer is not None else None,
                "late_frames": self._pacer.late if self._pacer is not None else None,
                **worker.figures.reading(time.monotonic()),
                **{f"audio_{name}": count for name, count in stream.intake.as_dict().items()},
            }
        )
        return report

    def _forget_ended_commands(self) -> None:
        """A command that held for a while is over: the parameters tell so."""
        current = self._stream.orders.current if self._stream is not None else None
        if self._standing and current is not None and current.control is None:
            self._end_of_commands()

    def _judge(self, report: Report, worker: Worker) -> None:
        """Warn of silence on the topic, and of what happened since the last report."""
        now = time.monotonic()
        figures = worker.figures
        quiet = now - max(figures.last_arrival or 0.0, self._active_since)
        if quiet > QUIET and self._decoder is not None:
            reason = silence_reason(self, self.resolve_topic_name("audio"), self._table["audio.type"])
            report.warn(f"no audio for {quiet:.0f} s: {reason}")
            if figures.last_arrival is None:
                self._remind("quiet", f"no audio yet: {reason}")
        for name, count in figures.new_faults().items():
            if count:
                report.warn(f"{count} {name} in the last second")


def main(args: Sequence[str] | None = None) -> None:
    """Entry point of the program `emotalk_node`."""
    run_program("emotalk_node", __doc__ or "", table.PARAMETERS, EmotalkNode, args)
