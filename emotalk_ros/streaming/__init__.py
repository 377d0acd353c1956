"""Live audio in, stamped face frames out: window schedule and engine, without clock, thread or ROS."""

from emotalk_ros.streaming.engine import Analysed, Controls, Engine, EngineStatistics, FaceFrame, FaceModel
from emotalk_ros.streaming.offline import animate
from emotalk_ros.streaming.schedule import StreamSettings, Window, WindowSchedule

__all__ = [
    "Analysed",
    "Controls",
    "Engine",
    "EngineStatistics",
    "FaceFrame",
    "FaceModel",
    "StreamSettings",
    "Window",
    "WindowSchedule",
    "animate",
]
