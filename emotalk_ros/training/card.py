"""The model card: a README beside the weights that says what it is, what it learned from and what was measured."""

from __future__ import annotations

import platform
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import accelerate
import torch
import transformers
from transformers import PreTrainedModel

import emotalk_ros
from emotalk_ros.training.card_text import fenced, plain
from emotalk_ros.training.checkpoints import Progress
from emotalk_ros.training.losses import TERMS
from emotalk_ros.training.recipe import Recipe

if TYPE_CHECKING:
    from emotalk_ros.training.run_data import Data

_MEANING = {
    "loss": "weighted sum of the terms",
    "self": "self-reconstruction, mean squared error of the coefficients",
    "cross": "cross-reconstruction (one voice's content with another recording's emotion)",
    "velocity": "mean squared error of first differences",
    "classification": "cross-entropy of the emotion logits",
    "lip_gap": "weighted squared error of the inner-lip gap",
    "lip_gap_r": "correlation of the inner-lip gap with the labels', mean over windows",
    "closure": "cross-entropy of closed lips",
    "spread": "distance between the made and the labels' distribution of the mouth's coefficients",
    "distillation": "error of the trunk against the pretrained encoder, in units of its variance",
    "expression": "cross-entropy of which emotion's face is the nearest",
    "closed_gap_mm": "gap left where the labels close the lips, mm",
    "lve_mm": "LVE: largest lip vertex error, mean over frames, mm (un-squared, the package's face)",
    "lve_mm_still": "LVE of a motionless mean face",
    "eve_mm": "EVE: the same over eyes and forehead, mm",
    "eve_mm_still": "EVE of a motionless mean face",
    "emotion_recall": "unweighted recall of the emotion labels",
    "emotion_chance": "chance level of that",
}


def write_card(
    folder: Path,
    recipe: Recipe,
    data: Data,
    model: PreTrainedModel,
    progress: Progress,
    prototypes: dict[str, int],
) -> None:
    """Writes `folder/README.md` from what the run knows; nothing in it is typed in by hand."""
    parts = [
        _header(recipe),
        _summary(recipe, model),
        *_trunk_section(recipe),
        _data_section(data),
        _training_section(recipe, data, progress),
        _measured_section(progress),
        _prototype_section(prototypes),
        "## Use\n\n```\nemotalk animate speech.wav --model FOLDER\n```\n",
        _recipe_section(recipe),
    ]
    (folder / "README.md").write_text("\n".join(parts), encoding="utf-8")


def _header(recipe: Recipe) -> str:
    return (
        f"---\nlibrary_name: emotalk_ros\ntags: [speech, facial-animation, blendshapes, arkit]\n---\n"
        f"# {plain(recipe.name)}\n"
    )


def _summary(recipe: Recipe, model: PreTrainedModel) -> str:
    config = model.config
    parameters = sum(p.numel() for p in model.parameters())
    lines = [
        plain(recipe.description),
        "",
        f"Speech (16 kHz mono) to 52 ARKit blendshape coefficients at {config.fps} fps; {recipe.model.architecture}, "
        f"{parameters / 1e6:.2f} M parameters.",
    ]
    if getattr(config, "attention", "") == "causal":
        lines.append(f"Causal: look-ahead {config.lookahead_samples / 16:.1f} ms, exactly.")
    if getattr(config, "emotion_labels", None):
        lines.append(f"Emotion labels: {', '.join(map(plain, config.emotion_labels))}.")
    return "\n".join(lines) + "\n"


def _trunk_section(recipe: Recipe) -> list[str]:
    """Where a pretrained trunk comes from, and its licence."""
    if recipe.model.trunk is None:
        return []
    name = recipe.model.trunk if recipe.model.trunk.startswith("openai/") else Path(recipe.model.trunk).name
    return [
        f"## Pretrained part\n\nThe trunk's weights come from the encoder of {plain(name)} and stay under its licence. "
        "OpenAI's Whisper is under the MIT licence, Copyright (c) 2022 OpenAI, which asks to pass on this "
        "notice and its text.\n"
    ]


def _data_section(data: Data) -> str:
    """Clips, speakers and hours of each source that was trained on, with its licence."""
    clips: dict[str, int] = defaultdict(int)
    hours: dict[str, float] = defaultdict(float)
    actors: dict[str, set[int]] = defaultdict(set)
    for index in data.indices["train"]:
        record = data.store.records[index]
        clips[record.source] += 1
        hours[record.source] += record.duration / 3600
        actors[record.source].add(record.actor)
    known = {name: source for corpus in data.corpora for name, source in corpus.sources.items()}
    rows = ["## Training data", "", "| source | licence | speakers | clips | hours |", "|---|---|---|---|---|"]
    notes = []
    for name in sorted(clips):
        source = known.get(name)
        licence = source.licence if source else "not stated"
        shown = plain(name) or "(unnamed)"
        rows.append(f"| {shown} | {plain(licence)} | {len(actors[name])} | {clips[name]} | {hours[name]:.2f} |")
        if source and (source.attribution or source.url):
            notes.append(f"- {plain(name)}: {' '.join(plain(t) for t in (source.attribution, source.url) if t)}")
    split = data.split
    rows += [
        "",
        f"Actors are disjoint: {len(split.train)} trained on, {len(split.validation)} validated, {len(split.test)} "
        "kept for tests (`splits.yaml` of the run).",
    ]
    return "\n".join([*rows, "", *notes]) + "\n"


def _training_section(recipe: Recipe, data: Data, progress: Progress) -> str:
    optim, loss = recipe.optim, recipe.loss
    weights = ", ".join(f"{name} {getattr(loss, name):g}" for name in TERMS if getattr(loss, name) > 0)
    window = "whole clips" if recipe.data.window is None else f"windows of {recipe.data.window:g} s"
    epochs = progress.step * optim.batch_size / data.sampler.epoch_length
    rate = progress.step / max(progress.seconds, 1e-9)
    return "\n".join(
        [
            "## Training",
            "",
            f"- {progress.step} steps of {optim.batch_size} anchors ({epochs:.1f} epochs) on {window}; "
            f"{progress.seconds / 60:.0f} min on {_machine()}, {rate:.2f} steps/s",
            f"- loss weights: {weights}",
            f"- {optim.name}, learning rate {optim.lr:g} ({optim.schedule}, warm-up {optim.warmup} steps), precision "
            f"{optim.precision}, running mean of the weights {optim.ema:g}, seed {recipe.seed}",
            f"- emotalk_ros {emotalk_ros.__version__}, torch {torch.__version__}, "
            f"transformers {transformers.__version__}, accelerate {accelerate.__version__}",
            "",
        ]
    )


def _recipe_section(recipe: Recipe) -> str:
    """The whole recipe, folders by their last name only: the reader's are others."""
    data = recipe.data
    corpora = tuple(c.model_copy(update={"path": Path(c.path).resolve().name}) for c in data.corpora)
    split = Path(data.split).name if data.split else None
    trunk = recipe.model.trunk
    model = recipe.model
    if trunk is not None and not trunk.startswith("openai/"):
        model = model.model_copy(update={"trunk": Path(trunk).name})
    named = data.model_copy(update={"corpora": corpora, "split": split})
    text = recipe.model_copy(update={"data": named, "output": None, "model": model}).to_yaml().rstrip()
    return f"## Recipe\n\n{fenced(text, 'yaml')}\n"


def _measured_section(progress: Progress) -> str:
    if not progress.validation:
        return "## Measured\n\nNothing: no actor was kept for validation.\n"
    rows = [
        "## Measured",
        "",
        f"On the validation actors, against labels of the same kind as the training's, at step {progress.best_step}:",
        "",
        "| measure | value |",
        "|---|---|",
    ]
    rows += [f"| {_MEANING.get(name, name)} | {value:.4g} |" for name, value in progress.validation.items()]
    return "\n".join(rows) + "\n"


def _prototype_section(prototypes: dict[str, int]) -> str:
    if not prototypes:
        return "## Emotion prototypes\n\nNone stored: the training clips carry no emotion labels.\n"
    listed = ", ".join(f"{plain(name)} {count}" for name, count in prototypes.items())
    lacking = [name for name, count in prototypes.items() if count == 0]
    note = f" No clip carried {', '.join(map(plain, lacking))}: the mean of the others stands in." if lacking else ""
    return f"## Emotion prototypes\n\nMean embeddings over training clips: {listed}.{note}\n"


def _machine() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{torch.get_num_threads()} thread(s) of a {platform.machine()} processor"
