"""Live Link Face (UDP 11111): frames to Unreal Engine and MetaHumans."""

from __future__ import annotations

from emotalk_ros.nodes.bridge_nodes import program

main = program("livelink", __doc__ or "")
