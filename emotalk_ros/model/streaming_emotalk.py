"""EmoTalk on a pretrained speech trunk, for streams: content and emotion from one trunk, speech plus expression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedConfig, PreTrainedModel
from transformers import initialization as init

from emotalk_ros.face.names import ARKIT_NAMES, EXPRESSION, INDEX, indices
from emotalk_ros.model.causal import AttentionState, InputState
from emotalk_ros.model.conditioning import EmotionConditioned
from emotalk_ros.model.decoder import DecoderLayer
from emotalk_ros.model.emotion_statistics import RunningStatistics, StatisticsState
from emotalk_ros.model.feature_grid import FEATURE_STRIDE, frame_places
from emotalk_ros.model.inference import Analysis, Array, SpeechToFace
from emotalk_ros.model.output import EmoTalkOutput
from emotalk_ros.model.stream_windows import StreamWindows, analyse_windows
from emotalk_ros.model.streaming_config import StreamingEmoTalkConfig
from emotalk_ros.model.timing import stretch, valid_mask
from emotalk_ros.model.trunk import LogMel, SpeechTrunk, TrunkState
from emotalk_ros.units import SAMPLE_RATE, frame_count

EXPRESSIVE = sorted(
    {*EXPRESSION.tolist(), *(INDEX[n] for n in ARKIT_NAMES if n.startswith(("mouthDimple", "mouthStretch")))}
)
"""Indices of the coefficients that the emotion may move: brows, lids but for blinks, nose, cheeks, mouth corners."""
OPENING = indices(["mouthFunnel", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthUpperUpLeft", "mouthUpperUpRight"])
"""Indices of the coefficients besides the jaw that part the lips: a closure takes them away."""
_JAW, _CLOSE = INDEX["jawOpen"], INDEX["mouthClose"]
_DOUBT = 0.25
"""Probability of closed lips up to which they stay as they are; from one minus that on they are closed."""


@dataclass
class FrameState:
    """Features (B, n, C) that frames still need."""

    features: Tensor | None = None
    first: int = 0
    """Place in the stream of the first of them."""
    next_frame: int = 0

    def reset(self) -> None:
        """Forget the stream."""
        self.features, self.first, self.next_frame = None, 0, 0


@dataclass
class NetworkState:
    """All that the network keeps of a stream."""

    trunk: TrunkState = field(default_factory=TrunkState)
    frames: FrameState = field(default_factory=FrameState)
    statistics: StatisticsState = field(default_factory=StatisticsState)
    speech: list[AttentionState] = field(default_factory=list)
    expression: AttentionState = field(default_factory=AttentionState)
    content: InputState = field(default_factory=InputState)
    """Content embeddings of the last frames, as far as the decoder reaches."""
    heard: InputState = field(default_factory=InputState)
    """Emotion embeddings heard in the same frames."""

    def reset(self) -> None:
        """Forget the stream."""
        for part in (self.trunk, self.frames, self.statistics, self.content, self.heard):
            part.reset()
        self.reset_decoder()

    def reset_decoder(self) -> None:
        """Forget what was decoded."""
        for part in (*self.speech, self.expression):
            part.reset()


def read_frames(features: Tensor, fps: int, state: FrameState) -> Tensor:
    """Features (B, n, C), 50 a second, read at the instants t / fps by linear interpolation: the frames (B, m, C) that
    they complete.
    """
    if state.features is not None:
        features = torch.cat([state.features, features], 1)
    places = frame_places(fps, state.first, features.shape[1], state.next_frame)
    lower, upper = (torch.from_numpy(each).to(features.device) for each in (places.lower, places.upper))
    share = torch.from_numpy(places.share).to(features)[None, :, None]
    frames = features.index_select(1, lower) * (1 - share) + features.index_select(1, upper) * share
    state.next_frame += len(places.share)
    state.features, state.first = features[:, places.gone :], state.first + places.gone
    return frames


class Adapter(nn.Module):
    """From all levels of the trunk to what one side of the network needs, feature by feature."""

    def __init__(self, levels: int, width: int, hidden: int, out: int) -> None:
        super().__init__()
        self.width = width
        self.dense = nn.Linear(levels * width, hidden)
        self.out = nn.Linear(hidden, out)

    def forward(self, features: Tensor) -> Tensor:
        """(B, n, levels, width) to (B, n, out).

        The layers' levels are normalised, as they differ in size; the convolutions' is not: it alone tells how loud
        the sound is.
        """
        layers = functional.layer_norm(features[:, :, 1:], (self.width,)).flatten(2)
        return self.out(functional.gelu(self.dense(torch.cat([features[:, :, 0], layers], -1))))


class StreamingEmoTalk(EmotionConditioned, SpeechToFace, PreTrainedModel):
    """Speech to blendshape coefficients with content and emotion in separate embeddings, streaming.

    As in EmoTalk (Peng et al., ICCV 2023): content and emotion embeddings, a decoder with biased causal self-attention
    and emotion-guided (diagonal memory) attention, personal style and level, classification of the emotion. Other than
    there

    - one pretrained trunk feeds both embeddings (`trunk.SpeechTrunk`);
    - the emotion embedding is made of running statistics of what was heard so far;
    - coefficients are a sum: `speech` from content, person and level, which never hears the emotion embedding, and
      `intensity * expression`, from the emotion-guided decoder, which moves `EXPRESSIVE` only. Intensity is linear, and
      no emotion opens closed lips;
    - closed lips are decided on: where they are, mouthClose is jawOpen and what parts the lips is taken away.

    `forward` is the same in training and evaluation, for clips and for streams.
    """

    config: StreamingEmoTalkConfig
    config_class: type[PreTrainedConfig] | None = StreamingEmoTalkConfig
    base_model_prefix = "emotalk"
    main_input_name = "input_values"
    emotion_prototypes: Tensor
    prototypes_set: Tensor
    min_samples = 1
    splits_expression = True

    def __init__(self, config: StreamingEmoTalkConfig) -> None:
        super().__init__(config)
        width, emotion = config.decoder_dim, config.emotion_dim
        self.trunk = SpeechTrunk(
            config.trunk_width,
            config.trunk_heads,
            config.trunk_ff,
            config.mel_bands,
            config.trunk_segment,
            config.trunk_rights,
        )
        levels = self.trunk.levels
        self.content_adapter = Adapter(levels, config.trunk_width, config.content_dim, config.content_dim)
        self.emotion_adapter = Adapter(levels, config.trunk_width, emotion, config.emotion_channels + 1)
        self.statistics = RunningStatistics(config.emotion_memory * config.fps, config.emotion_prior * config.fps)
        self.emotion_dense = nn.Linear(2 * config.emotion_channels, emotion)
        self.emotion_head = nn.Linear(emotion, emotion)
        self.emotion_classifier = nn.Linear(emotion, len(config.emotion_labels))
        self.level_embedding = nn.Linear(config.num_levels, config.level_dim)
        self.person_embedding = nn.Linear(config.num_persons, config.person_dim)
        self.decoder = nn.ModuleList(self._layer(width, False) for _ in range(config.decoder_layers))
        self.emotion_condition = nn.Linear(width + emotion, emotion)
        self.emotion_decoder = self._layer(emotion, True)
        self.speech_output = nn.Linear(width, config.num_coefficients)
        self.closure_output = nn.Linear(width, 1)
        self.expression_output = nn.Linear(emotion, len(EXPRESSIVE))
        self.register_buffer("emotion_prototypes", torch.zeros(len(config.emotion_labels), emotion))
        self.register_buffer("prototypes_set", torch.zeros((), dtype=torch.bool))
        self.post_init()

    def _layer(self, width: int, guided: bool) -> DecoderLayer:
        c = self.config
        sizes = (width, c.decoder_heads, c.decoder_ff, c.decoder_dropout, c.period, "gelu")
        return DecoderLayer(*sizes, guided, c.decoder_reach)

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            init.xavier_uniform_(module.weight)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, (LogMel, SpeechTrunk)):
            module.reset_constants()
        elif module is self:
            for head in (self.speech_output, self.closure_output, self.expression_output):
                init.zeros_(head.weight)
                init.zeros_(head.bias)
            init.constant_(self.closure_output.bias, -2.0)
            init.zeros_(self.emotion_prototypes)
            init.zeros_(self.prototypes_set)
        else:
            super()._init_weights(module)

    def forward(
        self,
        input_values: Tensor,
        lengths: Tensor | None = None,
        person: Tensor | None = None,
        level: Tensor | None = None,
        emotion_values: Tensor | None = None,
        emotion_lengths: Tensor | None = None,
        emotion_embedding: Tensor | None = None,
        emotion_blend: Tensor | None = None,
        intensity: Tensor | float = 1.0,
        frames: Tensor | int | None = None,
        frame_emotion: bool = False,
        state: NetworkState | None = None,
        features: Tensor | None = None,
        **kwargs: Any,
    ) -> EmoTalkOutput:
        """Speech to coefficients.

        Args:
            input_values: (B, N) samples, mono, 16 kHz, full scale +-1; clip b valid up to lengths[b]. With `state` the
                next samples of a stream.
            lengths: (B,) samples of each clip; None: all N. What lies behind a clip's end counts as silence.
            person: (B,) int indices, or (B, num_persons) weights of a mixture; None: person 0.
            level: (B,) intensity of the person's portrayal, 0..1; None: 1.
            emotion_values, emotion_lengths: (B, M) samples of other clips whose emotion drives these clips' content,
                stretched to the content's frames.
            emotion_embedding: (B, T or 1, E) emotion embedding in place of the heard one.
            emotion_blend: (B,) weight 0..1 of `emotion_embedding` against the heard emotion; None: 1.
            intensity: of the expression, a number or (B,).
            frames: frames wanted: a number, or (B,) a number for each clip; None: ceil(samples / 16000 * fps).
            frame_emotion: also return the logits of the emotion heard up to each frame.
            state: of a stream. Frames are returned as soon as their look-ahead is there; None: whole clips.
            features: (B, n, levels, width) that the trunk makes of whole clips, where they are known already.
            **kwargs: ignored (what a trainer's batch may carry besides).

        Raises:
            ValueError: shape, type or range of an input is wrong; the message names what was expected.
        """
        self._check(input_values, lengths)
        batch, samples = input_values.shape
        if lengths is not None:
            input_values = torch.where(valid_mask(lengths, samples), input_values, 0.0)
        size, frame_lengths = self._sizes(samples, lengths, frames, batch)
        whole = state is None
        if state is None:
            state = NetworkState()
            # Frames asked for may end later than the samples do.
            missing = -(-(size - 1) * SAMPLE_RATE // self.config.fps) + self.config.lookahead_samples - samples
            input_values = functional.pad(input_values, (0, max(0, missing)))
        if features is None:
            features = self.trunk(input_values, state.trunk, self.feature_count(size) if whole else None)
        (content,), (heard,) = self._read([features], [state])
        if whole:
            content, heard = content[:, :size], heard[:, :size]
        else:
            size = content.shape[1]
        pooled = self._pool([heard], [state])
        driving = pooled
        if emotion_values is not None:
            driving = self._stretched(emotion_values, emotion_lengths, frame_lengths, size)
        heard = self.emotion_head(driving)
        if not whole:
            self._keep([content], [heard], [state])
        emotion = self._mix_emotion(heard, emotion_embedding, emotion_blend)
        speech, closure, expression = self._decode(
            content, emotion, self._styles(person, level, batch), [size], [state]
        )
        coefficients = speech + _rows(intensity, speech) * expression
        frame_logits = self.emotion_classifier(pooled) if size else pooled.new_zeros(batch, 0, self._labels)
        logits = None
        if size:
            last = torch.full((batch,), size, device=content.device) if frame_lengths is None else frame_lengths
            logits = frame_logits[torch.arange(batch, device=content.device), last - 1]
        if frame_lengths is None:
            frame_lengths = torch.full((batch,), size, device=content.device)
        else:
            valid = valid_mask(frame_lengths, size)[..., None]
            coefficients, speech, expression = (torch.where(valid, x, 0.0) for x in (coefficients, speech, expression))
        return EmoTalkOutput(
            coefficients=coefficients,
            emotion_logits=logits,
            content=content,
            emotion=emotion,
            frame_lengths=frame_lengths,
            frame_emotion_logits=frame_logits if frame_emotion else None,
            speech=speech,
            expression=expression,
            closure_logits=closure,
            features=features,
        )

    def feature_count(self, frames: int) -> int:
        """Features that so many frames are read from."""
        return -(-(frames - 1) * SAMPLE_RATE // (FEATURE_STRIDE * self.config.fps)) + 1

    @torch.inference_mode()
    def hear(
        self, samples: Sequence[Array], states: Sequence[NetworkState], controls: Sequence[Mapping[str, Any]]
    ) -> list[Analysis]:
        """The next samples (n,) of several streams in one pass: the frames that each completes, as it would alone.

        Args:
            samples: of each stream, as many as there are: none has to wait for another.
            states: of each stream (`new_state`), carried on.
            controls: of each stream: `person`, `level`, and what `EmotionControl.model_inputs` gives.
        """
        pieces = [torch.as_tensor(piece, dtype=torch.float32, device=self.device)[None] for piece in samples]
        features = self.trunk.streams(pieces, [state.trunk for state in states])
        contents, seen = self._read(features, states)
        counts = [content.shape[1] for content in contents]
        pooled = self._pool(seen, states)
        heard = self.emotion_head(pooled)
        self._keep(contents, heard.split(counts, 1), states)
        parts = self._shown(torch.cat(list(contents), 1), heard, counts, states, controls)
        told = _arrays(self.emotion_classifier(pooled), counts)
        labels = tuple(self.config.emotion_labels)
        nothing = np.zeros(len(labels), np.float32)
        made = zip(_arrays(parts[0], counts), _arrays(parts[1], counts), told, features, controls, strict=True)
        return [
            Analysis(
                speech + float(asked.get("intensity", 1.0)) * expression,
                logits[-1] if len(logits) else nothing,
                logits,
                labels,
                speech,
                expression,
                part[0].float().cpu().numpy(),
            )
            for speech, expression, logits, part, asked in made
        ]

    @torch.inference_mode()
    def hear_again(self, state: NetworkState, controls: Mapping[str, Any]) -> tuple[Array, Array]:
        """The stream's last frames with other controls: speech and expression (n, 52); it goes on from there.

        For a change of controls: what the last frame would have been tells how far the change has to be faded in.
        """
        state.reset_decoder()
        if state.content.kept is None or state.heard.kept is None:
            return np.zeros((0, 52), np.float32), np.zeros((0, 52), np.float32)
        counts = [state.content.kept.shape[1]]
        speech, expression = self._shown(state.content.kept, state.heard.kept, counts, [state], [controls])
        return _arrays(speech, counts)[0], _arrays(expression, counts)[0]

    def _shown(
        self,
        content: Tensor,
        heard: Tensor,
        counts: Sequence[int],
        states: Sequence[NetworkState],
        controls: Sequence[Mapping[str, Any]],
    ) -> tuple[Tensor, Tensor]:
        """Speech and expression (1, n_1 + n_2 + .., 52) of streams side by side, under the controls of each."""
        person = torch.cat([self._person_weights(self._person_input(asked["person"]), 1) for asked in controls])
        level = torch.cat([self._level_input(asked["level"]) for asked in controls])
        emotions = []
        for part, asked in zip(heard.split(list(counts), 1), controls, strict=True):
            given, blend = asked.get("emotion_embedding"), asked.get("emotion_blend")
            emotions.append(part if given is None else self._mix_emotion(part, given, blend))
        styles = self._styles(person, level, len(counts))[:, 0]
        frames = torch.repeat_interleave(styles, torch.tensor(counts, device=styles.device), 0)[None]
        speech, _, expression = self._decode(content, torch.cat(emotions, 1), frames, counts, states)
        return speech, expression

    def decode(
        self, content: Tensor, emotion: Tensor, person: Tensor | None = None, level: Tensor | None = None
    ) -> Tensor:
        """Embeddings (B, T, content_dim) and (B, T, E), as `forward` returns them, to coefficients (B, T, 52).

        Training drives one clip's content with another's emotion through this, without running the trunk again.
        """
        speech, _, expression = self.decode_parts(content, emotion, person, level)
        return speech + expression

    def decode_parts(
        self, content: Tensor, emotion: Tensor, person: Tensor | None = None, level: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As `decode`: speech (B, T, 52), closure logits (B, T) and expression (B, T, 52)."""
        styles = self._styles(person, level, len(content))
        return self._decode(content, emotion, styles, [content.shape[1]], [NetworkState()])

    def embed_emotion(self, input_values: Tensor, lengths: Tensor | None = None) -> Tensor:
        """The emotion embedding of clips, frame by frame: (B, N) samples to (B, T, E)."""
        return self.emotion_head(self._pooled(input_values, lengths))

    def new_state(self, frames: int = 0) -> NetworkState:
        """The state of a stream that begins."""
        return NetworkState()

    def limit_lookahead(self, seconds: float) -> None:
        """Hear no more than `seconds` after a frame's instant: for a live voice in the room, at a price in quality.

        The trunk's layers are masked, evenly, until what is left fits (`config.lookahead_samples` says exactly). They
        were not trained so: `docs/streaming.md` has what it costs. Streams under way must begin anew.

        Raises ValueError for less than the spectra and convolutions need, which cannot be masked.
        """
        trained, wanted = list(self.config.trunk_rights), round(seconds * SAMPLE_RATE)
        rights = list(trained)
        while self.config.lookahead_samples > wanted and any(rights):
            rights[max(range(len(rights)), key=lambda k: (rights[k], k))] -= 1
            self.config.trunk_rights = rights
        if self.config.lookahead_samples > wanted:
            least = self.config.lookahead_samples / SAMPLE_RATE
            self.config.trunk_rights = trained
            raise ValueError(f"lookahead {seconds:g} s: this network needs at least {least:.4f} s")
        self.trunk.limit(rights)

    def stream_memory(self, frames: int, emotion_every: float = 0.0) -> StreamWindows:
        """What a stream's windows of up to `frames` frames pass on to each other: see `analyse`."""
        return StreamWindows(frames)

    def analyse_together(self, windows: Sequence[tuple[Array, Mapping[str, Any]]]) -> list[Analysis]:
        """`analyse` of windows of several streams, each with its own `memory`, in one pass: audio and arguments."""
        return analyse_windows(self, windows)

    # The parts of forward, in order.

    @property
    def _labels(self) -> int:
        return len(self.config.emotion_labels)

    def _check(self, values: Tensor, lengths: Tensor | None) -> None:
        if values.dim() != 2 or not values.is_floating_point():
            raise ValueError(
                f"expected samples as a float tensor (batch, samples), got {values.dtype} {tuple(values.shape)}"
            )
        if lengths is None:
            return
        if lengths.shape != (values.shape[0],):
            raise ValueError(f"expected lengths of shape ({values.shape[0]},), got {tuple(lengths.shape)}")
        if not torch.compiler.is_compiling() and not bool(((lengths >= 1) & (lengths <= values.shape[1])).all()):
            raise ValueError(f"lengths must be 1..{values.shape[1]} samples, got {lengths.tolist()}")

    def _sizes(
        self, samples: int, lengths: Tensor | None, frames: Tensor | int | None, batch: int
    ) -> tuple[int, Tensor | None]:
        """Frames of the longest clip, and of each (None: all the same)."""
        if isinstance(frames, int):
            return frames, None if lengths is None else torch.full_like(lengths, frames)
        if frames is not None:
            return int(frames.max()), frames
        if lengths is None:
            return frame_count(samples, self.config.fps), None
        return (
            frame_count(samples, self.config.fps),
            -torch.div(-lengths * self.config.fps, SAMPLE_RATE, rounding_mode="floor"),
        )

    def _read(
        self, features: Sequence[Tensor], states: Sequence[NetworkState]
    ) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Content (B, T, C) and what tells the emotion (B, T, channels + 1) of the frames that are complete, of each
        stream.
        """
        all_of_them = features[0] if len(features) == 1 else torch.cat(list(features), 1)
        all_of_them = all_of_them.to(self.content_adapter.out.weight.dtype)
        both = torch.cat([self.content_adapter(all_of_them), self.emotion_adapter(all_of_them)], -1)
        parts = both.split([part.shape[1] for part in features], 1)
        read = [read_frames(part, self.config.fps, s.frames) for part, s in zip(parts, states, strict=True)]
        sizes = [self.config.content_dim, self.config.emotion_channels + 1]
        split = [frames.split(sizes, -1) for frames in read]
        return [content for content, _ in split], [heard for _, heard in split]

    def _pool(self, heard: Sequence[Tensor], states: Sequence[NetworkState]) -> Tensor:
        """Of each stream (B, T, channels + 1), the last one saying how much a frame tells, to (B, T_1 + T_2 + .., E):
        what was heard so far.
        """
        summed = [
            self.statistics(part[..., :-1], torch.sigmoid(part[..., -1]), state.statistics)
            for part, state in zip(heard, states, strict=True)
        ]
        return torch.tanh(self.emotion_dense(torch.cat(summed, 1).to(self.emotion_dense.weight.dtype)))

    def _keep(self, content: Sequence[Tensor], heard: Sequence[Tensor], states: Sequence[NetworkState]) -> None:
        """What is decoded again when the controls change."""
        reach = self.config.decoder_reach
        for one, other, state in zip(content, heard, states, strict=True):
            state.content.kept = state.content.extend(one)[:, -reach:]
            state.heard.kept = state.heard.extend(other)[:, -reach:]

    def _pooled(self, values: Tensor, lengths: Tensor | None) -> Tensor:
        self._check(values, lengths)
        if lengths is not None:
            values = torch.where(valid_mask(lengths, values.shape[1]), values, 0.0)
        padded = functional.pad(values, (0, self.config.lookahead_samples))
        state, frames = NetworkState(), frame_count(values.shape[1], self.config.fps)
        _, (heard,) = self._read([self.trunk(padded, state.trunk, self.feature_count(frames))], [state])
        return self._pool([heard[:, :frames]], [state])

    def _stretched(self, values: Tensor, lengths: Tensor | None, frames: Tensor | None, size: int) -> Tensor:
        """What was heard in other clips, stretched to these clips' frames."""
        pooled = self._pooled(values, lengths)
        batch = values.shape[0]
        samples = torch.full((batch,), values.shape[1], device=values.device) if lengths is None else lengths
        own = -torch.div(-samples * self.config.fps, SAMPLE_RATE, rounding_mode="floor")
        return stretch(pooled, own, torch.full_like(own, size) if frames is None else frames, size)

    def _styles(self, person: Tensor | None, level: Tensor | None, batch: int) -> Tensor:
        """(B, 1, level_dim + person_dim) of B clips."""
        weights = self._person_weights(person, batch)
        return torch.cat([self._level(level, batch), self.person_embedding(weights)], -1)[:, None]

    def _decode(
        self,
        content: Tensor,
        emotion: Tensor,
        styles: Tensor,
        counts: Sequence[int],
        states: Sequence[NetworkState],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Speech (B, T, 52), closure logits (B, T), expression (B, T, 52) of streams side by side, `counts` frames of
        each; `styles` (B, 1 or T, ..).
        """
        hidden = torch.cat([content, styles.expand(-1, content.shape[1], -1)], -1)
        for state in states:
            state.speech = state.speech or [AttentionState() for _ in self.decoder]
        for k, layer in enumerate(self.decoder):
            hidden = layer(hidden, None, [state.speech[k] for state in states], counts)
        closure = self.closure_output(hidden)[..., 0]
        speech = self._close(self.speech_output(hidden), closure)
        # The expression may follow the words' rhythm; the words learn nothing from it.
        shown = functional.gelu(self.emotion_condition(torch.cat([hidden.detach(), emotion], -1)))
        moved = self.expression_output(
            self.emotion_decoder(shown, emotion, [state.expression for state in states], counts)
        )
        expression = torch.zeros_like(speech)
        expression[..., EXPRESSIVE] = moved.to(expression.dtype)
        return speech, closure, expression

    def _close(self, made: Tensor, logits: Tensor) -> Tensor:
        """Decides where the lips are closed: there mouthClose equals the jaw, and nothing parts them."""
        sure = ((torch.sigmoid(logits) - _DOUBT) / (1 - 2 * _DOUBT)).clamp(0.0, 1.0)[..., None]
        factor = torch.ones_like(made)
        factor[..., OPENING] = 1 - sure
        factor[..., _CLOSE] = 1 - sure[..., 0]
        closing = torch.zeros_like(made)
        closing[..., _CLOSE] = sure[..., 0] * (made[..., _JAW].clamp(min=0.0) + self.config.seal)
        return made * factor + closing


def _rows(intensity: Tensor | float, like: Tensor) -> Tensor | float:
    """A number, or (B,) numbers against (B, T, 52)."""
    return intensity if isinstance(intensity, (int, float)) else intensity.to(like.dtype).view(-1, 1, 1)


def _arrays(values: Tensor, counts: Sequence[int]) -> list[Array]:
    """(1, n_1 + n_2 + .., C) to the (n, C) of each stream."""
    ends = np.cumsum(counts)[:-1]
    return np.split(values[0].float().cpu().numpy(), ends)
