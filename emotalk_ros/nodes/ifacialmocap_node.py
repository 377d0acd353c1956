"""iFacialMocap (UDP 49983): frames to its receivers."""

from __future__ import annotations

from emotalk_ros.nodes.bridge_nodes import program

main = program("ifacialmocap", __doc__ or "")
