"""Training recipes: a typed tree read from YAML, in which every unknown key and bad value is an error that names it.

A recipe file may start from another one (`extends: tiny`, a name beside it or a path) and holds only what differs.
`load_recipe` merges the chain, applies `key.path=value` overrides from the command line and checks the result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from emotalk_ros.face.names import ARKIT_NAMES
from emotalk_ros.settings_files import (
    Listed,
    NotNegative,
    Positive,
    PositiveInt,
    Range,
    Share,
    StrictModel,
    check,
    merge,
    nearest,
    parse_yaml,
    read_yaml,
)
from emotalk_ros.share import candidate_paths


class RecipeError(ValueError):
    """A recipe holds an unknown key or an impossible value; the message names it and what would be valid."""


def _not_negative(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] < 0:
        raise ValueError("the values must not be negative")
    return pair


def _bare_no(given: Any) -> Any:
    return "no" if given is False else given  # YAML 1.1 reads a bare `no` as false


def _of_coefficients(weights: dict[str, float]) -> dict[str, float]:
    for prefix in weights:
        if not any(name.startswith(prefix) for name in ARKIT_NAMES):
            raise ValueError(f"no coefficient's name starts with {prefix!r}{nearest(prefix, ARKIT_NAMES)}")
    return weights


class ModelRecipe(StrictModel):
    """Which network. `preset` and `options` (fields of its configuration) describe an EmoTalk or a baseline."""

    architecture: Literal["emotalk", "emotalk-streaming", "voca", "meshtalk", "faceformer"] = "emotalk"
    preset: str = "tiny"
    options: dict[str, Any] = Field(default={})
    initial: str | None = None
    """Folder of a model to start from, instead of random weights."""
    content_encoder: str | None = None
    """Hugging Face wav2vec2 model (name or folder) whose weights the content encoder starts from."""
    emotion_encoder: str | None = None
    """The same for the emotion encoder."""
    trunk: str | None = None
    """Whisper model (Hugging Face name or folder) whose encoder the trunk of "emotalk-streaming" starts from, and which
    teaches it (`loss.distillation`)."""
    freeze: Listed[str] = ()
    """Prefixes of parameter names that do not learn (the paper: only the convolutional front ends)."""
    gradient_checkpointing: bool = False


class CorpusRecipe(StrictModel):
    """One corpus on disk; `weight` 2 shows each of its clips twice an epoch, 0.5 every second epoch."""

    path: str
    weight: NotNegative = 1.0

    @model_validator(mode="before")
    @classmethod
    def _path_alone(cls, raw: Any) -> Any:
        return {"path": raw} if isinstance(raw, str) else raw


class DataRecipe(StrictModel):
    """What is trained on, and how it is cut."""

    corpora: Listed[CorpusRecipe] = ()
    split: str | None = None
    """File with train, validation and test actors; without it one is drawn and written beside the checkpoints."""
    validation_share: Share = 0.08
    """Share of the actors drawn for validation when no split file is given; the same share is kept for test."""
    test_share: Share = 0.0
    window: Positive | None = 4.0
    """Seconds of audio a sample holds (the streaming context, so that training meets the node's conditions);
    null takes whole clips, as the paper."""
    pack: bool = True
    """Fill a window that a clip leaves unfinished with further clips of the same voice and emotion after a pause."""
    pause: Annotated[Range, AfterValidator(_not_negative)] = (0.2, 0.8)
    """Shortest and longest pause between packed clips, s: silence with the face at rest."""
    encoded: Annotated[int, Field(ge=0)] = 0
    """With a trunk that does not learn: so many samples are made and encoded once, and all batches drawn from them;
    0 makes each step's samples anew."""
    cache_gb: NotNegative = 6.0
    """How much decoded audio stays in RAM (as int16: 115 MB an hour); what does not fit is read again."""


class PairRecipe(StrictModel):
    """Pseudo pairs within an actor: contents c1 != c2, emotions e1 != e2."""

    probability: Share = 1.0
    """Share of the clips that have pairs for which one is drawn."""
    alignment: Literal["auto", "identity", "linear", "dtw"] = "auto"
    """How a target comes to the audio's time line; auto: identity when both clips are equally long, else linear."""


class AugmentRecipe(StrictModel):
    """Changes of the waveform that leave the labels alone; each is off at its default."""

    gain_db: NotNegative = 0.0
    """Uniform gain of +- so many dB."""
    noise_probability: Share = 0.0
    noise_snr_db: Range = (10.0, 40.0)
    """Signal-to-noise ratio of the coloured noise added to a share `noise_probability` of the windows."""
    lowpass_probability: Share = 0.0
    lowpass_hz: Range = (3000.0, 7000.0)
    """Cheap microphones and codecs: a one-pole low pass applied twice."""
    equalizer_db: NotNegative = 0.0
    """Standard deviation of a smooth random response at five points of the band: microphones and rooms."""
    still_probability: Share = 0.0
    """Share of extra windows that hold no speech at all: silence or room noise, the face at rest."""
    still_level_db: Range = (-80.0, -35.0)
    """RMS level of the room noise of those windows, dB re full scale (one in four is digital silence)."""


class LossRecipe(StrictModel):
    """Weights of the terms. The first four are the paper's (1 : 1 : 0.5; the fourth was never published)."""

    cross: NotNegative = 1.0
    self: NotNegative = 1.0
    velocity: NotNegative = 0.5
    classification: NotNegative = 0.1
    still: NotNegative = 1.0
    """How much the errors of a shot without speech weigh: a mouth that stirs in noise is seen, and small."""
    lip_gap: NotNegative = 0.0
    """Squared error of the inner-lip gap (unit: the gap of jawOpen 1), closed lips weighted most."""
    lip_gap_closed: NotNegative = 8.0
    """How much more a frame with closed lips weighs than one with open lips."""
    lip_gap_open: NotNegative = 0.0
    """Extra cost, per unit of gap, of lips that stay open where the target presses them shut (p, b, m)."""
    closure: NotNegative = 0.0
    """Cross-entropy of whether the lips are closed, of a network that decides it."""
    closure_weight: Positive = 3.0
    """How much a closed frame weighs there against an open one."""
    spread: NotNegative = 0.0
    """Distance between the made faces' distribution and the labels', per coefficient of the mouth: a mouth as wide as
    the labels' where a squared error mumbles."""
    distillation: NotNegative = 0.0
    """Error of the trunk's levels against the pretrained encoder's, in units of their variance."""
    expression: NotNegative = 0.0
    """Cross-entropy of which emotion's mean face the made expression is nearest to: a face that shows one emotion
    where a squared error settles for a little of each."""
    expression_scale: Positive = 0.2
    """Distance between expressions (norm of coefficients) that tells them apart."""
    own_expression: NotNegative = 1.0
    """How much the expression of a face counts whose words and emotion are of one window, against crossed faces. At 1
    half of all faces show the emotion that their words were said in, so the decoder listens for it in the words too; at
    1 over the number of the other emotions the words tell nothing of it, and the emotion encoder all."""
    label_smoothing: Share = 0.0
    """Of the classification term's cross-entropy."""
    lip_gap_scale: Positive = 0.04
    """Gap (unit as above) over which that extra weight falls to 1/e."""
    regions: Annotated[dict[str, NotNegative], AfterValidator(_of_coefficients)] = Field(default={})
    """Weights of coefficients by prefix of their name (`mouth: 2`, `jawOpen: 4`); the longest prefix wins."""


class OptimRecipe(StrictModel):
    """The optimiser. `batch_size` counts clips (anchors) of one optimiser step over all processes together."""

    name: Literal["adam", "adamw"] = "adamw"
    lr: Positive = 1e-3
    weight_decay: NotNegative = 0.01
    betas: Annotated[tuple[float, float], Field(strict=False)] = (0.9, 0.98)
    clip: Positive | None = 1.0
    """Largest norm of the gradient; null leaves it alone."""
    schedule: Literal["constant", "cosine"] = "cosine"
    warmup: Annotated[int, Field(ge=0)] = 200
    """Steps of linear warm-up."""
    final_lr: Share = 0.02
    """Where the cosine ends, as a share of `lr`."""
    steps: PositiveInt | None = None
    epochs: Positive | None = None
    """Exactly one of the two says how long."""
    batch_size: PositiveInt = 16
    accumulate: PositiveInt = 1
    """Parts the batch of one step is computed in, to save memory; the result is the same."""
    precision: Annotated[Literal["auto", "no", "bf16", "fp16"], BeforeValidator(_bare_no)] = "no"
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay of the running mean of the weights that is validated and saved; 0 turns it off."""


class RunRecipe(StrictModel):
    """Logging, validation and checkpoints, all counted in optimiser steps."""

    log_every: PositiveInt = 20
    validate_every: PositiveInt = 500
    validation_windows: PositiveInt = 400
    """At most so many windows are validated, spread evenly over the validation clips."""
    patience: PositiveInt | None = None
    """Stop after so many validations without improvement; null never stops early."""
    checkpoint_every: PositiveInt = 500
    checkpoint_minutes: Positive = 5.0
    """A checkpoint is also written when the last one is so old."""
    keep: PositiveInt = 2
    """Checkpoints kept (the best model is kept besides)."""
    prototypes: bool = True
    """Compute the emotion prototypes over the training set at the end."""
    half: bool = False
    """Store the finished model's weights as float16."""
    workers: Annotated[int, Field(ge=0)] = 0
    """Processes that make the coming steps' batches; 0: one thread, enough for a CPU. The result is the same."""


class Recipe(StrictModel):
    """Everything a training run depends on; written into its folder as `recipe.yaml`."""

    name: str = "unnamed"
    description: str = ""
    seed: int = 0
    output: str | None = None
    model: ModelRecipe = ModelRecipe()
    data: DataRecipe = DataRecipe()
    pairs: PairRecipe = PairRecipe()
    augment: AugmentRecipe = AugmentRecipe()
    loss: LossRecipe = LossRecipe()
    optim: OptimRecipe = OptimRecipe()
    run: RunRecipe = RunRecipe()

    @model_validator(mode="after")
    def _one_length(self) -> Recipe:
        if (self.optim.steps is None) == (self.optim.epochs is None):
            raise ValueError("optim.steps or optim.epochs: exactly one of them must be given")
        return self

    def to_yaml(self) -> str:
        """The whole recipe as YAML; `load_recipe` reads it back equal."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Reads a recipe with what it extends; `overrides` are `section.key=value`, the value in YAML.

    Raises RecipeError naming the file, the key and the nearest valid one. `path` may be the bare name of a recipe
    that comes with the package (`tiny`).
    """
    file = find_recipe(path)
    merged = _read_chain(file, ())
    for text in overrides:
        key, sign, value = text.partition("=")
        if not sign:
            raise RecipeError(f"--set {text!r}: write section.key=value")
        try:
            parsed = parse_yaml(value)
        except yaml.YAMLError as error:
            raise RecipeError(f"--set {text!r}: the value is not YAML ({error})") from error
        for part in reversed(key.strip().split(".")):
            parsed = {part: parsed}
        merged = _merge_recipes(merged, parsed)
    return check(Recipe, merged, RecipeError, file)


def build(raw: Mapping[str, Any]) -> Recipe:
    """A recipe from a mapping. Raises RecipeError naming the key."""
    return check(Recipe, raw, RecipeError)


def find_recipe(path: str | Path) -> Path:
    """The file of a recipe given by path, or by name in the current folder's or the package's `config/training`."""
    given = Path(path)
    if given.is_file():
        return given
    folders = recipe_folders()
    if len(given.parts) == 1:
        for folder in folders:
            candidate = folder / given.with_suffix(".yaml")
            if candidate.is_file():
                return candidate
    known = sorted({p.stem for folder in folders for p in folder.glob("*.yaml")})
    if not known:
        looked = ", ".join(map(str, candidate_paths("config/training")))
        raise RecipeError(
            f"no recipe {str(path)!r}: no such file, and none came along with this installation (looked in {looked}); "
            "install the package again, or name a YAML file such as config/training/tiny.yaml of the sources"
        )
    raise RecipeError(
        f"no recipe {str(path)!r}{nearest(given.stem, known)}; those that come with it: {', '.join(known)}"
    )


def recipe_folders() -> list[Path]:
    """Where recipes are looked for by name: the source tree, then the share folder of an installation."""
    return [folder for folder in candidate_paths("config/training") if folder.is_dir()]


def _read_chain(path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    """One file merged over what it extends."""
    resolved = path.resolve()
    if resolved in seen:
        raise RecipeError(f"{path}: extends itself by way of {', '.join(p.name for p in seen)}")
    raw = read_yaml(path, RecipeError)
    _resolve_split(raw, path.parent)
    parent = raw.pop("extends", None)
    if parent is None:
        return raw
    beside = path.parent / parent
    file = beside if beside.is_file() else beside.with_suffix(".yaml")
    return _merge_recipes(_read_chain(file if file.is_file() else find_recipe(parent), (*seen, resolved)), raw)


def _resolve_split(raw: dict[str, Any], folder: Path) -> None:
    """A split file named in a recipe is looked for beside the recipe first, then from the current folder."""
    data = raw.get("data")
    if isinstance(data, dict) and isinstance(data.get("split"), str) and (folder / data["split"]).is_file():
        raw["data"] = {**data, "split": str((folder / data["split"]).resolve())}


def _merge_recipes(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Deep merge; giving one of optim.steps and optim.epochs replaces the other, whichever the base had."""
    merged = merge(base, over)
    given = over.get("optim")
    if isinstance(given, Mapping) and isinstance(merged["optim"], dict):
        for one, other in (("steps", "epochs"), ("epochs", "steps")):
            if given.get(one) is not None and other not in given:
                merged["optim"][other] = None
    return merged
