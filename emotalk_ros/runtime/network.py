"""`StreamingEmoTalk` computed by ONNX Runtime: the same numbers to 1e-5, the same methods, no torch."""

from __future__ import annotations

import math
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotalk_ros.model.analysis import Analysis
from emotalk_ros.model.feature_grid import FEATURE_STRIDE, MEL_HOP, MEL_REACH, MEL_WINDOW, frame_places
from emotalk_ros.model.inputs import checked_audio, checked_level, checked_person
from emotalk_ros.model.stream_windows import StreamWindows, analyse_windows, controls_of
from emotalk_ros.runtime.graphs import Graphs
from emotalk_ros.runtime.segments import SegmentPool, VoiceSegments
from emotalk_ros.runtime.sizes import NetworkSizes
from emotalk_ros.units import SAMPLE_RATE, frame_count

Array = NDArray[np.float32]

_FRAMES = 60
"""Frames that go through the decoder at a time."""
_VARIANCE_FLOOR = 1e-4


@dataclass
class OnnxState:
    """All that is kept of one stream."""

    segments: VoiceSegments
    samples: Array = field(default_factory=lambda: np.zeros(MEL_REACH, np.float32))
    """Samples that spectra still need; a stream begins after silence."""
    samples_first: int = -MEL_REACH
    features: int = 0
    """Features whose samples are there."""
    read: Array | None = None
    """Adapters' outputs that frames still need."""
    read_first: int = 0
    next_frame: int = 0
    sums: Array | None = None
    caches: list[Array] | None = None
    known: int = 0
    """Frames in the caches."""
    content: Array | None = None
    summed: Array | None = None
    """Content and statistics of the last frames, as far as the decoder reaches."""


@dataclass(frozen=True)
class Processor:
    """Where it is computed, as torch's devices tell it."""

    type: str = "cpu"
    index: None = None

    def __str__(self) -> str:
        return self.type


class OnnxNetwork:
    """The network that ships, as a `streaming.FaceModel`, without torch.

    Args:
        folder: model folder with ONNX graphs (`emotalk convert FOLDER --onnx`).
        precision: "float32", or "int8": linear layers of trunk, adapters and decoder in eight bits.
        threads: of ONNX Runtime.

    Raises:
        RuntimeUnavailable, CheckpointError: see `runtime.graphs.Graphs`.
    """

    splits_expression = True
    min_samples = 1
    computes_arrays = True
    """Emotion controls are numpy arrays."""
    computed_by = ""
    """What computes it and why, in words."""

    def __init__(self, folder: Path, precision: str = "float32", threads: int = 1) -> None:
        self._graphs = Graphs(folder, precision, threads)
        self.config: NetworkSizes = self._graphs.sizes
        self.device = Processor()
        self.folder, self.precision = folder, precision
        self.trunk = self._pool = SegmentPool(self._graphs)
        weights = self._graphs.weights
        self.emotion_prototypes = self._graphs.weight("emotion_prototypes")
        self.prototypes_set = bool(self._graphs.weight("prototypes_set"))
        self.parameters_count = sum(tensor.size for tensor in weights.values())
        self._hann = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(MEL_WINDOW) / MEL_WINDOW)).astype(np.float32)
        self._decay = math.exp(-1.0 / (self.config.emotion_memory * self.config.fps))

    # -- streams -----------------------------------------------------------------------------------------------------

    def new_state(self, frames: int = 0) -> OnnxState:
        """The state of a stream that begins; its buffers are given back when it is no longer used."""
        state = OnnxState(self._pool.take())
        weakref.finalize(state, self._pool.give_back, state.segments.rows)
        return state

    def hear(
        self, samples: Sequence[Array], states: Sequence[OnnxState], controls: Sequence[Mapping[str, Any]]
    ) -> list[Analysis]:
        """The next samples (n,) of several streams in one batch: the frames that each completes, as it would alone.

        Args:
            samples: of each stream, as many as there are: none has to wait for another.
            states: of each stream (`new_state`), carried on.
            controls: of each stream: `person`, `level`, and what `EmotionControl.model_inputs` gives.
        """
        stems = self._stems([np.asarray(piece, dtype=np.float32) for piece in samples], states)
        features = self._pool.step([state.segments for state in states], stems)
        made = self._decoded(self._frames(features, states), states, controls)
        return [self._analysis(*parts, new) for parts, new in zip(made, features, strict=True)]

    def hear_again(self, state: OnnxState, controls: Mapping[str, Any]) -> tuple[Array, Array]:
        """The stream's last frames with other controls: speech and expression (n, 52); it goes on from there."""
        state.caches, state.known = None, 0
        if state.content is None or state.summed is None:
            nothing = np.zeros((0, self.config.num_coefficients), np.float32)
            return nothing, nothing
        (speech, expression, _, _), *_ = self._decode([(state.content, state.summed)], [state], [controls])
        return speech, expression

    def stream_memory(self, frames: int, emotion_every: float = 0.0) -> Any:
        """What a stream's windows of up to `frames` frames pass on to each other: see `analyse`."""
        return StreamWindows(frames)

    def analyse_together(self, windows: Sequence[tuple[Array, Mapping[str, Any]]]) -> list[Analysis]:
        """Windows of several streams (audio, and the arguments of `analyse`) in one batch."""
        return analyse_windows(self, windows)

    # -- clips -------------------------------------------------------------------------------------------------------

    def frame_count(self, samples: int) -> int:
        """Frames that a clip of `samples` samples gives."""
        return frame_count(samples, self.config.fps)

    def predict(
        self,
        audio: Any,
        person: Any = 0,
        level: float = 1.0,
        emotion: Any = None,
        sample_rate: int = SAMPLE_RATE,
    ) -> Array:
        """Coefficients of one clip (frames, 52); as `SpeechToFace.predict`."""
        return self.analyse(audio, person, level, emotion, sample_rate).coefficients

    def analyse(
        self,
        audio: Any,
        person: Any = 0,
        level: float = 1.0,
        emotion: Any = None,
        sample_rate: int = SAMPLE_RATE,
        **window: Any,
    ) -> Analysis:
        """As `SpeechToFace.analyse`: a clip, or with `memory`, `start` and `frames` one of a stream's windows."""
        values = self.check_audio(audio, sample_rate)
        asked = {"person": person, "level": level, "emotion": emotion, **window}
        if window:
            return analyse_windows(self, [(values, asked)])[0]
        return self._clip(values, controls_of(self, asked))[0]

    def embed_emotion(self, values: Array) -> Array:
        """(1, N) samples to the emotion embedding heard in them, frame by frame, (1, T, E)."""
        return self._clip(np.asarray(values, np.float32)[0], {})[1][None]

    def check_audio(self, audio: Any, sample_rate: int = SAMPLE_RATE, name: str = "audio") -> Array:
        """`audio` as an (n,) float32 array; ValueError names what is wrong with it."""
        return checked_audio(audio, self.min_samples, sample_rate, name)

    def _person(self, person: Any) -> Array:
        """(persons,) weights. Raises ValueError with the range."""
        checked = checked_person(person, self.config.num_persons)
        return np.eye(self.config.num_persons, dtype=np.float32)[checked] if isinstance(checked, int) else checked

    def _clip(self, values: Array, controls: Mapping[str, Any]) -> tuple[Analysis, Array]:
        """A whole clip, silence after it; and the emotion embeddings heard (T, E)."""
        frames, state = self.frame_count(len(values)), self.new_state()
        last = -(-(frames - 1) * SAMPLE_RATE // self.config.fps) + self.config.lookahead_samples
        padded = np.pad(values, (0, max(0, last - len(values))))
        features = self._pool.step([state.segments], self._stems([padded], [state]))
        read = self._frames(features, [state])
        made = self._decoded([(read[0][0][:frames], read[0][1][:frames])], [state], [controls])[0]
        return self._analysis(*made, features[0]), made[3]

    # -- the parts, in order -----------------------------------------------------------------------------------------

    def _stems(self, pieces: Sequence[Array], states: Sequence[OnnxState]) -> list[Array]:
        """Spectra and convolutions: samples to the trunk's inputs (n, width) that they complete."""
        counts, power = [], []
        for samples, state in zip(pieces, states, strict=True):
            state.samples = np.concatenate([state.samples, samples])
            end = state.samples_first + len(state.samples)
            count = max(0, (end - MEL_REACH) // FEATURE_STRIDE + 1 - state.features)
            counts.append(count)
            power.append(self._power(state, count))
        most = max(counts, default=0)
        if not most:
            return [np.zeros((0, self.config.trunk_width), np.float32) for _ in pieces]
        batch = np.zeros((len(pieces), 2 * most + 3, MEL_WINDOW // 2 + 1), np.float32)
        for row, values in zip(batch, power, strict=True):
            row[: len(values)] = values
        first = np.array([state.features for state in states], np.int64)
        (made,) = self._graphs.run("stem", {"power": batch, "first": first})
        for count, state in zip(counts, states, strict=True):
            state.features += count
            gone = FEATURE_STRIDE * state.features - MEL_REACH - state.samples_first
            state.samples, state.samples_first = state.samples[gone:], state.samples_first + gone
        return [made[k, :count] for k, count in enumerate(counts)]

    def _power(self, state: OnnxState, count: int) -> Array:
        """Power spectra (2 count + 3, bins) around the next `count` features."""
        if not count:
            return np.zeros((0, MEL_WINDOW // 2 + 1), np.float32)
        begin = FEATURE_STRIDE * state.features - MEL_REACH - state.samples_first
        used = state.samples[begin : begin + (2 * count + 2) * MEL_HOP + MEL_WINDOW]
        windows = np.lib.stride_tricks.sliding_window_view(used, MEL_WINDOW)[::MEL_HOP]
        spectrum = np.fft.rfft(windows * self._hann)
        return (spectrum.real**2 + spectrum.imag**2).astype(np.float32)

    def _frames(self, features: Sequence[Array], states: Sequence[OnnxState]) -> list[tuple[Array, Array]]:
        """Content (t, C) and running statistics (t, 2 channels) of the frames that new features complete."""
        counts = [len(each) for each in features]
        most, c = max(counts, default=0), self.config
        if most:
            batch = np.zeros((len(features), most, c.levels, c.trunk_width), np.float32)
            for row, each in zip(batch, features, strict=True):
                row[: len(each)] = each
            (made,) = self._graphs.run("adapters", {"features": batch})
        else:
            made = np.zeros((len(features), 0, c.content_dim + c.emotion_channels + 1), np.float32)
        frames = []
        for k, (count, state) in enumerate(zip(counts, states, strict=True)):
            read = self._read(made[k, :count], state)
            heard = read[:, c.content_dim :]
            frames.append((read[:, : c.content_dim], self._statistics(heard, state)))
        return frames

    def _read(self, new: Array, state: OnnxState) -> Array:
        """Features (n, C), 50 a second, at the instants t / fps: the frames (t, C) that they complete."""
        values = new if state.read is None else np.concatenate([state.read, new])
        places = frame_places(self.config.fps, state.read_first, len(values), state.next_frame)
        share = places.share[:, None]
        frames = values[places.lower] * (1 - share) + values[places.upper] * share
        state.next_frame += len(share)
        state.read, state.read_first = values[places.gone :], state.read_first + places.gone
        return frames

    def _statistics(self, heard: Array, state: OnnxState) -> Array:
        """Weighted mean and deviation up to each frame: `model.emotion_statistics`, in numpy."""
        channels, prior = self.config.emotion_channels, self.config.emotion_prior * self.config.fps
        weight = 1.0 / (1.0 + np.exp(-heard[:, channels:]))
        values = heard[:, :channels]
        terms = np.concatenate([weight * values, weight * values**2, weight], 1)
        if state.sums is None:
            state.sums = np.zeros(terms.shape[1], np.float32)
        blocks = [terms[:0]]
        for start in range(0, len(terms), _FRAMES):
            block = terms[start : start + _FRAMES]
            age = np.arange(len(block))
            weights = np.tril(self._decay ** np.maximum(age[:, None] - age, 0)).astype(np.float32)
            old = (self._decay ** (age + 1.0)).astype(np.float32)
            blocks.append(weights @ block + old[:, None] * state.sums)
            state.sums = blocks[-1][-1]
        sums = np.concatenate(blocks)
        total = np.maximum(sums[:, -1:], 1e-6)
        mean = sums[:, :channels] / total
        deviation = np.sqrt(np.maximum(sums[:, channels:-1] / total - mean**2, _VARIANCE_FLOOR))
        trust = total / (total + np.float32(prior))
        return np.concatenate([trust * mean, trust * deviation], 1).astype(np.float32)

    def _decoded(
        self, frames: Sequence[tuple[Array, Array]], states: Sequence[OnnxState], controls: Sequence[Mapping[str, Any]]
    ) -> list[tuple[Array, Array, Array, Array, float]]:
        """Speech, expression, logits, emotion heard, and the expression's intensity, of each stream."""
        reach = self.config.decoder_reach
        made = self._decode(frames, states, controls)
        for (content, summed), state in zip(frames, states, strict=True):
            if len(content):
                state.content = _last(state.content, content, reach)
                state.summed = _last(state.summed, summed, reach)
        strong = [float(np.asarray(each.get("intensity", 1.0)).reshape(-1)[0]) for each in controls]
        return [(*parts, intensity) for parts, intensity in zip(made, strong, strict=True)]

    def _decode(
        self, frames: Sequence[tuple[Array, Array]], states: Sequence[OnnxState], controls: Sequence[Mapping[str, Any]]
    ) -> list[tuple[Array, Array, Array, Array]]:
        """The decoder over streams that have as many new frames in one batch, long pieces part by part."""
        outputs: list[list[list[Array]]] = [[] for _ in frames]
        begins = list(range(0, max((len(content) for content, _ in frames), default=0), _FRAMES))
        for begin in begins:
            alike: dict[int, list[int]] = {}
            for k, (content, _) in enumerate(frames):
                count = min(_FRAMES, len(content) - begin)
                if count > 0:
                    alike.setdefault(count, []).append(k)
            for group in alike.values():
                parts = [(frames[k][0][begin : begin + _FRAMES], frames[k][1][begin : begin + _FRAMES]) for k in group]
                made = self._decode_alike(parts, [states[k] for k in group], [controls[k] for k in group])
                for k, row in zip(group, made, strict=True):
                    outputs[k].append(row)
        c = self.config
        widths = (c.num_coefficients, c.num_coefficients, len(c.emotion_labels), c.emotion_dim)
        nothing = [np.zeros((0, width), np.float32) for width in widths]
        return [tuple(np.concatenate(each) for each in zip(nothing, *rows, strict=True)) for rows in outputs]  # type: ignore[misc]

    def _decode_alike(
        self, parts: list[tuple[Array, Array]], states: list[OnnxState], controls: list[Mapping[str, Any]]
    ) -> list[list[Array]]:
        c = self.config
        for state in states:
            if state.caches is None:
                state.caches = self._no_caches()
        if any("emotion_values" in each for each in controls):
            raise ValueError("an emotion clip is stretched by torch only: use backend torch, or leave out stretch")
        count = len(states[0].caches or ())
        feed: dict[str, Array] = {
            "content": np.stack([content for content, _ in parts]),
            "summed": np.stack([summed for _, summed in parts]),
            "given": np.zeros((len(parts), c.emotion_dim), np.float32),
            "blend": np.zeros(len(parts), np.float32),
            "person": np.stack([self._person(each.get("person", 0)) for each in controls]),
            "level": np.array([checked_level(each.get("level", 1.0)) for each in controls], np.float32),
            "known": np.array([state.known for state in states], np.int64),
        }
        for k, each in enumerate(controls):
            if each.get("emotion_embedding") is not None:
                feed["given"][k] = np.asarray(each["emotion_embedding"], np.float32).reshape(-1)
                feed["blend"][k] = _number(each.get("emotion_blend"), 1.0)
        for k in range(count):
            held = [state.caches[k] for state in states if state.caches is not None]
            name = f"{('keys', 'values')[k % 2]}{k // 2}"
            feed[name] = held[0] if len(held) == 1 else np.concatenate(held)
        made = self._graphs.run("decoder", feed)
        new = feed["content"].shape[1]
        for k, state in enumerate(states):
            kept = made[4:]
            # Of a batch each stream takes a copy, so that none keeps all others' alive.
            state.caches = kept if len(states) == 1 else [each[k : k + 1].copy() for each in kept]
            state.known = min(c.decoder_reach, state.known + new)
        return [[each[k] for each in made[:4]] for k in range(len(states))]

    def _no_caches(self) -> list[Array]:
        c = self.config
        widths = [c.decoder_dim] * c.decoder_layers + [c.emotion_dim]
        return [
            np.zeros((1, c.decoder_heads, c.decoder_reach, width // c.decoder_heads), np.float32)
            for width in widths
            for _ in (0, 1)
        ]

    def _analysis(
        self, speech: Array, expression: Array, logits: Array, heard: Array, intensity: float, features: Array
    ) -> Analysis:
        labels = tuple(self.config.emotion_labels)
        whole = logits[-1] if len(logits) else np.zeros(len(labels), np.float32)
        made = speech + np.float32(intensity) * expression
        return Analysis(made, whole, logits, labels, speech, expression, features)


def _number(value: Any, otherwise: float) -> float:
    return otherwise if value is None else float(np.asarray(value).reshape(-1)[0])


def _last(kept: Array | None, new: Array, count: int) -> Array:
    """The last `count` rows."""
    both = new if kept is None else np.concatenate([kept, new])
    return both[-count:]
