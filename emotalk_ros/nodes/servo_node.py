"""The servo node: the face on `blendshapes` in, joint commands of an animatronic head out.

It reads a servo map (config/servos/), interpolates the frames by their stamps, and moves each joint within its limits
of position, speed and acceleration. It starts from where the joints are (`joint_states`, where it is published), and
brings them to rest when the face stays away, when it is told to rest (`~/rest`), and before it ends.

================  ============================================  ==============================================
`output`          topic and type                                for
================  ============================================  ==============================================
`commands`        `commands`, std_msgs/Float64MultiArray        forward_command_controller; order of the map
`trajectory`      `joint_trajectory`, trajectory_msgs           joint_trajectory_controller; one point a message
`joint_state`     `joint_commands`, sensor_msgs/JointState      position, velocity by joint name
`counts`          `counts`, std_msgs/Int32MultiArray            servos that count positions (`units` of the map)
================  ============================================  ==============================================
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray, Int32MultiArray
from std_srvs.srv import SetBool
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from emotalk_ros.motion.playback import Playback
from emotalk_ros.msg import BlendshapeCoefficients
from emotalk_ros.nodes.diagnostics import DiagnosticPublisher, Report
from emotalk_ros.nodes.messages import from_time
from emotalk_ros.nodes.parameters import ParameterTable, Row
from emotalk_ros.nodes.runtime import NodeError, run_program
from emotalk_ros.servos import JointMotion, ServoMap, ServoMapError, load_servo_map
from emotalk_ros.share import candidate_paths
from emotalk_ros.units import NS

OUTPUTS = ("commands", "trajectory", "joint_state", "counts")
FACE_AT_REST = np.zeros(52, dtype=np.float32)

PARAMETERS = (
    Row("map", "", "servo map (YAML); empty for config/servos/head_3.yaml of this package", live=False),
    Row("output", "commands", "what is published", choices=OUTPUTS, live=False),
    Row("fps", 30.0, "frames per second of the face", 1.0, 240.0, live=False),
    Row("stale", 0.3, "seconds without a frame after which the joints go to rest", 0.05, 10.0, live=False),
    Row("wait_for_joints", 1.0, "seconds to wait for `joint_states`, to start from where the joints are", 0.0, 60.0),
    Row("rest_timeout", 2.0, "seconds that going to rest may take before the node ends", 0.0, 30.0),
)
"""Parameters of the servo node."""


class ServoNode(Node):
    """See the module. Raises NodeError when the servo map cannot be used."""

    def __init__(self, **options: Any) -> None:
        super().__init__("servo", **options)
        self._table = ParameterTable(self, PARAMETERS, active=lambda: True)
        for problem in self._table.problems:
            self.get_logger().error(f"parameter {problem}")
        self._map = self._load()
        self._names = list(self._map.joints)
        self._playback = Playback(self._table["fps"], self._table["stale"])
        self._motions: list[JointMotion] | None = None
        self._resting = False
        self._frames = 0
        self._last_frame = -1.0
        self._begun = time.monotonic()
        self._moved = 0.0
        qos = QoSOverridingOptions.with_default_policies()
        self._send = self._publisher(self._table["output"])
        self.create_subscription(
            BlendshapeCoefficients, "blendshapes", self._on_face, QoSProfile(depth=100), qos_overriding_options=qos
        )
        self._positions: dict[str, float] = {}
        self.create_subscription(JointState, "joint_states", self._on_joints, 10)
        self.create_service(SetBool, "~/rest", self._on_rest)
        self._diagnostics = DiagnosticPublisher(self, self._report, f"{len(self._names)} joints")
        self.create_timer(1.0 / self._map.rate, self._move)
        self.get_logger().info(f"{len(self._names)} joints at {self._map.rate:g} Hz: {', '.join(self._names)}")

    def _load(self) -> ServoMap:
        path = self._table["map"] or next((p for p in candidate_paths("config/servos/head_3.yaml") if p.exists()), "")
        try:
            servo_map = load_servo_map(path)
        except ServoMapError as error:
            raise NodeError(f"map: {error}") from error
        if self._table["output"] == "counts":
            without = [name for name, joint in servo_map.joints.items() if joint.units is None]
            if without:
                raise NodeError(f"output counts needs `units` in the map {path} for: {', '.join(without)}")
        return servo_map

    # -- in ------------------------------------------------------------------------------------------------------------

    def _now(self) -> float:
        return float(self.get_clock().now().nanoseconds) / NS

    def _on_face(self, face: BlendshapeCoefficients) -> None:
        self._frames += 1
        self._last_frame = time.monotonic()
        try:
            self._playback.add(from_time(face.header.stamp), int(face.frame), face.coefficients, self._now())
        except ValueError as error:
            self.get_logger().warning(f"a frame is left out: {error}", throttle_duration_sec=5.0)

    def _on_joints(self, state: JointState) -> None:
        if self._motions is None:
            self._positions.update(zip(state.name, state.position, strict=False))

    def _on_rest(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._resting = bool(request.data)
        response.success = True
        response.message = "the joints go to rest" if self._resting else "the joints follow the face"
        return response

    # -- out -----------------------------------------------------------------------------------------------------------

    def _move(self) -> None:
        now = time.monotonic()
        if now - self._moved < 0.5 / self._map.rate:
            return  # a timer that is late comes again soon: two steps in one instant would be twice the speed
        self._moved = now
        if self._motions is None:
            waited = time.monotonic() - self._begun
            if not self._positions.keys() >= set(self._names) and waited < self._table["wait_for_joints"]:
                return
            unknown = [name for name in self._names if name not in self._positions]
            if unknown:
                self.get_logger().warning(
                    f"joint_states does not tell where {', '.join(unknown)} is: taken to be at rest (zero of the map)"
                )
            self._motions = self._map.motions(self._positions)
        self._step(FACE_AT_REST if self._resting else self._playback.at(self._now()))

    def _step(self, face: np.ndarray[Any, Any]) -> None:
        assert self._motions is not None
        targets = self._map.targets(face)
        seconds, resting = 1.0 / self._map.rate, not face.any()
        for motion, target in zip(self._motions, targets, strict=True):
            motion.step(float(target), seconds, exact=resting)
        self._send(self._motions)

    def close(self) -> None:
        """Bring the joints to rest before the publishers go."""
        if self._motions is None:
            return
        until = time.monotonic() + self._table["rest_timeout"]
        while True:
            self._step(FACE_AT_REST)
            if all(motion.settled for motion in self._motions) or time.monotonic() >= until:
                return
            time.sleep(1.0 / self._map.rate)

    def _publisher(self, output: str) -> Callable[[list[JointMotion]], None]:
        if output == "counts":
            counts = self.create_publisher(Int32MultiArray, "counts", 10)
            units = [joint.units for joint in self._map.joints.values()]
            return lambda motions: counts.publish(
                Int32MultiArray(data=[u.counts(m.position) for u, m in zip(units, motions, strict=True) if u])
            )
        if output == "joint_state":
            joints = self.create_publisher(JointState, "joint_commands", 10)
            return lambda motions: joints.publish(self._joint_state(motions))
        if output == "trajectory":
            trajectory = self.create_publisher(JointTrajectory, "joint_trajectory", 10)
            return lambda motions: trajectory.publish(self._trajectory(motions))
        commands = self.create_publisher(Float64MultiArray, "commands", 10)
        return lambda motions: commands.publish(Float64MultiArray(data=[m.position for m in motions]))

    def _joint_state(self, motions: list[JointMotion]) -> JointState:
        state = JointState(name=self._names)
        state.header.stamp = self.get_clock().now().to_msg()
        state.position, state.velocity = [m.position for m in motions], [m.velocity for m in motions]
        return state

    def _trajectory(self, motions: list[JointMotion]) -> JointTrajectory:
        """One point, one step ahead; a stamp of zero means: begin now."""
        point = JointTrajectoryPoint(time_from_start=Duration(seconds=1.0 / self._map.rate).to_msg())
        point.positions, point.velocities = [m.position for m in motions], [m.velocity for m in motions]
        return JointTrajectory(joint_names=self._names, points=[point])

    def _report(self) -> Report:
        report = Report()
        if self._frames == 0:
            report.warn(f"no face yet on {self.resolve_topic_name('blendshapes')}: is the emotalk node active?")
        elif time.monotonic() - self._last_frame > max(1.0, self._table["stale"]):
            report.warn(f"no face for {time.monotonic() - self._last_frame:.0f} s: the joints rest")
        report.show({"frames": self._frames, "joints": len(self._names), "resting": self._resting})
        if self._motions is not None:
            report.show({name: m.position for name, m in zip(self._names, self._motions, strict=True)})
        return report


def main(args: Sequence[str] | None = None) -> None:
    """Entry point of the program `servo_node`."""
    run_program("servo_node", __doc__ or "", PARAMETERS, ServoNode, args)
