"""What avatars call the 52 shapes: one table of aliases, a report of what matched, a mapping file for the rest.

Used by the reader of avatars, the live page and the bridges. An avatar's morph target follows one coefficient, or a
weighted sum of several (a mapping file, or one of the built-in sets for avatars with vowels instead of ARKit shapes).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .names import ARKIT_NAMES, COUNT, INDEX

MAX_WEIGHT = 4.0
MAX_MAPPING_BYTES = 1_000_000


class MappingError(ValueError):
    """A mapping file that cannot be used; the message names the entry and the remedy."""


def _squashed(name: str) -> str:
    return re.sub(r"[^0-9a-z]", "", name.lower())


_HOME = {name.lower(): name for name in ARKIT_NAMES}

# Other makers' words for the same shape, squashed (no case, no separators), without the side. Sources: the morph
# names that Character Creator 3 and 4, Ready Player Me, MetaHuman's control curves and Faceit give.
_OTHER_WORDS: dict[str, str] = {
    "browdrop": "browDown",
    "browlower": "browDown",
    "browraiseouter": "browOuterUp",
    "browouterraise": "browOuterUp",
    "cheekraise": "cheekSquint",
    "cheeksquint": "cheekSquint",
    "eyeclose": "eyeBlink",
    "eyeclosed": "eyeBlink",
    "eyesclosed": "eyeBlink",
    "blink": "eyeBlink",
    "eyewiden": "eyeWide",
    "eyelidwide": "eyeWide",
    "mouthdownlower": "mouthLowerDown",
    "mouthlowerlipdepress": "mouthLowerDown",
    "mouthupupper": "mouthUpperUp",
    "mouthupperlipraise": "mouthUpperUp",
    "mouthcornerpull": "mouthSmile",
    "mouthcornerdepress": "mouthFrown",
    "nosewrinkle": "noseSneer",
    "noseraise": "noseSneer",
}
"""Of shapes that have two sides."""
_OTHER_CENTRAL: dict[str, str] = {
    "mouthopen": "jawOpen",
    "jawdrop": "jawOpen",
    "openmouth": "jawOpen",
    "browraiseinner": "browInnerUp",
    "browinnerraise": "browInnerUp",
    "browinup": "browInnerUp",
    "cheekblow": "cheekPuff",
    "cheekspuff": "cheekPuff",
    "jawl": "jawLeft",
    "jawr": "jawRight",
    "mouthl": "mouthLeft",
    "mouthr": "mouthRight",
    "mouthlipsclose": "mouthClose",
    "lipsclose": "mouthClose",
    "mouthkiss": "mouthPucker",
    "mouthrollinlower": "mouthRollLower",
    "mouthrollinupper": "mouthRollUpper",
    "mouthlowerroll": "mouthRollLower",
    "mouthupperroll": "mouthRollUpper",
    "mouthlowershrug": "mouthShrugLower",
    "mouthuppershrug": "mouthShrugUpper",
    "tongue": "tongueOut",
}
_TWO_SIDED = {name[:-4] for name in ARKIT_NAMES if name.endswith("Left") and name not in ("jawLeft", "mouthLeft")}
# Before the shape's own name: numbers (A25_), kinds (BS_, CTRL_expressions_), makers.
_PREFIX = re.compile(
    r"^(?:[a-z]{0,2}\d{1,3}|bs|bsh|blendshapes?\d*|morphs?|morpher|shapes?|key|arkit|ctrl_?expressions?|expressions?|head|face|"
    r"facial|fcl|mesh|wolf3d|cc_base_body|genesis\d*)[ _\-.]+",
    re.IGNORECASE,
)
_SIDE = re.compile(r"(?:[ _\-.]?(left|right)|[ _\-.]([lr]))$", re.IGNORECASE)


def arkit_name(name: str) -> str | None:
    """The ARKit name that an avatar's own name stands for, or None.

    Any case and separators, prefixes of nodes (`BS_Head.jawOpen`, `blendShape1.eyeBlinkLeft`) and of tools
    (`A25_Jaw_Open`, `CTRL_expressions_jawOpen`), sides as `_L`, `.R`, `Left`, other makers' words (`Mouth_Open`,
    `Brow_Drop_L`), and halves of a central shape (`browInnerUp_L` gives `browInnerUp`: halves are to be summed).
    """
    return _own_word(name) or _other_word(name)


def _own_word(name: str) -> str | None:
    """By ARKit's own word, however it is written."""
    return next((found for candidate in _candidates(name) if (found := _looked_up(candidate, {}, {}))), None)


def _other_word(name: str) -> str | None:
    return next(
        (found for candidate in _candidates(name) if (found := _looked_up(candidate, _OTHER_WORDS, _OTHER_CENTRAL))),
        None,
    )


def _both_sides(name: str) -> dict[str, float] | None:
    """A shape without a side (`mouthSmile`, `eyesClosed`): half of left and right each."""
    for candidate in _candidates(name):
        stem = _squashed(candidate)
        own = _OTHER_WORDS.get(stem) or next((word for word in _TWO_SIDED if word.lower() == stem), None)
        if own is not None:
            return {own + "Left": 0.5, own + "Right": 0.5}
    return None


def _candidates(name: str) -> Iterable[str]:
    """The name, what follows the last node separator, and both without prefixes, one after another."""
    whole = name.strip()
    for start in dict.fromkeys((whole, re.split(r"[:|/]|\.(?=[A-Za-z]{2})", whole)[-1])):
        text = start
        while text:
            yield text
            shorter = _PREFIX.sub("", text, count=1)
            if shorter == text:
                break
            text = shorter


def _looked_up(text: str, sided: Mapping[str, str], central: Mapping[str, str]) -> str | None:
    flat = _squashed(text)
    if flat in _HOME:
        return _HOME[flat]
    if flat in central:
        return central[flat]
    match = _SIDE.search(text)
    if match is None:
        return None
    side = "Left" if (match[1] or match[2]).lower().startswith("l") else "Right"
    stem = _squashed(text[: match.start()])
    own = sided.get(stem) or next((word for word in _TWO_SIDED if word.lower() == stem), None)
    if own is not None:
        return own + side
    # Halves of a shape in the middle.
    return _HOME.get(stem) or central.get(stem)


# -- avatars with vowels instead of ARKit shapes -------------------------------------------------------------------

_SMILE = {"mouthSmileLeft": 0.5, "mouthSmileRight": 0.5}
_VOWELS: dict[str, Mapping[str, float]] = {
    # How far each vowel's mouth is open is jawOpen less mouthClose; funnel and pucker round it, stretch widens it.
    "A": {"jawOpen": 1.6, "mouthClose": -1.6, "mouthFunnel": -0.6, "mouthPucker": -0.8},
    "I": {"mouthStretchLeft": 0.5, "mouthStretchRight": 0.5, "mouthSmileLeft": 0.3, "mouthSmileRight": 0.3},
    "U": {"mouthPucker": 1.2},
    "E": {"mouthUpperUpLeft": 0.6, "mouthUpperUpRight": 0.6, "mouthLowerDownLeft": 0.3, "mouthLowerDownRight": 0.3},
    "O": {"mouthFunnel": 1.3},
    "blink": {"eyeBlinkLeft": 0.5, "eyeBlinkRight": 0.5},
    "blinkLeft": {"eyeBlinkLeft": 1.0},
    "blinkRight": {"eyeBlinkRight": 1.0},
    "happy": {**_SMILE, "cheekSquintLeft": 0.3, "cheekSquintRight": 0.3},
    "angry": {"browDownLeft": 0.6, "browDownRight": 0.6, "noseSneerLeft": 0.2, "noseSneerRight": 0.2},
    "sad": {"mouthFrownLeft": 0.7, "mouthFrownRight": 0.7, "browInnerUp": 0.5},
    "surprised": {"browOuterUpLeft": 0.6, "browOuterUpRight": 0.6, "eyeWideLeft": 0.4, "eyeWideRight": 0.4},
    "neutral": {},
    "relaxed": {},
}
"""VRM's presets as sums of coefficients, limited to 0..1."""
VRM0_PRESETS: dict[str, str] = {
    "A": "A", "I": "I", "U": "U", "E": "E", "O": "O", "Blink": "blink", "Blink_L": "blinkLeft",
    "Blink_R": "blinkRight", "Joy": "happy", "Angry": "angry", "Sorrow": "sad", "Fun": "relaxed",
}  # fmt: skip
"""Names of VRM 0 (which VMC's programs use), and the preset each is."""
VRM1_PRESETS: dict[str, str] = {
    "aa": "A", "ih": "I", "ou": "U", "ee": "E", "oh": "O", "blink": "blink", "blinkLeft": "blinkLeft",
    "blinkRight": "blinkRight", "happy": "happy", "angry": "angry", "sad": "sad", "surprised": "surprised",
    "relaxed": "relaxed",
}  # fmt: skip
"""Names of VRM 1."""
_VOWEL_ALIASES: dict[str, str] = {
    **{_squashed(prefix + vowel): vowel for prefix in ("mth_", "fcl_mth_", "mouth_", "vowel_") for vowel in "AIUEO"},
    **{_squashed(f"{prefix}{name}"): VRM1_PRESETS[own] for prefix in ("vrc.v_", "viseme_")
       for name, own in (("aa", "aa"), ("ih", "ih"), ("ou", "ou"), ("e", "ee"), ("oh", "oh"))},
    **{_squashed(f"viseme_{name}"): vowel for name, vowel in (("I", "I"), ("E", "E"), ("O", "O"), ("U", "U"))},
    **{name.lower(): preset for name, preset in VRM1_PRESETS.items()},
    **{_squashed(name): preset for name, preset in VRM0_PRESETS.items()},
    "fcleyeclose": "blink", "fcleyeclosel": "blinkLeft", "fcleyecloser": "blinkRight",
    "fclallangry": "angry", "fclalljoy": "happy", "fclallsorrow": "sad", "fclallsurprised": "surprised",
    "あ": "A", "い": "I", "う": "U", "え": "E", "お": "O", "まばたき": "blink",
}  # fmt: skip


def preset_weights(preset: str) -> dict[str, float]:
    """The coefficients that a preset ("A", "blink", "happy", ...) is a weighted sum of."""
    return dict(_VOWELS[preset])


# -- mapping ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mapping52:
    """How coefficients become an avatar's morph targets: each a weighted sum, limited to 0..1.

    Attributes:
        targets: the avatar's own names, each with ARKit names and weights.
        matched: avatar's name to ARKit name, found by the table of aliases. Another maker's word for a shape that the
            avatar also has under ARKit's own (`mouthOpen` beside `jawOpen`) is left still: the jaw would move twice.
        mapped: avatar's names that a mapping file or the set of vowels took care of.
        unmatched: avatar's names that nothing is known for.
        silent: ARKit names that move nothing of this avatar.
        vowels: the avatar has vowels instead of ARKit shapes.
    """

    targets: Mapping[str, Mapping[str, float]]
    matched: Mapping[str, str] = field(default_factory=dict)
    mapped: tuple[str, ...] = ()
    unmatched: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()
    vowels: bool = False

    def matrix(self) -> NDArray[np.float32]:
        """(targets, 52) weights, rows in the order of `targets`."""
        rows = np.zeros((len(self.targets), COUNT), dtype=np.float32)
        for row, weights in zip(rows, self.targets.values(), strict=True):
            for name, weight in weights.items():
                row[INDEX[name]] = weight
        return rows

    def report(self) -> str:
        """In words, for a person: what moves, what does not, and what helps."""
        lines = []
        if not self.targets:
            names = ", ".join(self.unmatched[:8]) + ", ..." * (len(self.unmatched) > 8)
            lines.append(
                f"none of its {len(self.unmatched)} morph targets is known ({names}): "
                "the avatar stays still. A mapping file can name them."
                if self.unmatched
                else "it has no morph targets: nothing of it can move. Export the avatar with its shape keys."
            )
            return "\n".join(lines)
        moved = COUNT - len(self.silent)
        lines.append(f"{len(self.targets)} morph targets follow {moved} of 52 coefficients")
        if self.vowels:
            lines[0] += " (it has vowels instead of ARKit shapes: lips are approximate)"
        if self.silent and not self.vowels:
            lines.append(f"missing: {', '.join(self.silent)}")
        if self.unmatched:
            shown = ", ".join(self.unmatched[:12])
            lines.append(f"not known, left still: {shown}{', ...' * (len(self.unmatched) > 12)}")
        return "\n".join(lines)


@dataclass(frozen=True)
class MappingFile:
    """What a mapping file says.

    Attributes:
        targets: avatar's name to ARKit names with weights; it wins over the table of aliases.
        gains: factors of coefficients, by ARKit name.
        ignore: avatar's names to leave still.
    """

    targets: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    gains: Mapping[str, float] = field(default_factory=dict)
    ignore: tuple[str, ...] = ()


def read_mapping(path: str | os.PathLike[str]) -> MappingFile:
    """The mapping file at `path` (YAML). Raises MappingError, or OSError."""
    source = Path(path)
    if source.stat().st_size > MAX_MAPPING_BYTES:
        raise MappingError(f"{source}: {source.stat().st_size} bytes: a mapping file has a few thousand")
    try:
        return parse_mapping(source.read_text(encoding="utf-8"))
    except (MappingError, UnicodeDecodeError) as error:
        raise MappingError(f"{source}: {error}") from None


def parse_mapping(text: str) -> MappingFile:
    """A mapping from YAML::

        targets:
          Mouth_Wide_Open: jawOpen                              # the avatar's name: ours
          Smile: {mouthSmileLeft: 0.5, mouthSmileRight: 0.5}    # or a sum of several
        gains: {jawOpen: 1.2}
        ignore: [Breathing]

    Raises MappingError that names the entry.
    """
    import yaml

    from emotalk_ros.settings_files import parse_yaml

    try:
        content = parse_yaml(text)
    except yaml.YAMLError as error:
        raise MappingError(f"not YAML ({error})") from error
    if not isinstance(content, dict):
        raise MappingError("a mapping file has the keys targets, gains and ignore")
    unknown = sorted(map(str, set(content) - {"targets", "gains", "ignore"}))
    if unknown:
        raise MappingError(f"unknown key {', '.join(unknown)}; known are targets, gains, ignore")
    targets = {}
    for own, value in _table(content, "targets").items():
        weights = {value: 1.0} if isinstance(value, str) else value
        if not isinstance(weights, dict):
            raise MappingError(f"targets: {own}: {value!r} is neither an ARKit name nor a table of names and weights")
        targets[str(own)] = {
            _home(f"targets: {own}", n): _number(f"targets: {own}: {n}", w, True) for n, w in weights.items()
        }
    gains = {_home("gains", name): _number(f"gains: {name}", gain) for name, gain in _table(content, "gains").items()}
    ignore = content.get("ignore") or []
    if not isinstance(ignore, list):
        raise MappingError("ignore: a list of the avatar's names")
    return MappingFile(targets, gains, tuple(map(str, ignore)))


def _table(content: dict[Any, Any], key: str) -> dict[Any, Any]:
    value = content.get(key) or {}
    if not isinstance(value, dict):
        raise MappingError(f"{key}: a table of names and values")
    return value


def _home(where: str, name: Any) -> str:
    found = arkit_name(str(name))
    if found is None:
        raise MappingError(f"{where}: {name!r} is no ARKit coefficient (like jawOpen, mouthSmileLeft)")
    return found


def _number(where: str, value: Any, negative: bool = False) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= MAX_WEIGHT:
        raise MappingError(f"{where}: {value!r} is no number from {-MAX_WEIGHT if negative else 0:g} to {MAX_WEIGHT:g}")
    if value < 0 and not negative:
        raise MappingError(f"{where}: {value:g} must not be negative")
    return float(value)


def match(names: Iterable[str], mapping: MappingFile | None = None) -> Mapping52:
    """Which coefficients move which of an avatar's morph targets.

    Args:
        names: the avatar's own names.
        mapping: wins over the table of aliases. Names in it that the avatar lacks are an error of the file
            (MappingError), since nothing would move and nobody be told.
    """
    own = list(dict.fromkeys(names))
    file = mapping or MappingFile()
    absent = [name for name in file.targets if name not in own]
    if absent:
        raise MappingError(
            f"the mapping names {', '.join(absent[:6])}, which the avatar lacks; it has {', '.join(own[:12])}"
            f"{', ...' * (len(own) > 12)}"
        )
    targets: dict[str, dict[str, float]] = {}
    matched: dict[str, str] = {}
    open_ = [name for name in own if name not in file.targets and name not in file.ignore]
    exact = {name: found for name in open_ if (found := _own_word(name))}
    taken = {*exact.values(), *(home for weights in file.targets.values() for home in weights)}
    for name in own:
        if name in file.targets:
            targets[name] = dict(file.targets[name])
        elif name in exact or (name in open_ and (found := _other_word(name)) and found not in taken):
            matched[name] = exact.get(name) or str(_other_word(name))
            targets[name] = {matched[name]: 1.0}
        elif name in open_ and (both := _both_sides(name)) and not taken & set(both):
            matched[name] = " + ".join(both)
            targets[name] = both
    vowels = _vowels(own, targets, file, len(exact))
    for weights in targets.values():
        for name in weights:
            weights[name] *= file.gains.get(name, 1.0)
    moved = {name for weights in targets.values() for name, weight in weights.items() if weight}
    return Mapping52(
        targets=targets,
        matched=matched,
        mapped=tuple(name for name in targets if name not in matched),
        unmatched=tuple(name for name in own if name not in targets and name not in file.ignore),
        silent=tuple(name for name in ARKIT_NAMES if name not in moved),
        vowels=vowels,
    )


def _vowels(own: list[str], targets: dict[str, dict[str, float]], file: MappingFile, arkit: int) -> bool:
    """For avatars without ARKit shapes (a few may match by chance): the vowels and presets they have instead."""
    found = {name: preset for name in own if (preset := _vowel(name)) and name not in file.ignore}
    if arkit > 15 or not any(preset in "AIUEO" for preset in found.values()):
        return False
    for name, preset in found.items():
        if name not in file.targets:
            targets[name] = preset_weights(preset)
    return True


def _vowel(name: str) -> str | None:
    plain = name.strip()
    flat = _squashed(plain) or plain
    return _VOWEL_ALIASES.get(flat) or (_VOWEL_ALIASES.get(_squashed(re.split(r"[.:|/]", plain)[-1]) or plain))
