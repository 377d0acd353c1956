"""launch_testing's shape of a test: the launch file, the active node, and how its processes end.

Run by test_launch.py where launch_testing is installed; by hand:

    launch_test test/ros/launch_test_emotalk.py model:=FOLDER
"""

import os
import time
import unittest

import launch_testing
import launch_testing.actions
import launch_testing.asserts
import launch_testing.markers
import rclpy
from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

from emotalk_ros.msg import BlendshapeCoefficients

FACE = os.path.join(get_package_share_directory("emotalk_ros"), "launch", "emotalk.launch.py")


@launch_testing.markers.keep_alive
def generate_test_description():
    arguments = {"source": "topic", "model": LaunchConfiguration("model"), "respawn": "false"}
    return LaunchDescription(
        [
            DeclareLaunchArgument("model", default_value="", description="folder of the network"),
            IncludeLaunchDescription(PythonLaunchDescriptionSource(FACE), launch_arguments=arguments.items()),
            launch_testing.actions.ReadyToTest(),
        ]
    )


class WhileItRuns(unittest.TestCase):
    def test_frames_come_without_audio(self):
        rclpy.init()
        node, frames = rclpy.create_node("launch_test"), []
        node.create_subscription(BlendshapeCoefficients, "blendshapes", frames.append, 100)
        end = time.monotonic() + 120.0
        while len(frames) < 30 and time.monotonic() < end:
            rclpy.spin_once(node, timeout_sec=0.1)
        rclpy.shutdown()
        self.assertGreaterEqual(len(frames), 30)


@launch_testing.post_shutdown_test()
class AfterItsEnd(unittest.TestCase):
    def test_every_process_ended_well(self, proc_info):
        launch_testing.asserts.assertExitCodes(proc_info)
