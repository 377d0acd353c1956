"""What every node program needs: starting, ending cleanly on Ctrl-C, warnings that do not flood the log."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import NoReturn

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from emotalk_ros.nodes.parameters import Row
from emotalk_ros.nodes.processes import PARENT_VARIABLE

RCLError: type[Exception] = rclpy_implementation.RCLError


class NodeError(RuntimeError):
    """The node cannot do its work; the message names the value and the remedy. Ends the program with status 1."""


def run_program(
    program: str, about: str, rows: Sequence[Row], make: Callable[[], Node], args: Sequence[str] | None = None
) -> NoReturn:
    """The whole of a node program: `--help`, or the node until its end; exits with its status."""
    words = sys.argv[1:] if args is None else list(args)
    if asked_for_help(words, program, about, rows):
        sys.exit(0)
    status = run_node(make, args)
    # The interpreter would take down torch object by object: seconds on a busy machine, and launch waits no longer
    # than five. Everything is closed by now.
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def run_node(make: Callable[[], Node], args: Sequence[str] | None = None) -> int:
    """Run a node until SIGINT, SIGTERM, SIGHUP, or its own end (a `NodeError`, or its `finished` attribute turns true).

    The node's `close()`, where it has one, is called before its publishers go. Returns the exit status.
    """
    # rclpy's own handlers would close the context at once: a node could not publish a resting face any more.
    try:
        rclpy.init(args=list(args) if args is not None else None, signal_handler_options=SignalHandlerOptions.NO)
    except RCLError as error:
        _fatal(None, _rcl_words(error))
        return 1
    asked = _Asked()
    node: Node | None = None
    status = 0
    try:
        node = make()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        while rclpy.ok() and not (asked or getattr(node, "finished", False) or _orphaned()):
            executor.spin_once(timeout_sec=0.1)
        status = int(getattr(node, "exit_status", 0))
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except NodeError as error:
        status = 1
        _fatal(node, str(error))
    except RCLError as error:
        if node is not None:
            raise
        status = 1
        _fatal(None, _rcl_words(error))
    finally:
        _let_nothing_interrupt()
        if node is not None:
            try:
                getattr(node, "close", lambda: None)()
            except NodeError as error:
                status = 1
                _fatal(node, str(error))
            node.destroy_node()
        rclpy.try_shutdown()
    return status


class _Asked:
    """Whether SIGINT, SIGTERM or SIGHUP came. The second one interrupts what the first one waits for.

    SIGHUP comes when the terminal is closed or `ros2 launch` is killed; under nohup it stays ignored.
    """

    def __init__(self) -> None:
        self._came = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            signal.signal(signal.SIGHUP, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._came:
            raise KeyboardInterrupt
        self._came = True

    def __bool__(self) -> bool:
        return self._came


def _orphaned() -> bool:
    """Whether the process that started this one, and asked it to end with it, is gone."""
    parent = os.environ.get(PARENT_VARIABLE)
    return parent is not None and os.getppid() != int(parent)


def _let_nothing_interrupt() -> None:
    """A terminal and `ros2 launch` both send SIGINT (or SIGHUP): the second one must not cut the tidying short."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def _rcl_words(error: Exception) -> str:
    """Why ROS refuses a node, and what helps."""
    words = " ".join(str(error).split())
    if "security" not in words.lower():
        return words
    return f"DDS Security is asked for (ROS_SECURITY_ENABLE) and cannot be had: {words}; see docs/security.md"


def _fatal(node: Node | None, text: str) -> None:
    logger = node.get_logger() if node is not None else get_logger("emotalk_ros")
    logger.fatal(text)


class Throttled:
    """Warnings that do not flood the log: of each kind of trouble at most `burst` lines in a `period`.

    What counts is the kind, a word of the caller's, and not the text: a text that holds what a stranger sent is new
    every time. How many were left out stands in the next line of that kind. Safe to call from several threads.

    Args:
        warn: takes the text, for instance `node.get_logger().warning`.
        period: seconds; the same text comes once in it.
        burst: lines of one kind in a period.
        kinds: how many kinds are told apart; what is beyond shares one kind, so that memory and log stay bounded.
        longest: characters of a line.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        warn: Callable[[str], object],
        period: float = 5.0,
        burst: int = 4,
        kinds: int = 32,
        longest: int = 500,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._warn = warn
        self._period = period
        self._burst = burst
        self._kinds = kinds
        self._longest = longest
        self._clock = clock
        self._recent: dict[str, dict[str, float]] = {}
        self._left_out: dict[str, int] = {}
        self._lock = threading.Lock()

    def __call__(self, kind: str, text: str) -> None:
        """Say `text` unless it, or enough of its `kind`, was said a moment ago."""
        if len(text) > self._longest:
            text = f"{text[: self._longest]}... ({len(text)} characters)"
        with self._lock:
            text_now = self._admitted(kind, text)
        if text_now:
            self._warn(text_now)

    def _admitted(self, kind: str, text: str) -> str:
        """The line to write, or "" for none."""
        now = self._clock()
        if kind not in self._recent and len(self._recent) >= self._kinds:
            kind = "others"
        recent = {t: at for t, at in self._recent.get(kind, {}).items() if now - at < self._period}
        self._recent[kind] = recent
        if text in recent or len(recent) >= self._burst:
            self._left_out[kind] = self._left_out.get(kind, 0) + 1
            return ""
        recent[text] = now
        left_out = self._left_out.pop(kind, 0)
        return f"{text} ({left_out} more like this before)" if left_out else text


def asked_for_help(words: Sequence[str], program: str, about: str, rows: Sequence[Row]) -> bool:
    """Whether `--help` or `-h` is among `words`; if so, prints what the node is for and its parameters."""
    if not {"-h", "--help"} & set(words):
        return False
    print(
        f"usage: {program} [--ros-args -p NAME:=VALUE ... --params-file FILE -r FROM:=TO ...]\n\n{about}\n\nparameters:"
    )
    for row in rows:
        print(f"  {row.name} (default {row.default!r})\n      {row.description}; {row.constraints()}")
    return True
