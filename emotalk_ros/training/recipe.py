"""Training recipes: a typed tree read from YAML, in which every unknown key and bad value is an error that names it.

A recipe file may start from another one (`extends: tiny`, a name beside it or a path) and holds only what differs.
`load_recipe` merges the chain, applies `key.path=value` overrides from the command line and checks the result.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

import yaml

from emotalk_ros.face.names import ARKIT_NAMES
from emotalk_ros.share import places

T = TypeVar("T")


class RecipeError(ValueError):
    """A recipe holds an unknown key or a value that cannot be; the message names it and what would be valid."""


def _positive(name: str, value: float | None) -> None:
    if value is not None and value <= 0:
        raise RecipeError(f"{name} must be positive, got {value}")


def _not_negative(name: str, *values: float) -> None:
    for value in values:
        if value < 0:
            raise RecipeError(f"{name} must not be negative, got {value}")


def _share(name: str, value: float) -> None:
    if not 0.0 <= value <= 1.0:
        raise RecipeError(f"{name} must lie in 0..1, got {value}")


@dataclass(frozen=True)
class ModelRecipe:
    """Which network. `preset` and `options` (fields of its configuration) describe an EmoTalk or a baseline."""

    architecture: Literal["emotalk", "voca", "meshtalk", "faceformer"] = "emotalk"
    preset: str = "tiny"
    options: dict[str, Any] = field(default_factory=dict)
    initial: str | None = None
    """Folder of a model to start from, instead of random weights."""
    content_encoder: str | None = None
    """Hugging Face wav2vec2 model (name or folder) whose weights the content encoder starts from."""
    emotion_encoder: str | None = None
    """The same for the emotion encoder."""
    freeze: tuple[str, ...] = ()
    """Prefixes of parameter names that do not learn (the paper: only the convolutional front ends)."""
    gradient_checkpointing: bool = False


@dataclass(frozen=True)
class CorpusRecipe:
    """One corpus on disk; `weight` 2 shows each of its clips twice an epoch, 0.5 every second epoch."""

    path: str
    weight: float = 1.0

    def __post_init__(self) -> None:
        _not_negative("data.corpora.weight", self.weight)


@dataclass(frozen=True)
class DataRecipe:
    """What is trained on, and how it is cut."""

    corpora: tuple[CorpusRecipe, ...] = ()
    split: str | None = None
    """File with train, validation and test actors; without it one is drawn and written beside the checkpoints."""
    validation_share: float = 0.08
    """Share of the actors drawn for validation when no split file is given; the same share is kept for test."""
    test_share: float = 0.0
    window: float | None = 4.0
    """Seconds of audio a sample holds (the streaming context, so that training meets the node's conditions);
    null takes whole clips, as the paper."""
    pack: bool = True
    """Fill a window that a clip leaves unfinished with further clips of the same voice and emotion after a pause."""
    pause: tuple[float, float] = (0.2, 0.8)
    """Shortest and longest pause between packed clips, s: silence with the face at rest."""
    cache_gb: float = 6.0
    """How much decoded audio stays in RAM (as int16: 115 MB an hour); what does not fit is read again."""

    def __post_init__(self) -> None:
        _positive("data.window", self.window)
        _share("data.validation_share", self.validation_share)
        _share("data.test_share", self.test_share)
        if not 0.0 <= self.pause[0] <= self.pause[1]:
            raise RecipeError(f"data.pause must be two rising times in s, got {list(self.pause)}")


@dataclass(frozen=True)
class PairRecipe:
    """Pseudo pairs within an actor: contents c1 != c2, emotions e1 != e2."""

    probability: float = 1.0
    """Share of the clips that have pairs for which one is drawn."""
    alignment: Literal["auto", "identity", "linear", "dtw"] = "auto"
    """How a target comes to the audio's time line; auto: identity when both clips are equally long, else linear."""

    def __post_init__(self) -> None:
        _share("pairs.probability", self.probability)


@dataclass(frozen=True)
class AugmentRecipe:
    """Changes of the waveform that leave the labels alone; each is off at its default."""

    gain_db: float = 0.0
    """Uniform gain of +- so many dB."""
    noise_probability: float = 0.0
    noise_snr_db: tuple[float, float] = (10.0, 40.0)
    """Signal-to-noise ratio of the coloured noise added to a share `noise_probability` of the windows."""
    lowpass_probability: float = 0.0
    lowpass_hz: tuple[float, float] = (3000.0, 7000.0)
    """Cheap microphones and codecs: a one-pole low pass applied twice."""
    equalizer_db: float = 0.0
    """Standard deviation of a smooth random response at five points of the band: microphones and rooms."""
    still_probability: float = 0.0
    """Share of extra windows that hold no speech at all: silence or room noise, the face at rest."""
    still_level_db: tuple[float, float] = (-80.0, -35.0)
    """RMS level of the room noise of those windows, dB re full scale (one in four is digital silence)."""

    def __post_init__(self) -> None:
        _not_negative("augment.gain_db", self.gain_db)
        _not_negative("augment.equalizer_db", self.equalizer_db)
        for name in ("noise_probability", "lowpass_probability", "still_probability"):
            _share(f"augment.{name}", getattr(self, name))
        for name in ("noise_snr_db", "lowpass_hz", "still_level_db"):
            low, high = getattr(self, name)
            if low > high:
                raise RecipeError(f"augment.{name} must rise, got [{low}, {high}]")


@dataclass(frozen=True)
class LossRecipe:
    """Weights of the terms. The first four are the paper's (1 : 1 : 0.5; the fourth was never published)."""

    cross: float = 1.0
    self: float = 1.0
    velocity: float = 0.5
    classification: float = 0.1
    still: float = 1.0
    """How much the errors of a shot without speech weigh: a mouth that stirs in noise is seen, and small."""
    lip_gap: float = 0.0
    """Squared error of the inner-lip gap (unit: the gap of jawOpen 1), closed lips weighted most."""
    lip_gap_closed: float = 8.0
    """How much more a frame with closed lips weighs than one with open lips."""
    lip_gap_open: float = 0.0
    """Extra cost, per unit of gap, of lips that stay open where the target presses them shut (p, b, m)."""
    expression: float = 0.0
    """Cross-entropy of which emotion's mean face the made expression is nearest to: a face that shows one emotion
    where a squared error settles for a little of each."""
    expression_scale: float = 0.2
    """Distance between expressions (norm of coefficients) that tells them apart."""
    own_expression: float = 1.0
    """How much the expression of a face counts whose words and emotion are of one window, against crossed faces. At 1
    half of all faces show the emotion that their words were said in, so the decoder listens for it in the words too; at
    1 over the number of the other emotions the words tell nothing of it, and the emotion encoder all."""
    label_smoothing: float = 0.0
    """Of the classification term's cross-entropy."""
    lip_gap_scale: float = 0.04
    """Gap (unit as above) over which that extra weight falls to 1/e."""
    regions: dict[str, float] = field(default_factory=dict)
    """Weights of coefficients by prefix of their name (`mouth: 2`, `jawOpen: 4`); the longest prefix wins."""

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            if f.name not in ("regions", "label_smoothing"):
                _not_negative(f"loss.{f.name}", getattr(self, f.name))
        _share("loss.label_smoothing", self.label_smoothing)
        _positive("loss.lip_gap_scale", self.lip_gap_scale)
        _positive("loss.expression_scale", self.expression_scale)
        for prefix, weight in self.regions.items():
            if not any(name.startswith(prefix) for name in ARKIT_NAMES):
                raise RecipeError(
                    f"loss.regions.{prefix}: no coefficient's name starts so{_nearest(prefix, ARKIT_NAMES)}"
                )
            _not_negative(f"loss.regions.{prefix}", weight)


@dataclass(frozen=True)
class OptimRecipe:
    """The optimiser. `batch_size` counts clips (anchors) of one optimiser step over all processes together."""

    name: Literal["adam", "adamw"] = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.98)
    clip: float | None = 1.0
    """Largest norm of the gradient; null leaves it alone."""
    schedule: Literal["constant", "cosine"] = "cosine"
    warmup: int = 200
    """Steps of linear warm-up."""
    final_lr: float = 0.02
    """Where the cosine ends, as a share of `lr`."""
    steps: int | None = None
    epochs: float | None = None
    """Exactly one of the two says how long."""
    batch_size: int = 16
    accumulate: int = 1
    """Parts the batch of one step is computed in, to save memory; the result is the same."""
    precision: Literal["auto", "no", "bf16", "fp16"] = "no"
    ema: float = 0.0
    """Decay of the running mean of the weights that is validated and saved; 0 turns it off."""

    def __post_init__(self) -> None:
        for name in ("lr", "batch_size", "accumulate", "steps", "epochs", "clip"):
            _positive(f"optim.{name}", getattr(self, name))
        _not_negative("optim.weight_decay", self.weight_decay)
        _not_negative("optim.warmup", self.warmup)
        _share("optim.final_lr", self.final_lr)
        if not 0.0 <= self.ema < 1.0:
            raise RecipeError(f"optim.ema must lie in 0..1 (1 excluded), got {self.ema}")


@dataclass(frozen=True)
class RunRecipe:
    """Logging, validation and checkpoints, all counted in optimiser steps."""

    log_every: int = 20
    validate_every: int = 500
    validation_windows: int = 400
    """At most so many windows are validated, spread evenly over the validation clips."""
    patience: int | None = None
    """Stop after so many validations without improvement; null never stops early."""
    checkpoint_every: int = 500
    checkpoint_minutes: float = 5.0
    """A checkpoint is also written when the last one is so old."""
    keep: int = 2
    """Checkpoints kept (the best model is kept besides)."""
    prototypes: bool = True
    """Compute the emotion prototypes over the training set at the end."""
    workers: int = 0
    """Processes that make the coming steps' batches; 0: one thread, enough for a CPU. The result is the same."""

    def __post_init__(self) -> None:
        _not_negative("run.workers", self.workers)
        for f in dataclasses.fields(self):
            if f.name not in ("prototypes", "workers"):
                _positive(f"run.{f.name}", getattr(self, f.name))


@dataclass(frozen=True)
class Recipe:
    """Everything a training run depends on; written into its folder as `recipe.yaml`."""

    name: str = "unnamed"
    description: str = ""
    seed: int = 0
    output: str | None = None
    model: ModelRecipe = field(default_factory=ModelRecipe)
    data: DataRecipe = field(default_factory=DataRecipe)
    pairs: PairRecipe = field(default_factory=PairRecipe)
    augment: AugmentRecipe = field(default_factory=AugmentRecipe)
    loss: LossRecipe = field(default_factory=LossRecipe)
    optim: OptimRecipe = field(default_factory=OptimRecipe)
    run: RunRecipe = field(default_factory=RunRecipe)

    def __post_init__(self) -> None:
        if (self.optim.steps is None) == (self.optim.epochs is None):
            raise RecipeError("optim.steps or optim.epochs: exactly one of them must be given")

    def to_yaml(self) -> str:
        """The whole recipe as YAML; `load_recipe` reads it back equal."""
        return yaml.safe_dump(_plain(dataclasses.asdict(self)), sort_keys=False, allow_unicode=True)


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
            parsed = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise RecipeError(f"--set {text!r}: the value is not YAML ({error})") from error
        for part in reversed(key.strip().split(".")):
            parsed = {part: parsed}
        merged = _merge(merged, parsed)
    try:
        return build(Recipe, merged)
    except RecipeError as error:
        raise RecipeError(f"{file}: {error}") from error


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
    known = sorted(
        {p.stem for folder in folders for p in folder.glob("*.yaml")} - {"paper_table"}
    )  # a table of recipes
    if not known:
        looked = ", ".join(map(str, places("config/training")))
        raise RecipeError(
            f"no recipe {str(path)!r}: no such file, and none came along with this installation (looked in {looked}); "
            "install the package again, or name a YAML file such as config/training/tiny.yaml of the sources"
        )
    raise RecipeError(
        f"no recipe {str(path)!r}{_nearest(given.stem, known)}; those that come with it: {', '.join(known)}"
    )


def recipe_folders() -> list[Path]:
    """Where recipes are looked for by name: the source tree, then the share folder of an installation."""
    return [folder for folder in places("config/training") if folder.is_dir()]


def _read_chain(path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    """One file merged over what it extends."""
    resolved = path.resolve()
    if resolved in seen:
        raise RecipeError(f"{path}: extends itself by way of {', '.join(p.name for p in seen)}")
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError) as error:
        raise RecipeError(f"{path}: not readable YAML ({error})") from error
    if not isinstance(raw, dict):
        raise RecipeError(f"{path}: a recipe is a mapping of sections, this is a {type(raw).__name__}")
    _resolve_split(raw, path.parent)
    parent = raw.pop("extends", None)
    if parent is None:
        return raw
    beside = path.parent / parent
    file = beside if beside.is_file() else beside.with_suffix(".yaml")
    return _merge(_read_chain(file if file.is_file() else find_recipe(parent), (*seen, resolved)), raw)


def _resolve_split(raw: dict[str, Any], folder: Path) -> None:
    """A split file named in a recipe is looked for beside the recipe first, then from the current folder."""
    data = raw.get("data")
    if isinstance(data, dict) and isinstance(data.get("split"), str) and (folder / data["split"]).is_file():
        raw["data"] = {**data, "split": str((folder / data["split"]).resolve())}


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Deep merge; giving one of optim.steps and optim.epochs replaces the other, whichever the base had."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merge(merged[key], value) if both else value
    given = over.get("optim")
    if isinstance(given, Mapping) and isinstance(merged["optim"], dict):
        for one, other in (("steps", "epochs"), ("epochs", "steps")):
            if one in given and given[one] is not None and other not in given:
                merged["optim"] = {**merged["optim"], other: None}
    return merged


def build(cls: type[T], raw: Any, where: str = "") -> T:
    """`raw` (from YAML) as the dataclass `cls`; raises RecipeError naming the key under `where`."""
    if not isinstance(raw, Mapping):
        raise RecipeError(f"{where or cls.__name__} must be a mapping, got {raw!r}")
    hints = typing.get_type_hints(cls)
    values = {}
    for key, value in raw.items():
        full = f"{where}.{key}" if where else str(key)
        if key not in hints:
            raise RecipeError(f"unknown key {full!r}{_nearest(str(key), list(hints))}")
        values[key] = _convert(hints[key], value, full)
    try:
        return cls(**values)
    except TypeError as error:
        raise RecipeError(f"{where or cls.__name__}: {error}") from error


def _convert(kind: Any, value: Any, where: str) -> Any:
    """`value` as the annotated type `kind`; raises RecipeError saying what was wanted."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if origin in (Union, types.UnionType):
        if value is None:
            return None
        return _convert(next(a for a in arguments if a is not type(None)), value, where)
    if origin is Literal:
        if value is False and "no" in arguments:  # YAML reads a bare `no` as false
            return "no"
        if value not in arguments:
            choices = [str(a) for a in arguments]
            raise RecipeError(
                f"{where} must be one of {', '.join(choices)}, got {value!r}{_nearest(str(value), choices)}"
            )
        return value
    if origin is tuple:
        return _convert_tuple(arguments, value, where)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise RecipeError(f"{where} must be a mapping, got {value!r}")
        return {str(k): _convert(arguments[1], v, f"{where}.{k}") for k, v in value.items()}
    if dataclasses.is_dataclass(kind):
        if kind is CorpusRecipe and isinstance(value, str):
            value = {"path": value}
        return build(typing.cast(type, kind), value, where)
    return _convert_scalar(kind, value, where)


def _convert_tuple(arguments: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if arguments[-1] is Ellipsis and isinstance(value, str):
        value = [value]
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise RecipeError(f"{where} must be a list, got {value!r}")
    if arguments[-1] is Ellipsis:
        return tuple(_convert(arguments[0], v, f"{where}[{k}]") for k, v in enumerate(value))
    if len(value) != len(arguments):
        raise RecipeError(f"{where} must have {len(arguments)} entries, got {value!r}")
    return tuple(_convert(a, v, f"{where}[{k}]") for k, (a, v) in enumerate(zip(arguments, value, strict=True)))


def _convert_scalar(kind: Any, value: Any, where: str) -> Any:
    if kind is float and isinstance(value, str):
        with contextlib.suppress(ValueError):  # YAML 1.1 reads 1e-4 (no point) as text
            value = float(value)
    right = {
        float: isinstance(value, int | float) and not isinstance(value, bool),
        int: isinstance(value, int) and not isinstance(value, bool),
    }.get(kind, isinstance(value, kind))
    if not right:
        raise RecipeError(f"{where} must be a {kind.__name__}, got {value!r}")
    return kind(value)


def _nearest(word: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.4)
    return f"; did you mean {close[0]!r}?" if close else f"; valid: {', '.join(known)}"


def _plain(value: Any) -> Any:
    """Tuples as lists, for YAML."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value
