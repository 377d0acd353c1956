"""The mean of the weights of networks that came from one another: between two of them is often better than either.

    emotalk average OUT MODEL MODEL ... --shares 1,1

Weights along a run that goes on with other data (Wortsman et al. 2022, WiSE-FT and model soups): the shipped network
is made of such runs. Networks that were not trained from common weights give nonsense. Configuration and prototypes
are the first one's.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from emotalk_ros.model import load_model


def average(folders: Sequence[Path], shares: Sequence[float]) -> torch.nn.Module:
    """The first network with the weighted mean of all weights.

    Raises ValueError, naming the folder, where shares or weights do not fit together.
    """
    if len(shares) != len(folders) or any(share < 0 for share in shares) or sum(shares) <= 0:
        raise ValueError(f"{len(folders)} networks need as many shares that are not negative, got {list(shares)}")
    total = sum(shares)
    networks = [load_model(folder) for folder in folders]
    mean = {name: torch.zeros_like(weight, dtype=torch.float64) for name, weight in networks[0].named_parameters()}
    for folder, network, share in zip(folders, networks, shares, strict=True):
        own = dict(network.named_parameters())
        if {n: w.shape for n, w in own.items()} != {n: w.shape for n, w in mean.items()}:
            raise ValueError(f"{folder} has other weights than {folders[0]}: only networks of one form have a mean")
        for name, weight in own.items():
            mean[name] += weight.detach().double() * (share / total)
    with torch.no_grad():
        for name, weight in networks[0].named_parameters():
            weight.copy_(mean[name])
    return networks[0]
