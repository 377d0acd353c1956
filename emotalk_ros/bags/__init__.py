"""rosbag2 recordings without ROS: reading (damaged ones too), decoding of messages, tracks, writing."""

from emotalk_ros.bags.bag import BagError, open_bag

__all__ = ["BagError", "open_bag"]
