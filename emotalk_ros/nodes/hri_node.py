"""The node for ROS4HRI (REP 155): the robot's face in the messages of `hri_msgs`, and commands in them.

=========================  ==========================================================================
`expression` (in)          hri_msgs/Expression: a word, or without one valence and arousal; becomes
                           an `emotion_command`
`~/expression` (out)       hri_msgs/Expression: what the face shows
`~/facs` (out)             hri_msgs/FacialActionUnits: each frame of `blendshapes` as action units
=========================  ==========================================================================

`hri_msgs` is not a part of ROS's core: `apt install ros-$ROS_DISTRO-hri-msgs`. Tables of units and words: docs/ros.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

from emotalk_ros.emotions import canonical
from emotalk_ros.face.action_units import LIPS_PART, ONE_SIDED, TABLE, UNITS, action_units
from emotalk_ros.face.circumplex import EXPRESSIONS, WORDS, emotion_at, place_of
from emotalk_ros.msg import BlendshapeCoefficients, EmotionCommand, EmotionState
from emotalk_ros.nodes.diagnostics import DiagnosticPublisher, Report
from emotalk_ros.nodes.parameters import ParameterTable, Row
from emotalk_ros.nodes.runtime import NodeError, Throttled, run_program

PARAMETERS = (
    Row("hold", 0.0, "seconds after which the voice's own emotion returns; 0: until the next command", 0.0, 3600.0),
    Row("transition", 0.3, "seconds from the face before to the one commanded", 0.0, 60.0),
    Row("blend", 1.0, "share of the command against the emotion heard", 0.0, 1.0),
)
"""Parameters of the hri node."""

_QOS = QoSProfile(depth=30, reliability=ReliabilityPolicy.BEST_EFFORT)
SPEECH = 50
"""Number of FACS's code for speech; its intensity is `speech_activity`."""


class HriNode(Node):
    """See the module. Raises NodeError where `hri_msgs` is not installed."""

    def __init__(self, **options: Any) -> None:
        super().__init__("hri", **options)
        try:
            from hri_msgs.msg import Expression, FacialActionUnits
        except ImportError as error:
            raise NodeError(
                f"hri_msgs is not installed ({error}): apt install ros-$ROS_DISTRO-hri-msgs, or build "
                "https://github.com/ros4hri/hri_msgs (branch humble-devel) in this workspace"
            ) from error
        self._table = ParameterTable(self, PARAMETERS)
        for problem in self._table.problems:
            self.get_logger().error(f"parameter {problem}")
        self._kinds: tuple[Any, Any] = Expression, FacialActionUnits
        self._warn = Throttled(self.get_logger().warning)
        self._frames = self._taken = 0
        self._known = _known_units()
        qos = QoSOverridingOptions.with_default_policies()
        self._command = self.create_publisher(EmotionCommand, "emotion_command", 10)
        self._shown = self.create_publisher(Expression, "~/expression", 10)
        self._facs = self.create_publisher(FacialActionUnits, "~/facs", 10)
        self.create_subscription(Expression, "expression", self._on_expression, 10, qos_overriding_options=qos)
        self.create_subscription(BlendshapeCoefficients, "blendshapes", self._on_face, _QOS)
        self.create_subscription(EmotionState, "emotion", self._on_emotion, _QOS)
        self._diagnostics = DiagnosticPublisher(self, self._report, "hri_msgs")
        self.get_logger().info(f"{self.resolve_topic_name('expression')} to {self._command.topic_name}")

    def _on_expression(self, message: Any) -> None:
        try:
            weights, intensity = wanted(message.expression, message.valence, message.arousal)
        except ValueError as error:
            self._warn("expression", f"expression refused: {error}")
            return
        values = self._table.values
        command = EmotionCommand(labels=list(weights), weights=list(weights.values()), intensity=intensity)
        command.header.stamp = message.header.stamp
        command.blend, command.hold = values["blend"], values["hold"]
        command.transition = values["transition"]
        self._command.publish(command)
        self._taken += 1

    def _on_face(self, face: BlendshapeCoefficients) -> None:
        self._frames += 1
        if not self._facs.get_subscription_count():
            return
        units = action_units(np.clip(np.nan_to_num(face.coefficients), 0.0, 1.0))
        units[SPEECH] = np.clip(np.nan_to_num(face.speech_activity), 0.0, 1.0)
        message = self._kinds[1](header=face.header)
        message.intensity, message.confidence = units, self._known
        self._facs.publish(message)

    def _on_emotion(self, state: EmotionState) -> None:
        shares = _home(state.labels, state.probabilities)
        if not shares:
            return
        message = self._kinds[0](header=state.header)
        dominant = max(shares, key=shares.__getitem__)
        message.expression = WORDS[dominant]
        valence, arousal = place_of(shares, float(state.intensity))
        heard = (2.0 * state.valence - 1.0, 2.0 * state.arousal - 1.0)
        if state.source == EmotionState.HEARD and all(map(math.isfinite, heard)):
            valence, arousal = heard
        message.valence, message.arousal = float(np.clip(valence, -1, 1)), float(np.clip(arousal, -1, 1))
        message.confidence = float(np.clip(shares[dominant], 0.0, 1.0))
        self._shown.publish(message)

    def _report(self) -> Report:
        report = Report()
        if self._frames == 0:
            report.warn(f"no face yet on {self.resolve_topic_name('blendshapes')}: is the emotalk node active?")
        report.show({"frames": self._frames, "expressions_taken": self._taken})
        return report


def wanted(expression: str, valence: float, arousal: float) -> tuple[dict[str, float], float]:
    """Weights and intensity that an `hri_msgs/Expression` asks for: by its word, or without one by its place.

    Raises ValueError that names the value.
    """
    word = expression.strip().lower()
    if not word:
        return emotion_at(valence, arousal)
    if word not in EXPRESSIONS:
        near = get_close_matches(word, EXPRESSIONS, n=1)
        hint = f"; did you mean {near[0]}?" if near else f"; known: {', '.join(EXPRESSIONS)}"
        raise ValueError(f"{expression!r} is no expression of hri_msgs{hint}")
    weights, intensity = EXPRESSIONS[word]
    return dict(weights), intensity


def _home(labels: Sequence[str], probabilities: Sequence[float]) -> dict[str, float]:
    """Shares by this package's labels; those that it does not know are left out."""
    shares: dict[str, float] = {}
    for label, probability in zip(labels, probabilities, strict=False):
        try:
            name = canonical(label)
        except ValueError:
            continue
        if math.isfinite(probability):
            shares[name] = shares.get(name, 0.0) + float(probability)
    return shares


def _known_units() -> np.ndarray[Any, np.dtype[np.float32]]:
    """Confidence of each unit: 1 where coefficients tell it, else 0."""
    known = np.zeros(UNITS, dtype=np.float32)
    known[[*TABLE, *ONE_SIDED, LIPS_PART, SPEECH]] = 1.0
    return known


def main(args: Sequence[str] | None = None) -> None:
    """Entry point of the program `hri_node`."""
    run_program("hri_node", __doc__ or "", PARAMETERS, HriNode, args)
