"""Speech to face: the emotalk node, and a source of audio.

ros2 launch emotalk_ros emotalk.launch.py                               the default microphone
ros2 launch emotalk_ros emotalk.launch.py source:=file file:=speech.wav
ros2 launch emotalk_ros emotalk.launch.py source:=topic audio_topic:=/tts/audio
ros2 launch emotalk_ros emotalk.launch.py --show-args
"""

import os

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    LogInfo,
    OpaqueFunction,
    RegisterEventHandler,
    Shutdown,
    TimerAction,
)
from launch.event_handlers import OnProcessExit, OnProcessStart
from launch.events import matches_action
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from launch_ros.parameter_descriptions import ParameterValue
from lifecycle_msgs.msg import Transition

ARGUMENTS = [
    DeclareLaunchArgument(
        "source", default_value="mic", choices=["mic", "file", "topic"], description="where the speech comes from"
    ),
    DeclareLaunchArgument("file", default_value="", description="audio file to play, with source:=file"),
    DeclareLaunchArgument("loop", default_value="false", description="play the file again and again"),
    DeclareLaunchArgument(
        "subscribers", default_value="1", description="how many must listen before the file is played (a recorder, too)"
    ),
    DeclareLaunchArgument("microphone", default_value="", description="input device: name, part of it, or index"),
    DeclareLaunchArgument("audio_topic", default_value="audio", description="topic of the audio"),
    DeclareLaunchArgument(
        "audio_type",
        default_value="",
        description="message type on audio_topic, such as audio_common_msgs/AudioStamped; "
        "empty: as params_file says (emotalk_ros/AudioChunk)",
    ),
    DeclareLaunchArgument(
        "device",
        default_value="",
        description="cpu, cuda, cuda:N, auto: where the network runs; empty: params_file",
    ),
    DeclareLaunchArgument(
        "model", default_value="", description="folder of the network; empty: as params_file says (the one that ships)"
    ),
    DeclareLaunchArgument(
        "params_file",
        default_value=os.path.join(get_package_share_directory("emotalk_ros"), "config", "emotalk.yaml"),
        description="parameters of the emotalk node; may hold those of the source too",
    ),
    DeclareLaunchArgument("namespace", default_value="", description="namespace of nodes and topics"),
    DeclareLaunchArgument("autostart", default_value="true", description="configure and activate the node at once"),
    DeclareLaunchArgument("log_level", default_value="info", description="debug, info, warn, error or fatal"),
]


def _text(value):
    """A value of a parameter that stays a text, even if it reads like a number."""
    return ParameterValue(value, value_type=str)


def _emotalk(context) -> LifecycleNode:
    # Transitions are asked for below, by events; the node's own autostart would race with them.
    overrides = {"autostart": False}
    for argument, parameter in (("model", "model.path"), ("device", "model.device"), ("audio_type", "audio.type")):
        value = LaunchConfiguration(argument).perform(context)
        if value:
            overrides[parameter] = _text(value)
    return LifecycleNode(
        package="emotalk_ros",
        executable="emotalk_node",
        name="emotalk",
        namespace=LaunchConfiguration("namespace"),
        parameters=[LaunchConfiguration("params_file"), overrides],
        remappings=[("audio", LaunchConfiguration("audio_topic"))],
        ros_arguments=["--log-level", LaunchConfiguration("log_level")],
        output="screen",
        emulate_tty=True,
    )


def _source(context) -> list[Node]:
    source = LaunchConfiguration("source").perform(context)
    if source == "topic":
        return []
    share = os.path.join(get_package_share_directory("emotalk_ros"), "config")
    if source == "mic":
        program, name, overrides = "microphone_node", "microphone", {}
        device = LaunchConfiguration("microphone").perform(context)
        if device:
            overrides["device"] = _text(device)
    else:
        program, name = "audio_file_node", "audio_file"
        path = LaunchConfiguration("file").perform(context)
        if not path:
            raise RuntimeError("source:=file needs file:=/path/of/speech.wav")
        if not os.path.isfile(path):
            raise RuntimeError(f"file:={path} does not exist")
        overrides = {
            "file": _text(os.path.abspath(path)),
            "loop": ParameterValue(LaunchConfiguration("loop"), value_type=bool),
            "subscribers": ParameterValue(LaunchConfiguration("subscribers"), value_type=int),
            "subscriber_timeout": 120.0,
        }
    return [
        Node(
            package="emotalk_ros",
            executable=program,
            name=name,
            namespace=LaunchConfiguration("namespace"),
            parameters=[os.path.join(share, f"{name}.yaml"), LaunchConfiguration("params_file"), overrides],
            remappings=[("audio", LaunchConfiguration("audio_topic"))],
            ros_arguments=["--log-level", LaunchConfiguration("log_level")],
            output="screen",
            emulate_tty=True,
        )
    ]


def _activation(node: LifecycleNode) -> list[RegisterEventHandler]:
    """Configure when the process runs, activate when it is configured."""

    def ask(transition):
        return EmitEvent(event=ChangeState(lifecycle_node_matcher=matches_action(node), transition_id=transition))

    return [
        RegisterEventHandler(OnProcessStart(target_action=node, on_start=[ask(Transition.TRANSITION_CONFIGURE)])),
        RegisterEventHandler(
            OnStateTransition(
                target_lifecycle_node=node,
                start_state="configuring",
                goal_state="inactive",
                entities=[ask(Transition.TRANSITION_ACTIVATE)],
            )
        ),
        RegisterEventHandler(
            OnStateTransition(
                target_lifecycle_node=node,
                start_state="configuring",
                goal_state="unconfigured",
                entities=[LogInfo(msg="emotalk could not be configured: the reason is in its log, above")],
            )
        ),
    ]


def _is_true(context, argument: str) -> bool:
    value = LaunchConfiguration(argument).perform(context).strip().lower()
    if value not in ("true", "false", "1", "0"):
        raise RuntimeError(f"{argument}:={value} is neither true nor false")
    return value in ("true", "1")


def _shutdown(reason: str) -> list[OpaqueFunction]:
    """End everything, unless that is going on already: launch_ros fails when it is shut down twice."""

    def shutdown(context):
        return [] if context.is_shutdown else [Shutdown(reason=reason)]

    return [OpaqueFunction(function=shutdown)]


def _setup(context):
    node = _emotalk(context)
    sources = _source(context)
    actions = _activation(node) if _is_true(context, "autostart") else []
    if not actions:
        actions.append(LogInfo(msg="emotalk waits for `ros2 lifecycle set /emotalk configure`, then `activate`"))
    actions.append(RegisterEventHandler(OnProcessExit(target_action=node, on_exit=_shutdown("the emotalk node ended"))))
    if sources and LaunchConfiguration("source").perform(context) == "file":
        # Time for the last frames, then the whole is over.
        ending = TimerAction(period=2.0, actions=_shutdown("the file was played"))
        actions.append(RegisterEventHandler(OnProcessExit(target_action=sources[0], on_exit=[ending])))
    return [*actions, node, *sources]


def generate_launch_description():
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=_setup)])
