"""Coefficients to joints of an animatronic face: a map in YAML, and motion that keeps every limit (numpy, pydantic)."""

from emotalk_ros.servos.limits import JointMotion
from emotalk_ros.servos.servo_map import JointMap, ServoMap, ServoMapError, load_servo_map

__all__ = ["JointMap", "JointMotion", "ServoMap", "ServoMapError", "load_servo_map"]
