"""How loud a voice is, and relative to what: the one tracker that motion and emotion ask.

Two answers, both causal up to the stream's look-ahead and independent of how the audio was cut:

* speech activity: the speech band against the noise of the room (`audio.activity`), where the voice detector
  (`audio.voice`) hears a voice;
* loudness: the band that leaves an open mouth (0.5 to 3 kHz) against the loudest of the last 2.5 s. The voice itself,
  nasals and murmurs lie below that band, fricatives above it.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from dataclasses import replace
from functools import cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from emotalk_ros.audio.activity import BLOCK, SpeechActivity
from emotalk_ros.audio.level import BandLevel
from emotalk_ros.audio.ring import RingBuffer
from emotalk_ros.audio.voice import VoiceGate, VoiceModelError, VoiceSettings
from emotalk_ros.units import SAMPLE_RATE

ACTIVITY_AHEAD = 1920
"""Samples (120 ms) before a sound at which the face may begin to wake."""
LENGTH = 800
"""Samples of a window of the loudness."""
SPAN_DB = 40.0
"""Loudness is 0 this far below the loudest."""
FLOOR_DB = -65.0
"""Level below which nothing counts as the loudest."""
SECONDS = 2.5
"""The loudest is what it was in so much of the past."""
MOST_AHEAD = 4
"""Frames of the look-ahead that count for the loudest."""

_LOG = logging.getLogger(__name__)


@cache
def _tell_once(problem: str) -> None:
    _LOG.warning(problem)


class LoudnessTracker:
    """Follows one stream, whose newest samples lie in `ring`.

    Args:
        ring: the stream's samples; read, never written.
        fps: frames per second of the network.
        lookahead: samples after a frame's instant that are there when it is asked for.
        voice: what counts as speech. Where the detector's weights cannot be had, the level decides alone: `problem`.
    """

    def __init__(self, ring: RingBuffer, fps: int, lookahead: int, voice: VoiceSettings | None = None) -> None:
        self._ring, self._fps, self._lookahead = ring, fps, lookahead
        self._voice = voice or VoiceSettings()
        self._gate: VoiceGate | None = None
        self.problem = ""
        """Why not the detector asked for, but "energy" is at work; "" where it is."""
        if self._voice.detector == "silero":
            try:
                self._gate = VoiceGate(self._voice.threshold, ring.capacity)
            except VoiceModelError as error:
                self.problem = f"{error}; until then the level alone decides, so noise moves the mouth too"
                self._voice = replace(self._voice, detector="energy")
                _tell_once(self.problem)
        self._reach = min(lookahead, ACTIVITY_AHEAD)
        # A window is centred half a frame before its frame: captured jaws lag their sound by as much.
        self._ahead = max(0, min(MOST_AHEAD, math.floor((lookahead - LENGTH // 2) * fps / SAMPLE_RATE + 0.5)))
        self._peers = max(0, self._ahead - 1)  # frames after a frame that count for its loudest
        self._memory = round(SECONDS * fps)
        self._activity = SpeechActivity()
        self._level = BandLevel((500.0, 3000.0), LENGTH, 1024)
        self.reset()

    @property
    def voice(self) -> VoiceSettings:
        """What counts as speech. Another threshold may be assigned and holds for sound to come; the detector stays."""
        return self._voice

    @voice.setter
    def voice(self, voice: VoiceSettings) -> None:
        self._voice = replace(voice, detector=self._voice.detector)
        if self._gate is not None:
            self._gate.threshold = voice.threshold

    @property
    def voice_probability(self) -> float | None:
        """Of the newest 32 ms; None where no network listens."""
        return None if self._gate is None else self._gate.probability

    def reset(self) -> None:
        """A new stream begins; the ring is cleared elsewhere."""
        self._activity.reset()
        if self._gate is not None:
            self._gate.reset()
        self._active: deque[float] = deque(maxlen=self._ring.capacity // BLOCK + 2)
        self._blocks = self._heard = 0
        self._levels = np.full(self._memory, -np.inf)
        self._known = self._next = 0
        self._shares: NDArray[np.float64] = np.zeros(0)

    def follow(self) -> None:
        """Listen to what was appended to the ring since the last call; all of it must still be there."""
        new = self._ring.read(self._heard, self._ring.end)
        self._heard = self._ring.end
        if self._gate is not None:
            self._gate.push(new)
        blocks = self._activity.push(new)
        self._active.extend(blocks.tolist())
        self._blocks += len(blocks)

    def activity(self, instant: int) -> float:
        """Speech activity 0..1 of a frame whose instant is sample `instant`: the highest up to its look-ahead, so that
        a face wakes with the sound and not after it; 0 where the detector hears no voice.
        """
        if self._voice.detector == "off":
            return 1.0
        if self._gate is not None and not self._gate.open(instant, instant + self._lookahead):
            return 0.0
        oldest = self._blocks - len(self._active)
        stop = (instant + self._reach) // BLOCK
        start = max(0, min(instant // BLOCK, stop - 1, self._blocks - 1) - oldest)
        return max((self._active[k] for k in range(start, min(stop - oldest, len(self._active)))), default=0.0)

    def loudness(self, stop: int) -> NDArray[np.float32]:
        """Loudness 0..1 of the network's frames up to `stop` (exclusive) that were not asked for yet, (n,).

        A mean over neighbours (1/4, 1/2, 1/4) where the look-ahead allows, as a jaw does not follow single windows.
        """
        if stop <= self._next:
            return np.zeros(0, dtype=np.float32)
        windows = np.arange(self._known, stop + self._ahead)
        starts = ((2 * windows - 1) * 2 * SAMPLE_RATE + 2 * self._fps) // (4 * self._fps) - LENGTH // 2
        levels = np.concatenate([self._levels, self._level(self._ring.windows(starts, LENGTH))])
        loudest = sliding_window_view(levels, self._memory + 1 + self._peers).max(1)
        here = levels[self._memory : self._memory + len(loudest)]
        shares = np.clip((here - np.maximum(loudest, FLOOR_DB)) / SPAN_DB + 1.0, 0.0, 1.0)
        self._levels = levels[len(loudest) :]
        self._known, self._next = stop + self._ahead, stop
        if not self._ahead:
            return shares.astype(np.float32)
        shares = np.concatenate([self._shares if len(self._shares) else shares[:1], shares])
        self._shares = shares[-2:]
        return (0.25 * shares[:-2] + 0.5 * shares[1:-1] + 0.25 * shares[2:]).astype(np.float32)
