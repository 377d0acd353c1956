"""Why is nothing heard? What the graph says about a silent audio topic."""

from __future__ import annotations

from rclpy.node import Node
from rclpy.qos import ReliabilityPolicy

from emotalk_ros.nodes.processes import with_ros2


def silence_reason(node: Node, topic: str, audio_type: str) -> str:
    """A sentence: nobody publishes, another type, another QoS, or a publisher that is silent itself."""
    publishers = node.get_publishers_info_by_topic(topic)
    if not publishers:
        listing = with_ros2("`ros2 topic list -t`; ", "")
        return f"nobody publishes {topic} (wrong topic or namespace? {listing}remap with -r audio:=...)"
    package, name = audio_type.split("/")
    wanted = f"{package}/msg/{name}"
    others = sorted({info.topic_type for info in publishers} - {wanted})
    if len({info.topic_type for info in publishers}) == len(others):
        return f"{topic} carries {', '.join(others)}, but audio.type is {audio_type}"
    ours = [info for info in node.get_subscriptions_info_by_topic(topic) if info.node_name == node.get_name()]
    reliable = any(info.qos_profile.reliability == ReliabilityPolicy.RELIABLE for info in ours)
    loose = any(info.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT for info in publishers)
    if reliable and loose:
        return f"{topic} is published best-effort, and a QoS override makes this node ask for reliable"
    return f"{len(publishers)} publisher(s) of {topic}, of the right type, are silent"
