"""VMC (OSC, UDP 39539): frames to VRM avatars."""

from __future__ import annotations

from emotalk_ros.nodes.bridge_nodes import program

main = program("vmc", __doc__ or "")
