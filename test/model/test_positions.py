"""Position embeddings of windows are those of transformers' convolution."""

import pytest
import torch
from small_models import ENCODER, small_model

from emotalk_ros.model.positions import WindowPositions


@pytest.mark.parametrize("kernel", [16, 15])
@pytest.mark.parametrize("length", [1, 9, 27, 70])
def test_they_are_those_of_the_convolution(kernel, length):
    encoder = small_model("paper", content_config={**ENCODER, "num_conv_pos_embeddings": kernel}).content_encoder
    embed, positions = encoder.encoder.pos_conv_embed, WindowPositions()
    hidden = torch.randn(2, length, 32)
    with torch.no_grad():
        for _ in range(2):  # with new spectra, and with those kept
            torch.testing.assert_close(positions(embed, hidden), embed(hidden), atol=1e-5, rtol=0)
        embed.conv.bias.add_(0.5)
        embed.conv.parametrizations.weight.original1.mul_(torch.rand_like(embed.conv.weight))
        torch.testing.assert_close(positions(embed, hidden), embed(hidden), atol=1e-5, rtol=0)


def test_another_number_format():
    encoder = small_model("paper").content_encoder
    embed, hidden = encoder.encoder.pos_conv_embed, torch.randn(1, 20, 32)
    with torch.no_grad():
        wanted = embed(hidden)
        made = WindowPositions()(embed.to(torch.bfloat16), hidden.to(torch.bfloat16))
    assert made.dtype is torch.bfloat16
    torch.testing.assert_close(made.float(), wanted, atol=0.05, rtol=0)
