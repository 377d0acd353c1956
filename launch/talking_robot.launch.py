"""A robot that speaks: text to speech, the face that goes with it, the loudspeaker, and servos where a map is given.

ros2 launch emotalk_ros talking_robot.launch.py
ros2 topic pub -w 1 --once /say std_msgs/msg/String "{data: '[happy] Hello! I am glad to see you.'}"
ros2 topic pub -w 1 --once /interrupt std_msgs/msg/Empty                     it stops at once
ros2 launch emotalk_ros talking_robot.launch.py servo_map:=/path/of/my_map.yaml servo_output:=trajectory
ros2 launch emotalk_ros talking_robot.launch.py --show-args
"""

import os

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

SHARE = get_package_share_directory("emotalk_ros")

PASSED_ON = ("namespace", "use_sim_time", "log_level", "params_file", "device", "model", "respawn", "record")
"""Arguments of emotalk.launch.py that this file has too."""

ARGUMENTS = [
    DeclareLaunchArgument("engine", default_value="espeak", choices=["espeak", "kokoro"], description="makes speech"),
    DeclareLaunchArgument("voice", default_value="", description="of the engine, such as gmw/de; empty: its default"),
    DeclareLaunchArgument(
        "say_params_file", default_value=os.path.join(SHARE, "config", "say.yaml"), description="of the say node"
    ),
    DeclareLaunchArgument("play", default_value="true", choices=["true", "false"], description="use a loudspeaker"),
    DeclareLaunchArgument("loudspeaker", default_value="", description="output device: name, part of it, or index"),
    DeclareLaunchArgument(
        "offset", default_value="0.0", description="seconds by which sound follows the face: what the joints need"
    ),
    DeclareLaunchArgument("servo_map", default_value="", description="servo map (YAML); empty: no servo node"),
    DeclareLaunchArgument("servo_output", default_value="commands", description="what the servo node publishes"),
    DeclareLaunchArgument("namespace", default_value="", description="namespace of nodes and topics"),
    DeclareLaunchArgument("use_sim_time", default_value="false", description="take the time from the topic /clock"),
    DeclareLaunchArgument(
        "log_level",
        default_value="info",
        choices=["debug", "info", "warn", "error", "fatal"],
        description="what the nodes log",
    ),
    DeclareLaunchArgument(
        "params_file",
        default_value=os.path.join(SHARE, "config", "emotalk.yaml"),
        description="parameters of the emotalk node",
    ),
    DeclareLaunchArgument("device", default_value="", description="where the network runs: cpu, cuda, auto"),
    DeclareLaunchArgument("model", default_value="", description="folder of the network; empty: the one that ships"),
    DeclareLaunchArgument("respawn", default_value="true", description="start nodes again when they end"),
    DeclareLaunchArgument("record", default_value="", description="folder of a bag to record to"),
]


def _node(context, program: str, parameters: list):
    respawn = LaunchConfiguration("respawn").perform(context).strip().lower() in ("true", "1")
    sim_time = LaunchConfiguration("use_sim_time").perform(context).strip().lower() in ("true", "1")
    return Node(
        package="emotalk_ros",
        executable=f"{program}_node",
        name=program,
        namespace=LaunchConfiguration("namespace"),
        parameters=[*parameters, {"use_sim_time": sim_time}],
        ros_arguments=["--log-level", LaunchConfiguration("log_level")],
        output="screen",
        emulate_tty=True,
        additional_env={"EMOTALK_PARENT": str(os.getpid())},  # nodes end with their `ros2 launch`, even a killed one
        respawn=respawn,
        respawn_delay=2.0 if respawn else None,
    )


def _text(context, argument: str):
    """The value of an argument, as a parameter that stays a text."""
    return ParameterValue(LaunchConfiguration(argument).perform(context), value_type=str)


def _existing(context, argument: str) -> str:
    path = LaunchConfiguration(argument).perform(context)
    if not os.path.isfile(path):
        raise RuntimeError(f"{argument}:={path} does not exist")
    return os.path.abspath(path)


def _setup(context):
    given = {name: LaunchConfiguration(name).perform(context) for name in PASSED_ON}
    face = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(os.path.join(SHARE, "launch", "emotalk.launch.py")),
        launch_arguments=[("source", "topic"), ("shutdown_on_exit", "false"), *given.items()],
    )
    say = {"engine": _text(context, "engine"), "voice": _text(context, "voice")}
    actions = [face, _node(context, "say", [_existing(context, "say_params_file"), say])]
    if LaunchConfiguration("play").perform(context) == "true":
        offset = LaunchConfiguration("offset").perform(context)
        try:
            sound = {"device": _text(context, "loudspeaker"), "offset": float(offset)}
        except ValueError:
            raise RuntimeError(f"offset:={offset} is not a number of seconds") from None
        actions.append(_node(context, "speaker", [sound]))
    if LaunchConfiguration("servo_map").perform(context):
        servo = {"map": _existing(context, "servo_map"), "output": _text(context, "servo_output")}
        actions.append(_node(context, "servo", [servo]))
    return actions


def generate_launch_description():
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=_setup)])
