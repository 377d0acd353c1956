"""A recorded bag through the engine, or through a running node, with a report.

ros2 launch emotalk_ros replay_evaluation.launch.py bag:=my_bag
ros2 launch emotalk_ros replay_evaluation.launch.py bag:=my_bag mode:=live
"""

import os

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
    Shutdown,
)
from launch.event_handlers import OnProcessExit
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node


def _when_it_ends(event, context):
    if context.is_shutdown:
        return []
    if event.returncode:  # an exception is the only way to end `ros2 launch` with a status other than 0
        raise RuntimeError(f"the replay ended with status {event.returncode}: the reason is in its log, above")
    return [Shutdown(reason="the report is written")]


def _setup(context):
    value = {name: LaunchConfiguration(name).perform(context) for name in ("bag", "mode", "output", "model", "rate")}
    if not value["bag"]:
        raise RuntimeError("bag:=/path/of/the/bag is missing")
    live = value["mode"] == "live"
    words = [value["bag"], *(["--live", "--rate", value["rate"]] if live else [])]
    for option in ("output", "model"):
        if value[option]:
            words += [f"--{option}", value[option]]
    report = Node(
        package="emotalk_ros",
        executable="replay_evaluation",
        namespace=LaunchConfiguration("namespace"),
        arguments=words,
        output="screen",
        emulate_tty=True,
    )
    actions = [report, RegisterEventHandler(OnProcessExit(target_action=report, on_exit=_when_it_ends))]
    if live:
        share = get_package_share_directory("emotalk_ros")
        arguments = {"source": "topic", "model": value["model"], "namespace": LaunchConfiguration("namespace")}
        arguments["shutdown_on_exit"] = "false"  # the end of the report ends everything
        actions.append(
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(os.path.join(share, "launch", "emotalk.launch.py")),
                launch_arguments=arguments.items(),
            )
        )
    return actions


def generate_launch_description():
    return LaunchDescription(
        [
            DeclareLaunchArgument("bag", default_value="", description="rosbag2 folder, or a .mcap or .db3 file"),
            DeclareLaunchArgument(
                "mode",
                default_value="deterministic",
                choices=["deterministic", "live"],
                description="deterministic: the engine fed by recorded stamps; live: through a node, over topics",
            ),
            DeclareLaunchArgument("output", default_value="", description="folder of the report; empty: BAG_replay"),
            DeclareLaunchArgument(
                "model", default_value="", description="folder of the network; empty: the shipped one"
            ),
            DeclareLaunchArgument("rate", default_value="1.0", description="times real time, with mode:=live"),
            DeclareLaunchArgument("namespace", default_value="", description="namespace of nodes and topics"),
            OpaqueFunction(function=_setup),
        ]
    )
