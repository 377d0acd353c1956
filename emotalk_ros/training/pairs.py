"""Pseudo training pairs (EmoTalk, section 3.2): within one voice, contents c1 != c2 and states e1 != e2.

From audio A(c1,e2) and A(c2,e1) the network must make B(c1,e1) when the first drives the content and the second the
emotion, and B(c2,e2) the other way round. The targets come from other recordings of the same sentence, so they are
brought to the time line of the audio that drives the content: by linear stretch (as the published forward pass), by
dynamic time warping of the two recordings, or not at all where recoloured voices share one time line.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from emotalk_ros.corpus.store import Record
from emotalk_ros.units import SAMPLE_RATE

Floats = NDArray[np.float32]
Alignment = Literal["auto", "identity", "linear", "dtw"]

State = tuple[str, float]
"""An emotion label and its level."""


@dataclass(frozen=True)
class Pair:
    """Clip indices of a pseudo pair. `target_b` is None where B(c2, e2) was never recorded: one-sided."""

    a: int
    """A(c1, e2): the anchor."""
    b: int
    """A(c2, e1)."""
    target_a: int
    """B(c1, e1): content of a with the emotion of b."""
    target_b: int | None
    """B(c2, e2): content of b with the emotion of a."""


class PairIndex:
    """Finds partners: which sentences each voice (source, actor, personal style) says in which states."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = records
        said: dict[tuple[str, int, int | None], dict[State, dict[str, list[int]]]]
        said = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
        for index, record in enumerate(records):
            if record.emotion is not None and record.sentence:
                said[voice(record)][record.emotion, record.level][record.sentence].append(index)
        self._said = {v: {s: dict(c) for s, c in states.items()} for v, states in said.items()}

    def has_pair(self, index: int) -> bool:
        """Whether clip `index` can be the anchor of a pair."""
        record = self.records[index]
        return any(self._donors(record, state) for state in self._states(record))

    def draw(self, index: int, rng: np.random.Generator) -> Pair | None:
        """A random pair with clip `index` as A(c1, e2), or None when its voice has none."""
        record = self.records[index]
        states = self._states(record)
        for choice in rng.permutation(len(states)):
            state = states[choice]
            donors = self._donors(record, state)
            if donors:
                said = self._said[voice(record)]
                own: State = (record.emotion or "", record.level)
                both = [c for c in donors if c in said[own]]
                content = donors[rng.integers(len(donors))] if not both else both[rng.integers(len(both))]
                swapped = said[own].get(content)
                return Pair(
                    a=index,
                    b=_pick(said[state][content], rng),
                    target_a=_pick(said[state][record.sentence], rng),
                    target_b=_pick(swapped, rng) if swapped else None,
                )
        return None

    def _states(self, record: Record) -> list[State]:
        """States of another emotion in which the voice of `record` says the same sentence."""
        if record.emotion is None or not record.sentence:
            return []
        said = self._said.get(voice(record), {})
        return [s for s, contents in said.items() if s[0] != record.emotion and record.sentence in contents]

    def _donors(self, record: Record, state: State) -> list[str]:
        """Other sentences of that voice in `state`."""
        return [c for c in self._said[voice(record)][state] if c != record.sentence]


def voice(record: Record) -> tuple[str, int, int | None]:
    """What pseudo pairs and packed windows stay within."""
    return record.source, record.actor, record.person


def _pick(indices: list[int], rng: np.random.Generator) -> int:
    return indices[0] if len(indices) == 1 else indices[int(rng.integers(len(indices)))]


def align(
    target: Floats,
    frames: int,
    method: Alignment = "auto",
    content_audio: Floats | None = None,
    target_audio: Floats | None = None,
    tolerance: int = 1,
) -> Floats:
    """Coefficients `target` (T, 52) on the time line of another recording with `frames` frames: (frames, 52).

    "auto" takes the identity when the lengths differ by at most `tolerance` frames, else the linear stretch. "dtw"
    needs both recordings as float audio. Raises ValueError for an unknown method or missing audio.
    """
    if method == "auto":
        method = "identity" if abs(len(target) - frames) <= tolerance else "linear"
    if method == "identity":
        return target[np.minimum(np.arange(frames), len(target) - 1)]
    if method == "linear":
        return sample_rows(target, np.linspace(0.0, len(target) - 1.0, frames))
    if method != "dtw":
        raise ValueError(f"unknown alignment {method!r}: auto, identity, linear or dtw")
    if content_audio is None or target_audio is None:
        raise ValueError("dtw alignment needs the audio of both recordings")
    return sample_rows(target, dtw_positions(content_audio, target_audio, frames, len(target)))


def sample_rows(values: Floats, positions: NDArray[np.floating]) -> Floats:
    """Rows of `values` (T, C) at fractional `positions` (n,), linearly interpolated and held at the ends: (n, C)."""
    inside = np.clip(positions, 0.0, len(values) - 1.0)
    low = inside.astype(np.intp)
    high = np.minimum(low + 1, len(values) - 1)
    share = (inside - low).astype(np.float32)[:, None]
    return values[low] * (1.0 - share) + values[high] * share


def dtw_positions(content: Floats, target: Floats, frames: int, target_frames: int) -> NDArray[np.float64]:
    """For each of `frames` frames of the recording `content`, the frame position in the recording `target`.

    Dynamic time warping of mean-free log spectra in 16 bands every 10 ms, within a band of a quarter of the longer
    recording around the diagonal (Sakoe and Chiba 1978); monotone by construction.
    """
    a, b = _spectra(content), _spectra(target)
    path = _dtw_path(a, b, band=max(len(a), len(b)) // 4 + abs(len(a) - len(b)))
    # Several target rows of one content row: their mean is the position, which stays monotone.
    position = np.bincount(path[:, 0], weights=path[:, 1]) / np.bincount(path[:, 0])
    where = np.linspace(0.0, len(a) - 1.0, frames)
    return np.interp(where, np.arange(len(a)), position) / max(len(b) - 1, 1) * (target_frames - 1)


def _spectra(audio: Floats, bands: int = 16) -> Floats:
    """Log energies (rows of 10 ms, bands) of equal mel width from 0 to 8 kHz, with the mean of each band removed."""
    hop, size = SAMPLE_RATE // 100, SAMPLE_RATE // 40
    padded = np.pad(audio, (0, max(size, size + hop - len(audio))))
    starts = np.arange(0, max(len(audio), 1), hop)
    blocks = np.lib.stride_tricks.sliding_window_view(padded, size)[starts[starts + size <= len(padded)]]
    power = np.abs(np.fft.rfft(blocks * np.hanning(size), axis=1)) ** 2
    mel = 2595.0 * np.log10(1.0 + np.fft.rfftfreq(size, 1.0 / SAMPLE_RATE) / 700.0)
    edges = np.searchsorted(mel, np.linspace(0.0, mel[-1], bands + 1)[:-1])
    log = np.log(np.add.reduceat(power, edges, axis=1) + 1e-5)
    return (log - log.mean(0)).astype(np.float32)


def _dtw_path(a: Floats, b: Floats, band: int) -> NDArray[np.intp]:
    """Cheapest monotone path from (0, 0) to the end, (k, 2) of row indices; steps right, down and diagonal.

    Anti-diagonals are computed at once, so the cost is len(a) + len(b) numpy steps.
    """
    rows, columns = len(a), len(b)
    distance = np.sqrt(np.maximum((a**2).sum(1)[:, None] + (b**2).sum(1) - 2.0 * a @ b.T, 0.0))
    off = np.abs(np.arange(rows)[:, None] * columns / rows - np.arange(columns)) > band
    distance[off] = np.inf
    total = np.full((rows + 1, columns + 1), np.inf)
    total[0, 0] = 0.0
    for diagonal in range(rows + columns - 1):
        i = np.arange(max(0, diagonal - columns + 1), min(rows, diagonal + 1))
        j = diagonal - i
        best = np.minimum(np.minimum(total[i, j + 1], total[i + 1, j]), total[i, j])
        total[i + 1, j + 1] = best + distance[i, j]
    path: list[tuple[int, int]] = [(rows - 1, columns - 1)]
    while path[-1] != (0, 0):
        row, column = path[-1]
        before = ((row - 1, column - 1), (row - 1, column), (row, column - 1))
        path.append(min(before, key=lambda p: total[p[0] + 1, p[1] + 1] if min(p) >= 0 else np.inf))
    return np.array(path[::-1], dtype=np.intp)
