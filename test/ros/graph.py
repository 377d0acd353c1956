"""The test's end of the graph: starts node processes, listens to what they publish, calls their services."""

import os
import signal
import subprocess
import threading
import time
from concurrent.futures import Future
from contextlib import suppress

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Log, Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import DescribeParameters, GetParameters, ListParameters, SetParametersAtomically
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.qos import QoSProfile, ReliabilityPolicy

from emotalk_ros.audio import encode_pcm
from emotalk_ros.msg import AudioChunk, BlendshapeCoefficients, EmotionCommand, EmotionState
from emotalk_ros.nodes.messages import from_time, to_time
from emotalk_ros.nodes.processes import NodeSpec

NS = 1_000_000_000
DEEP = QoSProfile(depth=5000, reliability=ReliabilityPolicy.RELIABLE)
START = 120.0
"""Seconds that a node may take to start on a busy machine."""


def wait_until(condition, timeout=20.0, what="the condition"):
    """Poll; the condition's value when it is true. AssertionError names what did not come."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"{what} did not come within {timeout:g} s"
        time.sleep(0.02)


class Running:
    """A node process."""

    def __init__(self, spec, environment=None):
        environment = {**os.environ, **(environment or {})}
        self.program = spec.program
        self.process = subprocess.Popen(spec.command(), env=environment, stderr=subprocess.PIPE, text=True)
        self._lines = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stderr:
            self._lines.append(line)

    @property
    def log(self):
        return "".join(self._lines)

    @property
    def alive(self):
        return self.process.poll() is None

    def stop(self, signum=signal.SIGINT, timeout=30.0):
        """Its exit status."""
        if self.alive:
            self.process.send_signal(signum)
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"{self.program} did not end within {timeout:g} s:\n{self.log[-2000:]}") from None
        self._reader.join(5.0)
        return status


class Graph:
    """A node of the test's own process, spinning in a thread; collects faces, emotions, diagnostics and logs."""

    def __init__(self):
        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self.node = rclpy.create_node("test_listener", context=self._context)
        self.faces, self.others = [], []  # made from audio; closing and idle ones
        self.feelings, self.statuses, self.logs = [], [], []
        self.node.create_subscription(BlendshapeCoefficients, "blendshapes", self._on_face, DEEP)
        self.node.create_subscription(EmotionState, "emotion", self.feelings.append, DEEP)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", lambda m: self.statuses.extend(m.status), 10)
        self.node.create_subscription(Log, "/rosout", self.logs.append, 200)
        self.audio = self.node.create_publisher(AudioChunk, "audio", DEEP)
        self.commands = self.node.create_publisher(EmotionCommand, "emotion_command", DEEP)
        self._clients = {}
        self._running = []
        self._over = False
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _on_face(self, face):
        (self.faces if face.kind == face.SPEECH else self.others).append(face)

    def _spin(self):
        with suppress(ExternalShutdownException):
            while self._context.ok() and not self._over:
                self._executor.spin_once(timeout_sec=0.1)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        for running in self._running:
            if running.alive:
                running.stop()
        self._over = True
        self._thread.join(5.0)
        self.node.destroy_node()  # or its publishers go on being counted by the nodes of the next test
        rclpy.shutdown(context=self._context)

    # -- nodes -------------------------------------------------------------------------------------------------------

    def start(self, program, parameters=None, remappings=None, arguments=(), environment=None):
        running = Running(NodeSpec(program, parameters or {}, remappings or {}, arguments), environment)
        self._running.append(running)
        return running

    def start_emotalk(self, model_path, parameters=None, **options):
        """A node that is active, with its topics matched."""
        values = {"model.path": str(model_path), "output.blinks": False, "output.pacing": "burst", "output.idle": False}
        running = self.start("emotalk_node", {**values, **(parameters or {})}, **options)
        self.wait_active(running)
        return running

    def wait_active(self, running, name="emotalk"):
        def active():
            assert running.alive, running.log
            return (
                self.audio.get_subscription_count()
                and self.commands.get_subscription_count()
                and self.node.count_publishers("blendshapes")
                and self.node.count_publishers("emotion")
            )

        wait_until(active, START, f"an active node; its log:\n{running.log}")
        time.sleep(0.3)  # both ends of a new match

    # -- services ----------------------------------------------------------------------------------------------------

    def call(self, kind, name, request, timeout=60.0):
        if name not in self._clients:
            self._clients[name] = self.node.create_client(kind, name)
        client = self._clients[name]
        assert client.wait_for_service(timeout), f"no service {name}"
        done = Future()
        client.call_async(request).add_done_callback(lambda future: done.set_result(future.result()))
        return done.result(timeout)

    def state(self, node="emotalk"):
        return self.call(GetState, f"{node}/get_state", GetState.Request()).current_state.label

    def transition(self, label, node="emotalk"):
        request = ChangeState.Request()
        request.transition.label = label
        return self.call(ChangeState, f"{node}/change_state", request).success

    def set(self, node="emotalk", **values):
        """Parameters with __ for the dot, all or none. (accepted, reason)."""
        request = SetParametersAtomically.Request()
        request.parameters = [
            Parameter(name=name.replace("__", "."), value=parameter_value(value)) for name, value in values.items()
        ]
        result = self.call(SetParametersAtomically, f"{node}/set_parameters_atomically", request).result
        return result.successful, result.reason

    def parameters(self, node):
        """Names and values of all parameters."""
        request = ListParameters.Request(depth=ListParameters.Request.DEPTH_RECURSIVE)
        names = self.call(ListParameters, f"{node}/list_parameters", request).result.names
        values = self.call(GetParameters, f"{node}/get_parameters", GetParameters.Request(names=names)).values
        return dict(zip(names, values, strict=True))

    def describe(self, node, *names):
        request = DescribeParameters.Request(names=list(names))
        return self.call(DescribeParameters, f"{node}/describe_parameters", request).descriptors

    # -- what was heard ------------------------------------------------------------------------------------------------

    def said(self, words, since=0, node="emotalk"):
        """A log message that holds `words`, out of those after the first `since`."""
        return next((m.msg for m in self.logs[since:] if words in m.msg and m.name.strip("/").endswith(node)), None)

    def status(self, node="emotalk", since=0):
        """The newest diagnostic status of a node, as (level, message, values)."""
        for status in reversed(self.statuses[since:]):
            if status.name.endswith(node):
                return status.level, status.message, {pair.key: pair.value for pair in status.values}
        return None

    def clear(self):
        self.faces.clear()
        self.others.clear()
        self.feelings.clear()

    def speak(self, samples, *, stamp_ns=None, rate=16000, chunk=0.02, pace=4.0, encoding="s16le", between=None):
        """Publish `samples` in chunks, `pace` times faster than real time. Returns the stamp of the first.

        `between(k)` may return messages to publish before chunk k.
        """
        stamp_ns = time.time_ns() if stamp_ns is None else stamp_ns
        size = round(chunk * rate)
        begun = time.monotonic()
        for k, at in enumerate(range(0, len(samples), size)):
            for message in between(k) or () if between else ():
                self.audio.publish(message)
            piece = samples[at : at + size]
            self.audio.publish(chunk_message(piece, stamp_ns + at * NS // rate, rate, encoding))
            time.sleep(max(0.0, begun + (at + len(piece)) / rate / pace - time.monotonic()))
        return stamp_ns

    def wait_frames(self, count, timeout=30.0, more=0.25):
        """The frames heard since `clear`, once there are `count`, and `more` seconds later, so that extra ones show."""
        wait_until(lambda: len(self.faces) >= count, timeout, f"{count} frames (there are {len(self.faces)})")
        time.sleep(more)
        return list(self.faces)


def chunk_message(samples, stamp_ns, rate=16000, encoding="s16le", channels=1):
    message = AudioChunk(sample_rate=rate, channels=channels, encoding=encoding)
    message.header.stamp = to_time(stamp_ns)
    message.data.frombytes(encode_pcm(samples, encoding))
    return message


def raw_chunk(data, stamp_ns, rate=16000, encoding="s16le", channels=1):
    message = AudioChunk(sample_rate=rate, channels=channels, encoding=encoding)
    message.header.stamp = to_time(stamp_ns)
    message.data.frombytes(data)
    return message


def parameter_value(value):
    if isinstance(value, bool):
        return ParameterValue(type=ParameterType.PARAMETER_BOOL, bool_value=value)
    if isinstance(value, int):
        return ParameterValue(type=ParameterType.PARAMETER_INTEGER, integer_value=value)
    if isinstance(value, float):
        return ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=value)
    if isinstance(value, list):
        return ParameterValue(type=ParameterType.PARAMETER_STRING_ARRAY, string_array_value=value)
    return ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=value)


def check_grid(frames, origin_ns, count, fps=30):
    """Each frame of the grid n / fps once and in order, with sound values."""
    found = [frame.frame for frame in frames]
    assert found == list(range(count)), f"{len(found)} frames instead of {count}: {found}"
    stamps = np.array([from_time(frame.header.stamp) for frame in frames])
    grid = origin_ns + np.round(np.arange(count) * NS / fps).astype(np.int64)
    assert np.abs(stamps - grid).max() <= 1
    values = np.array([frame.coefficients for frame in frames])
    assert values.shape == (count, 52) and np.isfinite(values).all() and values.min() >= 0.0 and values.max() <= 1.0
    return values
