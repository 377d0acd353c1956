"""Forced alignment of transcribed English speech: when each phone is said (pocketsphinx, an optional extra).

Two passes, as pocketsphinx asks for: words first, then the phones and states of those words. Words that its
dictionary (CMU) lacks get a guessed pronunciation from espeak-ng, where that is installed; the guesses are reported.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotalk_ros.corpus.arpabet import is_silence
from emotalk_ros.corpus.store import CorpusError, Phone
from emotalk_ros.requirements import install_command
from emotalk_ros.units import SAMPLE_RATE

_FRAME_SECONDS = 0.01
_PADDINGS = ((0.0, 0.0), (0.305, 1e-5), (0.3, 1e-3), (0.1025, 1e-4))
"""Seconds of noise on either side, and its level, tried in turn.

The second pass fails on about one clip in eight when a word got fewer frames than its phones have states. Room around
the clip helps some, half a frame's shift others; 17 of 24 such clips align with the second, which no louder noise does.
"""


@dataclass(frozen=True)
class Alignment:
    """Phones (ARPAbet or SIL, start s, end s) that tile the clip, and the words whose pronunciation was guessed."""

    phones: tuple[Phone, ...]
    guessed: tuple[str, ...] = ()


class Aligner:
    """Aligns clips one after another with pocketsphinx's US English model.

    `guess(word) -> phones` pronounces words out of the dictionary; the default asks espeak-ng. Raises CorpusError when
    pocketsphinx is not installed.
    """

    def __init__(self, guess: Callable[[str], list[str]] | None = None) -> None:
        try:
            from pocketsphinx import Decoder
        except ImportError as error:
            raise CorpusError(f"forced alignment needs pocketsphinx: {install_command('corpus')}") from error
        # Beams stay at their defaults: wider ones do not help and narrower ones lose utterances.
        self._decoder: Any = Decoder(samprate=SAMPLE_RATE, loglevel="FATAL")
        self._guess = guess or guess_pronunciation
        self._guessed: set[str] = set()

    def align(self, audio: NDArray[np.floating], text: str) -> Alignment:
        """Phones of `audio` (n,), mono 16 kHz, full scale +-1, that says `text`.

        Raises CorpusError when the text is empty, a word cannot be pronounced, or the two do not fit together.
        """
        words = spoken_words(text)
        if not words:
            raise CorpusError(f"no words in the transcript {text!r}")
        guessed = self._learn(words)
        for seconds, level in _PADDINGS:
            try:
                phones = self._phones(audio, words, seconds, level)
            except RuntimeError:
                continue
            if any(name != "SIL" for name, _, _ in phones):
                return Alignment(tuple(phones), guessed)
        raise CorpusError(f"audio and transcript do not fit: {text[:60]!r}")

    def recognise(self, audio: NDArray[np.floating], grammar: str) -> str:
        """The sentence of `grammar` that `audio` (n,), mono 16 kHz, fits best, in lower case.

        For recordings whose words are known up to a choice. `grammar` is the body of a JSGF rule, such as
        `(get me | i want) (a | an) mocha [with milk]`. Raises CorpusError when it is no grammar or nothing fits.
        """
        self._learn(spoken_words(grammar))
        try:
            self._decoder.add_jsgf_string(
                "choice", f"#JSGF V1.0; grammar choice; public <sentence> = {grammar.lower()};"
            )
            self._decoder.activate_search("choice")
        except (ValueError, RuntimeError) as error:
            raise CorpusError(f"not a grammar ({error}): {grammar[:60]!r}") from error
        self._pass(_pcm(audio))
        found = self._decoder.hyp()
        if found is None or not found.hypstr:
            raise CorpusError(f"the recording says nothing of the grammar {grammar[:60]!r}")
        return str(found.hypstr)

    def _learn(self, words: list[str]) -> tuple[str, ...]:
        """Adds the words that the dictionary lacks; all of `words` whose pronunciation is a guess."""
        for word in dict.fromkeys(words):
            if self._decoder.lookup_word(word) is None:
                self._decoder.add_word(word, " ".join(self._guess(word)), update=True)
                self._guessed.add(word)
        return tuple(word for word in dict.fromkeys(words) if word in self._guessed)

    def _phones(self, audio: NDArray[np.floating], words: list[str], pad: float, level: float) -> list[Phone]:
        """Both passes over the audio with `pad` s of noise on either side; RuntimeError when they fail."""
        count = round(pad * SAMPLE_RATE)
        noise = np.random.default_rng(0).normal(0.0, level, 2 * count)
        pcm = _pcm(np.concatenate([noise[:count], audio, noise[count:]]))
        self._decoder.set_align_text(" ".join(words))
        self._pass(pcm)
        self._decoder.set_alignment()
        self._pass(pcm)
        end = len(audio) / SAMPLE_RATE
        found = [
            (_plain(phone.name), phone.start * _FRAME_SECONDS - pad, phone.duration * _FRAME_SECONDS)
            for word in (self._decoder.get_alignment() or ())
            for phone in word
        ]
        inside = [(name, max(0.0, start), min(end, start + length)) for name, start, length in found]
        return [(name, start, stop) for name, start, stop in inside if stop > start]

    def _pass(self, pcm: bytes) -> None:
        self._decoder.reinit_feat()  # its noise tracking would carry over: results would depend on the clips before
        self._decoder.start_utt()
        self._decoder.process_raw(pcm, full_utt=True)
        self._decoder.end_utt()


def _pcm(audio: NDArray[np.floating]) -> bytes:
    return np.clip(audio * 32767.0, -32768, 32767).astype(np.int16).tobytes()


def spoken_words(text: str) -> list[str]:
    """Lower-case words of a transcript: letters, digits and inner apostrophes; hyphens part words."""
    return re.findall(r"[a-z0-9]+(?:'[a-z]+)*", text.lower().replace("’", "'"))


def guess_pronunciation(word: str) -> list[str]:
    """ARPAbet phones of a word after espeak-ng. Raises CorpusError when it is not installed or stays silent."""
    from emotalk_ros.corpus.espeak import Espeak, SynthesizerUnavailableError

    try:
        recording = Espeak.instance().speak(word)
    except SynthesizerUnavailableError as error:
        raise CorpusError(
            f"the word {word!r} is in no dictionary and espeak-ng is not there to guess: {error}"
        ) from error
    phones = [name for name, _, _ in recording.phones if name != "SIL"]
    if not phones:
        raise CorpusError(f"the word {word!r} cannot be pronounced")
    return phones


def _plain(name: str) -> str:
    """A phone without stress; every kind of silence and noise is SIL."""
    return "SIL" if is_silence(name) else name.rstrip("012")


@lru_cache(maxsize=1)
def shared_aligner() -> Aligner:
    """The aligner of this process: loading its model takes a while."""
    return Aligner()
