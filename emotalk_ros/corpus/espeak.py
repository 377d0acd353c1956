"""Speech with exact phone times from espeak-ng, through its C library and phoneme events.

The library comes with the PyPI package `espeakng-loader` (extras `speech` and `corpus`) or from the system
(`libespeak-ng.so.1`). Voices are text files, so speakers can be made up: `made_up_voice`. About 500 x real time on
one core.
"""

from __future__ import annotations

import _ctypes
import atexit
import contextlib
import ctypes
import ctypes.util
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from time import time as clock
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from emotalk_ros.corpus.arpabet import arpabet_from_ipa
from emotalk_ros.corpus.sentences import ENGLISH, other_languages
from emotalk_ros.corpus.voices import Recording
from emotalk_ros.corpus.world import Phone
from emotalk_ros.requirements import install_command
from emotalk_ros.units import SAMPLE_RATE

_EVENT_END, _EVENT_PHONEME = 0, 7
_SYNCHRONOUS, _UTF8 = 2, 1
_OPTIONS = 0x0001 | 0x0002 | 0x8000  # phoneme events, as IPA, and never call exit()
_TIED_IPA = 0x02 | 0x80 | ord("^") << 8
_RATE, _PITCH, _RANGE, _WORD_GAP = 1, 3, 4, 7

# A voiceless stop's event marks its burst: the closure is the silence before it. Voiced stops are marked at closure.
_BURST_MARKED = frozenset({"P", "T", "K", "CH"})
_VOICED_STOPS = frozenset({"B", "D", "G", "JH"})
_CLOSURE = (0.035, 0.09)
_VOICED_CLOSURE = 0.06
_BURST = 0.008

ACCENTS: tuple[str, ...] = ("gmw/en-US",) * 4 + ("gmw/en", "gmw/en-GB-x-rp", "gmw/en-GB-scotland")
"""Accents that made-up voices speak; American English as often as all of the others."""
_ENGLISH_ACCENTS = "gmw/en"
"""How the language files of all English accents begin."""


class SynthesizerUnavailableError(RuntimeError):
    """A speech synthesiser is not installed or does not start; the message says what to install."""


@dataclass(frozen=True)
class EspeakVoice:
    """A voice: `accent` (a language file of espeak-ng), the text of its variant file (empty: the plain voice), words a
    minute.
    """

    name: str
    accent: str = "gmw/en-US"
    variant: str = ""
    rate: int = 165
    pitch: int = 50
    range: int = 50


class _Identifier(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    """`espeak_EVENT` of speak_lib.h, revision 12."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Identifier),
    )


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


def made_up_voice(seed: int, language: str = ENGLISH) -> EspeakVoice:
    """A voice drawn from `seed`: tract length, pitch, breath, roughness, tone, accent and pace of one made-up speaker.

    `language` is one of `sentences.known_languages`; only English has several accents. Half of the voices are women's:
    formants about 17 % higher (Peterson and Barney 1952) at about 200 Hz instead of 115 Hz.
    """
    rng = np.random.default_rng([seed, 41])
    female = bool(rng.random() < 0.5)
    tract = float(np.clip(rng.normal(117 if female else 100, 4.5), 90, 130))
    pitch = float(np.clip(rng.normal(195 if female else 112, 20 if female else 16), 80, 260))
    width = int(rng.integers(85, 135))
    lines = [
        "language variant",
        f"name made-up-{seed}",
        f"gender {'female' if female else 'male'}",
        f"pitch {pitch:.0f} {pitch * rng.uniform(1.35, 1.75):.0f}",
        f"flutter {int(rng.integers(0, 12))}",
        f"roughness {int(rng.choice([0, 0, 0, 1, 2, 3]))}",
        f"voicing {int(rng.integers(80, 120))}",
        f"consonants {int(rng.integers(70, 130))} {int(rng.integers(70, 130))}",
        f"tone 600 {int(rng.integers(150, 190))} 1200 {int(rng.integers(105, 165))} 2000 {int(rng.integers(75, 145))}",
    ]
    for formant in range(9):
        scale = tract + rng.normal(0, 2.0)
        strength = int(rng.integers(85, 120)) if formant < 6 else int(rng.integers(60, 120))
        lines.append(f"formant {formant} {scale:.0f} {strength} {width}")
    if rng.random() < 0.5:
        lines.append("breath 0 " + " ".join(str(int(v)) for v in rng.integers(0, 6, 7)))
    accent = str(rng.choice(ACCENTS))
    return EspeakVoice(
        name=f"espeak-{seed}",
        accent=accent if language == ENGLISH else other_languages()[language].voice,
        variant="\n".join(lines) + "\n",
        rate=int(np.clip(rng.normal(160, 14), 125, 195)),
        range=int(rng.integers(35, 75)),
    )


_HOME = "emotalk-voices-"


def _clear_homes() -> None:
    """Takes away the folders of this user's processes that were killed: nobody else can."""
    for home in Path(tempfile.gettempdir()).glob(f"{_HOME}*"):
        owner = home.name[len(_HOME) :].partition("-")[0]
        with contextlib.suppress(OSError):
            if home.is_symlink() or home.stat().st_uid != os.getuid() or (owner.isdecimal() and _runs(int(owner))):
                continue
            if owner.isdecimal() or clock() - home.stat().st_mtime > 86400.0:  # those of old versions name nobody
                shutil.rmtree(home, ignore_errors=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


class Espeak:
    """espeak-ng with a data folder of its own to put made-up voices in. Safe to use from several threads (one at a
    time).

    The library's noise and flutter go on from one utterance to the next, whatever its seed: for the same text to give
    the same samples everywhere, each utterance gets a freshly loaded library (25 ms).
    """

    _one: Espeak | None = None
    _guard = threading.Lock()

    def __init__(self) -> None:
        _, data = _find()
        _clear_homes()
        self._home = Path(tempfile.mkdtemp(prefix=f"{_HOME}{os.getpid()}-"))
        atexit.register(shutil.rmtree, self._home, ignore_errors=True)
        _mirror_data(data, self._home / "espeak-ng-data")
        self._blocks: list[NDArray[np.int16]] = []
        self._events: list[tuple[float, str]] = []
        self._callback = _CALLBACK(self._receive)  # kept: the library calls it for as long as it lives

    @classmethod
    def instance(cls) -> Espeak:
        """The one of this process. Raises SynthesizerUnavailableError where espeak-ng is missing."""
        with cls._guard:
            if cls._one is None:
                cls._one = cls()
            return cls._one

    def speak(self, text: str, voice: EspeakVoice | None = None) -> Recording:
        """`text` spoken by `voice`, with its phones: always the same samples for the same text and voice.

        Raises ValueError for text without a sound or an unknown accent.
        """
        voice = voice or EspeakVoice("espeak")
        with self._guard, _library(self._home) as (library, sample_rate):
            library.espeak_SetSynthCallback(self._callback)
            self._select(library, voice)
            self._blocks, self._events = [], []
            data = text.encode()
            status = library.espeak_Synth(data, len(data) + 1, 0, 0, 0, _UTF8, None, None)
            library.espeak_Synchronize()
            if status != 0 or not self._blocks:
                raise ValueError(f"espeak-ng made no sound of {text!r} (status {status})")
            pcm = np.concatenate(self._blocks)
            events = self._events
        audio = soxr.resample(pcm.astype(np.float32) / 32768.0, sample_rate, SAMPLE_RATE)
        phones = phones_from_events(events, pcm, sample_rate, voice.accent.startswith(_ENGLISH_ACCENTS))
        if not phones:
            raise ValueError(f"espeak-ng found no phones in {text!r}")
        return Recording(voice.name, audio, tuple(phones), voice.name, text, "espeak-ng")

    def transcribe(self, text: str, accent: str = "gmw/en-US") -> str:
        """`text` as IPA with stress marks, signs of one phoneme tied by ^; punctuation is lost.

        Raises ValueError for an unknown accent.
        """
        with self._guard, _library(self._home) as (library, _):
            self._select(library, EspeakVoice("espeak", accent))
            library.espeak_TextToPhonemes.restype = ctypes.c_char_p
            data = ctypes.create_string_buffer(text.encode())
            place = ctypes.c_void_p(ctypes.addressof(data))
            clauses = []
            while place.value:
                clauses.append((library.espeak_TextToPhonemes(ctypes.byref(place), _UTF8, _TIED_IPA) or b"").decode())
        return " ".join(clauses)

    def _select(self, library: Any, voice: EspeakVoice) -> None:
        name = voice.accent
        if voice.variant:
            (self._home / "espeak-ng-data" / "voices" / "!v" / voice.name).write_text(voice.variant, encoding="utf-8")
            name += f"+{voice.name}"
        if library.espeak_SetVoiceByName(name.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {name!r}")
        for parameter, value in ((_RATE, voice.rate), (_PITCH, voice.pitch), (_RANGE, voice.range), (_WORD_GAP, 0)):
            library.espeak_SetParameter(parameter, value, 0)

    def _receive(self, wave: Any, count: int, events: Any) -> int:
        if wave and count:
            self._blocks.append(np.ctypeslib.as_array(wave, (count,)).copy())
        k = 0
        while events[k].type != _EVENT_END:
            if events[k].type == _EVENT_PHONEME:
                name = bytes(events[k].id.string).split(b"\0")[0].decode("utf-8", "ignore")
                self._events.append((events[k].audio_position / 1000.0, name))
            k += 1
        return 0


@contextmanager
def _library(home: Path) -> Iterator[tuple[Any, int]]:
    """A freshly loaded library and its sample rate; unloaded afterwards, so that the next one starts from nothing."""
    path, _ = _find()
    library = ctypes.CDLL(path)
    try:
        rate = library.espeak_Initialize(_SYNCHRONOUS, 0, str(home).encode(), _OPTIONS)
        if rate <= 0:
            raise SynthesizerUnavailableError(f"espeak-ng ({path}) does not start with its data: reinstall it")
        # Newer versions have their own generator, older ones (and parts of the newer) draw from the C library's.
        ctypes.CDLL(None).srand(1)
        if hasattr(library, "espeak_ng_SetRandSeed"):
            library.espeak_ng_SetRandSeed(ctypes.c_long(1))
        yield library, int(rate)
        library.espeak_Terminate()
    finally:
        _ctypes.dlclose(library._handle)


@cache
def _find() -> tuple[str, Path]:
    """The library's path and its data folder: PyPI's espeakng-loader first, then the system's."""
    try:
        import espeakng_loader

        path = str(espeakng_loader.get_library_path())
        _ctypes.dlclose(ctypes.CDLL(path)._handle)
        return path, Path(espeakng_loader.get_data_path())
    except (ImportError, OSError):
        pass
    for name in filter(None, (ctypes.util.find_library("espeak-ng"), "libespeak-ng.so.1")):
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        data = ctypes.c_char_p()
        library.espeak_Info.restype = ctypes.c_char_p
        library.espeak_Info(ctypes.byref(data))
        folder_of_library = data.value.decode() if data.value else ""
        _ctypes.dlclose(library._handle)
        for folder in (folder_of_library, *_SYSTEM_DATA):
            if folder and (Path(folder) / "phontab").is_file():
                return name, Path(folder)
    raise SynthesizerUnavailableError(
        f"espeak-ng is not installed: {install_command('speech')}, or install the system package libespeak-ng1"
    )


_SYSTEM_DATA = (
    "/usr/lib/x86_64-linux-gnu/espeak-ng-data",
    "/usr/lib/aarch64-linux-gnu/espeak-ng-data",
    "/usr/share/espeak-ng-data",
    "/usr/local/share/espeak-ng-data",
    "/opt/homebrew/share/espeak-ng-data",
)


def _mirror_data(data: Path, target: Path) -> None:
    """A data folder of links to `data`, except `voices/!v`, which is ours to write voices into."""
    (target / "voices" / "!v").mkdir(parents=True)
    for entry in data.iterdir():
        if entry.name != "voices":
            os.symlink(entry, target / entry.name)
    for entry in (data / "voices").iterdir() if (data / "voices").is_dir() else ():
        if entry.name != "!v":
            os.symlink(entry, target / "voices" / entry.name)


def phones_from_events(
    events: Sequence[tuple[float, str]], pcm: NDArray[np.int16], sample_rate: int, english: bool = True
) -> list[Phone]:
    """Phones [(ARPAbet, start s, end s), ...] from events [(time s, IPA, empty for a pause), ...] in `pcm` (n,).

    A voiceless stop spans its silence and burst; the breath after the burst belongs to what follows. A voiced one
    spans its closure. One event may hold several phones (a diphthong with r): they share its time.
    """
    ends = [time for time, _ in events[1:]] + [len(pcm) / sample_rate]
    phones: list[Phone] = []
    for (time, ipa), end in zip(events, ends, strict=True):
        names = arpabet_from_ipa(ipa, english)
        if not names:
            continue
        start = time
        if names[0] in _BURST_MARKED:
            start = _closure_start(pcm, sample_rate, time, phones[-1][1] if phones else 0.0)
            if phones and phones[-1][2] > start:
                phones[-1] = (phones[-1][0], phones[-1][1], start)
        edges = np.linspace(start, max(end, start), len(names) + 1)
        phones += [(n, float(a), float(b)) for n, a, b in zip(names, edges[:-1], edges[1:], strict=True)]
        if names == [names[0]] and names[0] in _BURST_MARKED | _VOICED_STOPS:
            phones[-1] = _released(phones[-1], time)
    return _with_room(phones)


def _with_room(phones: list[Phone], least: float = 0.02) -> list[Phone]:
    """Phones that espeak-ng melts into the vowel before (a final l or r, marked where it ends) get its last part."""
    for k in range(1, len(phones)):
        name, start, end = phones[k]
        before = phones[k - 1]
        if end - start < least and start - before[2] < least:
            start = before[2] - min(0.06, 0.4 * (before[2] - before[1]))
            phones[k - 1], phones[k] = (before[0], before[1], start), (name, start, max(end, before[2]))
    return phones


def _released(phone: Phone, event: float) -> Phone:
    """`phone`, a stop, ending where its closure opens."""
    name, start, end = phone
    opening = event + _BURST if name in _BURST_MARKED else start + _VOICED_CLOSURE
    # Affricates hiss on after the burst: that is part of them.
    return phone if name in ("CH", "JH") else (name, start, min(end, opening))


def _closure_start(pcm: NDArray[np.int16], sample_rate: int, burst: float, earliest: float) -> float:
    """Where the silence before `burst` begins: at least 35 ms before it, at most 90 ms."""
    step = max(1, sample_rate // 400)
    last = int(burst * sample_rate) - step
    limit = max(int(max(burst - _CLOSURE[1], earliest + 0.02, 0.0) * sample_rate), 0)
    position = last
    while position - step >= limit and np.abs(pcm[position - step : position]).max(initial=0) < 60:
        position -= step
    found = position / sample_rate
    return max(min(found, burst - _CLOSURE[0]), earliest + 0.01, 0.0) if earliest < burst else burst
