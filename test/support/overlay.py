"""This source tree as an installed ROS package, without building: what `ros2 launch emotalk_ros ...` then finds.

A prefix with the package's mark in the ament index, links to the share folders, and a program for each node that runs
the source tree with this interpreter. The messages come from where they were built.
"""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHARED = ("launch", "config", "models", "examples", "package.xml")


def make(prefix):
    """Fill the empty folder `prefix`; returns the environment variables with which a process finds it first."""
    share, programs = prefix / "share" / "emotalk_ros", prefix / "lib" / "emotalk_ros"
    mark = prefix / "share" / "ament_index" / "resource_index" / "packages" / "emotalk_ros"
    for folder in (share, programs, mark.parent):
        folder.mkdir(parents=True)
    mark.touch()
    for name in SHARED:
        _link(ROOT / name, share / name)
    for source in (ROOT / "scripts" / "nodes").iterdir():
        program = programs / source.name
        lines = source.read_text().splitlines()
        paths = f"import sys; sys.path.insert(0, {str(ROOT)!r})"
        program.write_text("\n".join([f"#!{sys.executable}", paths, *lines[1:], ""]))
        program.chmod(0o755)
    return {
        "AMENT_PREFIX_PATH": os.pathsep.join([str(prefix), os.environ.get("AMENT_PREFIX_PATH") or sys.prefix]),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
    }


def _link(source, target):
    """Files are linked, folders are made, as `colcon build --symlink-install` does: ros2 follows no linked folder."""
    if source.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(source)
        return
    for path in source.iterdir():
        _link(path, target / path.name)
