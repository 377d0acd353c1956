"""Mouth coefficients from timed phones: viseme targets, dominance blending, lips that really close.

A rule-made teacher for a network, in five steps:

1. each ARPAbet phone has a target for jaw, vertical lip opening, rounding and spreading (`VISEMES`), diphthongs two;
2. the targets blend by dominance functions `D(t) = strength * exp(-rate * |t|)` (Cohen and Massaro, "Modeling
   coarticulation in synthetic visual speech", 1993), one dominance each for jaw, lip opening and lip shape, so that a
   /t/ keeps its jaw yet lets the lips round for the vowel that follows;
3. loud speech opens the mouth wider (Lombard and effort studies; JALI's jaw axis, Edwards et al. 2016): where the
   caller gives the loudness of the clip, it scales jaw and lip opening, and a good part of the jaw follows it whatever
   the phone: an open mouth lets out what lies between 0.5 and 3 kHz (sonority), in any language;
4. each coefficient gets the spread of a real face by a monotone map (`SHAPES`), since averages of targets move far
   less than a mouth does: real mouths are nearly shut half of the time and wide open now and then;
5. /p b m/ shut the lips and /f v/ bring the lower lip to the teeth whatever the neighbours ask for: a contact function
   multiplies the opening away and adds mouthClose equal to the jaw plus a slight press. Closing begins before the
   acoustic closure and opening after the burst (lip kinematics of Lofqvist and Gracco 1997: 60 to 100 ms each way).

Talkers also open
the mouth to breathe before they speak, and close it about a tenth of a second after the last sound.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.signal import butter, sosfiltfilt

from emotalk_ros.audio.level import mean_power
from emotalk_ros.corpus.arpabet import BILABIALS, is_silence
from emotalk_ros.face.names import COUNT, INDEX
from emotalk_ros.units import SAMPLE_RATE

Phone = tuple[str, float, float]
"""ARPAbet name (stress digits allowed, SIL for silence), start and end in seconds."""

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Viseme:
    """What a phone asks of the mouth. Targets 0..1 in units of `MouthStyle`'s amplitudes; strengths are dominances."""

    jaw: float
    lips: float = 0.5
    """Vertical opening by the lips alone (mouthLowerDown, mouthUpperUp)."""
    round: float = 0.0
    """1 fully protruded and rounded (mouthPucker, mouthFunnel), -1 spread (mouthStretch, mouthSmile)."""
    jaw_strength: float = 0.6
    lips_strength: float = 0.6
    round_strength: float = 0.3
    contact: str = ""
    """"lips" for a bilabial closure, "teeth" for lower lip to upper teeth, otherwise empty."""


def _vowel(jaw: float, lips: float, rounding: float = 0.0, strength: float = 0.8) -> Viseme:
    rounded = 0.9 if rounding > 0 else 0.5
    return Viseme(jaw, lips, rounding, strength, strength, rounded)


def _consonant(jaw: float, lips: float, jaw_strength: float = 0.5, rounding: float = 0.0, hold: float = 0.1) -> Viseme:
    return Viseme(jaw, lips, rounding, jaw_strength, 0.4, hold)


_BILABIAL = Viseme(0.25, 0.0, 0.0, 0.8, 0.5, 0.1, "lips")
_LABIODENTAL = Viseme(0.25, 0.2, 0.0, 0.7, 0.5, 0.2, "teeth")

# Openings after the vowel heights of the IPA chart and the jaw positions of Keating et al. 1994 (low vowels widest,
# /s/ and /sh/ the tightest jaw, /h/ and /k/ follow the vowel); rounding after Fisher's (1968) viseme classes.
VISEMES: dict[str, tuple[Viseme, ...]] = {
    "AA": (_vowel(1.0, 0.6),),
    "AE": (_vowel(0.9, 0.8, -0.4),),
    "AH": (_vowel(0.65, 0.55, 0.0, 0.6),),
    "AO": (_vowel(0.8, 0.45, 0.55),),
    "AW": (_vowel(1.0, 0.7), _vowel(0.5, 0.3, 0.7, 0.5)),
    "AY": (_vowel(1.0, 0.6), _vowel(0.5, 0.6, -0.4, 0.6)),
    "EH": (_vowel(0.7, 0.7, -0.3),),
    "ER": (_vowel(0.45, 0.5, 0.35),),
    "EY": (_vowel(0.65, 0.7, -0.4), _vowel(0.45, 0.65, -0.5, 0.6)),
    "IH": (_vowel(0.5, 0.6, -0.3, 0.6),),
    "IY": (_vowel(0.4, 0.65, -0.7),),
    "OW": (_vowel(0.65, 0.45, 0.6), _vowel(0.35, 0.25, 0.9, 0.7)),
    "OY": (_vowel(0.7, 0.45, 0.7), _vowel(0.45, 0.6, -0.4, 0.6)),
    "UH": (_vowel(0.45, 0.4, 0.5, 0.6),),
    "UW": (_vowel(0.3, 0.2, 1.0),),
    "B": (_BILABIAL,),
    "P": (_BILABIAL,),
    "M": (_BILABIAL,),
    "F": (_LABIODENTAL,),
    "V": (_LABIODENTAL,),
    "W": (replace(_vowel(0.25, 0.1, 1.0, 0.9), round_strength=1.0),),
    "R": (_consonant(0.35, 0.4, 0.4, 0.5, 0.5),),
    "L": (_consonant(0.45, 0.5, 0.4),),
    "Y": (_consonant(0.35, 0.55, 0.4, -0.4, 0.3),),
    "T": (_consonant(0.35, 0.5),),
    "D": (_consonant(0.35, 0.5),),
    "N": (_consonant(0.4, 0.5),),
    "S": (_consonant(0.2, 0.6, 0.9, -0.2, 0.2),),
    "Z": (_consonant(0.2, 0.6, 0.9, -0.2, 0.2),),
    "SH": (_consonant(0.2, 0.65, 0.9, 0.6, 0.7),),
    "ZH": (_consonant(0.2, 0.65, 0.9, 0.6, 0.7),),
    "CH": (_consonant(0.2, 0.65, 0.9, 0.55, 0.7),),
    "JH": (_consonant(0.2, 0.65, 0.9, 0.55, 0.7),),
    "TH": (_consonant(0.35, 0.5, 0.6),),
    "DH": (_consonant(0.35, 0.5, 0.4),),
    "K": (_consonant(0.45, 0.5, 0.3),),
    "G": (_consonant(0.45, 0.5, 0.3),),
    "NG": (_consonant(0.45, 0.5, 0.3),),
    "HH": (_consonant(0.5, 0.5, 0.1),),
}
"""ARPAbet phone to its one or two successive visemes."""

LABIODENTAL: frozenset[str] = frozenset({"F", "V"})
"""Phones that need the lower lip at the upper teeth."""


@dataclass(frozen=True)
class MouthStyle:
    """How one talker's mouth moves; times are seconds.

    The first six amplitudes are what a captured face exceeds in one frame of a hundred (`SHAPES`), `smile` is the value
    at target 1.
    """

    jaw: float = 0.33
    lower_lip: float = 0.36
    upper_lip: float = 0.36
    pucker: float = 0.43
    funnel: float = 0.35
    stretch: float = 0.21
    smile: float = 0.16
    rest_jaw: float = 0.008
    """Relaxed lips touch lightly or not at all; a closure presses."""
    rest_press: float = 0.01
    """Lips that rest still press a little, and everywhere in speech."""
    press: float = 0.05
    roll: float = 0.11
    """How far the lower lip rolls in under the teeth at f and v."""
    seal: float = 0.025
    """How much mouthClose exceeds jawOpen at a closure: presses away the hair's gap that a rest face has."""
    loudness: float = 0.25
    """0: a phone's opening does not depend on loudness; 1: it is proportional to it."""
    sonority: float = 0.65
    """Share of the jaw that follows loudness alone, whatever the phone."""
    lips_sonority: float = 0.3
    """The same of what the lips open."""
    sonority_lead: float = -0.033
    """`lead` of those shares: captured jaws follow their loudness closer than gestures follow their phones."""
    attack: float = 0.045
    """Time constant of anticipation: how early a phone's mouth shape begins."""
    release: float = 0.045
    """Time constant of carry-over."""
    rounding: float = 1.7
    """How many times further lip shapes reach, both ways, than openings."""
    close: float = 0.07
    """How long the lips take to shut before a closure, and to open after it."""
    lead: float = -0.075
    """Gestures run ahead of their sound by this much; real captures (video, rigs) are one or two frames late."""
    breath: float = 0.5
    """Opening before the first sound after a pause, relative to a mid vowel."""
    breath_time: float = 0.35
    """How long before the first sound the mouth opens."""
    breath_jaw: float = 0.6
    """How much of that opening the jaw takes part in."""
    offset: float = 0.10
    """How long after the last sound the mouth takes to shut."""


@dataclass
class _Track:
    """Sums of dominance-weighted targets on the fine time grid."""

    times: Doubles
    value: dict[str, Doubles] = field(default_factory=dict)
    weight: dict[str, Doubles] = field(default_factory=dict)

    def add(self, name: str, target: float, dominance: Doubles, where: slice) -> None:
        if name not in self.value:
            self.value[name] = np.zeros_like(self.times)
            self.weight[name] = np.full_like(self.times, 1e-9)
        self.value[name][where] += target * dominance
        self.weight[name][where] += dominance

    def around(self, start: float, end: float) -> slice:
        """The times that a phone from `start` to `end` can reach."""
        return slice(*np.searchsorted(self.times, (start - _FARTHEST, end + _FARTHEST)))

    def blend(self, name: str) -> Doubles:
        if name not in self.value:
            return np.zeros_like(self.times)
        return self.value[name] / self.weight[name]


SHAPES: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "jawOpen": ((0.353, 0.646, 0.851), (0.173, 0.521, 1.0)),
    "mouthLowerDown": ((0.384, 0.565, 0.730), (0.130, 0.820, 1.0)),
    "mouthUpperUp": ((0.400, 0.572, 0.723), (0.167, 0.722, 1.0)),
    "mouthPucker": ((0.293, 0.648, 0.863), (0.163, 0.512, 1.0)),
    "mouthFunnel": ((0.209, 0.567, 0.721), (0.150, 0.700, 1.0)),
    "mouthStretch": ((0.276, 0.494, 0.634), (0.160, 0.450, 1.0)),
}
"""Blended target at which a coefficient reaches a share of its amplitude, and that share: at p50, p90 and p99.

With `MouthStyle`'s amplitudes the shares give jawOpen .06/.17/.33, mouthLowerDown .05/.29/.36, mouthUpperUp
.06/.25/.36, mouthPucker .07/.21/.43, mouthFunnel .05/.23/.35, mouthStretch .04/.10/.22. That is within a quarter of an
iPhone capture of a person reading aloud (.05/.16/.42, .05/.30/.44, .05/.25/.44, .06/.20/.52, .06/.24/.42, .04/.11/.25)
and leans towards its less skewed side: four studio takes, whose jaw's p99 is 1.5 times its p90 and not 2.6 times, are
followed better so (r of the loudness's share with their jaw .79, with the exact percentiles .73, straight .83). The
targets are the same percentiles of the blended tracks over 81 recordings of LibriSpeech and LJ Speech (14.5 min).
"""

_OVERSAMPLE = 4
_FARTHEST_TARGET = 2.0
_FARTHEST = 1.2
"""Seconds beyond which no phone has a say."""
_MODERATE = 0.77
"""Loudness of a moderately loud sound, and what counts as loudness where none is known."""
_MID_VOWEL = 0.55
"""Target of jaw and lips that loudness alone asks for at a moderately loud sound."""
_GROWTH = 1.0
"""Openings grow with the square root of the sound pressure: tenfold over the 40 dB of `loudness_curve`.

On four captured Mandarin takes that correlates with the jaw as well as the level in dB does (.83), and spreads as the
jaw does.
"""
_SPREAD_JAW = 0.6
"""Share of the jaw in stretched corners: in a captured range of motion mouthStretch follows jawOpen with r .88."""
_BAND = butter(2, (500.0, 3000.0), "bandpass", fs=SAMPLE_RATE, output="sos")
_BAND_SPAN_DB = 40.0


def mouth_from_phones(
    phones: Sequence[Sequence[object]],
    frames: int,
    fps: float,
    loudness: Floats | None = None,
    style: MouthStyle | None = None,
) -> Floats:
    """Mouth and jaw coefficients, (frames, 52), zeros elsewhere, for phones [(ARPAbet, start s, end s), ...].

    `loudness` (frames,), 0..1, is the clip's own loudness (see `loudness_curve`); without it every sound counts as
    moderately loud. Frame t shows the mouth at time (t + 0.5) / fps, averaged over the frame.
    Raises ValueError naming an unknown phone, a negative duration or a wrong loudness length.
    """
    style = style or MouthStyle()
    if loudness is None:
        style = replace(style, sonority=0.0, lips_sonority=0.0)
    parsed = _parsed(phones)
    if loudness is not None and loudness.shape != (frames,):
        raise ValueError(f"loudness has shape {loudness.shape}, expected ({frames},)")
    times: Doubles = (np.arange(frames * _OVERSAMPLE, dtype=np.float64) + 0.5) / (fps * _OVERSAMPLE)
    coefficients = np.zeros((len(times), COUNT))
    if parsed:
        loud = _loudness_on(times, loudness, fps)
        _write_open_mouth(coefficients, times, parsed, loud, style)
        _write_contacts(coefficients, times, parsed, style)
    coefficients[:, INDEX["jawOpen"]] = np.maximum(coefficients[:, INDEX["jawOpen"]], style.rest_jaw)
    return coefficients.reshape(frames, _OVERSAMPLE, COUNT).mean(axis=1).astype(np.float32)


def loudness_curve(audio: NDArray[np.floating], frames: int, fps: float) -> Floats:
    """Loudness of the band that an open mouth radiates, per frame, 0..1: 0 at 40 dB below the loud parts of the clip.

    Level between 0.5 and 3 kHz of `audio` (n,), mono 16 kHz, over 67 ms, in decibels; blind to gain: the clip's own
    95th percentile counts as 1. (frames,). Below that band lies the voice, which nasals and the murmur of b, d, g have
    too while the mouth is shut; above it fricatives, whose jaw is nearly closed. On captured lips it correlates .57
    (four GRID clips) and .69 (a Mandarin take) where the whole band has .52 and .67.
    """
    audio = np.asarray(audio, dtype=np.float64)
    if len(audio) > 64:
        audio = sosfiltfilt(_BAND, audio)
    centres = ((np.arange(frames) + 0.5) / fps * SAMPLE_RATE).astype(int)
    level = 10 * np.log10(mean_power(audio, centres, SAMPLE_RATE // 30) + 1e-10)
    top = np.percentile(level, 95) if frames else 0.0
    return np.clip((level - top) / _BAND_SPAN_DB + 1.0, 0.0, 1.0).astype(np.float32)


def _parsed(phones: Sequence[Sequence[object]]) -> list[Phone]:
    """Sounding phones only, in order of time, stress digits and variants removed."""
    result: list[Phone] = []
    for item in phones:
        raw, start, end = str(item[0]), float(item[1]), float(item[2])  # type: ignore[arg-type]
        name = re.sub(r"\(\d+\)|\d", "", raw).upper()
        if end < start:
            raise ValueError(f"phone {raw!r} ends at {end:g} s before it starts at {start:g} s")
        if is_silence(name):
            continue
        if name not in VISEMES:
            raise ValueError(f"unknown phone {raw!r}; known ARPAbet: {', '.join(VISEMES)} and SIL")
        result.append((name, start, end))
    return sorted(result, key=lambda phone: phone[1])


def _loudness_on(times: Doubles, loudness: Floats | None, fps: float) -> Doubles:
    if loudness is None:
        return np.full_like(times, _MODERATE)
    smooth = np.convolve(np.pad(loudness.astype(np.float64), 2, mode="edge"), [0.1, 0.2, 0.4, 0.2, 0.1], mode="valid")
    return np.interp(times, (np.arange(len(smooth)) + 0.5) / fps, smooth)


def _dominance(times: Doubles, start: float, end: float, style: MouthStyle, reach: float = 1.0) -> Doubles:
    """Cohen and Massaro's negative exponential, flat over the middle of the phone."""
    start, end = start - style.lead, end - style.lead
    middle, half = 0.5 * (start + end), 0.25 * (end - start)
    before = np.maximum(middle - half - times, 0.0) / (reach * style.attack)
    after = np.maximum(times - middle - half, 0.0) / (reach * style.release)
    return np.exp(-((before + after) ** 1.3))


def _pauses(parsed: list[Phone], least: float = 0.25) -> list[tuple[float, float]]:
    """(start, end) of stretches without speech, the first and last one open-ended."""
    gaps = [(-1e3, parsed[0][1])]
    for previous, following in pairwise(parsed):
        if following[1] - previous[2] >= least:
            gaps.append((previous[2], following[1]))
    gaps.append((max(phone[2] for phone in parsed), 1e3))
    return gaps


def _speaking(times: Doubles, parsed: list[Phone], breath: float, style: MouthStyle) -> Doubles:
    """1 while speech moves the mouth, 0 in pauses: opens by `breath` before speech, shuts after the last sound."""
    active = np.ones_like(times)
    for start, end in _pauses(parsed):
        shut = _ramp((times - start) / style.offset)
        breath_start = max(end - style.breath_time, start + style.offset)
        opening = _ramp((times - breath_start) / max(0.5 * (end - breath_start), 0.04)) * breath
        opening = np.maximum(opening, _ramp((times - end + 0.12) / 0.12))
        inside = (times >= start) & (times < end)
        active = np.where(inside, np.maximum(1.0 - shut, opening), active)
    return active


def _ramp(x: Doubles) -> Doubles:
    x = np.clip(x, 0.0, 1.0)
    return x * x * (3.0 - 2.0 * x)


def _write_open_mouth(
    coefficients: Doubles,
    times: Doubles,
    parsed: list[Phone],
    loud: Doubles,
    style: MouthStyle,
) -> None:
    track = _Track(times)
    for name, start, end in parsed:
        parts = VISEMES[name]
        edges = np.linspace(start, end, len(parts) + 1)
        for part, first, last in zip(parts, edges[:-1], edges[1:], strict=True):
            where = track.around(first, last)
            near = _dominance(times[where], first, last, style)
            far = _dominance(times[where], first, last, style, style.rounding)
            track.add("jaw", part.jaw, part.jaw_strength * near, where)
            track.add("lips", part.lips, part.lips_strength * near, where)
            track.add("round", part.round, part.round_strength * far, where)
    active = _speaking(times, parsed, style.breath, style)
    # In the breath before speech there is no loudness yet: the mouth opens as for a moderately loud sound.
    effort = np.where(_voiced(times, parsed), loud, 0.6)
    slow = np.convolve(np.pad(effort, 6, mode="edge"), np.full(13, 1 / 13), mode="valid")
    gain = 1.0 - style.loudness + style.loudness * slow / _MODERATE
    rounding = track.blend("round") * active
    sonority = np.interp(times + style.sonority_lead, times, _sonority(effort))
    jaw = (1.0 - style.sonority) * track.blend("jaw") * gain + style.sonority * sonority
    jaw = jaw * _speaking(times, parsed, style.breath * style.breath_jaw, style)
    lips = ((1.0 - style.lips_sonority) * track.blend("lips") * gain + style.lips_sonority * sonority) * active
    out, spread = np.maximum(rounding, 0.0), np.maximum(-rounding, 0.0)
    # Spread vowels stand at 0, neutral ones at a third: captured lips are a little round most of the time.
    rounded = np.clip((rounding + 0.5 * active) / 1.5, 0.0, 1.0)
    protruded = rounded * np.clip(track.blend("lips") / 0.4, 0.3, 1.0)
    for coefficient, value in (
        ("jawOpen", style.jaw * _shaped("jawOpen", jaw)),
        ("mouthLowerDownLeft", style.lower_lip * _shaped("mouthLowerDown", lips * (1 - 0.6 * out))),
        ("mouthUpperUpLeft", style.upper_lip * _shaped("mouthUpperUp", lips * (1 - 0.5 * out))),
        ("mouthPucker", style.pucker * _shaped("mouthPucker", rounded)),
        ("mouthFunnel", style.funnel * _shaped("mouthFunnel", protruded)),
        ("mouthStretchLeft", style.stretch * _shaped("mouthStretch", 0.6 * spread + _SPREAD_JAW * jaw)),
        ("mouthSmileLeft", spread * style.smile),
    ):
        coefficients[:, INDEX[coefficient]] = value
        if coefficient.endswith("Left"):
            coefficients[:, INDEX[coefficient[:-4] + "Right"]] = value


def _sonority(effort: Doubles) -> Doubles:
    """What loudness alone asks of the mouth: `_MID_VOWEL` at a moderately loud sound, nothing in silence."""
    return _MID_VOWEL * np.where(effort > 0.0, 10.0 ** (_GROWTH * (effort - _MODERATE)), 0.0)


def _shaped(name: str, track: Doubles) -> Doubles:
    """The share of its amplitude that coefficient `name` has where its blended targets are `track`: see `SHAPES`."""
    return np.asarray(_shape(name)(np.clip(track, 0.0, _FARTHEST_TARGET * SHAPES[name][0][-1])))


@cache
def _shape(name: str) -> PchipInterpolator:
    targets, shares = SHAPES[name]
    # Beyond p99 it goes on, ever flatter, to one and a half times the amplitude.
    return PchipInterpolator((0.0, *targets, _FARTHEST_TARGET * targets[-1]), (0.0, *shares, 1.5 * shares[-1]))


def _voiced(times: Doubles, parsed: list[Phone]) -> NDArray[np.bool_]:
    sounding = np.zeros(len(times), dtype=bool)
    for _, start, end in parsed:
        sounding |= (times >= start) & (times < end)
    return sounding


def _contact(times: Doubles, parsed: list[Phone], kind: frozenset[str], style: MouthStyle) -> Doubles:
    """0..1: 1 through the closure, ramps of `style.close` outside it."""
    contact = np.zeros_like(times)
    for name, start, end in parsed:
        if name not in kind:
            continue
        # A closure shorter than two frames would vanish between frames: hold it at least that long.
        middle = 0.5 * (start + end)
        half = max(0.5 * (end - start), 0.036)
        first, last = middle - half - 0.3 * style.lead, middle + half - 0.3 * style.lead
        near = slice(*np.searchsorted(times, (first - style.close, last + style.close)))
        shape = np.minimum(
            _ramp((times[near] - first + style.close) / style.close),
            _ramp((last + style.close - times[near]) / style.close),
        )
        contact[near] = np.maximum(contact[near], shape)
    return contact


def _write_contacts(coefficients: Doubles, times: Doubles, parsed: list[Phone], style: MouthStyle) -> None:
    lips = _contact(times, parsed, BILABIALS, style)
    teeth = _contact(times, parsed, LABIODENTAL, style)
    jaw = coefficients[:, INDEX["jawOpen"]]
    jaw *= 1.0 - 0.4 * lips - 0.35 * teeth * (1 - lips)
    for side in ("Left", "Right"):
        coefficients[:, INDEX[f"mouthLowerDown{side}"]] *= (1 - lips) * (1 - 0.95 * teeth)
        coefficients[:, INDEX[f"mouthUpperUp{side}"]] = coefficients[:, INDEX[f"mouthUpperUp{side}"]] * (1 - lips) * (
            1 - teeth
        ) + 0.06 * teeth * (1 - lips)
        coefficients[:, INDEX[f"mouthPress{side}"]] = style.rest_press + (style.press - style.rest_press) * lips
    coefficients[:, INDEX["mouthFunnel"]] *= (1 - lips) * (1 - 0.9 * teeth)
    coefficients[:, INDEX["mouthRollLower"]] = 0.02 * lips + style.roll * teeth * (1 - lips)
    coefficients[:, INDEX["mouthRollUpper"]] = 0.02 * lips
    coefficients[:, INDEX["mouthClose"]] = lips**2 * (jaw + style.seal) + 0.35 * teeth * (1 - lips) * jaw
