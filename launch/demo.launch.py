"""The demo under `ros2 launch`: a file as live audio, the emotalk node, a recorder. Result: a rosbag2 at `bag`.

ros2 launch emotalk_ros demo.launch.py speech:=speech.wav bag:=face_bag
"""

import os

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration


def generate_launch_description():
    share = get_package_share_directory("emotalk_ros")
    emotalk = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(os.path.join(share, "launch", "emotalk.launch.py")),
        launch_arguments={
            "source": "file",
            "file": LaunchConfiguration("speech"),
            "model": LaunchConfiguration("model"),
            "namespace": LaunchConfiguration("namespace"),
            "record": LaunchConfiguration("bag"),
            "record_overwrite": LaunchConfiguration("overwrite"),
            "respawn": "false",
            "shutdown_on_exit": "true",
        }.items(),
    )
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "speech",
                default_value=os.path.join(share, "examples", "speech", "demo.ogg"),
                description="audio file to play: wav, flac, ogg",
            ),
            DeclareLaunchArgument("bag", default_value="demo_bag", description="folder of the bag to write"),
            DeclareLaunchArgument("overwrite", default_value="true", description="replace a bag of that name"),
            DeclareLaunchArgument(
                "model", default_value="", description="folder of the network; empty: the shipped one"
            ),
            DeclareLaunchArgument("namespace", default_value="", description="namespace of nodes and topics"),
            emotalk,
        ]
    )
