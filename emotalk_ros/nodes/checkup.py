"""A look at the ROS graph for `emotalk doctor`: is the node there and active, does sound come, do frames go?

It only listens, except for the test pattern. Topics are found by what the node has subscribed and advertised, so that
remapped names are right. Runs in a context of its own, beside whatever else the process does with rclpy.
"""

from __future__ import annotations

import shutil
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.srv import GetState
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSCompatibility, QoSProfile, ReliabilityPolicy, qos_check_compatible

from emotalk_ros.audio import AudioFormatError, AudioIntake, TimelineSettings
from emotalk_ros.audio.messages import AUDIO_INFO, AUDIO_TYPES, AudioDecoder, InputSettings
from emotalk_ros.audio.silero import VoiceModelError, VoiceProbability
from emotalk_ros.bridges.drive import frames_of
from emotalk_ros.bridges.pattern import moving, pattern_motion
from emotalk_ros.msg import BlendshapeCoefficients
from emotalk_ros.nodes.audio_inputs import AudioTypeError, audio_classes
from emotalk_ros.nodes.findings import Finding, note, ok, skipped, trouble
from emotalk_ros.nodes.messages import blendshapes
from emotalk_ros.units import NS

FACE_TYPE = "emotalk_ros/msg/BlendshapeCoefficients"
QUIET_DB = -50.0
"""Sound whose loudest 20 ms stay below this (dB re full scale, rms) is hardly a voice near a microphone."""
CLOCKS_APART = 5.0
"""Seconds between a stamp and this machine's clock from which on something is wrong with one of them."""
SLOW = 0.8
"""Share of real time below which sound stutters."""
FPS = 30.0

_LISTEN = QoSProfile(depth=500, reliability=ReliabilityPolicy.BEST_EFFORT)
_DISCOVERY = (1.5, 6.0)  # seconds in which nothing new is seen, and the longest: then the graph is known


@dataclass
class CheckSettings:
    """What to look for. `namespace` None: the node in any namespace; `seconds` of listening."""

    name: str = "emotalk"
    namespace: str | None = None
    seconds: float = 3.0


@dataclass
class _Heard:
    """What came on one audio topic."""

    decoder: AudioDecoder
    intake: AudioIntake = field(default_factory=lambda: AudioIntake(TimelineSettings(stamps="none")))
    pieces: list[Any] = field(default_factory=list)
    messages: int = 0
    apart: deque[float] = field(default_factory=lambda: deque(maxlen=1000))
    problem: str = ""
    first: float = 0.0
    last: float = 0.0


@dataclass
class _Seen:
    """Frames that came on one topic: arrival in seconds, and their kind."""

    arrivals: list[float] = field(default_factory=list)
    kinds: list[int] = field(default_factory=list)


@contextmanager
def checkup(settings: CheckSettings) -> Iterator[Checkup]:
    """A node that looks around, for as long as the block lasts."""
    context = rclpy.Context()
    rclpy.init(args=[], context=context, signal_handler_options=rclpy.SignalHandlerOptions.NO)
    look = Checkup(settings, context)
    try:
        yield look
    finally:
        look.close()
        rclpy.try_shutdown(context=context)


class Checkup:
    """See `checkup`."""

    def __init__(self, settings: CheckSettings, context: Any) -> None:
        self._settings = settings
        self._node: Node = rclpy.create_node("emotalk_doctor", context=context)
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self._node)
        self._heard: dict[str, _Heard] = {}
        self._seen: dict[str, _Seen] = {}
        self._statuses: dict[str, DiagnosticStatus] = {}
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def close(self) -> None:
        """Leave the graph."""
        self._executor.shutdown(timeout_sec=2.0)
        self._node.destroy_node()

    def findings(self) -> list[Finding]:
        """Look at everything; takes `seconds` and a little more."""
        self._discover()
        faces = self._face_nodes()
        states = {name: self._state(name) for name in faces}
        self._listen()
        self._spin(self._settings.seconds)
        out = self._of_nodes(states)
        out += self._of_audio(states)
        out += self._of_frames(states)
        return out + self._of_listeners()

    # -- the graph ----------------------------------------------------------------------------------------------------

    def _spin(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=min(left, 0.1))

    def _discover(self) -> None:
        """Until what is there has been seen."""
        begun = changed = time.monotonic()
        seen: Any = None
        while (now := time.monotonic()) - begun < _DISCOVERY[1]:
            graph = self._node.get_node_names_and_namespaces(), self._node.get_topic_names_and_types()
            if graph != seen:
                seen, changed = graph, now
            elif now - changed > _DISCOVERY[0] and len(graph[0]) > 1:
                return
            self._spin(0.1)

    def _face_nodes(self) -> list[str]:
        """Full names of the nodes that are looked for."""
        wanted = self._settings.namespace
        place = None if wanted is None else "/" + wanted.strip("/")
        return sorted(
            _full(name, namespace)
            for name, namespace in set(self._node.get_node_names_and_namespaces())
            if name == self._settings.name and place in (None, namespace)
        )

    def _state(self, name: str) -> str | None:
        """Lifecycle state; None where the node does not answer.

        A service counts as ready before its node knows the client, and its first answer may be lost: it is asked again.
        """
        client = self._node.create_client(GetState, f"{name}/get_state")
        try:
            deadline = time.monotonic() + 4.0
            while not client.service_is_ready() and time.monotonic() < deadline:
                self._spin(0.05)
            if not client.service_is_ready():
                return None
            while (now := time.monotonic()) < deadline:
                answer = client.call_async(GetState.Request())
                while not answer.done() and time.monotonic() < min(deadline, now + 1.0):
                    self._spin(0.05)
                if answer.done():
                    return str(answer.result().current_state.label)
            return None
        finally:
            self._node.destroy_client(client)

    def _topics(self, kinds: tuple[str, ...]) -> dict[str, list[str]]:
        """Topics that carry one of these types, with all their types."""
        found = self._node.get_topic_names_and_types()
        return {topic: types for topic, types in found if set(types) & set(kinds)}

    def _endpoints(self, topic: str, publishers: bool) -> list[Any]:
        """Publishers or subscriptions of others."""
        ask = self._node.get_publishers_info_by_topic if publishers else self._node.get_subscriptions_info_by_topic
        return [info for info in ask(topic) if info.node_name != self._node.get_name()]

    def _listen(self) -> None:
        """Subscribe to all sound and all faces there are."""
        for topic in self._topics((FACE_TYPE,)):
            seen = self._seen[topic] = _Seen()
            self._node.create_subscription(BlendshapeCoefficients, topic, _noting(seen), _LISTEN)
        infos = sorted(self._topics((AUDIO_INFO,)))
        for topic, types in self._topics(AUDIO_TYPES).items():
            kind = next(name for name in types if name in AUDIO_TYPES)
            heard = self._heard[topic] = _Heard(AudioDecoder(kind, InputSettings()))
            try:
                classes = audio_classes(kind.replace("/msg/", "/"))
            except AudioTypeError as error:
                heard.problem = str(error)
                continue
            self._node.create_subscription(classes.message, topic, self._hearing(heard), _LISTEN)
            for info in infos if classes.info is not None else ():
                self._node.create_subscription(classes.info, info, _declaring(heard), 10)

    def _hearing(self, heard: _Heard) -> Any:
        def hear(message: Any) -> None:
            now = self._node.get_clock().now().nanoseconds
            heard.messages += 1
            heard.last = time.monotonic()
            heard.first = heard.first or heard.last
            try:
                chunk = heard.decoder.decode(message, now)
                heard.pieces += [segment.samples for segment in heard.intake.push(chunk)]
            except AudioFormatError as error:
                heard.problem = str(error)
                return
            if chunk.stamp_ns:
                heard.apart.append((now - chunk.stamp_ns) / NS)

        return hear

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self._statuses.update({status.name: status for status in message.status})

    # -- what was found -----------------------------------------------------------------------------------------------

    def _of_nodes(self, states: dict[str, str | None]) -> list[Finding]:
        if not states:
            where = "" if self._settings.namespace is None else f" in /{self._settings.namespace.strip('/')}"
            others = sorted({_full(*pair) for pair in self._node.get_node_names_and_namespaces()})
            others = [name for name in others if name != "/" + self._node.get_name()]
            seen = f"; nodes seen: {', '.join(others[:8])}" if others else "; no node at all is seen"
            return [
                trouble(
                    "node",
                    f"no node called {self._settings.name}{where}{seen}",
                    "start it: `emotalk run`, or `ros2 launch emotalk_ros emotalk.launch.py`; another name: --node; "
                    "on another machine: ROS_DOMAIN_ID and ROS_AUTOMATIC_DISCOVERY_RANGE must agree on both",
                )
            ]
        out = []
        for name, state in states.items():
            if state == "active":
                out.append(ok("node", f"{name} is active"))
            elif state is None:
                out.append(
                    trouble("node", f"{name} does not answer", "it hangs, or ends: look at its log, start it again")
                )
            else:
                out.append(trouble("node", f"{name} is {state}", _activation(name, state)))
            out += self._of_status(name)
        return out

    def _of_status(self, name: str) -> list[Finding]:
        """What the node itself says on /diagnostics."""
        out = []
        for status in self._statuses.values():
            if status.name.strip("/") != name.strip("/"):
                continue
            if status.level >= DiagnosticStatus.WARN:
                out.append(trouble("node", f"{name} says: {status.message}", "docs/nodes.md, Troubleshooting"))
        return out

    def _of_audio(self, states: dict[str, str | None]) -> list[Finding]:
        """Every audio topic, and whether the node hears what is published there."""
        out: list[Finding] = []
        if not self._heard:
            out.append(
                trouble(
                    "sound",
                    "no topic on the graph carries sound of a type that is understood "
                    f"({', '.join(name.replace('/msg/', '/') for name in AUDIO_TYPES)})",
                    "start a source: `emotalk run` starts a microphone, `emotalk run --file speech.wav` a file",
                )
            )
        for topic, heard in sorted(self._heard.items()):
            out += self._of_topic(topic, heard)
        for name, state in states.items():
            if state == "active" and not any(self._subscribed(topic, name) for topic in self._heard):
                out.append(trouble("sound", f"{name} subscribes no audio topic", "deactivate it and activate it again"))
        return out

    def _subscribed(self, topic: str, name: str) -> list[Any]:
        return [s for s in self._endpoints(topic, False) if _full(s.node_name, s.node_namespace) == name]

    def _of_topic(self, topic: str, heard: _Heard) -> list[Finding]:
        publishers, listeners = self._endpoints(topic, True), self._endpoints(topic, False)
        types = sorted({info.topic_type.replace("/msg/", "/") for info in [*publishers, *listeners]})
        who = ", ".join(sorted({_full(p.node_name, p.node_namespace) for p in publishers})) or "nobody"
        subject = f"sound {topic}"
        out = [note(subject, f"{', '.join(types)}; published by {who}; {len(listeners)} listener(s)")]
        if not publishers:
            return [*out, trouble(subject, "nobody publishes it", _source_remedy(topic, self._heard))]
        for listener in listeners:
            out += _mismatches(topic, publishers, listener)
        return out + self._of_sound(subject, heard)

    def _of_sound(self, subject: str, heard: _Heard) -> list[Finding]:
        """Whether sound arrives, how loud it is, and whether it is a voice."""
        if heard.problem:
            return [trouble(subject, heard.problem, "docs/nodes.md, Audio from other packages")]
        if not heard.messages:
            text = f"not one message in {self._settings.seconds:g} s"
            return [trouble(subject, text, "is the source running, and not paused? its own log tells")]
        heard.pieces += [segment.samples for segment in heard.intake.flush()]
        samples = np.concatenate(heard.pieces) if heard.pieces else np.zeros(0, np.float32)
        rate = len(samples) / 16000 / max(heard.last - heard.first, 0.1)
        out = []
        if heard.apart and abs(float(np.median(heard.apart))) > CLOCKS_APART:
            apart = float(np.median(heard.apart))
            out.append(
                trouble(
                    subject,
                    f"its stamps are {abs(apart):.0f} s {'behind' if apart > 0 else 'ahead of'} this machine's clock",
                    "synchronise the clocks (chrony), set use_sim_time on all nodes or on none, or audio.stamps: none",
                )
            )
        blocks = samples[: len(samples) // 320 * 320].reshape(-1, 320).astype(np.float64)
        if not len(blocks):
            return [*out, trouble(subject, "its messages hold no sound", "look at the source")]
        loudest = 10 * np.log10((blocks**2).mean(axis=1).max() + 1e-12)
        text = f"{rate:.2f} s of sound a second, loudest {loudest:.0f} dB of full scale{_voice(samples)}"
        if not samples.any():
            out.append(trouble(subject, "nothing but zeros", "unmute the microphone; does another program own it?"))
        elif loudest < QUIET_DB:
            out.append(
                trouble(subject, f"{text}: too quiet", "speak; raise the microphone's level (alsamixer, pavucontrol)")
            )
        elif rate < SLOW and heard.messages > 5:
            out.append(
                trouble(subject, f"{text}: it stutters", "a slow source or network, or best effort: docs/nodes.md")
            )
        else:
            out.append(ok(subject, text))
        return out

    def _of_frames(self, states: dict[str, str | None]) -> list[Finding]:
        out = []
        active = [name for name, state in states.items() if state == "active"]
        found: set[str] = set()
        for topic, seen in sorted(self._seen.items()):
            sources = [_full(p.node_name, p.node_namespace) for p in self._endpoints(topic, True)]
            ours = [name for name in sources if name in active]
            found |= set(ours)
            if not sources:
                continue
            subject, who = f"frames {topic}", ", ".join(sorted(set(sources)))
            if len(set(sources)) > 1:
                out.append(trouble(subject, f"several nodes publish it: {who}", "remap all but one: faces would jump"))
            if not seen.arrivals:
                if ours:
                    text = f"{who} publishes none in {self._settings.seconds:g} s"
                    out.append(trouble(subject, text, "sound must arrive, or output.idle be true: see above"))
                else:
                    out.append(note(subject, f"none; {who} is not active"))
                continue
            span = max(seen.arrivals[-1] - seen.arrivals[0], 1e-3)
            rate = (len(seen.arrivals) - 1) / span
            gap = max(np.diff(seen.arrivals), default=0.0)
            made = sum(kind == BlendshapeCoefficients.SPEECH for kind in seen.kinds)
            text = (
                f"{rate:.1f} a second from {who}, {made} of {len(seen.kinds)} made from sound, longest gap {gap:.2f} s"
            )
            if gap > 0.5:
                out.append(trouble(subject, text, "hops are skipped? docs/nodes.md, Too slow"))
            else:
                out.append(ok(subject, text))
        for name in active:
            if name not in found:
                out.append(trouble("frames", f"{name} publishes no {FACE_TYPE}", "deactivate it and activate it again"))
        return out

    def _of_listeners(self) -> list[Finding]:
        """Who shows the frames."""
        out = []
        for topic in sorted(self._seen):
            listeners = self._endpoints(topic, False)
            who = ", ".join(sorted({_full(s.node_name, s.node_namespace) for s in listeners}))
            subject = f"outputs of {topic}"
            if not listeners:
                out.append(
                    note(subject, "nobody listens to it", "start an avatar's node or servo_node: docs/avatars.md")
                )
                continue
            out.append(ok(subject, who))
            for listener in listeners:
                out += _mismatches(topic, self._endpoints(topic, True), listener)
        return out

    # -- test pattern -------------------------------------------------------------------------------------------------

    def send_pattern(self, show: Any, repeats: int = 1) -> list[Finding]:
        """Blink, jaw, smile on every face topic that somebody listens to and nobody publishes at the moment.

        Args:
            show: called with the name of each movement as it begins.
            repeats: rounds.
        """
        out, publishers = [], {}
        for topic in sorted(self._topics((FACE_TYPE,))):
            listeners = sorted({_full(s.node_name, s.node_namespace) for s in self._endpoints(topic, False)})
            busy = self._seen.get(topic, _Seen()).arrivals
            subject = f"test pattern {topic}"
            if not listeners:
                out.append(skipped(subject, "nobody listens to it"))
            elif busy:
                sources = sorted({_full(p.node_name, p.node_namespace) for p in self._endpoints(topic, True)})
                remedy = "; ".join(_command("deactivate", name) for name in sources)
                out.append(skipped(subject, f"frames of {', '.join(sources)} are shown there", remedy))
            else:
                publishers[topic] = self._node.create_publisher(BlendshapeCoefficients, topic, 100), listeners
        if not publishers:
            return out or [skipped("test pattern", "no node listens to faces", "start an avatar's node or servo_node")]
        self._spin(1.0)  # discovery
        self._play({topic: publisher for topic, (publisher, _) in publishers.items()}, show, repeats)
        for topic, (publisher, listeners) in publishers.items():
            subject, matched = f"test pattern {topic}", publisher.get_subscription_count()
            if matched - (topic in self._seen) < 1:
                remedy = "QoS: the listener's reliability or durability asks for more than is offered"
                out.append(trouble(subject, f"{', '.join(listeners)} did not match", remedy))
            else:
                out.append(
                    note(
                        subject,
                        f"blink, jaw, smile went to {', '.join(listeners)}",
                        "did nothing move? `emotalk doctor PROTOCOL --to HOST` tries the avatar itself; /diagnostics "
                        "of servo_node tells what stops the joints",
                    )
                )
        return out

    def _play(self, publishers: dict[str, Any], show: Any, repeats: int) -> None:
        """At the frame rate, ending at rest."""
        shown = ""
        begun, base = time.monotonic(), self._node.get_clock().now().nanoseconds
        for frame in frames_of(pattern_motion(FPS, repeats), FPS):
            if (name := moving(frame.index, FPS)) != shown:
                shown = name
                show(name)
            message = blendshapes(frame, frame.index)
            stamp = base + frame.stamp_ns
            message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, NS)
            for publisher in publishers.values():
                publisher.publish(message)
            self._spin(begun + (frame.index + 1) / FPS - time.monotonic())


def _noting(seen: _Seen) -> Any:
    def note_it(message: BlendshapeCoefficients) -> None:
        seen.arrivals.append(time.monotonic())
        seen.kinds.append(message.kind)

    return note_it


def _declaring(heard: _Heard) -> Any:
    def declare(message: Any) -> None:
        try:
            heard.decoder.declare(message)
        except AudioFormatError as error:
            heard.problem = str(error)

    return declare


def _full(name: str, namespace: str) -> str:
    return f"{namespace.rstrip('/')}/{name}"


def _command(transition: str, name: str) -> str:
    """How a transition is asked for here."""
    if shutil.which("ros2"):
        return f"ros2 lifecycle set {name} {transition}"
    return f"call {name}/change_state ({transition}); `emotalk run` starts a node that is active"


def _activation(name: str, state: str) -> str:
    if state == "finalized":
        return "its process does nothing any more: start it again"
    steps = ["configure", "activate"] if state == "unconfigured" else ["activate"]
    return (
        "; ".join(_command(step, name) for step in steps) + "; its log and /diagnostics tell why it did not by itself"
    )


def _source_remedy(topic: str, heard: dict[str, _Heard]) -> str:
    others = sorted(other for other, what in heard.items() if what.messages and other != topic)
    if others:
        return f"sound comes on {', '.join(others)}: remap, `-r audio:={others[0]}` or audio_topic:={others[0]}"
    return "start a source (`emotalk run` starts the microphone), or remap: -r audio:=..."


def _mismatches(topic: str, publishers: list[Any], listener: Any) -> list[Finding]:
    """Publishers that this subscription cannot hear: another type, or a policy of the QoS."""
    out, name = [], _full(listener.node_name, listener.node_namespace)
    for publisher in publishers:
        source = _full(publisher.node_name, publisher.node_namespace)
        if publisher.topic_type != listener.topic_type:
            out.append(
                trouble(
                    f"type {topic}",
                    f"{source} publishes {publisher.topic_type.replace('/msg/', '/')}, {name} listens to "
                    f"{listener.topic_type.replace('/msg/', '/')}",
                    f"set audio.type of {name} to {publisher.topic_type.replace('/msg/', '/')}, or remap",
                )
            )
            continue
        compatible, reason = qos_check_compatible(publisher.qos_profile, listener.qos_profile)
        if compatible == QoSCompatibility.ERROR:
            out.append(
                trouble(
                    f"QoS {topic}",
                    f"{name} cannot hear {source}: {reason.strip().removeprefix('ERROR: ').rstrip(';')}",
                    f"make the publisher offer it, or ask for less: qos_overrides.{topic}.subscription.<policy>",
                )
            )
    return out


def _voice(samples: Any) -> str:
    """Whether it sounds like a voice, in words."""
    try:
        heard = VoiceProbability().push(samples)
    except VoiceModelError:
        return ""
    best = max(heard, default=0.0)
    return f", a voice in it with probability {best:.2f}"
