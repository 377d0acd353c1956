"""From clips on disk to the batch of one step, as a pure function of (seed, step, slot).

Nothing here keeps a state that a checkpoint would have to save: an interrupted run that goes on at step k, and two
processes that share a step's slots, see exactly the samples one uninterrupted process sees.

A *window* is what the node's model sees: a stretch of one voice in one emotion, as long as the streaming context. A
clip that ends before its window does is followed by a pause and another clip of that voice and emotion; a pair's two
windows are planned together, so that each piece of one has its target in the emotion of the other.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from emotalk_ros.corpus.store import Corpus, Record
from emotalk_ros.emotions import canonical
from emotalk_ros.face.names import COUNT, INDEX
from emotalk_ros.model.feature_grid import FEATURE_STRIDE
from emotalk_ros.training.augment import Augmenter
from emotalk_ros.training.pairs import Pair, PairIndex, align, dtw_positions, sample_rows, voice
from emotalk_ros.training.recipe import Recipe
from emotalk_ros.units import SAMPLE_RATE

Floats = NDArray[np.float32]

IGNORED = -100
"""Emotion index of a window that has none (the value torch's cross-entropy skips)."""


class ClipStore:
    """Clips of several corpora, decoded once and kept in RAM (audio int16, coefficients float16) up to a limit."""

    def __init__(self, corpora: Sequence[Corpus], fps: int, cache_gb: float = 6.0) -> None:
        self.fps = fps
        self.records: list[Record] = [record for corpus in corpora for record in corpus.records]
        self.corpus_of = np.concatenate([np.full(len(c), k) for k, c in enumerate(corpora)] or [np.zeros(0, int)])
        self._where = [(corpus, i) for corpus in corpora for i in range(len(corpus))]
        self._limit = int(cache_gb * 2**30)
        self._used = 0
        self._cache: OrderedDict[int, tuple[NDArray[np.int16], NDArray[np.float16], float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self.records)

    def frames(self, index: int) -> int:
        """Frames of clip `index` at `fps` by the manifest (at least one; the audio decides, labels may be shorter)."""
        record = self.records[index]
        known = record.duration * self.fps
        if record.frames:
            known = min(known, record.frames * self.fps / record.fps)
        return max(1, int(known + 0.01))

    def audio(self, index: int, start: int = 0, stop: int | None = None) -> Floats:
        """Samples start..stop of clip `index` as float32, full scale +-1."""
        return self._load(index)[0][start:stop].astype(np.float32) / np.float32(32768.0)

    def coefficients(self, index: int) -> Floats:
        """Labels of clip `index` at `fps`, (T, 52) float32, T = `frames(index)`."""
        return self._load(index)[1].astype(np.float32)

    def floor(self, index: int) -> float:
        """RMS of the quietest twentieth of clip `index`: its recording's own noise, to fill pauses with."""
        return self._load(index)[2]

    def preload(self, threads: int) -> None:
        """Decode every clip that fits, in so many threads: processes forked afterwards share them."""
        with ThreadPoolExecutor(threads) as pool:
            for _ in pool.map(self._load, range(len(self))):
                pass

    def _load(self, index: int) -> tuple[NDArray[np.int16], NDArray[np.float16], float]:
        found = self._cache.get(index)
        if found is not None:
            return found
        corpus, position = self._where[index]
        pcm = corpus.read_pcm(position)
        labels = corpus.read_coefficients(position)
        count = self.frames(index)
        # Labels of another rate come to ours by time, frame n at n / fps.
        labels = sample_rows(labels, np.arange(count) * (self.records[index].fps / self.fps))
        blocks = pcm[: len(pcm) // 160 * 160].reshape(-1, 160).astype(np.float32) / 32768.0
        level = float(np.quantile(np.sqrt((blocks**2).mean(1)), 0.05)) if len(blocks) else 0.0
        entry = (pcm, labels.astype(np.float16), level)
        size = pcm.nbytes + entry[1].nbytes
        if self._used + size <= self._limit:
            self._cache[index] = entry
            self._used += size
        return entry


@dataclass
class Batch:
    """Tensors of one forward pass: B windows, and P cross-driven targets that refer to them.

    audio (B, N) float; clean (B, N) the same without
    augmentation; samples (B,) valid samples; frames (B,) valid frames; target (B, T, 52); known (B, 52) 1 where
    the label can be trusted; emotion (B,) index or `IGNORED`; person (B,) int; level (B,) float; still (B,) bool;
    content_of, emotion_of (P,) windows; cross_target (P, T, 52); cross_known (P, 52); cross_person (P,);
    cross_level (P,); features (B, n, levels, width) float16 of the trunk, where they were encoded beforehand.
    """

    audio: torch.Tensor
    clean: torch.Tensor
    samples: torch.Tensor
    frames: torch.Tensor
    target: torch.Tensor
    known: torch.Tensor
    emotion: torch.Tensor
    person: torch.Tensor
    level: torch.Tensor
    still: torch.Tensor
    content_of: torch.Tensor
    emotion_of: torch.Tensor
    cross_target: torch.Tensor
    cross_known: torch.Tensor
    cross_person: torch.Tensor
    cross_level: torch.Tensor
    features: torch.Tensor | None = None

    def to(self, device: torch.device | str) -> Batch:
        """The same on another device."""
        moved = {f.name: getattr(self, f.name) for f in fields(self)}
        here: dict[str, Any] = {k: v if v is None else v.to(device, non_blocking=True) for k, v in moved.items()}
        return Batch(**here)

    def counts(self) -> dict[str, float]:
        """How many values each loss term is a mean over: windows, frames and steps between frames."""
        cross = self.frames[self.content_of]
        return {
            "self": float(self.frames.sum()),
            "cross": float(cross.sum()),
            "velocity": float((self.frames - 1).sum() + (cross - 1).sum()),
            "lip_gap": float(self.frames.sum() + cross.sum()),
            "classification": float((self.emotion != IGNORED).sum()),
            "closure": float(self.frames.sum()),
            "spread": float(self.frames.sum() + cross.sum()),
            "distillation": float((self.samples // FEATURE_STRIDE).sum()),
            "expression": float((torch.cat([self.emotion, self.emotion[self.emotion_of]]) != IGNORED).sum()),
        }


@dataclass
class Window:
    """One window before batching; `cross` is its content's face in the emotion of the pair's other window."""

    audio: Floats
    target: Floats
    known: Floats
    emotion: int
    person: int
    level: float
    still: bool = False
    cross: Floats | None = None
    clean: Floats | None = None
    """The audio before augmentation, where it was changed."""
    features: NDArray[np.float16] | None = None
    """(n, levels, width) of the trunk, where it was encoded beforehand."""


@dataclass(frozen=True)
class Piece:
    """Frames start..stop of a clip, placed at frame `at` of a window; `other` is the clip of the crossed target."""

    clip: int
    start: int
    stop: int
    at: int
    other: int | None = None


class WindowMaker:
    """Plans and renders windows of the clips `members` of a store."""

    def __init__(
        self,
        store: ClipStore,
        members: Sequence[int],
        recipe: Recipe,
        emotion_labels: Sequence[str],
        persons: int,
    ) -> None:
        self.store = store
        self.recipe = recipe
        self.persons = persons
        self.members = np.asarray(members, dtype=np.intp)
        self.pairs = PairIndex([store.records[i] for i in self.members])
        self._position = {int(clip): k for k, clip in enumerate(self.members)}
        self._label = {canonical(name): k for k, name in enumerate(emotion_labels)}
        self._augment = Augmenter(recipe.augment)
        self._dtw: dict[tuple[int, int], Floats] = {}
        # Cuts fall only where a frame's instant is a whole sample (every 3 frames at 30 fps).
        self.grid = Fraction(SAMPLE_RATE, store.fps).denominator
        self.window_frames = self._round(recipe.data.window * store.fps) if recipe.data.window else None
        self._alike: dict[Any, list[int]] = defaultdict(list)
        for clip in self.members:
            self._alike[self._state(int(clip))].append(int(clip))

    def make(
        self, clip: int, rng: np.random.Generator, augment: bool = True, always_pair: bool = False
    ) -> list[Window]:
        """One window that starts from `clip`, or the two windows of a pseudo pair (whose `cross` are then set).

        The second window's `cross` is None where the pair is one-sided. `always_pair` draws a pair wherever there is
        one, else the recipe's probability decides.
        """
        pair = None
        if rng.random() < self.recipe.pairs.probability or always_pair:
            pair = self._pair(clip, rng)
        if pair is None:
            windows = [self._render(self._plan(clip, None, rng), rng)]
        else:
            windows = [
                self._render(self._plan(pair.a, pair.target_a, rng), rng),
                self._render(self._plan(pair.b, pair.target_b, rng), rng),
            ]
        if augment:
            for window in windows:
                window.clean, window.audio = window.audio, self._augment(window.audio, rng)
        return windows

    def cut(self, clip: int, start: int) -> Window:
        """The window of `clip` from frame `start` on, nothing added or changed: for validation."""
        count = self.store.frames(clip)
        stop = count if self.window_frames is None else min(count, start + self.window_frames)
        return self._render([Piece(clip, start, stop, 0)], np.random.default_rng(0))

    def still(self, rng: np.random.Generator) -> Window:
        """A window without speech whose face is at rest."""
        frames = self.window_frames or self._round(2.0 * self.store.fps)
        return Window(
            audio=self._augment.still(self._samples(frames), rng),
            target=np.zeros((frames, COUNT), np.float32),
            known=np.ones(COUNT, np.float32),
            emotion=IGNORED,
            person=int(rng.integers(self.persons)),
            level=float(rng.random()),
            still=True,
        )

    # -- planning -------------------------------------------------------------------------------------------

    def _plan(self, first: int, other: int | None, rng: np.random.Generator) -> list[Piece]:
        """Pieces that fill a window: `first` (whose crossed target is `other`), then more of its kind."""
        count = self.store.frames(first)
        if self.window_frames is None:
            return [Piece(first, 0, count, 0, other)]
        spare = count - self.window_frames
        if spare > 0:
            start = int(rng.integers(spare // self.grid + 1)) * self.grid
        else:  # half of the short clips from their start, half from somewhere within
            start = int(rng.integers(count // 2 // self.grid + 1)) * self.grid * int(rng.random() < 0.5)
        pieces = [Piece(first, start, min(count, start + self.window_frames), 0, other)]
        while self.recipe.data.pack:
            last = pieces[-1]
            pause = rng.uniform(*self.recipe.data.pause) * self.store.fps
            at = self._round(last.at + last.stop - last.start + pause)
            if at + self.grid > self.window_frames:
                break
            following = self._next(first, other, rng)
            if following is None:
                break
            clip, crossed = following
            stop = min(self.store.frames(clip), self.window_frames - at)
            pieces.append(Piece(clip, 0, stop, at, crossed))
        return pieces

    def _next(self, first: int, other: int | None, rng: np.random.Generator) -> tuple[int, int | None] | None:
        """A clip like `first`, with (if `other` is given) the clip of the same sentence like `other`."""
        alike = self._alike[self._state(first)]
        if other is None:
            return (alike[rng.integers(len(alike))], None) if len(alike) > 1 else None
        crossed = {self.store.records[i].sentence: i for i in self._alike[self._state(other)]}
        for choice in rng.permutation(len(alike))[:8]:
            clip = alike[choice]
            found = crossed.get(self.store.records[clip].sentence)
            if found is not None:
                return clip, found
        return None

    def _pair(self, clip: int, rng: np.random.Generator) -> Pair | None:
        local = self.pairs.draw(self._position[clip], rng)
        if local is None:
            return None
        of = self.members
        target_b = None if local.target_b is None else int(of[local.target_b])
        return Pair(int(of[local.a]), int(of[local.b]), int(of[local.target_a]), target_b)

    def _state(self, clip: int) -> tuple[Any, ...]:
        record = self.store.records[clip]
        return (*voice(record), record.emotion, record.level, record.blind)

    # -- rendering ------------------------------------------------------------------------------------------

    def _render(self, pieces: Sequence[Piece], rng: np.random.Generator) -> Window:
        first, last = pieces[0], pieces[-1]
        record = self.store.records[first.clip]
        frames = last.at + last.stop - last.start
        crossed = first.other is not None
        audio = self._noise_floor(first.clip, frames, rng) if len(pieces) > 1 else np.zeros(self._samples(frames), "f4")
        rows: list[Floats] = []
        places: list[NDArray[np.intp]] = []
        for piece in pieces:
            begin = self._samples(piece.start)
            sound = self.store.audio(piece.clip, begin, self._samples(piece.stop))
            place = self._samples(piece.at)
            audio[place : place + len(sound)] = sound[: len(audio) - place]
            rows.append(self._labels(piece, crossed))
            places.append(np.arange(piece.at, piece.at + piece.stop - piece.start))
        # Pauses: the face goes straight from the end of one piece to the start of the next.
        columns = _fill(np.concatenate(rows), np.concatenate(places), frames)
        known = np.ones(COUNT, np.float32)
        known[[INDEX[name] for name in record.blind]] = 0.0
        return Window(
            audio=audio,
            target=columns[:, :COUNT],
            known=known,
            emotion=self.label(first.clip),
            person=self.person(record),
            level=record.level,
            cross=columns[:, COUNT:] if crossed else None,
        )

    def _labels(self, piece: Piece, crossed: bool) -> Floats:
        own = self.store.coefficients(piece.clip)
        if not crossed:
            return own[piece.start : piece.stop]
        assert piece.other is not None
        other = self._aligned(piece.clip, piece.other, len(own))
        return np.concatenate([own, other], axis=1)[piece.start : piece.stop]

    def _aligned(self, clip: int, other: int, frames: int) -> Floats:
        target = self.store.coefficients(other)
        if self.recipe.pairs.alignment != "dtw":
            return align(target, frames, self.recipe.pairs.alignment)
        key = (clip, other)
        if key not in self._dtw:  # a search of a second's worth of sums: once a run
            positions = dtw_positions(self.store.audio(clip), self.store.audio(other), frames, len(target))
            self._dtw[key] = positions.astype(np.float32)
        return sample_rows(target, self._dtw[key])

    def label(self, clip: int) -> int:
        """Index of the clip's emotion among the network's labels, `IGNORED` where it has none of them."""
        emotion = self.store.records[clip].emotion
        return IGNORED if emotion is None else self._label.get(emotion, IGNORED)

    def person(self, record: Record) -> int:
        """Index of the personal style: the record's own, else its actor's number, wrapped to those there are."""
        return (record.actor if record.person is None else record.person) % self.persons

    def _noise_floor(self, clip: int, frames: int, rng: np.random.Generator) -> Floats:
        return np.float32(self.store.floor(clip)) * self._augment.noise(self._samples(frames), rng)

    def _samples(self, frames: int) -> int:
        """Samples before the instant of frame `frames` (rounded up: a partial sample belongs to the frame before)."""
        return -(-frames * SAMPLE_RATE // self.store.fps)

    def _round(self, frames: float) -> int:
        return max(1, round(frames / self.grid)) * self.grid


def _fill(rows: Floats, places: NDArray[np.intp], frames: int) -> Floats:
    """`rows` at frames `places`, the gaps filled by linear interpolation: (frames, C)."""
    if len(places) == frames:
        return rows
    index = np.searchsorted(places, np.arange(frames), side="right") - 1
    after = np.minimum(index + 1, len(places) - 1)
    span = np.maximum(places[after] - places[index], 1)
    share = ((np.arange(frames) - places[index]) / span).astype(np.float32)[:, None]
    return rows[index] * (1 - share) + rows[after] * share


def collate(groups: Sequence[Sequence[Window]]) -> Batch:
    """Windows (one, or the two of a pair, a group) padded to one batch; the padding is outside every count."""
    windows = [w for group in groups for w in group]
    samples = [len(w.audio) for w in windows]
    frames = [len(w.target) for w in windows]
    content, emotion = [], []
    start = 0
    for group in groups:
        if len(group) == 2:
            sides = [(start, start + 1), (start + 1, start)]
            chosen = [(c, e) for c, e in sides if windows[c].cross is not None]
            content += [c for c, _ in chosen]
            emotion += [e for _, e in chosen]
        start += len(group)
    size = max(frames)

    def rows(values: Sequence[Floats], length: int) -> torch.Tensor:
        out = (
            np.zeros((len(values), length, *values[0].shape[1:]), np.float32)
            if values
            else np.zeros((0, length, COUNT))
        )
        for k, value in enumerate(values):
            out[k, : len(value)] = value
        return torch.from_numpy(out.astype(np.float32, copy=False))

    def ints(values: Sequence[int]) -> torch.Tensor:
        return torch.tensor(list(values), dtype=torch.long)

    known = torch.from_numpy(np.stack([w.known for w in windows]))
    return Batch(
        audio=rows([w.audio for w in windows], max(samples)),
        clean=rows([w.audio if w.clean is None else w.clean for w in windows], max(samples)),
        samples=ints(samples),
        frames=ints(frames),
        target=rows([w.target for w in windows], size),
        known=known,
        emotion=ints([w.emotion for w in windows]),
        person=ints([w.person for w in windows]),
        level=torch.tensor([w.level for w in windows], dtype=torch.float32),
        still=torch.tensor([w.still for w in windows]),
        content_of=ints(content),
        emotion_of=ints(emotion),
        cross_target=rows([w.cross for c in content if (w := windows[c]).cross is not None], size),
        cross_known=known[ints(content)] * known[ints(emotion)],
        cross_person=ints([windows[e].person for e in emotion]),
        cross_level=torch.tensor([windows[e].level for e in emotion], dtype=torch.float32),
        features=_features(windows),
    )


def _features(windows: Sequence[Window]) -> torch.Tensor | None:
    """(B, n, levels, width) of windows that were encoded beforehand, zeros behind their ends; None of others."""
    encoded = [window.features for window in windows if window.features is not None]
    if len(encoded) < len(windows):
        return None
    out = np.zeros((len(encoded), max(map(len, encoded)), *encoded[0].shape[1:]), np.float16)
    for row, made in zip(out, encoded, strict=True):
        row[: len(made)] = made
    return torch.from_numpy(out)


class StepSampler:
    """Which clip each slot of each step starts from: every clip once an epoch, times its windows and its weight."""

    def __init__(self, maker: WindowMaker, recipe: Recipe) -> None:
        self.maker = maker
        self.recipe = recipe
        store = maker.store
        weights = np.array([c.weight for c in recipe.data.corpora])
        lengths = np.array([store.frames(int(i)) for i in maker.members], dtype=float)
        windows = np.ones(len(lengths)) if maker.window_frames is None else np.maximum(1, lengths / maker.window_frames)
        self._cumulative = np.cumsum(windows * weights[store.corpus_of[maker.members]])
        self.epoch_length = max(1, round(self._cumulative[-1]))
        self._epoch: tuple[int, NDArray[np.intp]] = (-1, np.zeros(0, np.intp))

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole run."""
        optim = self.recipe.optim
        if optim.steps is not None:
            return optim.steps
        return max(1, int(np.ceil((optim.epochs or 0) * self.epoch_length / optim.batch_size)))

    def clip(self, position: int) -> int:
        """The clip of the run's `position`-th anchor."""
        epoch, within = divmod(position, self.epoch_length)
        if self._epoch[0] != epoch:
            self._epoch = (epoch, self._order(epoch))
        return int(self.maker.members[self._epoch[1][within]])

    def _order(self, epoch: int) -> NDArray[np.intp]:
        """Systematic sampling: each clip its weight times, rounded up or down by chance, then shuffled."""
        rng = np.random.default_rng([self.recipe.seed, 1, epoch])
        total = self._cumulative[-1]
        points = (np.arange(self.epoch_length) + rng.random()) * (total / self.epoch_length)
        return rng.permutation(np.minimum(np.searchsorted(self._cumulative, points), len(self._cumulative) - 1))

    def parts(self, step: int, process: int = 0, processes: int = 1) -> list[Batch]:
        """The batches (one per accumulation part) that `process` of `processes` computes in `step`."""
        size, accumulate = self.recipe.optim.batch_size, self.recipe.optim.accumulate
        slots = range(process, size, processes)
        shares = [slots[k::accumulate] for k in range(accumulate)]
        return [collate([g for slot in share for g in self.groups(step, slot)]) for share in shares]

    def groups(self, step: int, slot: int) -> list[list[Window]]:
        """The samples of one slot of a step: a window or a pair, and by chance a shot without speech."""
        rng = np.random.default_rng([self.recipe.seed, 2, step, slot])
        groups = [self.maker.make(self.clip(step * self.recipe.optim.batch_size + slot), rng)]
        if rng.random() < self.recipe.augment.still_probability:
            groups.append([self.maker.still(rng)])
        return groups


def validation_windows(maker: WindowMaker, limit: int) -> list[tuple[int, int]]:
    """(clip, start frame) of at most `limit` windows, evenly spread over the clips in order."""
    every = []
    for clip in maker.members:
        count = maker.store.frames(int(clip))
        step = maker.window_frames or count
        starts = range(0, max(1, count - step // 2), step)
        every += [(int(clip), start) for start in starts]
    if len(every) <= limit:
        return every
    return [every[i] for i in np.linspace(0, len(every) - 1, limit).round().astype(int)]
