"""EmoTalk: emotion disentangling encoder, emotion-guided decoder (Peng et al., ICCV 2023)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig
from transformers import initialization as init

from emotalk_ros.model.analysis import Analysis, Array
from emotalk_ros.model.causal_stream import CausalState, CausalStream
from emotalk_ros.model.conditioning import EmotionConditioned
from emotalk_ros.model.config import EmoTalkConfig
from emotalk_ros.model.decoder import DecoderLayer
from emotalk_ros.model.encoder import SpeechEncoder
from emotalk_ros.model.output import EmoTalkOutput
from emotalk_ros.model.speech import SpeechNetwork, build_encoder
from emotalk_ros.model.stream_windows import StreamWindows, analyse_windows
from emotalk_ros.model.timing import FEATURE_RATE, stretch, valid_mask
from emotalk_ros.model.wave_memory import RunningNormalisation, WaveMemory


class EmotionClassifier(nn.Module):
    """Mean over time, dense, tanh, logits: the head of the emotion encoder (applied to a mean made elsewhere)."""

    def __init__(self, width: int, labels: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, labels)

    def forward(self, mean: Tensor) -> Tensor:
        """(..., H) mean hidden state to (..., L) logits."""
        return self.out_proj(torch.tanh(self.dense(mean)))


class EmoTalk(EmotionConditioned, SpeechNetwork):
    """Speech to blendshape coefficients with content and emotion in separate embeddings.

    Two speech encoders; the content head gives C frames wide `content_dim`, the emotion head the embedding E832 and,
    from it, E256 = ReLU(Linear(E832)); the decoder's input is concat(content, E256, level, person), its memory E832;
    a zero-initialised linear layer gives the coefficients.

    Buffers `emotion_prototypes` (L, E) and `prototypes_set` hold the mean emotion embedding per label, if a training
    stored them: see `set_prototypes` and `EmotionControl`.
    """

    config: EmoTalkConfig
    config_class: type[PreTrainedConfig] | None = EmoTalkConfig
    base_model_prefix = "emotalk"
    emotion_encoder: SpeechEncoder
    emotion_prototypes: Tensor
    prototypes_set: Tensor

    def __init__(self, config: EmoTalkConfig) -> None:
        super().__init__(config)
        width = config.decoder_dim
        self.content_encoder = build_encoder(config, config.content_config, config.frontend)
        if config.disentangle:
            self.emotion_encoder = build_encoder(config, config.emotion_config, config.emotion_frontend)
        emotion_hidden = config.emotion_encoder_config.hidden_size
        self.emotion_classifier = EmotionClassifier(emotion_hidden, len(config.emotion_labels))
        self.content_head = nn.Linear(config.content_config.hidden_size, config.content_dim)
        self.emotion_head = nn.Linear(emotion_hidden, width)
        self.emotion_condition = nn.Linear(width, config.emotion_condition_dim)
        self.level_embedding = nn.Linear(config.num_levels, config.level_dim)
        self.person_embedding = nn.Linear(config.num_persons, config.person_dim)
        self.decoder = nn.ModuleList(
            DecoderLayer(
                width,
                config.decoder_heads,
                config.decoder_ff_dim,
                config.decoder_dropout,
                config.period,
                config.decoder_activation,
                config.emotion_guided,
            )
            for _ in range(config.decoder_layers)
        )
        self.output = nn.Linear(width, config.num_coefficients)
        self.register_buffer("emotion_prototypes", torch.zeros(len(config.emotion_labels), width))
        self.register_buffer("prototypes_set", torch.zeros((), dtype=torch.bool))
        self.post_init()
        self._stream: CausalStream | None = None

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if module is self:
            init.zeros_(self.output.weight)
            init.zeros_(self.output.bias)
            init.zeros_(self.emotion_prototypes)
            init.zeros_(self.prototypes_set)

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
        frames: Tensor | int | None = None,
        frame_emotion: bool = False,
        memory: WaveMemory | None = None,
        start: int = 0,
        **kwargs: Any,
    ) -> EmoTalkOutput:
        """Speech to coefficients.

        Args:
            input_values: (B, N) samples, mono, 16 kHz, full scale +-1; clip b valid up to lengths[b].
            lengths: (B,) samples of each clip; None: all N. What lies behind a clip's end changes nothing.
            person: (B,) int indices, or (B, num_persons) weights of a mixture; None: person 0.
            level: (B,) intensity 0..1; None: 1.
            emotion_values: (B, M) samples of other clips whose emotion drives these clips' content (cross-drive);
                their frames are stretched to the content's, linearly.
            emotion_lengths: (B,) samples of those.
            emotion_embedding: (B, T or 1, E) emotion embedding in place of a heard one.
            emotion_blend: (B,) weight 0..1 of `emotion_embedding` against the heard emotion; None: 1.
            frames: (B,) frames wanted per clip, or one number for all (a training clip's label length);
                None: ceil(samples / 16000 * fps).
            frame_emotion: also return the emotion logits of each frame by itself.
            memory: of a stream whose windows these are, one clip at a time: see `stream_memory`. None: nothing is kept.
                With it there are neither `lengths` nor `emotion_values`, and `frames` are the first ones.
            start: the stream's frame that this window's frame 0 is; with `memory`.
            **kwargs: ignored (what a trainer's batch may carry besides).

        Returns:
            `EmoTalkOutput`.

        Raises:
            ValueError: shape, type or range of an input is wrong; the message names what was expected.
        """
        self._check_inputs(input_values, lengths)
        batch = input_values.shape[0]
        if memory is not None:
            if lengths is not None or emotion_values is not None or input_values.shape[0] != 1:
                raise ValueError("a stream's window is one clip without `lengths`, and its emotion no other clip's")
            return self._wave_window(
                input_values, person, level, emotion_embedding, emotion_blend, frames, memory, start
            )
        frame_lengths, size = self._frames(input_values, lengths, frames)
        values = self._prepare(input_values, lengths)
        content_states = self._content_states(values, lengths, frame_lengths, size)
        if emotion_values is not None:
            self._check_inputs(emotion_values, emotion_lengths, batch)
            heard = self._other_emotion_states(emotion_values, emotion_lengths, frame_lengths, size)
        elif self.config.disentangle:
            heard = self._emotion_states(values, lengths, frame_lengths, size)
        else:
            heard = content_states
        logits = self._classify(heard, frame_lengths)
        frame_logits = self.emotion_classifier(heard) if frame_emotion else None

        content = self.content_head(content_states)
        emotion = self._mix_emotion(self.emotion_head(heard), emotion_embedding, emotion_blend)
        coefficients = self.decode(content, emotion, person, level)
        if frame_lengths is None:
            frame_lengths = torch.full((batch,), size, device=input_values.device)
        else:
            coefficients = coefficients * valid_mask(frame_lengths, size)[..., None].to(coefficients.dtype)
        return EmoTalkOutput(
            coefficients=coefficients,
            emotion_logits=logits,
            content=content,
            emotion=emotion,
            frame_lengths=frame_lengths,
            frame_emotion_logits=frame_logits,
        )

    def decode(
        self,
        content: Tensor,
        emotion: Tensor,
        person: Tensor | None = None,
        level: Tensor | None = None,
        last: int | None = None,
    ) -> Tensor:
        """Embeddings (B, T, content_dim) and (B, T, E), as `forward` returns them, to coefficients (B, T, 52).

        Training drives one clip's content with another's emotion through this, without running the encoders again.

        With `last`, of a decoder of one layer: (B, last, 52), the last frames only.
        """
        batch, size = content.shape[:2]
        styles = torch.cat(
            [self._level(level, batch), self.person_embedding(self._person_weights(person, batch))], dim=-1
        )
        hidden = torch.cat(
            [content, torch.relu(self.emotion_condition(emotion)), styles[:, None].expand(-1, size, -1)], dim=-1
        )
        if last is not None:
            (layer,) = self.decoder
            return self._activate(self.output(layer(hidden, emotion, last=last)))
        return self._activate(self.output(self._decode(hidden, emotion)))

    def embed_emotion(self, input_values: Tensor, lengths: Tensor | None = None) -> Tensor:
        """The emotion embedding of clips, frame by frame: (B, N) samples to (B, T, E) (E832 in the paper)."""
        self._check_inputs(input_values, lengths)
        frame_lengths, size = self._frames(input_values, lengths, None)
        states = self._emotion_states(self._prepare(input_values, lengths), lengths, frame_lengths, size)
        return self.emotion_head(states)

    def stream_memory(self, frames: int, emotion_every: float = 0.0) -> StreamWindows | WaveMemory | None:
        """What a stream's windows of up to `frames` frames may pass on to each other; None where each needs its own
        pass.

        With full attention on wav2vec2's features (the paper's network) those features, and the emotion heard where
        `emotion_every` is above 0 (seconds); with causal attention on spectra all that was computed.
        """
        config = self.config
        if config.resampling == "align_corners":
            normalised = config.normalization == "utterance"
            grouped = any(encoder.config.feat_extract_norm == "group" for encoder in self._encoders())
            normalisation = RunningNormalisation(config.min_std) if normalised or grouped else None
            return WaveMemory(
                fps=config.fps, normalisation=normalisation, normalised=normalised, emotion_every=emotion_every
            )
        causal = config.attention == "causal" and all(encoder.on_frames for encoder in self._encoders())
        return StreamWindows(frames) if causal else None

    def new_state(self, frames: int) -> CausalState:
        """Of a stream that begins, whose longest window has so many frames."""
        return self._streams().new_state(frames)

    @torch.inference_mode()
    def hear(
        self, samples: Sequence[Array], states: Sequence[CausalState], controls: Sequence[Mapping[str, Any]]
    ) -> list[Analysis]:
        """The next samples (n,) of several streams in one pass: see `StreamingEmoTalk.hear`."""
        return self._streams().hear(samples, states, controls)

    @torch.inference_mode()
    def hear_again(self, state: CausalState, controls: Mapping[str, Any]) -> tuple[Array, None]:
        """The stream's last frames (n, 52) with other controls; it goes on from there."""
        return self._streams().hear_again(state, controls), None

    def analyse_together(self, windows: Sequence[tuple[Array, Mapping[str, Any]]]) -> list[Analysis]:
        """`analyse` of windows of several streams, each with its own `memory`, in one pass (of a network with full
        attention each in its own).
        """
        if any(isinstance(asked["memory"], WaveMemory) for _, asked in windows):
            return [self.analyse(audio, **asked) for audio, asked in windows]
        return analyse_windows(self, windows)

    def _streams(self) -> CausalStream:
        """What streams run on, with the weights as they are now."""
        if self._stream is None or not self._stream.current:
            self._stream = CausalStream(self)
        return self._stream

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> EmoTalk:
        super()._apply(fn, recurse)
        self._stream = None
        return self

    def freeze_feature_encoders(self) -> None:
        """Freeze the wav2vec2 convolutions, as the paper trains; others hold nothing pre-trained."""
        for encoder in self._encoders():
            if not encoder.on_frames:
                encoder.feature_extractor.requires_grad_(False)

    # The parts of forward, in order.

    def _encoders(self) -> list[SpeechEncoder]:
        return [self.content_encoder, self.emotion_encoder] if self.config.disentangle else [self.content_encoder]

    def _wave_window(
        self,
        input_values: Tensor,
        person: Tensor | None,
        level: Tensor | None,
        emotion_embedding: Tensor | None,
        emotion_blend: Tensor | None,
        frames: Tensor | int | None,
        memory: WaveMemory,
        start: int,
    ) -> EmoTalkOutput:
        """`forward` of one of a stream's windows with full attention: the first `frames` of its frames."""
        _, size = self._frames(input_values, None, None)
        values = memory.prepare(input_values, start)
        content_states = self._content_states(values, None, None, size, memory)
        heard = content_states
        if self.config.disentangle:
            hear = partial(self._emotion_states, values, None, None, size, memory)
            heard = memory.emotion_states(start, size, values.shape[1], hear)
            memory.keep_up(self.emotion_encoder, values)
        logits = self.emotion_classifier(heard.mean(1))
        wanted = size if frames is None else min(size, int(frames))
        heard, content_states = heard[:, :wanted], content_states[:, :wanted]
        content = self.content_head(content_states)
        emotion = self._mix_emotion(self.emotion_head(heard), emotion_embedding, emotion_blend)
        if memory.reuse and len(self.decoder) == 1:
            last = memory.undecoded(start, wanted)
            coefficients = memory.given(self.decode(content, emotion, person, level, last), start, wanted)
        else:
            coefficients = self.decode(content, emotion, person, level)
        return EmoTalkOutput(
            coefficients=coefficients,
            emotion_logits=logits,
            content=content,
            emotion=emotion,
            frame_lengths=torch.full((1,), wanted, device=input_values.device),
            frame_emotion_logits=self.emotion_classifier(heard),
        )

    def _emotion_states(
        self,
        values: Tensor,
        lengths: Tensor | None,
        frames: Tensor | None,
        size: int,
        memory: WaveMemory | None = None,
    ) -> Tensor:
        """(B, T, H) of the emotion encoder: resampled to its own frame count before, to the content's after."""
        encoder = self.emotion_encoder if self.config.disentangle else self.content_encoder
        if self.config.resampling == "grid":
            return self._grid_states(encoder, values, frames, size)
        features, in_lengths = self._wave_features(encoder, values, lengths, memory)
        middle_size = int(features.shape[1] / FEATURE_RATE * self.config.fps)
        # int(S / 50 * fps) in the published code's double precision
        middle = (in_lengths.double() / FEATURE_RATE * self.config.fps).floor().long()
        valid = None if lengths is None else middle
        window = memory is not None and memory.reuse
        states = encoder(stretch(features, in_lengths, middle, middle_size), valid, window)
        return stretch(states, middle, torch.full_like(middle, size) if frames is None else frames, size)

    def _other_emotion_states(self, values: Tensor, lengths: Tensor | None, frames: Tensor | None, size: int) -> Tensor:
        """The emotion states of another clip, stretched to this clip's frames."""
        if self.config.resampling == "align_corners":
            return self._emotion_states(self._prepare(values, lengths), lengths, frames, size)
        own, own_size = self._frames(values, lengths, None)
        states = self._emotion_states(self._prepare(values, lengths), lengths, own, own_size)
        if own is None:
            own = torch.full((values.shape[0],), own_size, device=values.device)
        return stretch(states, own, torch.full_like(own, size) if frames is None else frames, size)

    def _classify(self, states: Tensor, frames: Tensor | None) -> Tensor:
        """Logits (B, L) of the mean over the clip's frames (EmoTalk, section 3.2)."""
        if frames is None:
            return self.emotion_classifier(states.mean(1))
        valid = valid_mask(frames, states.shape[1])[..., None]
        return self.emotion_classifier(torch.where(valid, states, 0.0).sum(1) / frames[:, None].to(states.dtype))

    def _decode(self, hidden: Tensor, emotion: Tensor) -> Tensor:
        for layer in self.decoder:
            hidden = layer(hidden, emotion)
        return hidden

    def _activate(self, coefficients: Tensor) -> Tensor:
        if self.config.output_activation == "sigmoid":
            return torch.sigmoid(coefficients)
        return coefficients
