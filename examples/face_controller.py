#!/usr/bin/env python3
"""A face controller in fifteen lines: opens a servo's jaw as far as the face on `blendshapes` does."""

import contextlib

import rclpy
from rclpy.node import Node
from std_msgs.msg import Float64MultiArray

from emotalk_ros.msg import BlendshapeCoefficients as Face


class FaceController(Node):
    def __init__(self):
        super().__init__("face_controller")
        self.servos = self.create_publisher(Float64MultiArray, "jaw_controller/commands", 10)
        self.create_subscription(Face, "blendshapes", self.move, 10)

    def move(self, face):
        opening = max(0.0, face.coefficients[Face.JAW_OPEN] - face.coefficients[Face.MOUTH_CLOSE])
        self.servos.publish(Float64MultiArray(data=[0.5 * float(opening)]))  # radians: 0.5 is wide open


if __name__ == "__main__":
    rclpy.init()
    with contextlib.suppress(KeyboardInterrupt, rclpy.executors.ExternalShutdownException):
        rclpy.spin(FaceController())
