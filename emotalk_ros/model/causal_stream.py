"""A causal `EmoTalk` over streams: a hop costs its own frames only, and all voices go through in one batch.

Without it a hop of 0.1 s encodes 2.3 s of speech again, of which 2.2 s were encoded before. With it keys and values of
each attention, the inputs of the positional convolutions and what prosody found in single windows stay. In each layer a
position sees as many before it as the longest window has, and prosody's running statistics of a window reach back as
far, however the stream is cut into hops; deep layers so hear of somewhat earlier speech than a window holds. Where
windows begin with the stream, nothing differs from the whole clip (1e-5).

`CausalStep` is the network as a function of tensors whose sizes depend on the number of new positions alone, never on
how much was heard: what is not there yet is masked. So voices at any place share a batch, and the same few shapes come
again and again. What a stream keeps lies outside (`CausalState`).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from emotalk_ros.model.analysis import Analysis, Array
from emotalk_ros.model.causal import head_slopes
from emotalk_ros.model.decoder import DecoderLayer
from emotalk_ros.model.encoder import SpeechEncoder
from emotalk_ros.model.frontend import FrameFrontEnd
from emotalk_ros.model.graphed_step import GraphedStep, padded_size, to_device
from emotalk_ros.model.inputs import checked_level, checked_person
from emotalk_ros.model.prosody import Prosody, ProsodyMatrices
from emotalk_ros.units import SAMPLE_RATE

if TYPE_CHECKING:
    from emotalk_ros.model.emotalk import EmoTalk

MOST = 64
"""Positions of a stream that go through at a time."""
_COPIED = ("pos_conv_embed", "_proj.", "feature_extractor.convolutions")
"""Parameters of which there is a copy in another order."""
_NEVER = -1e9
"""Score of a key that is not seen: finite, so that numbers come out of rows that nobody reads."""


class Ring:
    """The last `rows` rows of something that grows, (rows, width), side by side in memory; zeros before the first."""

    def __init__(self, rows: int, width: int, dtype: torch.dtype, device: torch.device) -> None:
        self.rows = rows
        self._held = torch.zeros(2 * rows + 2 * MOST, width, dtype=dtype, device=device)
        self._end = rows

    def last(self) -> Tensor:
        """(rows, width), a view."""
        return self._held[self._end - self.rows : self._end]

    def room(self, count: int) -> Tensor:
        """(rows + count, width), a view: the last rows, and room for `count` more (`MOST` or so, not many)."""
        if self._end + count > len(self._held):
            grown = self._held.new_zeros(max(len(self._held), self.rows + 2 * count), self._held.shape[1])
            grown[: self.rows] = self.last()
            self._held, self._end = grown, self.rows
        return self._held[self._end - self.rows : self._end + count]

    def advance(self, count: int) -> None:
        """What was written into the room counts from now on."""
        self._end += count


@dataclass
class CausalState:
    """What is kept of one stream. Positions, frames and windows count from its beginning."""

    frames: int
    """Frames of the longest window: how far a frame hears back."""
    samples: Array
    """Samples that windows still need; a stream begins after silence."""
    samples_first: int
    heard: int = 0
    """Samples that came."""
    position: int = 0
    """Positions that went through the encoders."""
    windows: int = 0
    """Windows of prosody that were measured."""
    rings: list[Ring] = field(default_factory=list)
    """Of positions, of frames, and of prosody's terms and channels."""


class Group(NamedTuple):
    """Streams with the same values here fit into one batch."""

    frames: int
    """Of their longest windows."""
    positions: int
    """New ones."""
    dropped: int
    """New positions before the first frame's."""
    windows: int
    """New windows of prosody."""


@lru_cache(maxsize=256)
def _places(rate: int, length: int, phase: int, count: int) -> NDArray[np.intp]:
    """Samples (count, length) of windows 0 .. count - 1 whose first starts at `phase` / (2 rate) of a sample."""
    starts = (2 * np.arange(count) * SAMPLE_RATE + phase) // (2 * rate)
    return starts[:, None] + np.arange(length)


class _Encoder(nn.Module):
    """One encoder for new positions; weights that are used together lie together."""

    def __init__(self, encoder: SpeechEncoder) -> None:
        super().__init__()
        assert isinstance(encoder.feature_extractor, FrameFrontEnd)
        self.front = encoder.feature_extractor
        self.projection = encoder.feature_projection
        self.layers: Any = encoder.encoder.layers
        self.norm = encoder.encoder.layer_norm
        self.stable = bool(encoder.config.do_stable_layer_norm)
        self.heads, self.width = encoder.config.num_attention_heads, encoder.config.hidden_size
        convolution = encoder.encoder.pos_conv_embed.conv
        self.groups, self.reach = convolution.groups, encoder.config.num_conv_pos_embeddings - 1
        self.activation = encoder.encoder.pos_conv_embed.activation
        weight = convolution.weight.detach()  # (H, H / groups, kernel)
        self.kernel = weight.unflatten(0, (self.groups, -1)).flatten(2).transpose(1, 2).contiguous()
        self.kernels = [layer.weight.detach().flatten(1) for layer in cast(Any, self.front.convolutions)]
        self.bias = convolution.bias
        self.packed = []
        for layer in self.layers:
            parts = [getattr(layer.attention, f"{name}_proj") for name in "qkv"]
            scale = layer.attention.scaling
            weights = [parts[0].weight * scale, parts[1].weight, parts[2].weight]
            biases = [parts[0].bias * scale, parts[1].bias, parts[2].bias]
            self.packed.append((torch.cat(weights).detach(), torch.cat(biases).detach()))

    @property
    def record(self) -> int:
        """Numbers that are kept of a position: its input of the positional convolution, keys and values."""
        return self.width * (1 + 2 * len(self.packed))

    def convolve(self, windows: Tensor) -> Tensor:
        """What the analysis gave of windows, (B, field + step (n - 1), channels), to features (B, n, C)."""
        hidden, convolutions = windows.to(self.kernel.dtype), cast(Any, self.front.convolutions)
        for layer, norm, kernel in zip(convolutions, self.front.norms, self.kernels, strict=True):
            seen = hidden.unfold(1, layer.kernel_size[0], layer.stride[0]).flatten(2)
            hidden = functional.gelu(norm(functional.linear(seen, kernel, layer.bias)))
        return hidden

    def forward(self, features: Tensor, records: Tensor, mask: Tensor) -> Tensor:
        """Features (B, n, C) to states (B, n, H). `records` (B, rows + n, record): n new ones are written."""
        width, rows = self.width, records.shape[1] - features.shape[1]
        hidden, _ = self.projection(features)
        records[:, rows:, :width] = hidden
        hidden = hidden + self._positions(records[:, rows - self.reach :, :width])
        if not self.stable:
            hidden = self.norm(hidden)
        at = width
        for layer, (weight, bias) in zip(self.layers, self.packed, strict=True):
            normed = layer.layer_norm(hidden) if self.stable else hidden
            packed = functional.linear(normed, weight, bias)
            records[:, rows:, at : at + 2 * width] = packed[..., width:]
            both = records[..., at : at + 2 * width]
            mixed = layer.attention.out_proj(attend(packed[..., :width], both, mask, self.heads))
            at += 2 * width
            hidden = hidden + mixed
            if self.stable:
                hidden = hidden + layer.feed_forward(layer.final_layer_norm(hidden))
            else:
                hidden = layer.layer_norm(hidden)
                hidden = layer.final_layer_norm(hidden + layer.feed_forward(hidden))
        return self.norm(hidden) if self.stable else hidden

    def _positions(self, heard: Tensor) -> Tensor:
        """The positional convolution as one product for each group: (B, reach + n, H) to (B, n, H)."""
        batch, count, groups = heard.shape[0], heard.shape[1] - self.reach, self.groups
        seen = heard.unfold(1, self.reach + 1, 1).reshape(batch * count, groups, -1).transpose(0, 1)
        made = torch.bmm(seen, self.kernel).transpose(0, 1).reshape(batch, count, self.width)
        embedded: Tensor = self.activation(made + self.bias)
        return embedded


def attend(query: Tensor, both: Tensor, mask: Tensor, heads: int) -> Tensor:
    """Attention of scaled queries (B, n, H) to keys and values side by side (B, R, 2 H); `mask` (.., n, R) is added."""
    batch, count, width = query.shape
    keys, values = both.view(batch, both.shape[1], 2, heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
    asked = query.view(batch, count, heads, -1).transpose(1, 2)
    mixed = functional.scaled_dot_product_attention(asked, keys, values, attn_mask=mask, scale=1.0)
    return mixed.transpose(1, 2).reshape(batch, count, width)


class StepInputs(NamedTuple):
    """What a step of B streams goes by."""

    powers: Sequence[Tensor]
    """Power spectra (B, windows, bins) of each encoder's windows; of prosody the new ones only."""
    rings: Sequence[Tensor]
    """(B, rows, width) what is kept, see `CausalStep.records`."""
    seen: Tensor
    """(B or 1, 1, n, rows + n) added to the scores of the encoders' attention."""
    bias: Tensor
    """(B or 1, heads, m, rows + m) added to those of the decoder's."""
    styles: Tensor
    """(B, level + person)."""
    given: Tensor
    """(B, E) emotion embedding asked for."""
    blend: Tensor
    """(B,) weight 0..1 of it against the one heard."""
    statistics: ProsodyMatrices | None = None
    origin: Tensor | None = None
    """(B,) the row of prosody's ring at which a stream began."""

    def tensors(self) -> list[Tensor]:
        """One after the other."""
        more = [] if self.statistics is None or self.origin is None else [*self.statistics, self.origin]
        return [*self.powers, *self.rings, *self[2:7], *more]


class CausalStep(nn.Module):
    """The next positions of streams side by side, as a function of tensors.

    Args:
        model: causal, on frames, not normalised by clip; its weights are used as they are now.
    """

    def __init__(self, model: EmoTalk) -> None:
        super().__init__()
        self.content = _Encoder(model.content_encoder)
        self.emotion = _Encoder(model.emotion_encoder) if model.config.disentangle else None
        self.heads: Any = nn.ModuleList([model.content_head, model.emotion_head, model.emotion_classifier])
        self.condition, self.output = model.emotion_condition, model.output
        self.decoder: Any = model.decoder
        self.activate = model._activate
        self.widths = (model.config.content_dim, model.config.decoder_dim)

    @property
    def prosody(self) -> Prosody | None:
        """The analysis whose running statistics are carried on."""
        analysis = self.emotion.front.analysis if self.emotion is not None else None
        return analysis if isinstance(analysis, Prosody) else None

    @property
    def encoders(self) -> list[_Encoder]:
        """Content, and emotion where it has its own."""
        return [self.content] if self.emotion is None else [self.content, self.emotion]

    @property
    def records(self) -> tuple[int, ...]:
        """Width of the rings' rows: of a position, of a frame, of prosody's terms and channels."""
        decoded = sum(self.widths) + 2 * self.widths[1] * len(self.decoder)
        sizes = (sum(encoder.record for encoder in self.encoders), decoded)
        return sizes if self.prosody is None else (*sizes, Prosody.TERMS, self.prosody.channels)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The next n positions of B streams, and their m frames: the last ones of the positions.

        Args:
            *tensors: of `StepInputs`, one after the other. What is to be kept is written into the rings.

        Returns:
            coefficients (B, m, 52) and logits (B, m, L) of the emotion heard.
        """
        asked = self.inputs(tensors)
        positions, frames = asked.rings[:2]
        count, width = asked.seen.shape[2], self.content.record
        spectra = cast(Any, self.content.front.analysis).from_power(asked.powers[0])
        heard = content = self.content(self.content.convolve(spectra), positions[..., :width], asked.seen)
        if self.emotion is not None:
            if self.prosody is not None:
                assert asked.statistics is not None and asked.origin is not None
                terms, channels = asked.rings[2:]
                windows = self.prosody.follow(asked.powers[1], terms, asked.origin, asked.statistics)
                channels[:, channels.shape[1] - windows.shape[1] :] = windows
                wanted = self.emotion.front.field + self.emotion.front.step * (count - 1)
                windows = channels[:, channels.shape[1] - wanted :]
            else:
                windows = cast(Any, self.emotion.front.analysis).from_power(asked.powers[1])
            heard = self.emotion(self.emotion.convolve(windows), positions[..., width:], asked.seen)
        first = count - asked.bias.shape[2]
        content_head, emotion_head, classifier = self.heads
        logits = classifier(heard[:, first:])
        known = torch.cat([content_head(content[:, first:]), emotion_head(heard[:, first:])], -1)
        frames[:, frames.shape[1] - known.shape[1] :, : sum(self.widths)] = known
        coefficients = self.decode(known, frames, asked.bias, asked.styles, asked.given, asked.blend)
        return coefficients, logits

    def inputs(self, tensors: Sequence[Tensor]) -> StepInputs:
        """Tensors, one after the other, under their names."""
        encoders, rings = len(self.encoders), len(self.records)
        powers, kept = tensors[:encoders], tensors[encoders : encoders + rings]
        rest: Any = tensors[encoders + rings :]
        if self.prosody is None:
            return StepInputs(powers, kept, *rest)
        seen, bias, styles, given, blend, *found, origin = rest
        return StepInputs(powers, kept, seen, bias, styles, given, blend, ProsodyMatrices(*found), origin)

    def decode(
        self, known: Tensor, records: Tensor, mask: Tensor, styles: Tensor, given: Tensor, blend: Tensor
    ) -> Tensor:
        """Content and emotion heard (B, m, C + E) to coefficients (B, m, 52); keys and values are written."""
        content, heard = known.split(list(self.widths), -1)
        emotion = heard + blend[:, None, None] * (given[:, None] - heard)
        shown = torch.relu(self.condition(emotion))
        hidden = torch.cat([content, shown, styles[:, None].expand(-1, content.shape[1], -1)], -1)
        at, width = sum(self.widths), self.widths[1]
        for layer in self.decoder:
            hidden = _decode(layer, hidden, emotion, records[..., at : at + 2 * width], mask)
            at += 2 * width
        return self.activate(self.output(hidden))


def _decode(layer: DecoderLayer, hidden: Tensor, emotion: Tensor, both: Tensor, mask: Tensor) -> Tensor:
    """`DecoderLayer.forward` of the next frames (B, m, D); `both` (B, rows + m, 2 D) are keys and values."""
    attention, width = layer.self_attn, hidden.shape[2]
    packed = functional.linear(hidden, attention.in_proj_weight, attention.in_proj_bias)
    query = packed[..., :width] * (width // layer.heads) ** -0.5
    both[:, both.shape[1] - hidden.shape[1] :] = packed[..., width:]
    hidden = layer.norm1(hidden + attention.out_proj(attend(query, both, mask, layer.heads)))
    if layer.guided:
        hidden = layer.norm2(hidden + layer.emotion_attention(emotion))
    return layer.norm3(hidden + layer.linear2(layer.activation(layer.linear1(hidden))))


class CausalStream:
    """Runs a `CausalStep` over streams: cuts samples into windows, keeps states, batches voices.

    Args:
        model: see `CausalStep`.
    """

    def __init__(self, model: EmoTalk) -> None:
        self.model, self.step = model, CausalStep(model)
        c = model.config  # transformers' configurations are slow to read
        self._fps, self._ahead, self._lookahead = c.fps, c.lookahead_frames, c.lookahead_samples or 0
        self._persons, self._coefficients, self._emotion_dim = c.num_persons, c.num_coefficients, c.decoder_dim
        self._heads, self._period = c.decoder_heads, c.period
        self._dtype = model.output.weight.dtype
        self._device = model.output.weight.device
        self._labels = tuple(model.config.emotion_labels)
        self._fields = max(encoder.reach for encoder in self.step.encoders)
        self._masks: dict[Any, Any] = {}
        self._fast: Callable[..., tuple[Tensor, Tensor]] | None = None
        self._graphed: GraphedStep | None = None
        self.fixed_sizes = self._device.type == "cuda"
        """Whether batches are padded to a power of two, so that the same few shapes come again and again."""
        self._copied = [p for name, p in model.named_parameters() if any(part in name for part in _COPIED)]
        self._version = self._versions()

    @property
    def current(self) -> bool:
        """Whether the network still has the weights of which copies were made."""
        return self._versions() == self._version

    def _versions(self) -> int:
        return sum(parameter._version for parameter in self._copied)

    def new_state(self, frames: int) -> CausalState:
        """Of a stream whose longest window has so many frames."""
        fronts = [encoder.front for encoder in self.step.encoders]
        first = min(_start(front, 1 - front.field) for front in fronts)
        state = CausalState(frames, np.zeros(-first, np.float32), first)
        for rows, width, kind in zip(self._rows(frames), self.step.records, self._kinds, strict=False):
            state.rings.append(Ring(rows, width, kind, self._device))
        return state

    def _rows(self, frames: int) -> list[int]:
        """Rows of the rings."""
        positions = max(frames + self._ahead - 1, self._fields, 1)
        rows = [positions, frames]
        if self.step.prosody is not None:
            assert self.step.emotion is not None
            front = self.step.emotion.front
            rows += [self._statistics_reach(frames) - 1, front.field - front.step]
        return rows

    def _statistics_reach(self, frames: int) -> int:
        """Windows that prosody's statistics run over, the last one among them."""
        assert self.step.emotion is not None
        front = self.step.emotion.front
        return front.field + front.step * (frames + self._ahead - 1)

    @property
    def _kinds(self) -> list[torch.dtype]:
        return [self._dtype, self._dtype, torch.float64, torch.float32]

    # -- hearing -----------------------------------------------------------------------------------------------------

    def hear(
        self, samples: Sequence[Array], states: Sequence[CausalState], controls: Sequence[Mapping[str, Any]]
    ) -> list[Analysis]:
        """The next samples (n,) of several streams: the frames that each completes, as it would alone."""
        made: list[list[tuple[Array, Array]]] = [[] for _ in states]
        for piece, state in zip(samples, states, strict=True):
            state.samples = np.concatenate([state.samples, piece])
            state.heard += len(piece)
        while True:
            groups: dict[Group, list[int]] = {}
            for k, state in enumerate(states):
                if (group := self._group(state)) is not None:
                    groups.setdefault(group, []).append(k)
            if not groups:
                break
            for group, members in groups.items():
                rows = self._run(group, [states[k] for k in members], [controls[k] for k in members])
                for k, row in zip(members, rows, strict=True):
                    made[k].append(row)
        for state in states:
            self._forget(state)
        return [self._analysis(rows) for rows in made]

    def hear_again(self, state: CausalState, controls: Mapping[str, Any]) -> Array:
        """The stream's last frames (n, 52) with other controls; it goes on from there."""
        count = min(max(0, state.position - self._ahead), state.frames)
        if not count:
            return np.zeros((0, self._coefficients), np.float32)
        ring = state.rings[1].last()[-count:]
        known = sum(self.step.widths)
        styles, given, blend = self._asked([controls])
        mask = self._decoder_mask(0, count, count, (0,))
        coefficients = self.step.decode(ring[None, :, :known], ring[None], mask, styles, given, blend)
        return _numpy(coefficients[0])

    def _group(self, state: CausalState) -> Group | None:
        """What a stream has to do next; None where nothing is complete."""
        ahead, complete = self._ahead, state.heard - self._lookahead
        if complete < 0:
            return None
        frames = -(-(complete + 1) * self._fps // SAMPLE_RATE)  # whose instant, rounded down, is no later
        count = min(MOST, frames + ahead - state.position)
        if count <= 0:
            return None
        windows = 0
        if self.step.prosody is not None:
            assert self.step.emotion is not None
            front = self.step.emotion.front
            windows = front.field + front.step * (state.position + count - 1) - state.windows
        return Group(state.frames, count, min(count, max(0, ahead - state.position)), windows)

    def _run(
        self, group: Group, states: Sequence[CausalState], controls: Sequence[Mapping[str, Any]]
    ) -> list[tuple[Array, Array]]:
        """One step; coefficients and logits of each stream."""
        count, ahead = group.positions, self._ahead
        size = padded_size(len(states)) if self.fixed_sizes else len(states)
        empty = size - len(states)
        new = (count, count - group.dropped, group.windows, group.windows)[: len(states[0].rings)]
        rooms = [[state.rings[k].room(each) for state in states] for k, each in enumerate(new)]
        rings: Sequence[Tensor] = [_stacked(each, empty) for each in rooms]
        statistics, origin = None, None
        if self.step.prosody is not None:
            reach = self._statistics_reach(group.frames)
            statistics = self._kept("sums", self.step.prosody.matrices, reach, group.windows)
            rows = states[0].rings[2].rows
            origin = self._kept("origin", self._origins, rows, (*(min(s.windows, rows) for s in states), *[0] * empty))
        rows, reach = states[0].rings[0].rows, group.frames + ahead
        before = (*(min(state.position, rows) for state in states), *[0] * empty)
        decoded = (*(min(max(0, state.position - ahead), group.frames) for state in states), *[0] * empty)
        seen = self._encoder_mask(rows, count, reach, before)
        bias = self._decoder_mask(group.frames, count - group.dropped, 0, decoded)
        if self.fixed_sizes:
            seen, bias = (mask.expand(size, -1, -1, -1) for mask in (seen, bias))
        powers = [self._power(encoder.front, group, states, size) for encoder in self.step.encoders]
        asked = StepInputs(powers, rings, seen, bias, *self._asked([*controls, *[{}] * empty]), statistics, origin)
        coefficients, logits, written = self._compute(asked)
        for k, each in enumerate(new):
            if size > 1 or written is not rings:
                parts = [state.rings[k].rows for state in states]
                torch._foreach_copy_(
                    [room[rows:] for room, rows in zip(rooms[k], parts, strict=True)],
                    [written[k][j, rows:] for j, rows in enumerate(parts)],
                )
            for state in states:
                state.rings[k].advance(each)
        for state in states:
            state.position += count
            state.windows += group.windows
        made = _numpy(coefficients[: len(states)]), _numpy(logits[: len(states)])
        return list(zip(*made, strict=True))

    def _compute(self, asked: StepInputs) -> tuple[Tensor, Tensor, Sequence[Tensor]]:
        """The step: coefficients, logits and the rings with what was written.

        On a processor by TorchScript, which spends less between operations (two thirds of the time); on a GPU by CUDA
        graphs.
        """
        tensors = asked.tensors()
        if self._device.type == "cuda" or self._graphed is not None:
            self._graphed = self._graphed or GraphedStep(self.step)
            (coefficients, logits), used = self._graphed(tensors)
            at = len(asked.powers)
            return coefficients, logits, asked.rings if used is tensors else used[at : at + len(asked.rings)]
        self._fast = self._fast or traced(self.step, asked)
        return (*self._fast(*tensors), asked.rings)

    def _power(self, front: FrameFrontEnd, group: Group, states: Sequence[CausalState], size: int) -> Tensor:
        """Power spectra (B, windows, bins) of the windows that a front end needs next."""
        analysis = front.analysis
        carried = analysis is self.step.prosody
        count = group.windows if carried else front.field + front.step * (group.positions - 1)
        cut = np.zeros((size, count, analysis.length), np.float32)
        for row, state in zip(cut[: len(states)], states, strict=True):
            first = 1 - front.field + (state.windows if carried else front.step * state.position)
            phase = (2 * first * SAMPLE_RATE + analysis.rate) % (2 * analysis.rate)
            begin = (2 * first * SAMPLE_RATE + analysis.rate) // (2 * analysis.rate) - analysis.length // 2
            places = _places(analysis.rate, analysis.length, phase, count)
            np.take(state.samples, places + (begin - state.samples_first), out=row, mode="clip")
        return analysis.power_of(to_device(cut, self._device))

    def _forget(self, state: CausalState) -> None:
        """Samples that no later window hears."""
        fronts = [encoder.front for encoder in self.step.encoders]
        first = min(_start(front, 1 - front.field + front.step * state.position) for front in fronts)
        gone = min(first - state.samples_first, len(state.samples))
        if gone > 0:
            state.samples, state.samples_first = state.samples[gone:], state.samples_first + gone

    def _asked(self, controls: Sequence[Mapping[str, Any]]) -> tuple[Tensor, Tensor, Tensor]:
        """Styles (B, level + person), emotion asked for (B, E) and its weight (B,)."""
        batch = len(controls)
        people = np.zeros((batch, self._persons + 2), np.float32)
        for row, asked in zip(people, controls, strict=True):
            person = checked_person(asked.get("person", 0), self._persons)
            level = checked_level(asked.get("level", 1.0))
            if isinstance(person, int):
                row[person] = 1.0
            else:
                row[: self._persons] = person
            row[-2:] = 1.0 - level, level
        numbers = to_device(people, self._device).to(self._dtype)
        model = self.model
        styles = torch.cat(
            [model.level_embedding(numbers[:, -2:]), model.person_embedding(numbers[:, : self._persons])], -1
        )
        given = numbers.new_zeros(batch, self._emotion_dim)
        blend = numbers.new_zeros(batch)
        for k, asked in enumerate(controls):
            if (wanted := asked.get("emotion_embedding")) is not None:
                given[k] = wanted.reshape(-1)
                weight = asked.get("emotion_blend")
                blend[k] = 1.0 if weight is None else weight[0]
        return styles, given, blend

    def _analysis(self, rows: list[tuple[Array, Array]]) -> Analysis:
        nothing = (np.zeros((0, self._coefficients), np.float32), np.zeros((0, len(self._labels)), np.float32))
        coefficients, logits = rows[0] if len(rows) == 1 else map(np.concatenate, zip(nothing, *rows, strict=True))
        last = logits[-1] if len(logits) else np.zeros(len(self._labels), np.float32)
        return Analysis(coefficients, last, logits, self._labels)

    # -- masks -------------------------------------------------------------------------------------------------------

    def _kept(self, name: str, make: Any, *form: Any) -> Any:
        """What `make` gives for this form, made once."""
        key = (name, *form)
        if key not in self._masks:
            if len(self._masks) > 256:
                self._masks.clear()
            with torch.inference_mode(False):
                self._masks[key] = make(*form)
        return self._masks[key]

    def _origins(self, rows: int, known: tuple[int, ...]) -> Tensor:
        return torch.tensor([rows - each for each in known], device=self._device)

    def _encoder_mask(self, rows: int, count: int, reach: int, known: tuple[int, ...]) -> Tensor:
        """(B or 1, 1, count, rows + count): a position sees `reach` up to itself, those of which `known` are there."""
        return self._kept("encoder", self._new_encoder_mask, rows, count, reach, _alike(known))

    def _new_encoder_mask(self, rows: int, count: int, reach: int, known: tuple[int, ...]) -> Tensor:
        return self._seen(rows, count, reach, known)[0]

    def _decoder_mask(self, rows: int, count: int, reach: int, known: tuple[int, ...]) -> Tensor:
        """(B or 1, heads, count, rows + count) with the bias of `decoder.attention_bias`; reach 0: `rows`."""
        return self._kept("decoder", self._new_decoder_mask, rows, count, reach or rows, _alike(known))

    def _new_decoder_mask(self, rows: int, count: int, reach: int, known: tuple[int, ...]) -> Tensor:
        seen, distance = self._seen(rows, count, reach, known)
        steps = torch.div(distance.clamp(min=0), self._period, rounding_mode="floor")
        bias = -head_slopes(self._heads, self._device)[:, None, None] * steps
        return (seen + bias[None]).to(self._dtype)

    def _seen(self, rows: int, count: int, reach: int, known: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        column = torch.arange(rows + count, device=self._device)
        distance = torch.arange(count, device=self._device)[:, None] + rows - column
        first = rows - torch.tensor(known, device=self._device)
        seen = ((distance >= 0) & (distance < reach))[None] & (column >= first[:, None])[:, None]
        return torch.where(seen, 0.0, _NEVER).to(self._dtype)[:, None], distance


def traced(step: CausalStep, asked: StepInputs) -> Callable[..., tuple[Tensor, Tensor]]:
    """`step` as TorchScript, for any number of streams, positions and rows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracer, about numbers that are constant indeed
        made = torch.jit.freeze(torch.jit.trace(step.eval(), asked.tensors(), check_trace=False))
    return made


def _alike(known: tuple[int, ...]) -> tuple[int, ...]:
    """One number where all are the same: a mask for all rows."""
    return known[:1] if len(set(known)) == 1 else known


def _start(front: FrameFrontEnd, window: int) -> int:
    """First sample of a window."""
    rate, length = front.analysis.rate, front.analysis.length
    return math.floor((2 * window * SAMPLE_RATE + rate) / (2 * rate)) - length // 2


def _stacked(parts: Sequence[Tensor], empty: int) -> Tensor:
    """In one tensor, with so many empty ones behind them."""
    if len(parts) == 1 and not empty:
        return parts[0][None]
    return torch.stack([*parts, *[torch.zeros_like(parts[0])] * empty])


def _numpy(tensor: Tensor) -> Array:
    return np.array(tensor.float().cpu())  # a copy, as a graph's outputs are overwritten by the next
