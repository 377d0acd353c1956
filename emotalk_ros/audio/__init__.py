"""Sound before any network sees it: PCM formats, resampler, time line, activity, files (numpy, soxr, soundfile)."""

from emotalk_ros.audio.activity import ActivitySettings, SpeechActivity
from emotalk_ros.audio.files import AudioFile, load_audio, mono_blocks
from emotalk_ros.audio.intake import AudioIntake, IntakeStatistics, PcmChunk, Segment
from emotalk_ros.audio.pcm import (
    ENCODINGS,
    MAX_CHANNELS,
    AudioFormatError,
    Samples,
    canonical_encoding,
    decode_pcm,
    encode_pcm,
    frame_bytes,
)
from emotalk_ros.audio.resample import MAX_RATE, MIN_RATE, StreamResampler, resample
from emotalk_ros.audio.ring import RingBuffer
from emotalk_ros.audio.timeline import TimelineSettings
from emotalk_ros.audio.voice import DETECTORS, VoiceSettings
from emotalk_ros.units import SAMPLE_RATE

__all__ = [
    "DETECTORS",
    "ENCODINGS",
    "MAX_CHANNELS",
    "MAX_RATE",
    "MIN_RATE",
    "SAMPLE_RATE",
    "ActivitySettings",
    "AudioFile",
    "AudioFormatError",
    "AudioIntake",
    "IntakeStatistics",
    "PcmChunk",
    "RingBuffer",
    "Samples",
    "Segment",
    "SpeechActivity",
    "StreamResampler",
    "TimelineSettings",
    "VoiceSettings",
    "canonical_encoding",
    "decode_pcm",
    "encode_pcm",
    "frame_bytes",
    "load_audio",
    "mono_blocks",
    "resample",
]
