"""Live audio in, stamped face frames out: window schedule and engine, without clock, thread or ROS."""

from emotalk_ros.streaming.engine import Analysed, Controls, Engine, EngineStatistics, FaceFrame, FaceModel
from emotalk_ros.streaming.geometry import StreamSettings, Window, WindowSchedule
from emotalk_ros.streaming.offline import animate

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
