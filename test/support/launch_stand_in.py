"""What the launch files use of `launch` and `launch_ros`, recorded instead of executed.

Neither package is on PyPI. `load()` puts these in their place, so that the launch files are always loaded and their
decisions are always tested; `launch_runner.py` executes them. test/ros/test_launch.py uses the real ones too where
they are installed.
"""

import importlib.util
import sys
from types import ModuleType, SimpleNamespace


class Recorded:
    """Any action, event handler or source: its positional and named arguments."""

    def __init__(self, *arguments, **named):
        self.arguments, self.named = arguments, named

    def __getattr__(self, name):
        try:
            return self.__dict__["named"][name]
        except KeyError:
            raise AttributeError(name) from None


class LaunchDescription(Recorded):
    @property
    def entities(self):
        return self.arguments[0]


class DeclareLaunchArgument(Recorded):
    @property
    def name(self):
        return self.arguments[0]


class LaunchConfiguration(Recorded):
    def perform(self, context):
        return context.launch_configurations[self.arguments[0]]


class OpaqueFunction(Recorded):
    def execute(self, context):
        return self.named["function"](context)


NAMES = {
    "launch": {"LaunchDescription": LaunchDescription},
    "launch.actions": {
        "DeclareLaunchArgument": DeclareLaunchArgument,
        "ExecuteProcess": type("ExecuteProcess", (Recorded,), {}),
        "IncludeLaunchDescription": type("IncludeLaunchDescription", (Recorded,), {}),
        "LogInfo": type("LogInfo", (Recorded,), {}),
        "OpaqueFunction": OpaqueFunction,
        "RegisterEventHandler": type("RegisterEventHandler", (Recorded,), {}),
        "Shutdown": type("Shutdown", (Recorded,), {}),
        "TimerAction": type("TimerAction", (Recorded,), {}),
    },
    "launch.event_handlers": {"OnProcessExit": type("OnProcessExit", (Recorded,), {})},
    "launch.launch_description_sources": {"PythonLaunchDescriptionSource": type("Source", (Recorded,), {})},
    "launch.substitutions": {"LaunchConfiguration": LaunchConfiguration},
    "launch_ros": {},
    "launch_ros.actions": {
        "LifecycleNode": type("LifecycleNode", (Recorded,), {}),
        "Node": type("Node", (Recorded,), {}),
    },
    "launch_ros.parameter_descriptions": {"ParameterValue": type("ParameterValue", (Recorded,), {})},
}


def load(path, monkeypatch):
    """The launch file at `path` as a module, with the stand-ins for what it imports."""
    for name, members in NAMES.items():
        module = ModuleType(name)
        module.__dict__.update(members)
        monkeypatch.setitem(sys.modules, name, module)
    spec = importlib.util.spec_from_file_location(path.stem.replace(".", "_"), path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def evaluate(module, given, shutting_down=False):
    """The actions of a launch file's OpaqueFunction with arguments `given`, the others at their defaults.

    Raises ValueError for an argument that is not declared, or a value that is not among its choices.
    """
    entities = module.generate_launch_description().entities
    declared = {entity.name: entity for entity in entities if isinstance(entity, DeclareLaunchArgument)}
    values = {name: entity.named.get("default_value", "") for name, entity in declared.items()}
    for name, value in given.items():
        if name not in declared:
            raise ValueError(f"no argument {name}")
        if declared[name].named.get("choices") and value not in declared[name].named["choices"]:
            raise ValueError(f"{name}:={value} is none of {declared[name].named['choices']}")
        values[name] = value
    context = SimpleNamespace(launch_configurations=values, is_shutdown=shutting_down)
    (setup,) = [entity for entity in entities if isinstance(entity, OpaqueFunction)]
    return setup.execute(context), context
