#!/usr/bin/env python3
"""`ros2 launch FILE name:=value ...` in small, for tests where `launch` is not installed.

    python test/support/launch_runner.py FILE [name:=value ...]

It executes what the launch files of this package use (test/support/launch_stand_in.py): arguments with defaults and
choices, includes, nodes and processes, respawn, OnProcessExit, timers, log lines, shutdown. As with the real one,
an exception while launching or in an event handler ends everything with status 1, Ctrl-C with status 0; processes are
ended by SIGINT, then SIGTERM, then SIGKILL. Nodes are run from this source tree.
"""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import launch_stand_in as stand_in

from emotalk_ros.nodes.processes import parameter

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 5.0
"""Seconds between SIGINT, SIGTERM and SIGKILL, as the real one has them."""


def plain(value, context):
    """A text with its substitutions performed; parameter values keep their type."""
    if isinstance(value, stand_in.LaunchConfiguration):
        return value.perform(context)
    if type(value).__name__ == "ParameterValue":
        return str(plain(value.arguments[0], context))
    return value


class Process:
    """A node or process of the description, started (again and again)."""

    def __init__(self, action, context, number):
        self.action = action
        self.name = f"{action.named.get('executable') or action.named.get('name')}-{number}"
        self._command = self._words(context)
        self.due = time.monotonic()
        self.running = None

    def _words(self, context):
        given = self.action.named
        if "cmd" in given:
            return [str(plain(word, context)) for word in given["cmd"]]
        words = [sys.executable, "-m", "emotalk_ros.nodes", given["executable"], "--ros-args"]
        if given.get("name"):
            words += ["-r", f"__node:={given['name']}"]
        space = plain(given.get("namespace") or "", context)
        if space:
            words += ["-r", f"__ns:=/{space.strip('/')}"]
        for entry in given.get("parameters", ()):
            if not isinstance(entry, dict):
                words += ["--params-file", str(entry)]
                continue
            for name, value in entry.items():
                words += parameter(name, plain(value, context))
        for topic, target in given.get("remappings", ()):
            words += ["-r", f"{topic}:={plain(target, context)}"]
        return words + [plain(word, context) for word in given.get("ros_arguments", ())]

    def start(self):
        environment = {**os.environ, **self.action.named.get("additional_env", {})}
        self.running = subprocess.Popen(self._command, env=environment, start_new_session=True)
        self.due = None
        print(f"[INFO] [{self.name}]: process started with pid [{self.running.pid}]", flush=True)

    @property
    def respawns(self):
        return bool(self.action.named.get("respawn"))


class Launch:
    """The context of one run."""

    def __init__(self, given):
        self.launch_configurations = dict(given)
        self.is_shutdown = False
        self._processes, self._handlers, self._timers = [], [], []
        self.status = 0

    def execute(self, entity):
        """One entity of a description."""
        kind = type(entity).__name__
        if isinstance(entity, stand_in.LaunchDescription):
            for each in entity.entities:
                self.execute(each)
        elif isinstance(entity, stand_in.DeclareLaunchArgument):
            value = self.launch_configurations.setdefault(entity.name, entity.named.get("default_value"))
            choices = entity.named.get("choices")
            if choices and value not in choices:
                raise RuntimeError(
                    f"Argument '{entity.name}' provided value '{value}' is not valid. Valid options are: {choices}"
                )
        elif isinstance(entity, stand_in.OpaqueFunction):
            for each in entity.execute(self) or ():
                self.execute(each)
        elif kind == "IncludeLaunchDescription":
            for name, value in entity.launch_arguments:
                self.launch_configurations[name] = plain(value, self)
            self.execute(described(Path(plain(entity.arguments[0].arguments[0], self))))
        elif kind == "RegisterEventHandler":
            self._handlers.append(entity.arguments[0])
        elif kind == "TimerAction":
            self._timers.append((time.monotonic() + entity.period, entity.actions))
        elif kind == "LogInfo":
            print(f"[INFO] [launch.user]: {entity.msg}", flush=True)
        elif kind == "Shutdown":
            self.is_shutdown = True
        elif kind in ("Node", "LifecycleNode", "ExecuteProcess"):
            self._processes.append(Process(entity, self, len(self._processes) + 1))
        else:
            raise TypeError(f"launch_runner.py does not know {kind}")

    def run(self):
        """Until everything has ended, or a shutdown."""
        while not self.is_shutdown and any(p.running or p.due is not None for p in self._processes):
            self._turn()
            time.sleep(0.02)
        self._shut_down()

    def _turn(self):
        now = time.monotonic()
        for due, actions in [timer for timer in self._timers if timer[0] <= now]:
            self._timers.remove((due, actions))
            self._all(actions)
        for process in self._processes:
            if process.due is not None and now >= process.due:
                process.start()
            elif process.running and process.running.poll() is not None:
                self._ended(process)

    def _ended(self, process):
        status, pid = process.running.returncode, process.running.pid
        process.running = None
        level = "INFO" if status == 0 else "ERROR"
        print(f"[{level}] [{process.name}]: process has died [pid {pid}, exit code {status}]", flush=True)
        if process.respawns and not self.is_shutdown:
            process.due = time.monotonic() + (process.action.named.get("respawn_delay") or 0.0)
        event = SimpleNamespace(returncode=status, process_name=process.name, pid=pid)
        for handler in self._handlers:
            if handler.target_action is process.action:
                self._all(handler.on_exit(event, self) if callable(handler.on_exit) else handler.on_exit)

    def _all(self, actions):
        for action in actions or ():
            self.execute(action)

    def _shut_down(self):
        self.is_shutdown = True
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            alive = [p.running for p in self._processes if p.running and p.running.poll() is None]
            for process in alive:
                process.send_signal(signum)
            end = time.monotonic() + PATIENCE
            while time.monotonic() < end and any(process.poll() is None for process in alive):
                time.sleep(0.02)

    def failed(self, error):
        """An exception: said, and the status of the whole."""
        print(f"[ERROR] [launch]: Caught exception in launch (see debug for traceback): {error}", flush=True)
        self.status = 1


def described(path):
    """The description that a launch file makes."""
    spec = importlib.util.spec_from_file_location(path.stem.replace(".", "_"), path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.generate_launch_description()


def main():
    for name, members in stand_in.NAMES.items():
        module = ModuleType(name)
        module.__dict__.update(members)
        sys.modules[name] = module
    import ament_index_python.packages

    ament_index_python.packages.get_package_share_directory = lambda name: str(ROOT)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    launch = Launch(word.split(":=", 1) for word in sys.argv[2:])

    def asked(signum, frame):
        launch.is_shutdown = True

    signal.signal(signal.SIGINT, asked)
    signal.signal(signal.SIGTERM, asked)
    try:
        launch.execute(described(Path(sys.argv[1])))
        launch.run()
    except Exception as error:
        launch.failed(error)
        launch._shut_down()
    return launch.status


if __name__ == "__main__":
    sys.exit(main())
