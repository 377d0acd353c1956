"""Sizes of the smallest EmoTalk that streams, for tests of every room that needs some network and not a good one."""

ENCODER = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "conv_dim": [16, 16, 16],
    "conv_kernel": [3, 4, 4],
    "conv_stride": [1, 2, 2],
    "conv_bias": True,
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
    "num_conv_pos_embeddings": 15,
    "num_conv_pos_embedding_groups": 4,
}
SIZES = {"content_dim": 16, "emotion_condition_dim": 8, "level_dim": 4, "person_dim": 4, "decoder_ff": 16}
