"""`python -m emotalk_ros.nodes NAME ...`: a node program without an installed package."""

from __future__ import annotations

import sys

from emotalk_ros.requirements import program

PROGRAMS = (
    "emotalk_node",
    "microphone_node",
    "audio_file_node",
    "recorder_node",
    "servo_node",
    "speaker_node",
    "say_node",
    "hri_node",
    "marker_node",
    "face_viewer_node",
    "livelink_node",
    "vmc_node",
    "ifacialmocap_node",
    "livelink_receiver_node",
)

if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in PROGRAMS:
        sys.exit(f"usage: python -m emotalk_ros.nodes NAME [--ros-args ...], NAME one of {', '.join(PROGRAMS)}")
    program(f"emotalk_ros.nodes.{sys.argv.pop(1)}")
