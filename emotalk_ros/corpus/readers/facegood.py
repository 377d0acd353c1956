"""Studio takes of FACEGOOD-Audio2Face (MIT): sound and the solved weights of an artist's rig, mapped to ARKit.

Two layouts: the repository itself (`bs_value/bs_value_<take>.npy` beside `wav/<take>.wav`; the names of the weights in
`shirley_1119_bs_name316.npy`), of which only `TAKES` are read, or `<take>.npz` (`fps`, `names`, `coefficients` (frames,
weights), 0..1) beside a sound file of the same stem.

The rig was solved from video of a real speaker, lower face only, so it tells what rules cannot: when lips and jaw of a
real mouth move, and how far they go. `rig_to_arkit` says which weight becomes which coefficient.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from warnings import catch_warnings, simplefilter

import numpy as np
from numpy.typing import NDArray

from emotalk_ros.corpus.readers.base import (
    AUDIO_SUFFIXES,
    Item,
    Problem,
    checked_coefficients,
    clip_id,
    matched,
    read_audio,
)
from emotalk_ros.corpus.store import SAMPLE_RATE, Clip, CorpusError, Source
from emotalk_ros.corpus.visemes import loudness_curve
from emotalk_ros.face.names import ARKIT_NAMES, COUNT, INDEX

Doubles = NDArray[np.float64]

SOURCE = Source(
    "facegood",
    "MIT",
    "FACEGOOD-Audio2Face, studio takes with solved rig weights",
    "https://github.com/FACEGOOD/FACEGOOD-Audio2Face",
)

TAKES: tuple[str, ...] = ("1114_2_01", "1114_2_02", "1114_2_03", "1114_2_04")
"""The takes that are trained on; others of the repository are left to measure with."""

_VALUES, _NAMES, _FPS = "bs_value", "shirley_1119_bs_name316.npy", 30.0

SOLVED: tuple[str, ...] = (
    "jawOpen",
    "mouthClose",
    "mouthFunnel",
    "mouthPucker",
    *(f"{name}{side}" for name in ("mouthLowerDown", "mouthUpperUp", "mouthPress") for side in ("Left", "Right")),
    "mouthRollLower",
    "mouthRollUpper",
)
"""What the rig tells; every other coefficient of these clips is blind."""

_LONGEST = 12.0
_PIECE = 7.0


def read_facegood(source: Path) -> Iterator[Item | Problem]:
    """Every take below `source`, cut at its pauses into pieces of about seven seconds; all one actor.

    Raises CorpusError when there is no take.
    """
    takes = _takes(source)
    if not takes:
        raise CorpusError(f"no take below {source}: neither bs_value/bs_value_{TAKES[0]}.npy nor <take>.npz")
    for stem, (path, sound) in takes.items():
        if not sound.is_file():
            yield Problem(stem, f"no sound beside {path.name} ({sound.name})")
            continue
        try:
            clips = _pieces(stem, path, sound)
        except CorpusError as error:
            yield Problem(stem, str(error))
            continue
        yield from (Item(clip.id, partial(_loaded, clip)) for clip in clips)


def _loaded(clip: Clip) -> Clip:
    return clip


def _takes(source: Path) -> dict[str, tuple[Path, Path]]:
    """Weights and sound of each take, by stem."""
    folder = next(iter(sorted(source.rglob(_VALUES))), None) if source.is_dir() else None
    if folder is not None:
        found = [(stem, folder / f"{_VALUES}_{stem}.npy", folder.parent / "wav" / f"{stem}.wav") for stem in TAKES]
        return {stem: (path, sound) for stem, path, sound in found if path.is_file()}
    takes = {}
    for path in sorted(source.rglob("*.npz")):
        sounds = (path.with_suffix(suffix) for suffix in AUDIO_SUFFIXES)
        takes[path.stem] = (path, next((p for p in sounds if p.is_file()), path.with_suffix(AUDIO_SUFFIXES[0])))
    return takes


def read_rig(path: Path) -> tuple[NDArray[np.float32], float]:
    """Coefficients (frames, 52) and frames per second of one take. Raises CorpusError for a file of another kind."""
    try:
        if path.suffix == ".npy":
            with catch_warnings():
                simplefilter("ignore", UserWarning)  # files of Python 2
                values, fps = np.load(path, allow_pickle=False), _FPS
                names = [str(n) for n in np.load(path.parent.parent / _NAMES, allow_pickle=False)]
        else:
            with np.load(path, allow_pickle=False) as file:
                names, values, fps = [str(n) for n in file["names"]], file["coefficients"], float(file["fps"])
    except (OSError, ValueError, KeyError) as error:
        raise CorpusError(f"{path}: no take of a rig: {error}") from error
    if values.ndim != 2 or values.shape[1] != len(names) or not fps > 0:
        raise CorpusError(f"{path}: {len(names)} names, weights of shape {values.shape}, {fps:g} frames per second")
    return checked_coefficients(rig_to_arkit(names, values.astype(np.float64)), path), fps


def rig_to_arkit(names: Sequence[str], weights: Doubles) -> NDArray[np.float32]:
    """Weights (T, N) of the rig, by name, as ARKit coefficients (T, 52); what is not in `SOLVED` stays zero.

    * `mouth_stretch_c` is the jaw. While somebody speaks it reaches .03 / .32 / .50 (p38, p88, p99) where an iPhone
      that watches reading sees jawOpen .05 / .16 / .42 (p50, p90, p99 of a take a fifth of which is silent): hence
      smaller and convex, .45 j + .5 j^2.
    * The rig's jaw takes the lips along: `lowerLipDepress` is zero in 83 % of the frames. An iPhone solver shares the
      same opening between jaw and lips (in the range of motion of a captured face jawOpen and mouthLowerDown correlate
      .79, LowerDown and UpperUp .66). So the lips get what the rig gives them and a share of the jaw, less where they
      are rounded, so that p90 and p99 come to .30/.44 and .25/.44, as captured.
    * funnel is the mean of its four quarters, and `oh` (open and round) half a funnel and some pucker, `oo` (small and
      round) most of a pucker and some funnel: the shapes' names on the rig, sizes so that p99 is .4 to .6 as captured.
    * `press` and `suck` show at closures only: there the lips are shut whatever the jaw does, so mouthClose is jawOpen.
      Their sizes shrink to a phone's: mouthPress p99 .05, mouthRollLower .1.

    Weights that a take lacks were zero all along.
    """
    columns = {name: weights[:, k] for k, name in enumerate(names)}

    def both(name: str, *ends: str) -> Doubles:
        found = [columns[f"{name}_{end}"] for end in ends if f"{name}_{end}" in columns]
        return np.mean(found, axis=0) if found else np.zeros(len(weights))

    jaw = both("mouth_stretch", "c")
    oh, oo = both("mouth_oh", "c"), both("mouth_oo", "c")
    funnel = both("mouth_funnel", "dl", "dr", "ul", "ur") + 0.5 * oh + 0.3 * oo
    pucker = both("mouth_pucker", "l", "r") + 0.6 * oo + 0.2 * oh
    lower, upper = both("mouth_lowerLipDepress", "l", "r"), both("mouth_upperLipRaise", "l", "r")
    press = both("mouth_press", "l", "r")
    suck_lower, suck_upper = both("mouth_suck", "dl", "dr"), both("mouth_suck", "ul", "ur")
    shut = np.clip(np.maximum(press, np.minimum(suck_lower, suck_upper)) / 0.08, 0.0, 1.0)
    narrow = 1.0 - 0.6 * np.clip(np.maximum(funnel, pucker), 0.0, 1.0)
    result = np.zeros((len(weights), COUNT))
    opened = 0.45 * jaw + 0.5 * jaw * jaw
    result[:, INDEX["jawOpen"]] = opened
    result[:, INDEX["mouthClose"]] = shut * (opened + 0.01)
    result[:, INDEX["mouthFunnel"]] = funnel * (1.0 - shut)
    result[:, INDEX["mouthPucker"]] = pucker
    result[:, INDEX["mouthRollLower"]] = 0.5 * suck_lower
    result[:, INDEX["mouthRollUpper"]] = 0.5 * suck_upper
    for side in ("Left", "Right"):
        result[:, INDEX[f"mouthLowerDown{side}"]] = (lower + 0.7 * jaw * narrow) * (1.0 - shut)
        result[:, INDEX[f"mouthUpperUp{side}"]] = (upper + 0.6 * jaw * narrow) * (1.0 - shut)
        result[:, INDEX[f"mouthPress{side}"]] = 0.3 * press
    return np.clip(result, 0.0, 1.0).astype(np.float32)


def _pieces(stem: str, path: Path, sound: Path) -> list[Clip]:
    values, fps = read_rig(path)
    samples, values = matched(read_audio(sound), values, fps, stem)
    blind = tuple(name for name in ARKIT_NAMES if name not in SOLVED)
    edges = _cuts(loudness_curve(samples, len(values), fps), fps)
    clips = []
    for number, (first, last) in enumerate(pairwise(edges)):
        start, end = round(first / fps * SAMPLE_RATE), round(last / fps * SAMPLE_RATE)
        clips.append(
            Clip(
                id=clip_id(f"{stem}.{number:02d}"),
                audio=samples[start:end],
                coefficients=values[first:last],
                fps=fps,
                actor=0,
                source=SOURCE.name,
                person=0,
                blind=blind,
            )
        )
    return clips


def _cuts(loudness: NDArray[np.float32], fps: float) -> list[int]:
    """Frames to cut at: in the quietest place between a piece's usual length and the longest."""
    edges, frames = [0], len(loudness)
    quiet = np.convolve(np.pad(loudness, 4, mode="edge"), np.full(9, 1 / 9), mode="valid")
    while frames - edges[-1] > _LONGEST * fps:
        low, high = edges[-1] + round((_PIECE - 3.0) * fps), edges[-1] + round(_LONGEST * fps)
        wait = np.abs(np.arange(low, high) - edges[-1] - _PIECE * fps) / (_PIECE * fps)
        edges.append(low + int(np.argmin(quiet[low:high] + 0.05 * wait)))
    return [*edges, frames]
