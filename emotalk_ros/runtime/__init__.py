"""The network that ships, without torch: ONNX Runtime and numpy; and the choice of what computes it."""

from emotalk_ros.runtime.choice import BACKENDS, Chosen, load_network
from emotalk_ros.runtime.graphs import RuntimeUnavailable
from emotalk_ros.runtime.network import OnnxNetwork

__all__ = ["BACKENDS", "Chosen", "OnnxNetwork", "RuntimeUnavailable", "load_network"]
