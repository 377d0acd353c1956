"""What package.xml asks of rosdep: keys that were looked up, and Python packages that pyproject.toml wants too."""

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Looked up in ros/rosdistro of 22 August 2026 by `rosdep resolve KEY --os=OS --rosdistro=DISTRIBUTION`: each has a rule
# for humble on Ubuntu jammy, jazzy and kilted on noble, lyrical and rolling on resolute, jazzy on Debian bookworm,
# lyrical on trixie.
ROS = {
    *("ament_cmake", "ament_cmake_python", "ament_cmake_pytest", "rosidl_default_generators"),
    *(
        "rosidl_default_runtime",
        "rclpy",
        "launch",
        "launch_ros",
        "launch_testing",
        "ros2launch",
        "std_msgs",
        "std_srvs",
    ),
    *("diagnostic_msgs", "sensor_msgs", "trajectory_msgs", "visualization_msgs", "lifecycle_msgs"),
}
PYTHON = {
    "python3-numpy": "numpy",
    "python3-scipy": "scipy",
    "python3-yaml": "pyyaml",
    "python3-matplotlib": "matplotlib",
    "python3-pil": "pillow",
    "python3-jinja2": "jinja2",
    "python3-pytorch-pip": "torch",
    "python3-transformers-pip": "transformers",
    "python3-soundfile": "soundfile",
    "python3-sounddevice-pip": "sounddevice",
    "python3-typer": "typer",
    "python3-rich": "rich",
    "python3-rosbags-pip": "rosbags",
    "python3-pytest": "pytest",
}


def keys(*kinds):
    tree = ElementTree.parse(ROOT / "package.xml").getroot()
    return {part.text for part in tree if part.tag in kinds}


def test_rosdep_has_a_rule_for_every_key():
    everything = keys("depend", "build_depend", "buildtool_depend", "exec_depend", "test_depend")
    assert everything == ROS | set(PYTHON) | {"portaudio19-dev"}


def test_what_the_messages_need_to_be_built_is_ros_alone():
    assert keys("depend", "build_depend", "buildtool_depend") <= ROS


def test_the_python_packages_are_dependencies_of_the_project_too():
    named = set(re.findall(r'"([a-z0-9-]+)[>"]', (ROOT / "pyproject.toml").read_text()))
    assert set(PYTHON.values()) <= named
