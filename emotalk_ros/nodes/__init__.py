"""The ROS 2 nodes, and the only room that imports rclpy: emotalk, microphone, audio file, recorder."""
