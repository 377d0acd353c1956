"""Live audio in, stamped face frames out: schedule, engine, one voice, and the thread that runs it; without ROS."""

from emotalk_ros.streaming.engine import Analysed, Controls, Engine, EngineStatistics, FaceModel
from emotalk_ros.streaming.hub import VoiceHub
from emotalk_ros.streaming.schedule import StreamSettings, Window, WindowSchedule
from emotalk_ros.streaming.session import DEFAULT_EAR, FaceStream, Step, animate, ear_of

__all__ = [
    "DEFAULT_EAR",
    "Analysed",
    "Controls",
    "Engine",
    "EngineStatistics",
    "FaceModel",
    "FaceStream",
    "Step",
    "StreamSettings",
    "VoiceHub",
    "Window",
    "WindowSchedule",
    "animate",
    "ear_of",
]
