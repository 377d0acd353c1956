"""What hears for an ear: the speech trunk of a network."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import torch
from torch import Tensor

from emotalk_ros.model.ear_config import SAMPLES
from emotalk_ros.training.ear import EarTrainingError, Encoder, Floats

_TAIL = 16
"""States of silence put after a clip, so that its last states have their look-ahead."""


def trunk_encoder(network: Any) -> tuple[Encoder, int]:
    """The trunk of `network` as an encoder of whole clips, and the width of its states.

    Raises EarTrainingError for a network without one.
    """
    trunk = getattr(network, "trunk", None)
    if trunk is None:
        raise EarTrainingError(
            "this network has no pretrained speech trunk for an ear to listen to: name one that has, with --model"
        )

    def encode(samples: Floats) -> Tensor:
        count = max(1, len(samples) // SAMPLES)
        padded = np.pad(samples, (0, count * SAMPLES + _TAIL * SAMPLES - len(samples)))
        with torch.inference_mode():
            return trunk(torch.from_numpy(padded).float()[None], count=count)[0, :count].float()

    return encode, int(trunk.width)


def trunk_digest(network: Any) -> str:
    """Tells one trunk from another by its weights; the same for networks that share one."""
    digest = hashlib.sha256()
    for name, value in sorted(network.trunk.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
