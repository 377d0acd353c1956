"""flite and festival, where they are installed: speech with phone times from their command-line programs.

Both are free software of Edinburgh and Carnegie Mellon in Debian (`apt install flite festival festvox-kallpc16k`). A
stop's interval holds closure and burst, as in forced alignments.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from emotalk_ros.corpus.arpabet import arpabet_from_cmu
from emotalk_ros.corpus.espeak import SynthesizerUnavailableError
from emotalk_ros.corpus.voices import Recording
from emotalk_ros.corpus.world import Phone
from emotalk_ros.units import SAMPLE_RATE

FLITE_VOICES: tuple[str, ...] = ("slt", "rms", "awb", "kal16")
"""Voices of flite that report phone times: a woman, three men."""

_TIMEOUT = 60.0


@cache
def available_engines() -> tuple[str, ...]:
    """Which of espeak, kokoro, flite and festival can be used here."""
    from emotalk_ros.corpus.espeak import Espeak
    from emotalk_ros.corpus.kokoro import shared_kokoro

    found = []
    for name, start in (("espeak", Espeak.instance), ("kokoro", shared_kokoro)):
        try:
            start()
            found.append(name)
        except SynthesizerUnavailableError:
            pass
    if shutil.which("flite") and flite_voices():
        found.append("flite")
    if shutil.which("festival") and festival_voices():
        found.append("festival")
    return tuple(found)


@cache
def flite_voices() -> tuple[str, ...]:
    """Installed voices among FLITE_VOICES."""
    answer = _run(["flite", "-lv"]) if shutil.which("flite") else ""
    return tuple(voice for voice in FLITE_VOICES if voice in answer.split())


@cache
def festival_voices() -> tuple[str, ...]:
    """Installed English voices of festival."""
    if not shutil.which("festival"):
        return ()
    answer = _run(["festival", "-b", '(mapcar (lambda (v) (format t "%s " v)) (voice.list))'])
    return tuple(v for v in sorted(answer.split()) if v in ("kal_diphone", "ked_diphone", "cmu_us_slt_arctic_hts"))


def speak_flite(text: str, voice: str = "slt") -> Recording:
    """`text` by a voice of flite. Raises SynthesizerUnavailableError without flite, ValueError for text it cannot
    say.
    """
    if not shutil.which("flite"):
        raise SynthesizerUnavailableError("flite is not installed: apt install flite, or leave it out")
    with tempfile.TemporaryDirectory(prefix="emotalk-flite-") as folder:
        wave = Path(folder) / "speech.wav"
        answer = _run(["flite", "-voice", voice, "-psdur", "-t", text, "-o", str(wave)])
        pairs = [item.rsplit(":", 1) for item in answer.split() if ":" in item]
        return _recording(wave, [(name, float(end)) for name, end in pairs], f"flite-{voice}", text, "flite")


def speak_festival(text: str, voice: str = "kal_diphone") -> Recording:
    """`text` by a voice of festival. Raises SynthesizerUnavailableError without it, ValueError for text it cannot
    say.
    """
    if not shutil.which("festival"):
        raise SynthesizerUnavailableError("festival is not installed: apt install festival, or leave it out")
    quoted = text.replace("\\", " ").replace('"', " ")
    with tempfile.TemporaryDirectory(prefix="emotalk-festival-") as folder:
        wave, segments = Path(folder) / "speech.wav", Path(folder) / "segments"
        script = Path(folder) / "speak.scm"
        script.write_text(
            f'(voice_{voice})\n(set! utt (utt.synth (Utterance Text "{quoted}")))\n'
            f'(utt.save.wave utt "{wave}" \'riff)\n(utt.save.segs utt "{segments}")\n',
            encoding="utf-8",
        )
        _run(["festival", "-b", str(script)])
        if not segments.is_file():
            raise ValueError(f"festival could not say {text!r} with the voice {voice}")
        rows = [line.split() for line in segments.read_text(encoding="utf-8").splitlines()]
        ends = [(row[2], float(row[0])) for row in rows if len(row) == 3]
        return _recording(wave, ends, f"festival-{voice}", text, "festival")


def _run(command: list[str]) -> str:
    """Output of `command`. Raises ValueError with what it said when it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
    except subprocess.TimeoutExpired as error:
        raise ValueError(f"{command[0]} took longer than {_TIMEOUT:g} s") from error
    if done.returncode != 0:
        raise ValueError(f"{command[0]} failed ({done.returncode}): {done.stderr.strip()[:200]}")
    return done.stdout


def _recording(wave: Path, ends: list[tuple[str, float]], name: str, text: str, source: str) -> Recording:
    """A recording from a sound file and the end time of each phone."""
    phones: list[Phone] = []
    start = 0.0
    for symbol, end in ends:
        phone = arpabet_from_cmu(symbol)
        if phone is not None and end > start:
            phones.append((phone, start, end))
        start = end
    if not phones or not wave.is_file():
        raise ValueError(f"{source} found no phones in {text!r}")
    audio, rate = soundfile.read(wave, dtype="float32")
    resampled: NDArray[np.float32] = audio if rate == SAMPLE_RATE else soxr.resample(audio, rate, SAMPLE_RATE)
    return Recording(name, resampled, tuple(phones), name, text, source)
