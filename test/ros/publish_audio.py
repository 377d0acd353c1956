"""A program: publishes a clip on `audio` at real time as messages of one type, stamped as that type's publishers do.

usage: publish_audio.py TYPE CLIP.npy START_NS NAMESPACE, with (n,) float32 samples at 16 kHz. Waits for two listeners.
"""

import sys
import time
from importlib import import_module

import numpy as np
import rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy

from emotalk_ros.audio import encode_pcm
from emotalk_ros.nodes.messages import to_time

CHUNK = 512
DEEP = QoSProfile(depth=1000, reliability=ReliabilityPolicy.RELIABLE)


def kind(name):
    package, _, message = name.split("/")
    return getattr(import_module(f"{package}.msg"), message)


def main(name, clip, start_ns, namespace):
    rclpy.init()
    node = rclpy.create_node("publisher", namespace=namespace)
    kinds = {short: f"audio_common_msgs/msg/{short}" for short in ("AudioInfo", "Audio", "AudioData")}
    publisher = node.create_publisher(kind(name), "audio", DEEP)
    bare = name in (kinds["AudioData"], "audio_common_msgs/msg/AudioDataStamped")
    if bare:
        info = node.create_publisher(kind(kinds["AudioInfo"]), "audio_info", DEEP)
        wait(lambda: info.get_subscription_count() >= 2)
    wait(lambda: publisher.get_subscription_count() >= 2)
    time.sleep(0.5)
    if bare:
        info.publish(
            kind(kinds["AudioInfo"])(channels=1, sample_rate=16000, sample_format="S16LE", coding_format="wave")
        )
        time.sleep(0.3)
    samples = np.load(clip)
    for first in range(0, len(samples), CHUNK):
        piece = samples[first : first + CHUNK]
        data = encode_pcm(piece, "s16le")
        message = kind(name)()
        begin = node.get_clock().now().nanoseconds
        time.sleep(len(piece) / 16000)  # the block is being captured
        if name == "emotalk_ros/msg/AudioChunk":
            message.header.stamp = to_time(start_ns + first * 62_500)
            message.sample_rate, message.channels, message.encoding = 16000, 1, "s16le"
            message.data.frombytes(data)
        elif name == "foxglove_msgs/msg/RawAudio":
            message.timestamp = to_time(start_ns + first * 62_500)
            message.sample_rate, message.number_of_channels, message.format = 16000, 1, "pcm-s16"
            message.data.frombytes(data)
        elif name == "audio_common_msgs/msg/AudioStamped":
            message.header.stamp = to_time(begin)
            message.audio.info.format, message.audio.info.channels = 8, 1
            message.audio.info.rate, message.audio.info.chunk = 16000, CHUNK
            message.audio.audio_data.int16_data.frombytes(data)
        elif name == "audio_common_msgs/msg/AudioDataStamped":
            message.header.stamp = to_time(node.get_clock().now().nanoseconds)
            message.audio.data.frombytes(data)
        else:
            message.data.frombytes(data)
        publisher.publish(message)
    time.sleep(1.0)
    rclpy.shutdown()


def wait(condition):
    deadline = time.monotonic() + 60
    while not condition():
        if time.monotonic() > deadline:
            sys.exit("nobody listens")
        time.sleep(0.05)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])
