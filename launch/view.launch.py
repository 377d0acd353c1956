"""Everything that shows the face: web page, RViz or Foxglove, avatars in other programs.

ros2 launch emotalk_ros view.launch.py                              the web page on http://127.0.0.1:8765
ros2 launch emotalk_ros view.launch.py web:=false rviz:=true        a mesh of triangles in RViz
ros2 launch emotalk_ros view.launch.py foxglove:=true               for config/foxglove.json in the Foxglove app
ros2 launch emotalk_ros view.launch.py livelink:=192.168.0.7 vmc:=192.168.0.8:39539
ros2 launch emotalk_ros view.launch.py --show-args
"""

import os

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

SHARE = get_package_share_directory("emotalk_ros")
BRIDGES = ("livelink", "vmc", "ifacialmocap")
YES_NO = ["true", "false"]

ARGUMENTS = [
    DeclareLaunchArgument("web", default_value="true", choices=YES_NO, description="the face on a web page"),
    DeclareLaunchArgument("host", default_value="127.0.0.1", description="address of the page; 0.0.0.0: all"),
    DeclareLaunchArgument("port", default_value="8765", description="port of the page"),
    DeclareLaunchArgument(
        "marker", default_value="auto", choices=["auto", *YES_NO], description="the mesh on face_marker; auto: if seen"
    ),
    DeclareLaunchArgument("rate", default_value="10.0", description="markers per second"),
    DeclareLaunchArgument("cell", default_value="6.0", description="mm within which vertices become one; 0: all"),
    DeclareLaunchArgument(
        "rviz", default_value="false", choices=YES_NO, description="start RViz with config/face.rviz"
    ),
    DeclareLaunchArgument(
        "foxglove", default_value="false", choices=YES_NO, description="start foxglove_bridge for config/foxglove.json"
    ),
    DeclareLaunchArgument("foxglove_port", default_value="8766", description="port of foxglove_bridge"),
    *[
        DeclareLaunchArgument(name, default_value="", description=f"host or host:port of a {name} receiver")
        for name in BRIDGES
    ],
    DeclareLaunchArgument("namespace", default_value="", description="namespace of nodes and topics"),
    DeclareLaunchArgument("respawn", default_value="true", choices=YES_NO, description="start nodes again that end"),
    DeclareLaunchArgument(
        "log_level",
        default_value="info",
        choices=["debug", "info", "warn", "error", "fatal"],
        description="what the nodes log",
    ),
]


def _number(context, argument: str, kind):
    value = LaunchConfiguration(argument).perform(context)
    try:
        return kind(value)
    except ValueError:
        raise RuntimeError(f"{argument}:={value} is not a number") from None


def _node(context, program: str, name: str, parameters: dict, package: str = "emotalk_ros", **further):
    respawn = LaunchConfiguration("respawn").perform(context) == "true"
    return Node(
        package=package,
        executable=program,
        name=name,
        namespace=LaunchConfiguration("namespace"),
        parameters=[parameters] if parameters else [],
        ros_arguments=["--log-level", LaunchConfiguration("log_level")],
        output="screen",
        emulate_tty=True,
        additional_env={"EMOTALK_PARENT": str(os.getpid())},  # nodes end with their `ros2 launch`, even a killed one
        respawn=respawn,
        respawn_delay=2.0 if respawn else None,
        **further,
    )


def _setup(context):
    def given(argument):
        return LaunchConfiguration(argument).perform(context)

    def text(argument):
        return ParameterValue(given(argument), value_type=str)

    actions = []
    seen = "true" in (given("rviz"), given("foxglove"))
    if given("marker") == "true" or (given("marker") == "auto" and seen):
        settings = {"rate": _number(context, "rate", float), "cell": _number(context, "cell", float)}
        actions.append(_node(context, "marker_node", "face_marker", settings))
    if given("web") == "true":
        page = {"host": text("host"), "port": _number(context, "port", int)}
        actions.append(_node(context, "face_viewer_node", "face_viewer", page))
    for bridge in BRIDGES:
        if given(bridge):
            actions.append(_node(context, f"{bridge}_node", f"{bridge}_bridge", {"address": text(bridge)}))
    if given("foxglove") == "true":
        settings = {"port": _number(context, "foxglove_port", int)}
        actions.append(_node(context, "foxglove_bridge", "foxglove_bridge", settings, package="foxglove_bridge"))
    if given("rviz") == "true":
        config = os.path.join(SHARE, "config", "face.rviz")
        actions.append(_node(context, "rviz2", "rviz", {}, package="rviz2", arguments=["-d", config]))
    if not actions:
        raise RuntimeError("nothing to show: web:=true, rviz:=true, foxglove:=true, or the address of an avatar")
    return actions


def generate_launch_description():
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=_setup)])
