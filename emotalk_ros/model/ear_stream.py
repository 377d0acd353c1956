"""An ear that listens to a stream, in numpy, for every backend; what it hears is described in `model.ear`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotalk_ros.emotions import HIGH_AROUSAL
from emotalk_ros.model.ear_config import (
    RATE,
    SAMPLES,
    VALENCE,
    EarConfig,
    ear_shapes,
    read_ear,
)

Array = NDArray[np.float32]
Wide = NDArray[np.float64]

_BLOCK = 64  # states that one matrix product sums up
QUIETEST = -60.0
"""dB re full scale below which nothing counts as speech."""
_FALL = 2.0  # dB a second by which the loudest so far is forgotten


@dataclass
class ListenerState:
    """What is remembered of one voice: weighted sums (D + 1,) of recent features and of all of the speaker's, each with
    its seconds of speech at the end, and the loudest sound so far in dB.
    """

    recent: Wide
    speaker: Wide
    loudest: float = field(default=QUIETEST)
    watch: VoiceWatch | None = None
    """Notices another speaker; None: nobody does."""

    def forget_speech(self) -> None:
        """A new stream of the same speaker."""
        self.recent[:] = 0.0

    def reset(self) -> None:
        """Somebody else."""
        if self.watch is not None:
            self.watch.reset()
        self.recent[:], self.speaker[:], self.loudest = 0.0, 0.0, QUIETEST


class VoiceWatch:
    """Notices that another person speaks: recent speech no longer sounds like the speech before it.

    Speech is gathered in cells of `CELL` seconds; the mean of the last `CELLS` of them is held against the mean of what
    came before, in the numbers that tell voices apart (`Ear.voices`, a linear discriminant analysis: 1 is how far one
    speaker's own means differ). It takes `CELLS` cells before and after; a change is found when `LOOKS` looks in a row
    say so. What the picture goes by then is the later half of the recent speech.
    """

    CELL = 0.5
    CELLS = 12
    LOOKS = 2

    def __init__(self, voices: Array, limit: float, memory: float) -> None:
        self._voices, self._limit, self._memory = voices, limit, memory
        self.changes = 0
        """How often another speaker was noticed."""
        self.reset()

    def reset(self) -> None:
        """Nobody was heard."""
        width = self._voices.shape[1] + 1
        self._cells: list[Array] = []  # sums of features and seconds of recent speech
        self._open = np.zeros(width, np.float32)
        self._open_seconds = 0.0
        self._before = np.zeros(width, np.float32)
        self._said = 0  # looks in a row that found somebody else

    def follow(self, features: Array, share: Array) -> list[tuple[int, Wide]]:
        """Takes the next states (T, D) with their shares of speech (T,).

        Returns the states after which another speaker was noticed, each with the sums (D + 1,) of his speech so far.
        """
        found = []
        start = 0
        for at, spoken in enumerate((share / np.float32(RATE)).tolist()):
            self._open_seconds += spoken
            if self._open_seconds < self.CELL:
                continue
            self._gather(features[start : at + 1], share[start : at + 1])
            start = at + 1
            if (sums := self._look()) is not None:
                found.append((at, sums))
        self._gather(features[start:], share[start:])
        return found

    def _gather(self, features: Array, share: Array) -> None:
        weights = share.astype(np.float64) / RATE
        sums = np.append(weights @ features.astype(np.float64), weights.sum())
        self._open = self._open + sums.astype(np.float32)

    def _look(self) -> Wide | None:
        """Closes a cell; the sums of another speaker's speech where there is one."""
        self._cells.append(self._open)
        self._open, self._open_seconds = np.zeros_like(self._open), 0.0
        if len(self._cells) <= self.CELLS:
            return None
        oldest = self._cells.pop(0)
        self._before = self._before * np.exp(-oldest[-1] / np.float32(self._memory)) + oldest
        if self._before[-1] < self.CELL * self.CELLS:
            return None
        recent = np.stack(self._cells).sum(0)
        self._said = self._said + 1 if self._distance(recent) > self._limit else 0
        if self._said < self.LOOKS:
            return None
        self.changes += 1
        self._before, self._said = recent, 0
        later = np.stack(self._cells[self.CELLS // 2 :]).sum(0)
        self._cells = []
        return later.astype(np.float64)

    def _distance(self, recent: Array) -> float:
        """Squared, of recent speech from that before it, as if there had been endlessly much of the latter."""
        apart = self._voices @ (recent[:-1] / recent[-1] - self._before[:-1] / self._before[-1])
        return float((apart**2).sum() / (1.0 + recent[-1] / self._before[-1]))


class StreamingEar:
    """The matrices of an ear and listening with them, state by state; see `model.ear.Ear` for what they mean.

    Args:
        config: of the ear.
        tensors: known, unknown (L, D), known_bias, unknown_bias (L,), centre, spread (D,), voices (V, D).
    """

    def __init__(self, config: EarConfig, tensors: dict[str, Any]) -> None:
        self.config = config
        self._parts = {name: np.asarray(tensors[name], dtype=np.float32) for name in ear_shapes(config)}
        self._high = [k for k, name in enumerate(config.labels) if name in HIGH_AROUSAL]
        self._worth = np.array([VALENCE[name] for name in config.labels], np.float32)

    @classmethod
    def of(cls, ear: Any) -> StreamingEar:
        """From an `Ear` (torch), or one that is there already."""
        if isinstance(ear, cls):
            return ear
        return cls(ear.config, {name: getattr(ear, name).detach().cpu().numpy() for name in ear_shapes(ear.config)})

    def begin(self, watch: bool = True) -> ListenerState:
        """The state of a voice that nobody knows. `watch`: notice another speaker, where this ear can."""
        size = self.config.features + 1
        return ListenerState(np.zeros(size), np.zeros(size), watch=self.watching() if watch else None)

    def watching(self) -> VoiceWatch | None:
        """What notices another speaker, where this ear can."""
        if not self.config.voices or not self.config.change > 0:
            return None
        return VoiceWatch(self._parts["voices"], self.config.change, self.config.memory)

    def hear(self, states: Array, levels: Array, state: ListenerState) -> Array:
        """Readings of the next T states (T, levels, width) and their `levels` (T,) dB; `state` is carried on.

        Causal: reading t depends on states up to t. However a stream is cut, the readings are the same.

        Returns:
            (T, L + 3): probabilities, arousal, valence, trust in the picture of the speaker.

        Raises ValueError for states of another shape.
        """
        return self.listen(states, levels, state)[0]

    def listen(self, states: Array, levels: Array, state: ListenerState) -> tuple[Array, Array]:
        """As `hear`; also the share (T,) of each state that counted as speech."""
        c = self.config
        if len(levels) != len(states):
            raise ValueError(f"{len(states)} states and {len(levels)} levels: there must be as many")
        check_states(c, states.shape)
        features = states[:, list(c.layers)].reshape(len(states), c.features).astype(np.float32)
        share = self._speech(levels.astype(np.float32), state)
        rows = [np.zeros((0, len(c.labels) + 3), np.float32)]
        found = state.watch.follow(features, share) if state.watch is not None else []
        start = 0
        ends: list[tuple[int, Wide | None]] = [*found, (len(features) - 1, None)]
        for at, speaker in ends:
            for k in range(start, at + 1, _BLOCK):
                stop = min(k + _BLOCK, at + 1)
                rows.append(self._block(features[k:stop], share[k:stop], state))
            state.speaker = state.speaker if speaker is None else speaker
            start = at + 1
        return np.concatenate(rows), share

    def _speech(self, levels: Array, state: ListenerState) -> Array:
        """Share of speech (T,), by the loudest sound so far, which is forgotten evenly."""
        time = np.arange(1, len(levels) + 1, dtype=np.float32) * np.float32(_FALL / RATE)
        rising = np.maximum.accumulate(np.concatenate([[np.float32(state.loudest)], levels + time]))
        loud = np.maximum(rising[1:] - time, np.float32(QUIETEST))
        if len(loud):
            state.loudest = float(loud[-1])
        share = 1.0 / (1.0 + np.exp(-(levels - loud + np.float32(self.config.below_loud)) / np.float32(2.0)))
        return np.asarray(share * (levels > QUIETEST), dtype=np.float32)

    def _block(self, features: Array, share: Array, state: ListenerState) -> Array:
        c, step, part = self.config, 1.0 / RATE, share.astype(np.float64)
        terms = np.column_stack([features, np.ones_like(share)]).astype(np.float64) * (part * step)[:, None]
        recent = _fading(terms, step * (part / c.window + (1.0 - part) / c.pause), state.recent)
        speaker = _fading(terms, step * part / c.memory, state.speaker)
        state.recent, state.speaker = recent[-1].copy(), speaker[-1].copy()
        means, usual = (
            (sums[:, :-1] / np.maximum(sums[:, -1:], 1e-9)).astype(np.float32) for sums in (recent, speaker)
        )
        seconds, known = recent[:, -1].astype(np.float32), speaker[:, -1].astype(np.float32)
        sure = known / (known + np.float32(c.trust))
        scores = scores_of(self._parts, means, usual, sure, seconds / (seconds + np.float32(c.evidence)))
        powers = np.exp(scores - scores.max(1, keepdims=True))
        found = powers / powers.sum(1, keepdims=True)
        return np.column_stack([found, found[:, self._high].sum(1), found @ self._worth, sure]).astype(np.float32)


def scores_of(parts: Mapping[str, Any], means: Any, usual: Any, trust: Any, evidence: Any) -> Any:
    """(T, L) scores of recent speech, of arrays of numpy or of torch.

    Args:
        parts: the ear's tensors.
        means: (T, D) features of recent speech, of voices that usually sound like `usual` (T, D).
        trust: (T,) 0..1 in that picture of the speaker.
        evidence: (T,) 0..1, how much the recent speech says.
    """
    sure, counts = trust[:, None], evidence[:, None]
    against_all, against_own = (means - parts["centre"]) / parts["spread"], (means - usual) / parts["spread"]
    moved = (1.0 - sure) * (against_all @ parts["unknown"].T) + sure * (against_own @ parts["known"].T)
    return counts * (moved + (1.0 - sure) * parts["unknown_bias"] + sure * parts["known_bias"])


def check_states(config: EarConfig, shape: tuple[int, ...]) -> None:
    """Raises ValueError for states of a shape that the ear does not read."""
    highest = max(config.layers)
    if len(shape) != 3 or shape[1] <= highest or shape[2] != config.width:
        raise ValueError(
            f"ear {config.name!r} reads layers {list(config.layers)} of width {config.width}: "
            f"expected states (T, more than {highest}, {config.width}), got {shape}"
        )


def _fading(values: Wide, decay: Wide, before: Wide) -> Wide:
    """Running sums (T, C) of `values` (T, C) after `before` (C,), all that is there times exp(-decay) at each of T."""
    age = decay.cumsum(0)
    weights = np.tril(np.exp(np.minimum(age[None, :] - age[:, None], 0.0)))
    summed: Wide = weights @ values + np.exp(-age)[:, None] * before
    return summed


def levels_of(samples: Array, states: int) -> Array:
    """Levels (states,) in dB re full scale of the 40 ms around each state, of samples (N,) at 16 kHz.

    State k is centred at sample 320 k; what lies outside the samples is silence.
    """
    needed = (states + 1) * SAMPLES
    padded = np.pad(samples.astype(np.float64), (SAMPLES, max(0, needed - len(samples))))
    energy = np.concatenate([[0.0], np.cumsum(padded**2)])
    first = np.arange(states) * SAMPLES
    power = (energy[first + 2 * SAMPLES] - energy[first]) / (2 * SAMPLES)
    return (10.0 * np.log10(np.maximum(power, 0.0) + 1e-10)).astype(np.float32)


def load_streaming_ear(name_or_path: str | os.PathLike[str] = "free") -> StreamingEar:
    """An ear by name or folder. Raises EarError as `ear_config.read_ear` does."""
    return StreamingEar(*read_ear(name_or_path))
