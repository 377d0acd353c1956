"""Message packages of other projects, compiled for the tests: ros-drivers', mgonzs13's and Foxglove's audio types.

Two of them are both named audio_common_msgs, so each is installed under a prefix of its own, and what uses it runs in
a process of its own. They are compiled once for an environment, from the definitions that the bags' reader knows.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from hashlib import sha256
from pathlib import Path

from emotalk_ros.bags.messages import FOREIGN_DEFINITIONS
from emotalk_ros.files import replace_folder

CACHE = Path(sys.prefix) / ".emotalk" / "test_messages"

_CMAKE = """cmake_minimum_required(VERSION 3.19)
project({package})
find_package(ament_cmake REQUIRED)
find_package(rosidl_default_generators REQUIRED)
find_package(std_msgs REQUIRED)
file(GLOB messages RELATIVE ${{CMAKE_CURRENT_SOURCE_DIR}} msg/*.msg)
rosidl_generate_interfaces(${{PROJECT_NAME}} ${{messages}} DEPENDENCIES std_msgs builtin_interfaces)
ament_package()
"""
_PACKAGE = """<?xml version="1.0"?>
<package format="3">
  <name>{package}</name><version>0.0.0</version><description>For tests</description>
  <maintainer email="nobody@example.com">nobody</maintainer><license>Apache-2.0</license>
  <buildtool_depend>ament_cmake</buildtool_depend><buildtool_depend>rosidl_default_generators</buildtool_depend>
  <depend>std_msgs</depend><depend>builtin_interfaces</depend><exec_depend>rosidl_default_runtime</exec_depend>
  <member_of_group>rosidl_interface_packages</member_of_group>
  <export><build_type>ament_cmake</build_type></export>
</package>
"""


def environment(project, definitions=None):
    """Environment variables with which a process finds the messages of `project` ("ros-drivers", ...).

    `definitions` (type name: fields) are those of a project whose bags are not read here.
    """
    prefix = _built(project, definitions or FOREIGN_DEFINITIONS[project])
    python = Path(sysconfig.get_path("purelib", vars={"base": str(prefix), "platbase": str(prefix)}))
    return {
        name: os.pathsep.join([str(first), *filter(None, [os.environ.get(name)])])
        for name, first in (
            ("AMENT_PREFIX_PATH", f"{prefix}{os.pathsep}{sys.prefix}"),
            ("LD_LIBRARY_PATH", prefix / "lib"),
            ("PYTHONPATH", python),
        )
    }


def _built(project, definitions):
    (package,) = {name.split("/")[0] for name in definitions}
    files = {"{1}/{2}.{1}".format(*name.split("/")): text + "\n" for name, text in definitions.items()}
    cmake, about = _CMAKE.format(package=package), _PACKAGE.format(package=package)
    if any(name.startswith("action/") for name in files):
        cmake = cmake.replace("msg/*.msg", "msg/*.msg action/*.action")
        about = about.replace("<exec_depend>", "<depend>action_msgs</depend><exec_depend>")
    files |= {"CMakeLists.txt": cmake, "package.xml": about}
    prefix = CACHE / f"{project}-{sha256(repr(sorted(files.items())).encode()).hexdigest()[:12]}"
    if not prefix.exists():
        _build(files, prefix)
    return prefix


def _build(files, prefix):
    scratch = prefix.with_name(f".{prefix.name}.{os.getpid()}")
    for name, text in files.items():
        path = scratch / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    paths = {
        name: os.pathsep.join(filter(None, [sys.prefix, os.environ.get(name)]))
        for name in ("AMENT_PREFIX_PATH", "CMAKE_PREFIX_PATH")
    }
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    configure = ["cmake", "-S", "source", "-B", "build", f"-DPython3_EXECUTABLE={sys.executable}"]
    configure += ["-DBUILD_TESTING=OFF", f"-DCMAKE_INSTALL_PREFIX={scratch / 'install'}"]
    for command in (configure, ["cmake", "--build", "build", "--parallel"], ["cmake", "--install", "build"]):
        done = subprocess.run(
            command, cwd=scratch, env={**os.environ, **paths, "PATH": path}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    prefix.parent.mkdir(parents=True, exist_ok=True)
    replace_folder(scratch / "install", prefix)
    shutil.rmtree(scratch)
