"""The emotion heard over time: by the network's own classifier, or by an ear, to the probabilities that leave."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from emotalk_ros.units import SAMPLE_RATE

if TYPE_CHECKING:
    from emotalk_ros.model.ear import Ear
    from emotalk_ros.model.ear_stream import StreamingEar

MEMORY = 2.0
"""Seconds of speech over which what was heard is forgotten (time constant)."""
SURE = 1.5
"""Seconds of speech after which the mean is believed as it is; before, the less the shorter."""
FADE = 5.0
"""Seconds of silence over which the belief fades (time constant): a pause is no change of mood, a long one is."""


class RunningEmotion:
    """Mean of the logits of what was said lately: silence is no evidence, and little speech is little.

    Args:
        labels: how many.
        fps: frames per second of the network.
    """

    def __init__(self, labels: int, fps: int) -> None:
        self._labels, self._fps = labels, fps
        self.reset()

    def reset(self) -> None:
        """A new stream: nothing was heard, all labels are as likely."""
        self._sum: NDArray[np.float64] = np.zeros(self._labels)
        self._weight = 0.0
        self._belief = 0.0

    def push(self, logits: NDArray[np.float32], activity: NDArray[np.float64]) -> NDArray[np.float32]:
        """Probabilities (n, L) at each of n frames, from their logits (n, L) and speech activity 0..1 (n,)."""
        out = np.zeros((len(activity), self._labels), dtype=np.float32)
        for k, spoken in enumerate(activity.tolist() if self._labels else ()):
            keep = np.exp(-spoken / (self._fps * MEMORY))
            self._sum = keep * self._sum + spoken * logits[k]
            self._weight = keep * self._weight + spoken
            self._belief += spoken / (self._fps * SURE) - (1 - spoken) * self._belief / (self._fps * FADE)
            self._belief = min(self._belief, 1.0)
            powers = np.exp(self._belief * self._sum / max(self._weight, 1e-9))
            out[k] = powers / powers.sum()
        return out


STATES = 50
"""States of the network's speech trunk per second; state k is centred at sample 320 k."""
_KEPT = 50  # readings kept for frames whose states came with the hop before


class EarListener:
    """An ear on one voice: the speaker's picture lasts from stream to stream, what was said lately does not.

    Args:
        ear: see `model.ear`; it listens in numpy.
        fps: frames per second of the network.
        watch: notice that another person speaks, where the ear can, and begin the picture of him anew.
    """

    def __init__(self, ear: Ear | StreamingEar, fps: int, watch: bool = True) -> None:
        from emotalk_ros.model.ear_stream import StreamingEar

        self._ear, self._fps = StreamingEar.of(ear), fps
        self._state = self._ear.begin(watch=watch)
        self.reset()

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the probabilities."""
        return self._ear.config.labels

    @property
    def speaker_changes(self) -> int:
        """How often another speaker was noticed."""
        return 0 if self._state.watch is None else self._state.watch.changes

    def reset(self) -> None:
        """A new stream of the same voice."""
        self._state.forget_speech()
        count = len(self.labels)
        nothing = np.array([*np.full(count, 1 / count), np.nan, np.nan, 0.0], dtype=np.float32)
        self._rows, self._newest = nothing[None], -1  # the last readings, and the number of the newest

    def reset_speaker(self) -> None:
        """Somebody else speaks from now on."""
        self._state.reset()
        self.reset()

    def push(
        self,
        states: NDArray[np.float32],
        newest: int,
        samples: Callable[[int, int], NDArray[np.float32]],
        frames: range,
    ) -> NDArray[np.float32]:
        """What was heard at each of the frames, (n, L + 3): probabilities, arousal, valence, trust in the picture.

        Args:
            states: (m, levels, width) of the trunk that became complete; m may be 0.
            newest: number of the last of them, counted from the stream's start.
            samples: gives the stream's samples from one index to another (silence where there are none).
            frames: numbers of the frames.
        """
        from emotalk_ros.model.ear_stream import SAMPLES, levels_of

        count, first = len(states), newest - len(states) + 1
        if count:
            # Levels look at 20 ms before and after a state: one more state on either side, that is not used.
            around = samples((first - 1) * SAMPLES, (newest + 2) * SAMPLES)
            found = self._ear.hear(states, levels_of(around, count + 2)[1 : count + 1], self._state)
            self._rows = np.concatenate([self._rows[-_KEPT:], found])
            self._newest = newest
        last = len(self._rows) - 1
        return self._rows[[min(max(last + k * STATES // self._fps - self._newest, 0), last) for k in frames]]


def newest_state(samples: int, lookahead: int) -> int:
    """Number of the last state that is complete when `samples` samples are there and `lookahead` of them are needed."""
    return (samples - lookahead) * STATES // SAMPLE_RATE
