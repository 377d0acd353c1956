"""Avatar protocols: frames to Live Link Face, VMC/OSC and iFacialMocap; Live Link Face to frames. Without ROS."""

from emotalk_ros.bridges.ifacialmocap import IFacialMocapOutput
from emotalk_ros.bridges.livelink import LiveLinkFrame, LiveLinkOutput, LiveLinkReceiver, PacketError
from emotalk_ros.bridges.outputs import OUTPUTS, Output, make_output
from emotalk_ros.bridges.pattern import pattern_motion
from emotalk_ros.bridges.udp import TargetError, UdpTarget
from emotalk_ros.bridges.vmc import VmcOutput

__all__ = [
    "OUTPUTS",
    "IFacialMocapOutput",
    "LiveLinkFrame",
    "LiveLinkOutput",
    "LiveLinkReceiver",
    "Output",
    "PacketError",
    "TargetError",
    "UdpTarget",
    "VmcOutput",
    "make_output",
    "pattern_motion",
]
