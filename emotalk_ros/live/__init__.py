"""The live page: speak into a browser and see a face move. A server with one loaded network and a voice per visitor.

Knows nothing of ROS; what comes from elsewhere (the topics of a robot) is shown through `Feed`.
"""

from emotalk_ros.live.feeds import Feed
from emotalk_ros.live.frames import LiveFrame
from emotalk_ros.live.server import LiveServer
from emotalk_ros.live.settings import LiveSettings
from emotalk_ros.live.voice import Voice, VoiceControls

__all__ = ["Feed", "LiveFrame", "LiveServer", "LiveSettings", "Voice", "VoiceControls"]
