"""Forced alignment against speech whose phone times are known, because it was synthesised."""

import importlib.util

import numpy as np
import pytest

from emotalk_ros.corpus.align import Aligner, guess_pronunciation, spoken_words
from emotalk_ros.corpus.store import CorpusError

needs_pocketsphinx = pytest.mark.skipif(
    importlib.util.find_spec("pocketsphinx") is None, reason="pocketsphinx (an optional extra) is not installed"
)


def speech(text):
    from emotalk_ros.corpus.espeak import Espeak, SynthesizerUnavailableError

    try:
        recording = Espeak.instance().speak(text)
    except SynthesizerUnavailableError as error:
        pytest.skip(str(error))
    return recording


def test_words_of_a_transcript():
    assert spoken_words("It’s 9 o'clock -- \"well-known\", isn't it?") == [
        *("it's", "9", "o'clock", "well", "known", "isn't", "it"),
    ]


@needs_pocketsphinx
def test_phones_are_found_where_they_were_made():
    text = "My mother bought a pretty apple in the market"
    recording = speech(text)
    result = Aligner().align(recording.audio, text)
    assert result.guessed == () and result.phones[0][0] in ("SIL", "M")
    made = [(name, start) for name, start, _ in recording.phones if name in ("M", "B", "P")]
    found = [(name, start) for name, start, _ in result.phones if name in ("M", "B", "P")]
    assert [name for name, _ in made] == [name for name, _ in found]
    assert np.median([abs(a - b) for (_, a), (_, b) in zip(made, found, strict=True)]) < 0.06
    ends = [end for _, _, end in result.phones]
    assert all(b >= a for a, b in zip([0, *ends], ends, strict=False)) and ends[-1] <= recording.duration + 1e-6


@needs_pocketsphinx
def test_what_does_not_fit_is_refused_and_unknown_words_are_guessed():
    aligner = Aligner(guess=lambda word: ["Z", "AO", "R", "K"])
    noise = np.random.default_rng(0).normal(0, 0.01, 4000).astype(np.float32)
    with pytest.raises(CorpusError, match="do not fit"):
        aligner.align(noise, "a very long sentence that nobody says in a quarter of a second of noise")
    with pytest.raises(CorpusError, match="no words"):
        aligner.align(noise, "...")
    recording = speech("the zork is here")
    first = aligner.align(recording.audio, "the zork is here")
    assert first.guessed == ("zork",)
    assert aligner.align(recording.audio, "the zork is here") == first  # whatever was heard before


@needs_pocketsphinx
def test_the_sentence_of_a_grammar_that_was_said():
    aligner = Aligner()
    audio = speech("can I have a large coffee with sugar").audio
    grammar = "(brew | can I have | get me) (a | an) (large | small) coffee with (milk | sugar)"
    assert aligner.recognise(audio, grammar) == "can i have a large coffee with sugar"
    assert aligner.align(audio, "can i have a large coffee with sugar").phones[0][0] in ("SIL", "K")
    with pytest.raises(CorpusError, match="not a grammar"):
        aligner.recognise(audio, "(brew | get me")


def test_a_guess_is_arpabet():
    speech("hello")
    assert guess_pronunciation("zorkmid")[0] == "Z"
