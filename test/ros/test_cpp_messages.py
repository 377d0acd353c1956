"""The messages in C++: what a controller in C++ uses of them compiles, links and holds the right values.

The example examples/cpp needs rclcpp, which the wheels do not have: there the message types alone are compiled, with
the type support that its subscription would use; where rclcpp is installed, the example itself is.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PREFIXES = [Path(p) for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
PROGRAM = """
#include <cstdio>
#include "emotalk_ros/msg/audio_chunk.hpp"
#include "emotalk_ros/msg/blendshape_coefficients.hpp"
#include "emotalk_ros/msg/emotion_command.hpp"
#include "emotalk_ros/msg/emotion_state.hpp"
#include "emotalk_ros/srv/set_emotion.hpp"
#include "rosidl_typesupport_cpp/message_type_support.hpp"

int main() {
  using Face = emotalk_ros::msg::BlendshapeCoefficients;
  Face face;
  face.coefficients[Face::JAW_OPEN] = 0.5f;
  emotalk_ros::msg::EmotionCommand command;
  emotalk_ros::srv::SetEmotion::Request request;
  request.command = command;
  const auto * support = rosidl_typesupport_cpp::get_message_type_support_handle<Face>();
  std::printf("%zu %d %.1f %.1f %d", face.coefficients.size(), int(Face::JAW_OPEN), face.coefficients[24],
              command.intensity, support != nullptr);
}
"""


def includes():
    folders = [prefix / "include" for prefix in PREFIXES]
    return [f"-I{path}" for folder in folders for path in [folder, *sorted(folder.glob("*"))] if path.is_dir()]


def libraries():
    words = []
    for prefix in PREFIXES:
        words += [f"-L{prefix / 'lib'}", f"-Wl,-rpath,{prefix / 'lib'}", f"-Wl,-rpath-link,{prefix / 'lib'}"]
    return words


@pytest.fixture(scope="module")
def compiler():
    found = os.environ.get("CXX", "c++")
    if not any(
        (prefix / "include/emotalk_ros/emotalk_ros/msg/blendshape_coefficients.hpp").exists() for prefix in PREFIXES
    ):
        pytest.skip("no C++ headers of the messages in $AMENT_PREFIX_PATH: build the workspace and source it")
    return found


def test_the_messages_compile_link_and_have_their_defaults(compiler, tmp_path):
    (tmp_path / "face.cpp").write_text(PROGRAM)
    link = ["-lemotalk_ros__rosidl_typesupport_cpp", "-lrosidl_typesupport_cpp"]
    command = [compiler, "-std=c++17", "face.cpp", "-o", "face", *includes(), *libraries(), *link]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=240)
    shown = subprocess.run([tmp_path / "face"], capture_output=True, text=True, check=True, timeout=60).stdout
    assert shown == "52 24 0.5 1.0 1"


def test_the_example_compiles_where_rclcpp_is(compiler, tmp_path):
    if not any((prefix / "include/rclcpp/rclcpp/rclcpp.hpp").exists() for prefix in PREFIXES):
        pytest.skip(
            "rclcpp is not installed (the wheels do not have it): examples/cpp/jaw_listener.cpp is not compiled"
        )
    source = ROOT / "examples" / "cpp" / "jaw_listener.cpp"
    subprocess.run([compiler, "-std=c++17", "-fsyntax-only", source, *includes()], check=True, timeout=400)


def installed_by(folder, *options):
    """What CMakeLists.txt, configured in `folder`, would install."""
    cmake = shutil.which("cmake", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    prefixes = ";".join(map(str, PREFIXES))
    words = [f"-DCMAKE_PREFIX_PATH={prefixes}", f"-DPython3_EXECUTABLE={sys.executable}", "-DBUILD_TESTING=OFF"]
    words.append(f"-DCMAKE_INSTALL_PREFIX={sys.prefix}")  # numpy's headers may lie in the source folder only below it
    subprocess.run(
        [cmake, "-S", ROOT, "-B", folder, *words, *options], check=True, capture_output=True, text=True, timeout=240
    )
    return (folder / "cmake_install.cmake").read_text()


def test_a_computer_that_only_listens_gets_nothing_but_the_messages(compiler, tmp_path):
    messages = installed_by(tmp_path / "messages", "-DEMOTALK_MESSAGES_ONLY=ON")
    everything = installed_by(tmp_path / "everything")
    for part in ("BlendshapeCoefficients.msg", "SetEmotion.srv", "include/emotalk_ros", "package.xml", "LICENSE"):
        assert part in messages and part in everything
    for part in ("/models", "/launch", "/config", "nodes/emotalk_node", f"{ROOT}/emotalk_ros/"):
        assert part not in messages and part in everything
