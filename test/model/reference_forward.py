"""The published network written out plainly: the truth that the lean one is compared with.

Works on a state dict under the published names and a description like test/data/emotalk_tiny/meta.json. Eager
attention, every mask materialised, one clip at a time, nothing from the package: slow and easy to check against the
paper.
"""

import math

import torch
from torch.nn import functional as F


def reference_forward(state, meta, audio, person=0, level=1, emotion_audio=None):
    """(n,) samples to a dict of (1, T, ...) tensors, named as the stored ones, with the coefficients under `out`."""
    net = _Net(state, meta)
    frames = math.ceil(len(audio) / 16000 * 30)
    wave = normalise(audio)[None]
    emotion_wave = wave if emotion_audio is None else normalise(emotion_audio)[None]

    hidden = net.conv("audio_encoder_cont.", wave)
    cont = net.transformer("audio_encoder_cont.", resample(hidden, frames))

    hidden = net.conv("audio_encoder_emo.wav2vec2.", emotion_wave)
    hidden = resample(hidden, int(hidden.shape[1] / 50.0 * 30))
    pre = net.transformer("audio_encoder_emo.wav2vec2.", hidden)
    emo = resample(pre, frames)
    pooled = torch.tanh(net.linear("audio_encoder_emo.classifier.dense", emo.mean(1)))
    logits = net.linear("audio_encoder_emo.classifier.out_proj", pooled)

    content = net.linear("audio_feature_map_cont", cont)
    memory = net.linear("audio_feature_map_emo", emo)
    condition = torch.relu(net.linear("audio_feature_map_emo2", memory))
    levels = net.linear("obj_vector_level", F.one_hot(torch.tensor([level]), 2).float())
    persons = net.linear("obj_vector_person", F.one_hot(torch.tensor([person]), 24).float())
    styles = torch.cat([levels, persons], 1)[:, None].expand(-1, frames, -1)
    decoder_in = torch.cat([content, condition, styles], dim=2)
    decoder_out = net.decoder(decoder_in, memory)
    return {
        "cont": cont,
        "emo_pre_interp": pre,
        "emo": emo,
        "emo_logits": logits,
        "dec_in": decoder_in,
        "dec_mem": memory,
        "dec_out": decoder_out,
        "out": net.linear("bs_map_r", decoder_out),
    }


def normalise(audio):
    return (audio - audio.mean()) / torch.sqrt(audio.var(unbiased=False) + 1e-7)


def resample(hidden, frames):
    return F.interpolate(hidden.transpose(1, 2), size=frames, mode="linear", align_corners=True).transpose(1, 2)


def slopes(heads):
    """ALiBi's slopes for a power of two of heads."""
    return [2.0 ** (-8.0 * (h + 1) / heads) for h in range(heads)]


class _Net:
    def __init__(self, state, meta):
        self.state, self.meta, self.sizes = state, meta, meta["config"]

    def linear(self, name, x):
        return F.linear(x, self.state[f"{name}.weight"], self.state[f"{name}.bias"])

    def norm(self, name, x):
        return F.layer_norm(x, x.shape[-1:], self.state[f"{name}.weight"], self.state[f"{name}.bias"], 1e-5)

    def conv(self, prefix, wave):
        x = wave[:, None]
        for i, stride in enumerate(self.sizes["conv_stride"]):
            name = f"{prefix}feature_extractor.conv_layers.{i}."
            x = F.conv1d(x, self.state[name + "conv.weight"], self.state[name + "conv.bias"], stride=stride)
            x = F.gelu(self.norm(name + "layer_norm", x.transpose(1, 2)).transpose(1, 2))
        return x.transpose(1, 2)

    def transformer(self, prefix, x):
        x = self.linear(
            prefix + "feature_projection.projection", self.norm(prefix + "feature_projection.layer_norm", x)
        )
        name = prefix + "encoder.pos_conv_embed.conv."
        direction = self.state[name + "weight_v"]
        weight = self.state[name + "weight_g"] * direction / direction.norm(dim=(0, 1), keepdim=True)
        kernel = weight.shape[-1]
        groups = self.sizes["num_conv_pos_embedding_groups"]
        position = F.conv1d(x.transpose(1, 2), weight, self.state[name + "bias"], padding=kernel // 2, groups=groups)
        if kernel % 2 == 0:
            position = position[..., :-1]
        x = x + F.gelu(position).transpose(1, 2)
        for i in range(self.sizes["num_hidden_layers"]):
            name = f"{prefix}encoder.layers.{i}."
            x = x + self.encoder_attention(name + "attention.", self.norm(name + "layer_norm", x))
            inner = self.norm(name + "final_layer_norm", x)
            inner = F.gelu(self.linear(name + "feed_forward.intermediate_dense", inner))
            x = x + self.linear(name + "feed_forward.output_dense", inner)
        return self.norm(prefix + "encoder.layer_norm", x)

    def encoder_attention(self, name, x):
        heads = self.sizes["num_attention_heads"]
        q, k, v = (split(self.linear(name + part, x), heads) for part in ("q_proj", "k_proj", "v_proj"))
        return self.linear(name + "out_proj", attend(q, k, v, torch.zeros(x.shape[1], x.shape[1])))

    def decoder(self, x, memory):
        heads, frames = self.meta["decoder"]["nhead"], x.shape[1]
        i, j = torch.arange(frames)[:, None], torch.arange(frames)[None, :]
        bias = torch.stack([-s * ((i - j) // self.meta["period"]).float() for s in slopes(heads)])
        bias = bias.masked_fill(j > i, float("-inf"))
        diagonal = torch.full((frames, frames), float("-inf")).fill_diagonal_(0)
        for index in range(self.meta["decoder"]["layers"]):
            name = f"transformer_decoder.layers.{index}."
            x = self.norm(name + "norm1", x + self.attention(name + "self_attn.", x, x, bias))
            x = self.norm(name + "norm2", x + self.attention(name + "multihead_attn.", x, memory, diagonal))
            inner = self.linear(name + "linear2", torch.relu(self.linear(name + "linear1", x)))
            x = self.norm(name + "norm3", x + inner)
        return x

    def attention(self, name, x, memory, mask):
        heads, weight, bias = (
            self.meta["decoder"]["nhead"],
            self.state[name + "in_proj_weight"],
            self.state[name + "in_proj_bias"],
        )
        (wq, wk, wv), (bq, bk, bv) = weight.chunk(3), bias.chunk(3)
        q, k, v = (
            split(F.linear(x, wq, bq), heads),
            split(F.linear(memory, wk, bk), heads),
            split(F.linear(memory, wv, bv), heads),
        )
        return self.linear(name + "out_proj", attend(q, k, v, mask))


def split(x, heads):
    return x.view(x.shape[0], x.shape[1], heads, -1).transpose(1, 2)


def attend(q, k, v, mask):
    weights = torch.softmax(q @ k.transpose(2, 3) / math.sqrt(q.shape[-1]) + mask, dim=-1)
    return (weights @ v).transpose(1, 2).flatten(2)
