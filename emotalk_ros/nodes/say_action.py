"""The action `say` of the say node: audio_common_msgs/action/TTS of mgonzs13's audio_common, where it is installed."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.node import Node

from emotalk_ros.nodes.spoken_text import SpokenText


def tts_action() -> Any | None:
    """The action's class; None where it is not installed (ros-drivers' package of that name has no actions)."""
    try:
        return getattr(import_module("audio_common_msgs.action"), "TTS", None)
    except ImportError:
        return None


class SayAction:
    """Goals are texts; a goal succeeds when its text was spoken to its end.

    A goal stays accepted until then and is executed for its result alone: nothing ever waits in the executor.

    Args:
        node: it belongs to.
        action: what `tts_action` gives.
        say: takes a text, to be spoken after those that wait.
        give_up: takes a text that shall not be spoken, or not further.
    """

    def __init__(
        self, node: Node, action: Any, say: Callable[[SpokenText], object], give_up: Callable[[SpokenText], object]
    ) -> None:
        self._node = node
        self._action = action
        self._say = say
        self._give_up = give_up
        self._texts: dict[bytes, SpokenText] = {}
        self._server = ActionServer(
            node,
            action,
            "say",
            execute_callback=lambda goal: action.Result(),
            goal_callback=self._wanted,
            handle_accepted_callback=self._accepted,
            cancel_callback=self._cancelled,
        )

    def close(self) -> None:
        """Take the action back."""
        self._server.destroy()

    def _wanted(self, request: Any) -> GoalResponse:
        for name in ("volume", "rate"):
            value = _factor(request, name)
            if not 0.0 < value <= 10.0:  # NaN neither
                self._node.get_logger().warning(f"a text is refused: {name} {value:g} is not in 0 to 10")
                return GoalResponse.REJECT
        return GoalResponse.ACCEPT

    def _accepted(self, goal: Any) -> None:
        request = goal.request
        text = SpokenText(
            request.text,
            language=request.language,
            volume=_factor(request, "volume"),
            rate=_factor(request, "rate"),
        )
        text.ended = lambda whole: self._ended(goal, whole)
        self._texts[bytes(goal.goal_id.uuid)] = text
        self._say(text)

    def _cancelled(self, goal: Any) -> CancelResponse:
        text = self._texts.get(bytes(goal.goal_id.uuid))
        if text is None:
            return CancelResponse.REJECT  # it has just ended
        self._give_up(text)
        return CancelResponse.ACCEPT

    def _ended(self, goal: Any, whole: bool) -> None:
        """From any thread."""
        self._texts.pop(bytes(goal.goal_id.uuid), None)

        def result(goal: Any) -> Any:
            if whole:
                goal.succeed()
            elif goal.is_cancel_requested:
                goal.canceled()
            else:
                goal.abort()
            return self._action.Result()

        goal.execute(result)


def _factor(request: Any, name: str) -> float:
    """A field that older releases lack; what was left out is 0, and counts as 1."""
    return float(getattr(request, name, 1.0)) or 1.0
