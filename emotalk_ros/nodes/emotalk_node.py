"""The emotalk node: speech on `audio` in, the face on `blendshapes` and `emotion` out. A lifecycle node.

==============  ======================================================================================
configure       loads the network and runs it once; fails with the reason in the log
activate        subscribes, and starts the one thread that owns the network
deactivate      unsubscribes, ends that thread, and brings the face to rest within 0.3 s
cleanup         frees the network
==============  ======================================================================================

While it is active it publishes frames at an even rate: from audio where there is some, else idle ones. With several
`audio.topics` it has a voice for each (`topic_voice`), and the network answers all of them in one pass.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from functools import partial, wraps
from typing import Any

from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter

from emotalk_ros.nodes import emotalk_parameters as table
from emotalk_ros.nodes import network
from emotalk_ros.nodes.audio_inputs import AudioClasses, AudioTypeError, audio_classes
from emotalk_ros.nodes.diagnostics import DiagnosticPublisher, Report
from emotalk_ros.nodes.parameters import ParameterTable, Values
from emotalk_ros.nodes.processes import with_ros2
from emotalk_ros.nodes.runtime import Throttled, run_program
from emotalk_ros.nodes.topic_voice import TopicVoice, warm_up
from emotalk_ros.streaming import WindowSchedule
from emotalk_ros.streaming.worker import Crew

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

LOADED = (*network.KEYS, "model.lookahead")
"""The parameters that a loaded network depends on."""
LOOK = 1.0
"""Seconds between two looks for topics that match a pattern."""
GONE = 10.0
"""Seconds without a publisher after which a topic that was found is left."""
MOST_FOUND = 256
"""Topics that patterns may find."""


class EmotalkNode(LifecycleNode):
    """See the module. Topics are relative and can be remapped; their QoS can be overridden by parameters."""

    def __init__(self, **options: Any) -> None:
        super().__init__("emotalk", **options)
        self._model: Any = None
        self._loaded: Values = {}
        self._crew: Crew | None = None
        self._classes: AudioClasses | None = None
        self._voices: dict[str, TopicVoice] = {}  # by their topics, as they are written
        self._looking: Any = None  # the timer that looks for topics
        self._standing: Values = {}  # emotion.* as they were before the command in force
        self._mirroring = False
        self._finalized = False
        self._failure = ""
        self._warn = Throttled(self.get_logger().warning)
        self._remind = Throttled(self.get_logger().warning, period=60.0)
        self._table = ParameterTable(
            self,
            table.PARAMETERS,
            active=lambda: self._crew is not None,
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
            way = with_ros2(
                f"ros2 lifecycle set {name} configure; ros2 lifecycle set {name} activate",
                f"its service {name}/change_state with the transitions 1 (configure) and 3 (activate)",
            )
            self.get_logger().info(
                f"autostart is off: a launch file or a lifecycle manager activates this node, or: {way}"
            )
        elif self.trigger_configure() != SUCCESS or self.trigger_activate() != SUCCESS:
            self.exit_status = 1
            self.finished = self._table["exit_on_failure"]
            way = with_ros2(
                f"ros2 lifecycle set {name} configure; ros2 lifecycle set {name} activate", "start the node again"
            )
            self.get_logger().error(f"not active; when that is mended: {way}")

    @_failure_reported
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the network, advertise the outputs."""
        if not self._load():
            return FAILURE
        for topic in table.fixed_topics(self._table.values):
            self._voices[topic] = self._make_voice(topic)
        return super().on_configure(state)

    @_failure_reported
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe and start the crew."""
        values = self._table.values
        if any(self._loaded[key] != values[key] for key in LOADED) and not self._load():
            return FAILURE
        try:
            self._classes = audio_classes(values["audio.type"])
            warm_up(self._model, values)
        except (AudioTypeError, ValueError) as error:
            return self._failed(str(error))
        self._follow_topics(table.fixed_topics(values))
        self._failure = ""
        super().on_activate(state)
        self._crew = Crew(self._model, values["stream.most_voices"], self._recover)
        for voice in self._voices.values():
            voice.start(self._model, self._crew, self._classes)
        if table.topic_patterns(values):
            self._looking = self.create_timer(LOOK, self._look)
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
            self._model = self._network(values)
        except (network.NetworkError, ValueError) as error:
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

    def _network(self, values: Values) -> Any:
        """Raises NetworkError, or ValueError for a look-ahead that it cannot have."""
        model = network.load_network(values)
        if values["model.lookahead"]:
            if not hasattr(model, "limit_lookahead"):
                raise ValueError(f"model.lookahead: {type(model).__name__} has a look-ahead of its own; leave it at 0")
            model.limit_lookahead(values["model.lookahead"])
        return model

    def _failed(self, reason: str) -> TransitionCallbackReturn:
        self._failure = reason
        self.get_logger().error(reason)
        return FAILURE

    def _quiesce(self) -> None:
        if self._looking is not None:
            self.destroy_timer(self._looking)
            self._looking = None
        rests = [(voice, voice.stop()) for voice in self._voices.values()]
        # The last frames before the faces are left alone: to rest, at the frame rate.
        for k in range(max((len(frames) for _, frames in rests), default=0)):
            for voice, frames in rests:
                if k < len(frames):
                    voice.release(frames[k])
            fps = next(v.stream.fps for v, frames in rests if frames and v.stream is not None)
            time.sleep(1.0 / fps)
        for voice, _ in rests:
            voice.forget()
        self._crew = self._classes = None
        for voice in [voice for voice in self._voices.values() if voice.discovered]:
            self._leave(voice)
        self._end_of_commands()

    def _free(self) -> None:
        for voice in self._voices.values():
            voice.close()
        self._voices = {}
        if self._model is not None:
            device = self._model.device.type
            self._model = None
            network.release(device)

    # -- voices --------------------------------------------------------------------------------------------------------

    def _make_voice(self, topic: str, discovered: bool = False) -> TopicVoice:
        values = self._table
        return TopicVoice(
            self, topic, lambda: values.values, self._warn, self._remind, partial(self._commanded, topic), discovered
        )

    def _follow_topics(self, topics: Sequence[str]) -> None:
        """`audio.topics` may have changed while the node was not active."""
        for voice in [voice for topic, voice in self._voices.items() if topic not in topics]:
            self._leave(voice)
        for topic in topics:
            if topic not in self._voices:
                self._voices[topic] = self._make_voice(topic)

    def _look(self) -> None:
        """Topics that match a pattern come and go."""
        if self._crew is None or self._classes is None:
            return
        patterns = [self.resolve_topic_name(p.replace("*", "STAR")) for p in table.topic_patterns(self._table.values)]
        patterns = [pattern.replace("STAR", "*") for pattern in patterns]
        known = {self.resolve_topic_name(topic) for topic in self._voices}
        now = time.monotonic()
        for topic, types in self.get_topic_names_and_types():
            wanted = self._classes.msgtype in types and any(fnmatchcase(topic, pattern) for pattern in patterns)
            if not wanted or not self.count_publishers(topic):
                continue
            if topic in known:
                found = self._voices.get(topic)
                if found is not None:
                    found.seen_at = now
            elif sum(voice.discovered for voice in self._voices.values()) >= MOST_FOUND:
                self._warn("many topics", f"{topic} is left out: {MOST_FOUND} topics were found already")
            else:
                voice = self._make_voice(topic, discovered=True)
                self._voices[topic] = voice
                voice.start(self._model, self._crew, self._classes, enable=True)
                self.get_logger().info(f"{topic}: a voice joins, on {voice.base}blendshapes")
        for voice in list(self._voices.values()):
            if voice.discovered and now - voice.seen_at > GONE:
                voice.stop()
                self._leave(voice)
                self.get_logger().info(f"{voice.topic}: nobody publishes any more, the voice leaves")

    def _leave(self, voice: TopicVoice) -> None:
        voice.close()
        del self._voices[voice.topic]

    def _recover(self) -> Any:
        """The network failed several times in a row: the same network on the processor, or None where it was there."""
        if self._model is None or self._model.device.type == "cpu":
            return None
        self.get_logger().error(
            f"the network fails on {self._model.device}: it is loaded anew on the processor. When the device is well "
            "again: deactivate and activate this node"
        )
        try:
            self._model = self._network({**self._table.values, "model.device": "cpu"})
        except (network.NetworkError, ValueError) as error:
            self._failure = f"the device failed, and on the processor: {error}"
            return None
        self._failure = f"{self._table['model.device']} failed: the network runs on the processor"
        self._loaded = {**self._loaded, "model.device": "cpu"}  # the next activation tries the device again
        return self._model

    def _controls(self, values: Values) -> Any:
        return table.controls({**values, **self._standing})

    def _commanded(self, topic: str, control: Any) -> None:
        """A voice was given a command. Of a single voice the parameters tell what is in force, as `emotion` does."""
        if len(self._voices) == 1 and topic in self._voices:
            if control is None:
                self._end_of_commands()
            else:
                self._mirror(control)

    def _mirror(self, control: Any) -> None:
        """Show a command in the parameters."""
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

    def _changed(self, values: Values, names: frozenset[str]) -> None:
        """Of parameters that were accepted: hand them to the running streams."""
        if self._crew is None or self._mirroring:
            return
        asked = any(name.startswith("emotion.") for name in names)
        if asked:
            self._standing = {}  # the last word counts
        for voice in self._voices.values():
            stream, worker = voice.stream, voice.worker
            if stream is None or worker is None:
                continue
            if asked or any(name.startswith("style.") for name in names):
                orders = None if asked else stream.orders.current
                stream.controls = self._controls(values)
                if orders is not None and orders.control is not None:  # style changed under a command: that goes on
                    stream.order(orders.control, None, orders.transition)
            if any(name.startswith("output.") for name in names):
                worker.call(partial(setattr, stream, "motion", table.motion_settings(values, voice.face)))
            if "audio.voice_threshold" in names:
                worker.call(partial(setattr, stream, "voice", table.voice_settings(values)))

    # -- reports -------------------------------------------------------------------------------------------------------

    def _greeting(self, values: Values) -> str:
        topics = [self.resolve_topic_name(topic) for topic in self._voices] + list(table.topic_patterns(values))
        faces = [self.resolve_topic_name(f"{voice.base}blendshapes") for voice in self._voices.values()]
        schedule = WindowSchedule.build(table.stream_settings(values), self._model.config)
        one = next(iter(self._voices.values()), None)
        also = f" and {self.resolve_topic_name(f'{one.base}emotion')}" if one is not None and len(faces) == 1 else ""
        return (
            f"listening to {', '.join(topics)} [{values['audio.type']}], publishing on {', '.join(faces) or 'none yet'}"
            f"{also}: {float(schedule.fps):g} frames/s, hop {schedule.hop_seconds:.3f} s, look-ahead "
            f"{schedule.lookahead_seconds:.3f} s, on {self._model.device}, {self._model.computed_by}"
        )

    def _report(self) -> Report:
        report = Report()
        state = "active" if self._crew else "inactive" if self._model else "unconfigured"
        state = "finalized" if self._finalized else state
        report.show({"state": state})
        self._forget_ended_commands()
        if self._failure:
            report.error(self._failure)
        elif self._finalized:
            report.error("finalized: this process does nothing any more; start it again")
        elif self._crew is None:
            report.messages.append(f"{state}: works when it is activated")
        for problem in self._table.problems:
            report.warn(f"parameter {problem}")
        crew = self._crew
        if crew is None:
            return report
        schedule = WindowSchedule.build(table.stream_settings(self._table.values), self._model.config)
        report.show(
            {
                "device": self._model.device,
                "backend": self._model.computed_by,
                "model": self._model.config.name_or_path or type(self._model).__name__,
                "hop_s": schedule.hop_seconds,
                "lookahead_s": schedule.lookahead_seconds,
            }
        )
        several = len(self._voices) != 1
        if several:
            report.show({"voices": len(self._voices), "voices_per_pass": crew.passes.mean})
        for voice in list(self._voices.values()):
            voice.report(report, named=several)
        return report

    def _forget_ended_commands(self) -> None:
        """A command that held for a while is over: the parameters tell so."""
        voice = next(iter(self._voices.values()), None)
        current = voice.stream.orders.current if voice is not None and voice.stream is not None else None
        if self._standing and current is not None and current.control is None:
            self._end_of_commands()


def main(args: Sequence[str] | None = None) -> None:
    """Entry point of the program `emotalk_node`."""
    # The pacer's thread has to have its turn when a frame is due: the interpreter's own 5 ms are as long as the bound.
    sys.setswitchinterval(0.001)
    run_program("emotalk_node", __doc__ or "", table.PARAMETERS, EmotalkNode, args)
