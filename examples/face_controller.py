#!/usr/bin/env python3
"""A face controller in twenty lines: a servo loop of 50 Hz opens a jaw as far as the face on `blendshapes` does."""

import contextlib

import rclpy
from rclpy.node import Node
from std_msgs.msg import Float64MultiArray

from emotalk_ros.motion.playback import Playback
from emotalk_ros.msg import BlendshapeCoefficients as Face


class FaceController(Node):
    def __init__(self):
        super().__init__("face_controller")
        self.face = Playback()  # interpolates by stamps, comes to rest when no frames come any more
        self.servos = self.create_publisher(Float64MultiArray, "jaw_controller/commands", 10)
        self.create_subscription(Face, "blendshapes", self.take, 10)
        self.create_timer(1 / 50, self.move)

    def now(self):
        return self.get_clock().now().nanoseconds / 1e9

    def take(self, face):
        stamp = face.header.stamp.sec * 1_000_000_000 + face.header.stamp.nanosec
        self.face.add(stamp, face.frame, face.coefficients, self.now())

    def move(self):
        shown = self.face.at(self.now())
        opening = max(0.0, shown[Face.JAW_OPEN] - shown[Face.MOUTH_CLOSE])
        self.servos.publish(Float64MultiArray(data=[0.5 * float(opening)]))  # radians: 0.5 is wide open


if __name__ == "__main__":
    rclpy.init()
    with contextlib.suppress(KeyboardInterrupt, rclpy.executors.ExternalShutdownException):
        rclpy.spin(FaceController())
