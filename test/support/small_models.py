"""Small networks for the tests: random weights with outputs that are not zero, in every variant."""

import torch

from emotalk_ros.model import EmoTalk, EmoTalkConfig

ENCODER = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "conv_dim": [16] * 7,
    "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
    "conv_stride": [5, 2, 2, 2, 2, 2, 2],
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
    "conv_bias": True,
    "layerdrop": 0.0,
}
MEL_ENCODER = {**ENCODER, "conv_dim": [12, 12, 16], "conv_kernel": [3, 4, 4], "conv_stride": [1, 2, 2]}
GROUP_ENCODER = {**ENCODER, "feat_extract_norm": "group", "do_stable_layer_norm": False, "conv_bias": False}
HEADS = {
    "content_dim": 20,
    "emotion_condition_dim": 12,
    "level_dim": 4,
    "person_dim": 4,
    "decoder_heads": 4,
    "decoder_ff": 24,
}
# The smallest network that streams, as changes of the preset `tiny`: for tests that need some network, not a good one.
SMALLEST_ENCODER = {
    **MEL_ENCODER,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "conv_dim": [16, 16, 16],
    "num_conv_pos_embeddings": 15,
}
SMALLEST = {
    "content_config": SMALLEST_ENCODER,
    "emotion_config": SMALLEST_ENCODER,
    "content_dim": 16,
    "emotion_condition_dim": 8,
    "level_dim": 4,
    "person_dim": 4,
    "decoder_ff": 16,
}

STREAMING = {"attention": "causal", "lookahead_frames": 3, "normalization": "none", "resampling": "grid"}

VARIANTS = {
    "paper": {"content_config": ENCODER, "emotion_config": ENCODER},
    "paper_group_norm": {"content_config": GROUP_ENCODER, "emotion_config": GROUP_ENCODER},
    "one_encoder": {"content_config": ENCODER, "emotion_config": ENCODER, "disentangle": False},
    "unguided": {"content_config": ENCODER, "emotion_config": ENCODER, "emotion_guided": False},
    "streaming_mel": {"frontend": "mel", "content_config": MEL_ENCODER, "emotion_config": MEL_ENCODER, **STREAMING},
    "streaming_wave": {"content_config": ENCODER, "emotion_config": ENCODER, **STREAMING},
    "streaming_mixed": {
        "frontend": "wave",
        "emotion_frontend": "mel",
        "content_config": ENCODER,
        "emotion_config": MEL_ENCODER,
        **STREAMING,
    },
    "streaming_prosody": {
        "frontend": "mel",
        "emotion_frontend": "prosody",
        "content_config": MEL_ENCODER,
        "emotion_config": {**MEL_ENCODER, "conv_stride": [1, 2, 1]},
        **STREAMING,
    },
    "grid_full": {
        "frontend": "mel",
        "content_config": MEL_ENCODER,
        "emotion_config": MEL_ENCODER,
        "resampling": "grid",
    },
}


def small_config(variant, **overrides):
    return EmoTalkConfig(**{**HEADS, **VARIANTS[variant], **overrides})


def small_model(variant, seed=0, **overrides):
    torch.manual_seed(seed)
    model = EmoTalk(small_config(variant, **overrides)).eval()
    randomise(model, seed)
    return model


@torch.no_grad()
def randomise(model, seed=0):
    """Give every zero parameter a value, so that nothing passes a test by being zero."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if not parameter.any():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))


def speechlike(samples, seed=0):
    """(samples,) float32 noise with a syllable-like envelope."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(samples, generator=generator)
    envelope = 0.55 + 0.45 * torch.sin(torch.arange(samples) * (2 * torch.pi * 4 / 16000))
    return (0.1 * noise * envelope).numpy()
