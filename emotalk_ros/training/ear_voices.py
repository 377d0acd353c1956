"""Teaching an ear to notice that another person speaks: what tells voices apart, from which distance on, how well.

The numbers are a linear discriminant analysis (Fisher 1936) of means over some seconds of speech: between the speakers
of each collection, against what one speaker's own speech differs by, with its other words and emotions. The limit comes
from speakers that the analysis did not have.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import eigh

from emotalk_ros.model.ear import Ear
from emotalk_ros.model.ear_stream import Array, VoiceWatch
from emotalk_ros.training.ear import Clips, Floats, HeardClip

NUMBERS = 32
"""How many numbers tell voices apart."""
_SHRINKAGE = 0.3
_FEWEST = 6
"""Speakers below which nothing is learned of how voices differ."""
_CALM = 0.98
"""Share of looks at one and the same voice that the limit lets pass."""
_BEFORE, _AFTER = 60.0, 30.0  # seconds of the streams that are measured on


def teach_voices(ear: Ear, clips: Clips, seed: int = 0) -> dict[str, Noticing]:
    """Gives `ear` its `voices` and limit; returns how well changes are noticed among speakers held out, by collection.

    Half of each collection's speakers are held out at a time: they give the limit, and are measured with the one that
    the other half gave. Where there are too few speakers the ear stays as it is, and nothing is returned.
    """
    rows = fit_voices(clips)
    halves = [clips.subset(_half(clips, side)) for side in (0, 1)]
    pair = [fit_voices(half, _FEWEST // 2) for half in reversed(halves)]
    numbers = min((len(voices) for voices in (rows, *pair) if voices is not None), default=0)
    if rows is None or not numbers:
        return {}
    # A limit belongs to so many numbers: the same in all three.
    fits = [(None if v is None else v[:numbers], half) for v, half in zip(pair, halves, strict=True)]
    limits = [None if voices is None else limit_of(voices, held, seed) for voices, held in fits]
    known = [limit for limit in limits if limit is not None]
    if not known:
        return {}
    ear.voices = torch.from_numpy(rows[:numbers])
    ear.config = replace(ear.config, voices=numbers, change=float(np.mean(known)))
    found: dict[str, list[Noticing]] = {}
    for side, (voices, held) in enumerate(fits):
        limit = limits[1 - side] if limits[1 - side] is not None else limits[side]
        if voices is None or limit is None:
            continue
        for name, noticing in noticing_by_collection(voices, limit, held).items():
            found.setdefault(name, []).append(noticing)
    return {name: _mean(parts) for name, parts in found.items()}


def noticing_by_collection(voices: Array, limit: float, clips: Clips) -> dict[str, Noticing]:
    """`measure_noticing` of each collection in which two speakers talk long enough."""
    each = {name: clips.subset(clips.collections == name) for name in _collections(clips)}
    measured = {name: measure_noticing(voices, limit, part) for name, part in each.items()}
    return {name: noticing for name, noticing in measured.items() if noticing is not None}


def _half(clips: Clips, side: int) -> NDArray[np.bool_]:
    """The clips of every other speaker; speakers are numbered collection by collection."""
    return clips.speakers % 2 == side


def _mean(parts: Sequence[Noticing]) -> Noticing:
    total = sum(part.streams for part in parts)

    def mean(name: str) -> float:
        return float(np.average([getattr(p, name) for p in parts], weights=[p.streams for p in parts]))

    return Noticing(total, mean("within_10s"), mean("seconds"), mean("false_per_minute"))


def fit_voices(clips: Clips, fewest: int = _FEWEST) -> Array | None:
    """(up to NUMBERS, D): rows that tell voices apart; None of fewer than `fewest` speakers.

    A speaker's own speech differs by 1 in each of them (its variance over means of six seconds).
    """
    between, within = [], []
    for name in _collections(clips):
        windows, speakers = _windows(clips, name)
        known, where, counts = np.unique(speakers, return_inverse=True, return_counts=True)
        if len(known) < 3:
            continue
        means = np.zeros((len(known), windows.shape[1]))
        np.add.at(means, where, windows)
        means /= counts[:, None]
        between.append(means - means.mean(0))
        several = counts[where] > 1
        if several.any():
            freed = np.sqrt(counts / np.maximum(counts - 1, 1))[where, None]
            within.append(((windows - means[where]) * freed)[several])
    if sum(map(len, between)) < fewest or not within:
        return None
    inner, outer = (np.mean([rows.T @ rows / len(rows) for rows in parts], axis=0) for parts in (within, between))
    scale = np.sqrt(np.diag(inner)) + 1e-6
    inner = (1 - _SHRINKAGE) * inner / np.outer(scale, scale) + _SHRINKAGE * np.eye(len(scale))
    count = min(NUMBERS, sum(map(len, between)) - len(between), len(scale))
    _, rows = eigh(outer / np.outer(scale, scale), inner, subset_by_index=(len(scale) - count, len(scale) - 1))
    return (rows / scale[:, None]).T[::-1].astype(np.float32)


def limit_of(voices: Array, clips: Clips, seed: int = 0) -> float | None:
    """The distance from which on it is another voice, by speakers that `voices` was not fitted on; None without any."""
    found = []
    for stream in streams(clips, seed, change=False):
        watch = _Listening(voices)
        watch.follow(*stream.whole)
        found += watch.distances
    return float(np.quantile(found, _CALM)) if found else None


@dataclass(frozen=True)
class Noticing:
    """How well changes of the speaker are noticed, on speakers that the fit did not have.

    `within_10s` is the share of changes noticed within ten seconds of the new speaker's speech, `seconds` the median of
    those seconds, `false_per_minute` how often somebody else is noticed in a minute of one speaker's speech. Each clip
    has another emotion.
    """

    streams: int
    within_10s: float
    seconds: float
    false_per_minute: float

    def figures(self) -> dict[str, float]:
        """What a card states."""
        return {name: round(value, 2) for name, value in asdict(self).items()}


def measure_noticing(voices: Array, limit: float, clips: Clips, seed: int = 1) -> Noticing | None:
    """Changes between the speakers of `clips`; None where there are not two with enough speech."""
    delays, false, minutes, count = [], 0, 0.0, 0
    for stream in streams(clips, seed):
        watch = VoiceWatch(voices, limit, memory=90.0)
        false += len(watch.follow(*stream.before))
        found = watch.follow(*stream.after)
        if found:
            delays.append(float(stream.after[1][: found[0][0] + 1].sum()) / 50)
        minutes += float(stream.before[1].sum()) / 50 / 60
        count += 1
    if not count:
        return None
    noticed = float(np.mean(np.array([*delays, *[np.inf] * (count - len(delays))]) <= 10.0))
    return Noticing(count, noticed, float(np.median(delays)) if delays else float("nan"), false / minutes)


class _Listening(VoiceWatch):
    """Never finds anybody, and keeps what it saw."""

    def __init__(self, voices: Array) -> None:
        super().__init__(voices, float("inf"), memory=90.0)
        self.distances: list[float] = []

    def _distance(self, recent: Array) -> float:
        self.distances.append(super()._distance(recent))
        return self.distances[-1]


Speech = tuple[Array, Array]
"""Means (n, D) over pieces of speech, and how many states (n,) of speech are behind each."""


@dataclass(frozen=True)
class VoiceStream:
    """Speech of one speaker, then of another of the same collection (or of the same)."""

    before: Speech
    after: Speech

    @property
    def whole(self) -> Speech:
        """One after the other."""
        return np.concatenate([self.before[0], self.after[0]]), np.concatenate([self.before[1], self.after[1]])


def streams(clips: Clips, seed: int, count: int = 60, change: bool = True) -> Iterator[VoiceStream]:
    """Made-up streams of the clips of each collection of speech: whole clips in any order, a minute, then half of one.

    Speakers of the same collection were recorded alike: what differs is the voice.
    """
    rng = np.random.default_rng([seed, 17])
    for name in _collections(clips):
        speakers = {k: _of(clips, name, k) for k in np.unique(clips.speakers[clips.collections == name])}
        enough = [k for k, own in speakers.items() if sum(float(c.seconds.sum()) for c in own) >= _AFTER]
        if len(enough) < 1 + change:
            continue
        for _ in range(count):
            one, other = rng.choice(enough, 2, replace=False) if change else [rng.choice(enough)] * 2
            yield VoiceStream(_speech(speakers[one], _BEFORE, rng), _speech(speakers[other], _AFTER, rng))


def _speech(own: Sequence[HeardClip], seconds: float, rng: np.random.Generator) -> Speech:
    chosen: list[HeardClip] = []
    while sum(float(clip.seconds.sum()) for clip in chosen) < seconds:
        chosen += [own[k] for k in rng.permutation(len(own))]
    pieces = np.concatenate([clip.pieces for clip in chosen])
    lengths = np.concatenate([clip.seconds for clip in chosen])
    stop = int(np.searchsorted(lengths.cumsum(), seconds)) + 1
    return pieces[:stop], lengths[:stop] * 50


def _collections(clips: Clips) -> list[str]:
    """Those that talk: cries say little of how a voice talks."""
    return sorted(set(clips.collections[~clips.bursts]))


def _of(clips: Clips, collection: str, speaker: int) -> list[HeardClip]:
    return [clips.clips[k] for k in np.flatnonzero((clips.speakers == speaker) & (clips.collections == collection))]


def _windows(clips: Clips, collection: str) -> tuple[Floats, np.ndarray]:
    """Means (n, D) over a watch's window of speech of whole clips in any order, and whose they are (n,)."""
    rng = np.random.default_rng(23)
    size = VoiceWatch.CELLS
    rows, owners = [], []
    for speaker in np.unique(clips.speakers[clips.collections == collection]):
        own = _of(clips, collection, speaker)
        for _ in range(2):
            order = rng.permutation(len(own))
            pieces = np.concatenate([own[k].pieces for k in order])
            seconds = np.concatenate([own[k].seconds for k in order])
            for start in range(0, max(1, len(pieces) - size + 1), size):
                part = slice(start, start + size)
                rows.append(np.average(pieces[part], axis=0, weights=seconds[part]))
                owners.append(speaker)
    return np.array(rows), np.array(owners)
