"""Settle the emotion side of a trained network, its encoders and decoder left alone: the last step of the shipped one.

    emotalk fit-emotion MODEL CORPUS OUT --split runs/tiny/splits.yaml

Two things are fitted on CORPUS (training actors only):

1. the classifier: a multinomial logistic regression on the emotion encoder's mean state over clips heard through random
   microphones, whole with silence of up to 1.3 s around the speech or as windows of a stream, written into its two
   layers (a small slope, where tanh is linear). A full network head fits the made-up emotions better and real ones
   worse;
2. the prototypes, for choosing an emotion by name: per label the embedding that makes the decoder give faces nearest to
   that label's, for any content, person and level (Adam on the embeddings alone).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor
from torch.nn import functional

from emotalk_ros.corpus.labels import labels_from_phones
from emotalk_ros.corpus.store import Clip, Corpus
from emotalk_ros.corpus.visemes import loudness_curve
from emotalk_ros.model import EmoTalk
from emotalk_ros.training.augment import Augmenter
from emotalk_ros.training.precision import mixed_precision
from emotalk_ros.training.recipe import AugmentRecipe
from emotalk_ros.training.splits import Split
from emotalk_ros.units import SAMPLE_RATE

Floats = NDArray[np.float32]

MICROPHONES = AugmentRecipe(
    gain_db=8, noise_probability=0.5, noise_snr_db=(10, 45), lowpass_probability=0.1, equalizer_db=2.5
)
WINDOW = int(2.3 * SAMPLE_RATE)
"""What the node's model hears at once: context, hop and look-ahead."""
SLOPE = 0.05
"""Size of the numbers that pass the classifier's tanh: nearly linear there."""


def heard_clip(audio: Floats, augment: Augmenter, rng: np.random.Generator) -> Floats:
    """The clip as some microphone would give it: every other time whole with silence around it, else the window of it
    that the node would hear.
    """
    if rng.random() < 0.5 and len(audio) > WINDOW:
        start = int(rng.integers(len(audio) - WINDOW))
        return augment(audio[start : start + WINDOW], rng)
    before, after = rng.integers(0, int(1.3 * SAMPLE_RATE), 2)
    padded = np.pad(audio, (before, after))
    padded += np.float32(rng.choice([0.0, 1e-5, 1e-4])) * rng.standard_normal(len(padded)).astype(np.float32)
    return augment(padded, rng)


@torch.no_grad()
def listen(model: EmoTalk, clips: list[Floats], batch: int = 16) -> Tensor:
    """Mean emotion state of each clip, (clips, H), as the classifier sees it."""
    means: list[Tensor] = []
    hook = model.emotion_classifier.register_forward_pre_hook(lambda module, inputs: means.append(inputs[0].float()))
    order = sorted(range(len(clips)), key=lambda k: len(clips[k]))
    for start in track(range(0, len(clips), batch), "listening"):
        chosen = [clips[k] for k in order[start : start + batch]]
        values = torch.zeros(len(chosen), max(map(len, chosen)))
        for row, clip in zip(values, chosen, strict=True):
            row[: len(clip)] = torch.from_numpy(clip)
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed_precision("auto") == "bf16"):
            model(values, lengths=torch.tensor([len(clip) for clip in chosen]))
    hook.remove()
    back = torch.argsort(torch.tensor(order))
    return torch.cat(means)[back]


def regression(states: Tensor, labels: Tensor, classes: int, noise: float, steps: int = 400) -> tuple[Tensor, Tensor]:
    """Weights (classes, H) and bias (classes,) on standardised states that are blurred by `noise`."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(states.shape[1], classes)
    torch.nn.init.zeros_(layer.weight)
    optimizer = torch.optim.Adam(layer.parameters(), 0.01)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 0.01 * (1 - step / steps)
        blurred = states + noise * torch.randn_like(states)
        loss = functional.cross_entropy(layer(blurred), labels, label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return layer.weight.detach(), layer.bias.detach()


@torch.no_grad()
def write_head(model: EmoTalk, mean: Tensor, spread: Tensor, weights: Tensor, bias: Tensor) -> None:
    """Standardisation and a slope into the first layer, the regression into the second."""
    head = model.emotion_classifier
    head.dense.weight.copy_(torch.diag(SLOPE / spread))
    head.dense.bias.copy_(-SLOPE * mean / spread)
    head.out_proj.weight.copy_(weights / SLOPE)
    head.out_proj.bias.copy_(bias)


def fit_classifier(
    model: EmoTalk, corpus: Corpus, chosen: NDArray[np.intp], noise: float, rng: np.random.Generator
) -> str:
    """The regression on the states of the clips `chosen`, each heard through a microphone of its own, into the head.

    Says how many of them it then recognises.
    """
    augment, names = Augmenter(MICROPHONES), list(model.config.emotion_labels)
    states = listen(model, [heard_clip(corpus[int(k)].audio, augment, rng) for k in chosen])
    labels = torch.tensor([names.index(corpus.records[int(k)].emotion or "") for k in chosen])
    mean, spread = states.mean(0), states.std(0) + 1e-6
    write_head(model, mean, spread, *regression((states - mean) / spread, labels, len(names), noise))
    with torch.no_grad():
        right = (model.emotion_classifier(states).argmax(-1) == labels).float().mean().item()
    return f"{len(chosen)} clips; {right:.3f} of them recognised"


def fit_prototypes(model: EmoTalk, clips: list[Clip], names: list[str], steps: int, seed: int) -> Tensor:
    """(labels, E) embeddings whose decoded faces come nearest to the labels' own over contents, persons and levels."""
    size = 75
    with torch.no_grad():
        outputs = [model(torch.from_numpy(clip.audio)[None]) for clip in track(clips, "contents")]
    loudness = [loudness_curve(clip.audio, len(clip.coefficients), clip.fps) for clip in clips]
    heard = torch.stack([output.emotion[0].mean(0) for output in outputs])
    prototypes = torch.nn.Parameter(heard.mean(0, keepdim=True).repeat(len(names), 1))
    optimizer = torch.optim.Adam([prototypes], 0.1)
    rng = np.random.default_rng(seed)
    for step in track(range(steps), "prototypes"):
        optimizer.param_groups[0]["lr"] = 0.1 * (1.02 - step / steps)
        labels = rng.permutation(len(names) * 2) % len(names)
        contents, targets, inside, levels, persons = [], [], [], [], []
        for k, label in zip(rng.integers(len(clips), size=len(labels)), labels, strict=True):
            clip, content = clips[k], outputs[k].content[0]
            level, person = float(rng.integers(2)), int(rng.integers(model.config.num_persons))
            face = labels_from_phones(
                clip.phones or (), len(clip.coefficients), clip.fps, names[label], level, person, 0, loudness[k], False
            )
            count = min(size, len(face), len(content))
            contents.append(functional.pad(content[:count], (0, 0, 0, size - count)))
            targets.append(functional.pad(torch.from_numpy(face[:count]), (0, 0, 0, size - count)))
            inside.append((torch.arange(size) < count).float())
            levels.append(level)
            persons.append(person)
        emotion = prototypes[torch.as_tensor(labels)][:, None].expand(-1, size, -1)
        made = model.decode(torch.stack(contents), emotion, torch.tensor(persons), torch.tensor(levels))
        mask = torch.stack(inside)
        loss = ((made - torch.stack(targets)).square().mean(-1) * mask).sum() / mask.sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return prototypes.detach()


@dataclass(frozen=True)
class Choices:
    """How much is fitted, on what."""

    clips: int = 3000
    """At most so many."""
    noise: float = 0.3
    """Blur of the standardised states."""
    steps: int = 400
    """Optimiser steps for the prototypes."""
    seed: int = 1
    prototypes_only: bool = False
    """Leave the classifier as it is."""


def fit(model: EmoTalk, corpus: Corpus, split: Split | None = None, choices: Choices | None = None) -> str:
    """Fits classifier and prototypes of `model` in place, on the training actors of `split`; says how well.

    Raises ValueError where the corpus has no clip with a label that the network knows.
    """
    choices, names = choices or Choices(), list(model.config.emotion_labels)
    usable = [
        k for k, r in enumerate(corpus.records) if r.emotion in names and (split is None or split.side(r) == "train")
    ]
    if not usable:
        raise ValueError(
            f"{corpus.folder}: no clip {'of a training actor ' if split else ''}has one of the network's emotions "
            f"({', '.join(names)})"
        )
    rng = np.random.default_rng(choices.seed)
    chosen = rng.permutation(usable)[: choices.clips]
    said = "" if choices.prototypes_only else fit_classifier(model, corpus, chosen, choices.noise, rng)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    spoken = [corpus[int(k)] for k in rng.permutation(usable)[:160]]
    model.set_prototypes(fit_prototypes(model, spoken, names, choices.steps, choices.seed))
    return said
