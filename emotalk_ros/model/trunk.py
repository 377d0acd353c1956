"""The speech trunk: Whisper's encoder made causal, so that it streams.

Same parts, sizes and names as the encoder of Whisper (Radford et al. 2022, "Robust Speech Recognition via Large-Scale
Weak Supervision"), whose weights it starts from. Different are

- attention: in layer k each position sees `rights[k]` positions after its own; keys and values are kept;
- positions: Whisper's features depend on where in its 30 s they lie, and a stream has no end. So the stream is encoded
  in overlapping segments: each begins at Whisper's position 0, hears `segment` features of context, and then gives its
  features for as long; by then the next one has heard its context (the first gives its features from the start on);
- layers: the lowest three of four. The second tells emotion best, the third lips (`docs/model.md`);
- spectra: their floor is fixed; Whisper's follows the loudest sound of the clip, also a later one.

Training brings it back to what Whisper's encoder says (`training.distillation`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.audio_utils import mel_filter_bank

from emotalk_ros.model.causal import AttentionState, InputState, attend, convolve, split_heads
from emotalk_ros.model.feature_grid import MEL_HOP, MEL_WINDOW
from emotalk_ros.units import SAMPLE_RATE

_MEL_FLOOR = -7.0
"""log10 of a band's power below which nothing is heard: the floor of a loud clip in Whisper."""


@dataclass
class Segment:
    """One of the overlapping segments that a stream is encoded in; all numbers count the stream's features."""

    start: int
    """The feature at Whisper's position 0."""
    first: int
    """The first one that it gives."""
    stop: int
    """The first one that it does not give."""
    made: int = 0
    """How many it has made, given or not."""
    layers: list[AttentionState] = field(default_factory=list)
    levels: list[InputState] = field(default_factory=list)
    """States of the lower levels that wait for the last layer's look-ahead."""


@dataclass
class TrunkState:
    """What the trunk keeps of a stream."""

    samples: InputState = field(default_factory=InputState)
    spectra: InputState = field(default_factory=InputState)
    convolved: InputState = field(default_factory=InputState)
    segments: list[Segment] = field(default_factory=list)
    begun: int = 0
    """Segments that have begun."""
    heard: int = 0
    """Features that the convolutions have given."""

    def reset(self) -> None:
        """Forget the stream."""
        for part in (self.samples, self.spectra, self.convolved):
            part.reset()
        self.segments, self.begun, self.heard = [], 0, 0


def sinusoids(width: int, count: int) -> Tensor:
    """Whisper's position vectors, (count, width), bit by bit; `runtime.graphs` has them without torch, to 2e-5."""
    half = width // 2
    frequency = torch.exp(-math.log(10000.0) / (half - 1) * torch.arange(half, dtype=torch.float32))
    angle = torch.arange(count, dtype=torch.float32)[:, None] * frequency
    return torch.cat([angle.sin(), angle.cos()], 1)


class LogMel(nn.Module):
    """Whisper's log-mel spectra, (log10(power) + 4) / 4, with a fixed floor; always in float32."""

    window: Tensor
    filters: Tensor

    def __init__(self, bands: int) -> None:
        super().__init__()
        self.bands = bands
        self.register_buffer("window", torch.empty(MEL_WINDOW), persistent=False)
        self.register_buffer("filters", torch.empty(MEL_WINDOW // 2 + 1, bands), persistent=False)
        self.reset_constants()

    def reset_constants(self) -> None:
        """Compute window and filters (they are not part of a checkpoint)."""
        if self.window.is_meta:
            return
        device = self.window.device
        self.window = torch.hann_window(MEL_WINDOW, device=device)
        filters = mel_filter_bank(
            MEL_WINDOW // 2 + 1, self.bands, 0.0, SAMPLE_RATE / 2, SAMPLE_RATE, norm="slaney", mel_scale="slaney"
        )
        self.filters = torch.as_tensor(filters, dtype=torch.float32, device=device)

    def _apply(self, fn, recurse: bool = True):  # type: ignore[no-untyped-def]
        super()._apply(fn, recurse)
        if self.window.dtype != torch.float32:
            self.window, self.filters = self.window.float(), self.filters.float()
            self.reset_constants()  # a cast to bfloat16 must not reach the filters
        return self

    def forward(self, pieces: Sequence[Tensor], states: Sequence[InputState]) -> tuple[Tensor, list[int]]:
        """New samples of each stream (B, N) to the spectra that they complete, side by side (B, n_1 + n_2 + .., bands),
        and the n of each stream. Spectrum k of a stream is centred at its sample 160 k.
        """
        windows, counts = [], []
        for piece, state in zip(pieces, states, strict=True):
            values = state.extend(piece.float(), MEL_WINDOW // 2)
            count = max(0, (values.shape[1] - MEL_WINDOW) // MEL_HOP + 1)
            state.kept = values[:, count * MEL_HOP :]
            counts.append(count)
            if count:
                used = values[:, : (count - 1) * MEL_HOP + MEL_WINDOW]
                windows.append(used.unfold(1, MEL_WINDOW, MEL_HOP))
        if not windows:
            return self.window.new_zeros(pieces[0].shape[0], 0, self.bands), counts
        with torch.autocast(self.window.device.type, enabled=False):
            spectrum = torch.fft.rfft(torch.cat(windows, 1) * self.window)
            power = (spectrum.real.square() + spectrum.imag.square()) @ self.filters
            return (power.clamp(min=10.0**_MEL_FLOOR).log10() + 4.0) / 4.0, counts

    def whole(self, samples: Tensor) -> Tensor:
        """Spectra (B, N // 160, bands) of whole clips (B, N), silence around them."""
        count = samples.shape[1] // MEL_HOP
        padded = functional.pad(samples, (0, MEL_WINDOW // 2))
        return self([padded], [InputState()])[0][:, :count]


class LocalAttention(nn.Module):
    """Whisper's attention: each position sees its segment up to `right` positions after its own."""

    def __init__(self, width: int, heads: int, right: int) -> None:
        super().__init__()
        self.heads, self.right = heads, right
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width)
        self.q_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(
        self,
        new: Tensor,
        counts: Sequence[int],
        looking: Tensor,
        queries: Sequence[int],
        states: Sequence[AttentionState],
    ) -> Tensor:
        """New inputs of segments side by side (B, n_1 + n_2 + .., C) are seen; those whose look-ahead is complete
        (B, m_1 + m_2 + .., C) look: as many outputs.
        """
        keys, values = (split_heads(project(new), self.heads) for project in (self.k_proj, self.v_proj))
        asked = split_heads(self.q_proj(looking), self.heads)
        mixed = []
        parts = zip(
            keys.split(list(counts), 2), values.split(list(counts), 2), asked.split(list(queries), 2), strict=True
        )
        for (key, value, query), state in zip(parts, states, strict=True):
            seen, _ = state.extend(key, value)
            if query.shape[2]:
                mixed.append(attend(query, state, None, seen.shape[2], self.right))
                state.next_query += query.shape[2]
        return self.out_proj(torch.cat(mixed, 1) if mixed else looking)


class TrunkLayer(nn.Module):
    """A layer of Whisper's encoder, norms first."""

    def __init__(self, width: int, heads: int, feedforward: int, right: int) -> None:
        super().__init__()
        self.self_attn = LocalAttention(width, heads, right)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, feedforward)
        self.fc2 = nn.Linear(feedforward, width)
        self.final_layer_norm = nn.LayerNorm(width)

    def forward(self, new: Tensor, counts: Sequence[int], states: Sequence[AttentionState]) -> tuple[Tensor, list[int]]:
        """New inputs of segments side by side (B, n_1 + n_2 + .., C) to the outputs (B, m_1 + m_2 + .., C) that they
        complete, `right` positions later than they come, and the m of each.
        """
        complete, queries = [], []
        for part, state in zip(new.split(list(counts), 1), states, strict=True):
            hidden = part if state.waiting is None else torch.cat([state.waiting, part], 1)
            count = max(0, hidden.shape[1] - self.self_attn.right)
            complete.append(hidden[:, :count])
            state.waiting = hidden[:, count:]
            queries.append(count)
        old = torch.cat(complete, 1)
        seen, looking = self.self_attn_layer_norm(new), self.self_attn_layer_norm(old)
        mixed = old + self.self_attn(seen, counts, looking, queries, states)
        return mixed + self.fc2(functional.gelu(self.fc1(self.final_layer_norm(mixed)))), queries


class SpeechTrunk(nn.Module):
    """Samples to features of several levels, 50 times a second.

    Args:
        width, heads, feedforward, bands: Whisper's sizes (tiny: 384, 6, 1536, 80).
        segment: features of context before those that a segment gives, and how many it gives.
        rights: positions that each layer sees after its own; as many numbers as layers.
    """

    positions: Tensor

    def __init__(
        self, width: int, heads: int, feedforward: int, bands: int, segment: int, rights: tuple[int, ...] | list[int]
    ) -> None:
        super().__init__()
        self.spectra = LogMel(bands)
        self.conv1 = nn.Conv1d(bands, width, 3)
        self.conv2 = nn.Conv1d(width, width, 3, stride=2)
        self.layers = nn.ModuleList(TrunkLayer(width, heads, feedforward, right) for right in rights)
        self.width, self.segment, self.right = width, segment, sum(rights)
        self.register_buffer("positions", torch.empty(2 * segment + self.right, width), persistent=False)
        self.reset_constants()

    def reset_constants(self) -> None:
        """Compute the positions (they are no part of a checkpoint)."""
        if not self.positions.is_meta:
            self.positions = sinusoids(self.width, len(self.positions)).to(self.positions)

    def limit(self, rights: Sequence[int]) -> None:
        """Let each layer see so many positions after its own."""
        for layer, right in zip(self.layers, rights, strict=True):
            assert isinstance(layer, TrunkLayer)
            layer.self_attn.right = right
        self.right = sum(rights)

    @property
    def levels(self) -> int:
        """Levels that `forward` returns: the convolutions' output and each layer's."""
        return len(self.layers) + 1

    def forward(self, samples: Tensor, state: TrunkState | None = None, count: int | None = None) -> Tensor:
        """Samples to features.

        Args:
            samples: (B, N), the next ones of each stream, mono, 16 kHz, full scale +-1.
            state: of the stream; None: a stream of its own.
            count: features wanted of a whole clip: no segment begins for later ones.

        Returns:
            (B, n, levels, width) of the features that are complete: level 0 the convolutions' output, level k that of
            layer k.
        """
        return self.streams([samples], [TrunkState() if state is None else state], count)[0]

    def streams(self, pieces: Sequence[Tensor], states: Sequence[TrunkState], count: int | None = None) -> list[Tensor]:
        """`forward` of several streams in one pass: the next samples (B, N) of each to its features (B, n, levels,
        width).
        """
        spectra, counts = self.spectra(pieces, [state.samples for state in states])
        spectra = spectra.to(self.conv1.weight.dtype)
        hidden, counts = convolve(self.conv1, spectra, counts, [state.spectra for state in states], 1)
        hidden, counts = convolve(self.conv2, functional.gelu(hidden), counts, [s.convolved for s in states], 1)
        stems = functional.gelu(hidden).split(counts, 1)
        work: list[tuple[Segment, Tensor, int]] = []  # with new features, and the place of the first of them
        where: list[range] = []  # in `work`, of each stream
        for stem, state in zip(stems, states, strict=True):
            begin, end = state.heard, state.heard + stem.shape[1]
            state.heard = end
            self._begin_segments(state, count)
            first = len(work)
            for segment in state.segments:
                low, high = max(begin, segment.start), min(end, segment.stop + self.right)
                if low < high:
                    work.append((segment, stem[:, low - begin : high - begin], low - segment.start))
            where.append(range(first, len(work)))
            state.segments = [segment for segment in state.segments if segment.stop + self.right > end]
        made = self._encode(work)
        nothing = hidden.new_zeros(hidden.shape[0], 0, self.levels, self.width)
        return [torch.cat([nothing, *made[part.start : part.stop]], 1) if part else nothing for part in where]

    def _begin_segments(self, state: TrunkState, count: int | None) -> None:
        while state.begun * self.segment < state.heard:
            start = state.begun * self.segment
            first = start + self.segment if state.begun else 0
            if count is not None and first >= count:
                break
            layers, levels = [AttentionState() for _ in self.layers], [InputState() for _ in self.layers]
            state.segments.append(Segment(start, first, start + 2 * self.segment, layers=layers, levels=levels))
            state.begun += 1

    def _encode(self, work: Sequence[tuple[Segment, Tensor, int]]) -> list[Tensor]:
        """The convolutions' next outputs (B, n, C) of each segment, the first at a position, to the features (B, m,
        levels, C) that they complete and the segment gives.
        """
        if not work:
            return []
        counts = [stem.shape[1] for _, stem, _ in work]
        stem = torch.cat([stem for _, stem, _ in work], 1)
        places = [self.positions[place : place + n] for (*_, place), n in zip(work, counts, strict=True)]
        hidden = stem + torch.cat(places).to(stem.dtype)
        levels = [stem.split(counts, 1)]
        for k, layer in enumerate(self.layers):
            hidden, counts = layer(hidden, counts, [segment.layers[k] for segment, *_ in work])
            levels.append(hidden.split(counts, 1))
        given = []
        for row, ((segment, *_), count) in enumerate(zip(work, counts, strict=True)):
            complete = []
            for level, waiting in zip(levels[:-1], segment.levels, strict=True):
                values = waiting.extend(level[row])
                complete.append(values[:, :count])
                waiting.kept = values[:, count:]
            skip = max(0, segment.first - segment.start - segment.made)
            segment.made += count
            given.append(torch.stack([*complete, levels[-1][row]], 2)[:, skip:])
        return given
