"""Coefficients in time after the network: a frame, its files, and the stages that shape it (numpy only)."""

from emotalk_ros.motion.frame import FaceFrame
from emotalk_ros.motion.pipeline import MotionPipeline, MotionSettings, closing_frames
from emotalk_ros.motion.stage import FrameContext, Stage

__all__ = ["FaceFrame", "FrameContext", "MotionPipeline", "MotionSettings", "Stage", "closing_frames"]
