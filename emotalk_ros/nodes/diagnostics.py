"""One status a second on /diagnostics, with key values, whatever state the node is in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


@dataclass
class Report:
    """The worst finding so far, and the figures. `levels` are those of diagnostic_msgs (one byte)."""

    level: bytes = OK
    messages: list[str] = field(default_factory=list)
    values: dict[str, str] = field(default_factory=dict)

    def warn(self, text: str) -> None:
        """Something the user should look at; the work goes on."""
        self._add(WARN, text)

    def error(self, text: str) -> None:
        """The work does not go on."""
        self._add(ERROR, text)

    def _add(self, level: bytes, text: str) -> None:
        self.level = max(self.level, level)
        self.messages.append(text)

    def show(self, values: Mapping[str, object]) -> None:
        """Key values; floats with three digits, None as a dash."""
        for key, value in values.items():
            self.values[key] = f"{value:.3f}" if isinstance(value, float) else "-" if value is None else str(value)


class DiagnosticPublisher:
    """Publishes `report()` on /diagnostics once a second.

    Args:
        node: the owner; its timer runs in every lifecycle state.
        report: makes the report; its first message is the summary, "working" when there is none.
        hardware_id: what the status is about, such as the microphone or the computing device.
    """

    def __init__(self, node: Node, report: Callable[[], Report], hardware_id: str = "") -> None:
        self._node = node
        self._report = report
        self._hardware_id = hardware_id
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._timer = node.create_timer(1.0, self.publish)

    def publish(self) -> None:
        """Publish now."""
        report = self._report()
        status = DiagnosticStatus(
            level=report.level,
            name=self._node.get_fully_qualified_name().lstrip("/"),
            message="; ".join(report.messages) or "working",
            hardware_id=self._hardware_id,
            values=[KeyValue(key=key, value=value) for key, value in report.values.items()],
        )
        message = DiagnosticArray(status=[status])
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)
