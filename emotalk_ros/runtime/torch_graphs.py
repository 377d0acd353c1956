"""`StreamingEmoTalk` as four graphs for ONNX Runtime: stem, trunk, adapters, decoder.

The graphs compute; what a stream keeps lies outside, in arrays (`emotalk_ros.runtime.network`). Nothing in them
depends on where in a stream a voice is but masks made of the places that come as inputs, so voices at any place, and
both of the trunk's segments that are under way, go through in one batch. A row's places count from its segment's or
stream's start.

Notation: B voices, R segments (rows), n new features, t new frames, W the trunk's width, S the sum of its look-aheads.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from emotalk_ros.model.causal import head_slopes
from emotalk_ros.model.streaming_emotalk import _CLOSE, _DOUBT, _JAW, EXPRESSIVE, OPENING, StreamingEmoTalk

_NEVER = -1e9
"""Score of a key that is not seen: finite, so that a row that sees none at all gives numbers, which nobody reads."""


class StemGraph(nn.Module):
    """Spectra and convolutions: power spectra of windows to the trunk's inputs."""

    def __init__(self, model: StreamingEmoTalk) -> None:
        super().__init__()
        self.model = model

    def forward(self, power: Tensor, first: Tensor) -> Tensor:
        """Features `first` (B,) and following, (B, n, W), of the power spectra (B, 2 n + 3, bins) around them.

        The spectra are those of windows 2 first - 2 to 2 (first + n); those before the stream's start are not heard.
        """
        trunk = self.model.trunk
        spectra = (torch.clamp(power @ trunk.spectra.filters, min=1e-7).log10() + 4.0) / 4.0
        at = 2 * first[:, None] - 2 + torch.arange(power.shape[1])
        spectra = torch.where((at >= 0)[..., None], spectra, 0.0)
        hidden = functional.gelu(functional.conv1d(spectra.transpose(1, 2), trunk.conv1.weight, trunk.conv1.bias))
        hidden = torch.where((at[:, 1:-1] >= 0)[:, None], hidden, 0.0)
        hidden = functional.conv1d(hidden, trunk.conv2.weight, trunk.conv2.bias, 2)
        return functional.gelu(hidden).transpose(1, 2)


class TrunkGraph(nn.Module):
    """The trunk's layers over rows of segments, with keys and values of the past in buffers of fixed size."""

    def __init__(self, model: StreamingEmoTalk) -> None:
        super().__init__()
        self.model = model
        self.rights = list(model.config.trunk_rights)

    def forward(self, place: Tensor, stem: Tensor, *rest: Tensor) -> list[Tensor]:
        """The next inputs of each row to what the layers make of them.

        Args:
            place: (R,) int64, position in its segment of each row's first new input.
            stem: (R, S + n, W), the S inputs before the new ones, then those.
            *rest: of each layer k but the last the output's last (R, sum of the later layers' look-aheads, W); then of
                each layer keys and values (R, heads, L, W / heads), of which those at positions below the layer's own
                place (place less the look-aheads of the layers before) count.

        Returns:
            Of each layer its n next outputs (R, n, W), delayed by its look-ahead and those of the layers before it; of
            each layer its new keys and values (R, heads, n, W / heads).
        """
        count = len(self.rights)
        history, caches = rest[: count - 1], rest[count - 1 :]
        trunk = self.model.trunk
        new = stem.shape[1] - sum(self.rights)
        start = sum(self.rights) - self.rights[0]
        at = place[:, None] - self.rights[0] + torch.arange(new + self.rights[0])
        hidden = stem[:, start:] + trunk.positions[at.clamp(min=0, max=len(trunk.positions) - 1)]
        base = place
        outputs, kept = [], []
        for k, (layer, right) in enumerate(zip(trunk.layers, self.rights, strict=True)):
            made, key, value = self._layer(layer, hidden, new, right, base, caches[2 * k], caches[2 * k + 1])
            outputs.append(made)
            kept += [key, value]
            base = base - right
            if k + 1 < count:
                before = history[k][:, sum(self.rights[k + 1 :]) - self.rights[k + 1] :]
                hidden = torch.cat([before, made], 1)
        return [*outputs, *kept]

    def _layer(
        self, layer: Any, hidden: Tensor, count: int, right: int, base: Tensor, keys: Tensor, values: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        attention = layer.self_attn
        heads, width = attention.heads, hidden.shape[2]
        normed = layer.self_attn_layer_norm(hidden)
        looking = hidden[:, :count]
        new = normed[:, right:]
        scale = 1.0 / math.sqrt(width // heads)
        query = _heads(attention.q_proj(normed[:, :count]) * scale, heads)
        key, value = _heads(attention.k_proj(new), heads), _heads(attention.v_proj(new), heads)
        index = torch.arange(count)  # from an input's shape, which the tracer knows to vary
        past_hidden = (torch.arange(keys.shape[2])[None] >= base[:, None])[:, None, None]
        among_new = (index[None] <= index[:, None])[None] & ((base[:, None] + index) >= 0)[:, None]
        before = torch.where(past_hidden, _NEVER, query @ keys.transpose(2, 3))
        fresh = torch.where(among_new[:, None], query @ key.transpose(2, 3), _NEVER)
        weights = torch.cat([before, fresh], -1).softmax(-1)
        mixed = weights[..., : keys.shape[2]] @ values + weights[..., keys.shape[2] :] @ value
        made = looking + attention.out_proj(mixed.transpose(1, 2).flatten(2))
        made = made + layer.fc2(functional.gelu(layer.fc1(layer.final_layer_norm(made))))
        return made, key, value


class AdapterGraph(nn.Module):
    """Both adapters, feature by feature."""

    def __init__(self, model: StreamingEmoTalk) -> None:
        super().__init__()
        self.model = model

    def forward(self, features: Tensor) -> Tensor:
        """(B, n, levels, W) to (B, n, content + channels + 1)."""
        return torch.cat([self.model.content_adapter(features), self.model.emotion_adapter(features)], -1)


class DecoderGraph(nn.Module):
    """From content and what was heard to coefficients, with keys and values of the last `decoder_reach` frames."""

    def __init__(self, model: StreamingEmoTalk) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        content: Tensor,
        summed: Tensor,
        given: Tensor,
        blend: Tensor,
        person: Tensor,
        level: Tensor,
        known: Tensor,
        *caches: Tensor,
    ) -> list[Tensor]:
        """The next t frames.

        Args:
            content: (B, t, C) content embeddings.
            summed: (B, t, 2 channels) running statistics of what was heard.
            given, blend: (B, E) emotion embedding asked for, and its weight (B,) 0..1 against the one heard.
            person, level: (B, persons) weights, (B,) 0..1.
            known: (B,) int64, frames before these that count, at most the reach.
            *caches: of each decoder layer and of the emotion decoder keys and values (B, heads, reach, width / heads).

        Returns:
            speech (B, t, 52), expression (B, t, 52), emotion logits (B, t, L), emotion heard (B, t, E), and the caches.
        """
        model = self.model
        pooled = torch.tanh(model.emotion_dense(summed))
        logits, heard = model.emotion_classifier(pooled), model.emotion_head(pooled)
        emotion = heard + blend[:, None, None] * (given[:, None] - heard)
        portrayed = model.level_embedding(torch.stack([1 - level, level], -1))
        styles = torch.cat([portrayed, model.person_embedding(person)], -1)
        hidden = torch.cat([content, styles[:, None].expand(-1, content.shape[1], -1)], -1)
        kept: list[Tensor] = []
        for k, layer in enumerate(model.decoder):
            hidden = self._layer(layer, content, hidden, None, known, caches[2 * k], caches[2 * k + 1], kept)
        closure = model.closure_output(hidden)[..., 0]
        speech = self._close(model.speech_output(hidden), closure)
        shown = functional.gelu(model.emotion_condition(torch.cat([hidden, emotion], -1)))
        shown = self._layer(model.emotion_decoder, content, shown, emotion, known, caches[-2], caches[-1], kept)
        moved = model.expression_output(shown)
        # A column that is not expressive reads a zero beside them.
        places = [EXPRESSIVE.index(k) if k in EXPRESSIVE else len(EXPRESSIVE) for k in range(speech.shape[2])]
        padded = functional.pad(moved, (0, 1))
        return [speech, padded[..., torch.tensor(places)], logits, heard, *kept]

    def _close(self, made: Tensor, logits: Tensor) -> Tensor:
        """`StreamingEmoTalk._close` without assignments to columns, which no graph knows."""
        sure = ((torch.sigmoid(logits) - _DOUBT) / (1 - 2 * _DOUBT)).clamp(0.0, 1.0)[..., None]
        lips = torch.tensor([1.0 if k == _CLOSE else 0.0 for k in range(made.shape[2])])
        parting = torch.tensor([1.0 if k in OPENING else 0.0 for k in range(made.shape[2])])
        closing = sure * (made[..., _JAW : _JAW + 1].clamp(min=0.0) + self.model.config.seal)
        return made * (1 - sure * (lips + parting)) + lips * closing

    def _layer(
        self,
        layer: Any,
        content: Tensor,
        hidden: Tensor,
        emotion: Tensor | None,
        known: Tensor,
        keys: Tensor,
        values: Tensor,
        kept: list[Tensor],
    ) -> Tensor:
        attention, reach, count = layer.self_attn, keys.shape[2], content.shape[1]
        packed = functional.linear(hidden, attention.in_proj_weight, attention.in_proj_bias)
        query, key, value = (_heads(part, layer.heads) for part in packed.chunk(3, -1))
        keys, values = torch.cat([keys, key], 2), torch.cat([values, value], 2)
        index, column = torch.arange(count), torch.arange(reach + count)
        distance = index[:, None] + reach - column
        steps = torch.div(distance, layer.period, rounding_mode="floor").float()
        bias = -head_slopes(layer.heads)[:, None, None] * steps
        within = ((distance >= 0) & (distance <= reach))[None] & (column >= reach - known[:, None])[:, None]
        scores = query @ keys.transpose(2, 3) / math.sqrt(query.shape[-1]) + bias
        weights = torch.where(within[:, None], scores, _NEVER).softmax(-1)
        mixed = attention.out_proj((weights @ values).transpose(1, 2).flatten(2))
        kept += [keys[:, :, count:], values[:, :, count:]]
        hidden = layer.norm1(hidden + mixed)
        if emotion is not None:
            hidden = layer.norm2(hidden + layer.emotion_attention(emotion))
        return layer.norm3(hidden + layer.linear2(layer.activation(layer.linear1(hidden))))


def _heads(values: Tensor, heads: int) -> Tensor:
    return values.unflatten(-1, (heads, -1)).transpose(1, 2)
