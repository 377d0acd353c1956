"""Parameters as a table: one row each for declaration, description, range, check and documentation.

A row says whether a parameter may change while the node works. What a table cannot say (a hop longer than the
context) goes into a cross-check of the node, which sees all values as they would be after the change.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, ParameterType, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

Value = Any  # bool, int, float, str or list[str]
Values = Mapping[str, Value]

_TYPES = {
    bool: ParameterType.PARAMETER_BOOL,
    int: ParameterType.PARAMETER_INTEGER,
    float: ParameterType.PARAMETER_DOUBLE,
    str: ParameterType.PARAMETER_STRING,
    list: ParameterType.PARAMETER_STRING_ARRAY,
}
_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", list: "a list of texts"}


@dataclass(frozen=True)
class Row:
    """One parameter.

    Attributes:
        name: dotted name.
        default: decides the type: bool, int, float, str or a list of str.
        description: what it does, with the unit.
        low, high: inclusive bounds of a number; both or none.
        choices: the allowed texts; empty for free text.
        live: may change while the node works; otherwise `remedy` says what must happen first.
        remedy: the words after "cannot change while the node is active; ".
        numbers: a whole number may stand for a text.
        check: further test of one value: the reason for a rejection, or None.
    """

    name: str
    default: Value
    description: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    live: bool = True
    remedy: str = "deactivate the node first"
    check: Callable[[Value], str | None] | None = None
    numbers: bool = False

    @property
    def kind(self) -> type:
        """The Python type of the values."""
        return type(self.default)

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The lowest and highest number allowed; None: any."""
        return None if self.low is None or self.high is None else (self.low, self.high)

    def constraints(self) -> str:
        """What `ros2 param describe` shows under additional constraints."""
        parts = []
        if self.choices:
            parts.append("one of " + ", ".join(self.choices))
        if self.bounds:
            parts.append("{:g} to {:g}".format(*self.bounds))
        parts.append("changes while running" if self.live else "only while not active")
        return "; ".join(parts)

    def descriptor(self) -> ParameterDescriptor:
        """For `declare_parameter`. Numbers are declared with dynamic typing, so that `1` may stand for `1.0`."""
        descriptor = ParameterDescriptor(
            name=self.name,
            type=_TYPES[self.kind],
            description=self.description,
            additional_constraints=self.constraints(),
            dynamic_typing=self.kind is float or self.numbers,
        )
        if self.bounds and self.kind is float:
            low, high = map(float, self.bounds)
            descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
        elif self.bounds and self.kind is int:
            lowest, highest = map(int, self.bounds)
            descriptor.integer_range = [IntegerRange(from_value=lowest, to_value=highest)]
        return descriptor

    def coerce(self, value: Value) -> Value:
        """`value` in this row's type; an integer may stand for a float. Raises ValueError with the reason."""
        if self.kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if self.numbers and isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if self.kind is list and not isinstance(value, (str, bytes)) and isinstance(value, Sequence):
            value = list(value)
        if isinstance(value, bool) != (self.kind is bool) or not isinstance(value, self.kind):
            raise ValueError(f"{self.name}: {value!r} is not {_WORDS[self.kind]}")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{self.name}: {value!r} is not a finite number")
        if self.bounds and isinstance(value, (int, float)) and not self.bounds[0] <= value <= self.bounds[1]:
            raise ValueError("{}: {:g} is outside of {:g} to {:g}".format(self.name, value, *self.bounds))
        if self.choices and value not in self.choices:
            raise ValueError(f"{self.name}: {value!r} is not one of {', '.join(self.choices)}")
        reason = self.check(value) if self.check else None
        if reason:
            raise ValueError(f"{self.name}: {reason}")
        return value


class ParameterTable:
    """The parameters of one node, declared and kept valid.

    Args:
        node: the node to declare them on.
        rows: the table.
        active: tells whether the node works at this moment (then rows that are not `live` are refused).
        cross_check: sees all values as they would be; the reason for a rejection, or None.
        changed: called with all values and the changed names after an accepted change.

    A value in a parameter file that is refused is replaced by the default, so that a slip does not keep the node
    from starting; `problems` names each one.
    """

    def __init__(
        self,
        node: Node,
        rows: Iterable[Row],
        *,
        active: Callable[[], bool] = lambda: False,
        cross_check: Callable[[Values], str | None] | None = None,
        changed: Callable[[Values, frozenset[str]], None] | None = None,
    ) -> None:
        self._node = node
        self._rows = {row.name: row for row in rows}
        self._active = active
        self._cross_check = cross_check
        self._changed = changed
        self.problems: list[str] = []
        self._values: dict[str, Value] = {}
        for row in self._rows.values():
            self._values[row.name] = self._declare(row)
        self._reject_together()
        self._name_unknown()
        node.add_on_set_parameters_callback(self._on_set)
        node.add_post_set_parameters_callback(self._on_done)

    @property
    def values(self) -> dict[str, Value]:
        """A copy of all values, in the types of the table."""
        return dict(self._values)

    def __getitem__(self, name: str) -> Value:
        return self._values[name]

    def _name_unknown(self) -> None:
        """A slip in a parameter file must not pass in silence: keys that this node does not declare."""
        given = getattr(self._node, "_parameter_overrides", {})  # rclpy has no public way to list them
        for name in sorted(given):
            if name in self._rows or self._node.has_parameter(name) or name.startswith("qos_overrides."):
                continue
            near = get_close_matches(name, self._rows, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            self.problems.append(f"{name}: this node has no such parameter{hint}")

    def _declare(self, row: Row) -> Value:
        """Declared without limits first: rclpy would end the node over a value that its descriptor refuses."""
        given = self._node.declare_parameter(row.name, row.default, ParameterDescriptor(dynamic_typing=True))
        try:
            value = row.coerce(given.value)
        except ValueError as error:
            self.problems.append(f"{error}; {row.default!r} is used")
            value = row.default
        kind = Parameter.Type(_TYPES[row.kind])
        if value != given.value or given.type_ is not kind:  # an empty list arrives as bytes, 1 as an integer
            self._node.set_parameters([Parameter(row.name, kind, value)])
        self._node.set_descriptor(row.name, row.descriptor())
        return value

    def _reject_together(self) -> None:
        reason = self._cross_check(self._values) if self._cross_check else None
        if reason is None:
            return
        defaults = {row.name: row.default for row in self._rows.values() if not row.live}
        self.problems.append(
            f"{reason}; the defaults of {', '.join(sorted({n.split('.')[0] for n in defaults}))} are used"
        )
        self._values.update(defaults)
        self._node.set_parameters([Parameter(name, value=value) for name, value in defaults.items()])

    def _on_set(self, parameters: list[Parameter]) -> SetParametersResult:
        """All or nothing: one bad value refuses the whole request, with every reason."""
        candidate = self.values
        reasons = []
        for parameter in parameters:
            row = self._rows.get(parameter.name)
            if row is None:
                continue  # use_sim_time, QoS overrides: not ours to judge
            try:
                candidate[row.name] = row.coerce(parameter.value)
            except ValueError as error:
                reasons.append(str(error))
                continue
            if not row.live and candidate[row.name] != self._values[row.name] and self._active():
                reasons.append(f"{row.name} cannot change while the node is active; {row.remedy}")
        if not reasons and self._cross_check:
            reason = self._cross_check(candidate)
            reasons = [reason] if reason else []
        return SetParametersResult(successful=not reasons, reason="; ".join(reasons))

    def _on_done(self, parameters: list[Parameter]) -> None:
        ours = {p.name: self._rows[p.name].coerce(p.value) for p in parameters if p.name in self._rows}
        changed = frozenset(name for name, value in ours.items() if value != self._values[name])
        self._values.update(ours)
        if changed and self._changed:
            self._changed(self.values, changed)
