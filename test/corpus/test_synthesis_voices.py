"""Recolouring, speakers, espeak-ng and augmentation, on speech that is synthesised here."""

from dataclasses import replace

import numpy as np
import pytest

from emotalk_ros.corpus.arpabet import ARPABET, BILABIALS, arpabet_from_cmu, arpabet_from_ipa
from emotalk_ros.corpus.augment import CODECS, NOISES, Augmentation, augment, draw_augmentation, make_noise
from emotalk_ros.corpus.emotional_speech import PROSODY, ProsodyChange, apply_prosody, draw_prosody, recolour
from emotalk_ros.corpus.pitch import track_f0
from emotalk_ros.corpus.sentences import default_sentences, other_languages, read_sentences
from emotalk_ros.corpus.speech_engines import available_engines, speak_festival, speak_flite
from emotalk_ros.corpus.visemes import VISEMES
from emotalk_ros.corpus.voices import (
    PORTRAYALS,
    Recording,
    Speaker,
    at_level,
    emotional_variants,
    made_up_speaker,
    phrase_spans,
    phrases,
    speak_as,
)
from emotalk_ros.emotions import EMOTIONS
from emotalk_ros.face.names import INDEX

pyworld = pytest.importorskip("pyworld", reason="extra emotalk_ros[corpus]: pyworld makes voices emotional")

from emotalk_ros.corpus.world import analyse, stretch, synthesise  # noqa: E402

RATE = 16000


def buzz(f0, seconds=1.0, formant=700.0):
    """A voice of sorts: a glottal pulse train through one resonance, 0.1 s of quiet at both ends."""
    count = int(seconds * RATE)
    f0 = np.broadcast_to(f0, count)
    phase = np.cumsum(f0 / RATE)
    pulses = np.diff(np.floor(phase), prepend=0.0)
    time = np.arange(int(0.02 * RATE)) / RATE
    shape = np.exp(-time * 300.0) * np.sin(2 * np.pi * formant * time) + 0.3 * np.exp(-time * 600.0)
    voice = np.convolve(pulses, shape)[:count] * 0.1
    return np.pad(voice, RATE // 10).astype(np.float32)


def median_f0(audio):
    f0, _ = track_f0(audio, RATE)
    return float(np.median(f0[f0 > 0]))


@pytest.mark.parametrize("f0", [85.0, 120.0, 210.0, 400.0])
def test_the_pitch_tracker_finds_the_pitch(f0):
    found, _ = track_f0(buzz(f0), RATE)
    voiced = found[15:105]
    assert np.mean(voiced > 0) > 0.9
    assert np.median(np.abs(np.log2(voiced[voiced > 0] / f0))) < 0.01


def test_the_pitch_tracker_follows_a_glide_and_leaves_noise_unvoiced():
    glide = np.geomspace(110.0, 220.0, RATE)
    found, _ = track_f0(buzz(glide), RATE)
    assert np.corrcoef(found[15:105], glide[:: RATE // 100][5:95])[0, 1] > 0.99
    noise = np.random.default_rng(0).normal(0.0, 0.1, RATE)
    assert np.mean(track_f0(noise, RATE)[0] > 0) < 0.1


def test_world_gives_back_what_it_was_given():
    voice = buzz(130.0)
    back = synthesise(analyse(voice))
    assert len(back) == len(voice)
    assert median_f0(back) == pytest.approx(130.0, rel=0.02)
    inside = slice(RATE // 5, RATE)
    assert np.sqrt(np.mean(back[inside] ** 2)) == pytest.approx(np.sqrt(np.mean(voice[inside] ** 2)), rel=0.25)


def test_analysis_refuses_what_is_too_short():
    with pytest.raises(ValueError, match=r"0\.1 s"):
        analyse(np.zeros(100))


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_recolouring_does_not_move_time_and_is_deterministic(emotion):
    voice = analyse(buzz(150.0, 0.6))
    first, again, other = (recolour(voice, emotion=emotion, level=1.0, seed=s, actor=3) for s in (1, 1, 2))
    assert len(first) == voice.length and np.array_equal(first, again) and not np.array_equal(first, other)
    assert np.isfinite(first).all()


def test_emotions_change_pitch_loudness_and_tilt_as_the_table_says():
    voice = analyse(buzz(150.0))

    def measure(emotion, level):
        # Creak lowers the softest syllables; a buzz has no soft ones.
        audio = synthesise(apply_prosody(voice, replace(PROSODY[emotion][level], creak=0.0)))
        spectrum = np.abs(np.fft.rfft(audio)) ** 2
        frequency = np.fft.rfftfreq(len(audio), 1 / RATE)
        bands = [spectrum[(frequency > a) & (frequency < b)].sum() for a, b in ((100, 500), (2000, 4000))]
        return 12 * np.log2(median_f0(audio)), 10 * np.log10(spectrum.sum()), 10 * np.log10(bands[1] / bands[0])

    base = measure("neutral", 0)
    for emotion in EMOTIONS:
        for level in (0, 1):
            row, found = PROSODY[emotion][level], measure(emotion, level)
            assert found[0] - base[0] == pytest.approx(row.shift, abs=1.2 + 0.1 * row.shift)
            assert found[1] - base[1] == pytest.approx(row.loudness, abs=4.0)
            assert found[2] - base[2] == pytest.approx(row.tilt, abs=4.0)


def test_the_background_keeps_its_level_when_a_voice_gets_loud():
    quiet = np.random.default_rng(1).normal(0.0, 1e-4, RATE // 2)
    audio = np.concatenate([quiet, buzz(150.0, 0.6), quiet])
    angry = recolour(audio, emotion="angry", level=1.0, spread=0.0)
    assert np.std(angry[1000:6000]) < 3.0 * np.std(audio[1000:6000])
    assert np.std(angry[10000:16000]) > 4.0 * np.std(audio[10000:16000])


def test_levels_and_labels_that_do_not_exist_are_named():
    with pytest.raises(ValueError, match=r"1\.5"):
        draw_prosody("happy", 1.5)
    with pytest.raises(ValueError, match="bored"):
        draw_prosody("bored", 1.0)


def test_portrayals_vary_between_actors_and_takes_but_not_without_spread():
    drawn = {draw_prosody("angry", 1.0, actor, take).shift for actor in range(3) for take in range(3)}
    assert len(drawn) == 9
    assert draw_prosody("angry", 1.0, 5, 5, spread=0.0) == PROSODY["angry"][1]


def test_a_rising_end_rises():
    voice = analyse(buzz(150.0))
    plain = apply_prosody(voice, ProsodyChange())
    asked = apply_prosody(voice, ProsodyChange(rise=6.0))
    voiced = np.flatnonzero(plain.f0 > 0)
    rise = 12 * np.log2(asked.f0[voiced] / plain.f0[voiced])
    assert rise[-3:].mean() > 4.0 and np.abs(rise[: len(rise) // 2]).max() < 0.5


def test_stretching_moves_phones_and_sound_together():
    audio = np.concatenate([np.zeros(4000), buzz(150.0, 0.5), np.zeros(4000)])
    start, end = 0.25 + 0.1, 0.25 + 0.6
    phones = [("SIL", 0.0, start), ("AA", start, end), ("SIL", end, len(audio) / RATE)]
    longer, moved = stretch(analyse(audio), phones, 1.5, 1.0)
    assert moved[1][2] - moved[1][1] == pytest.approx((end - start) * 1.65, rel=0.02)
    assert moved[0][2] == pytest.approx(start, abs=0.01)
    sound = synthesise(longer)
    energy = np.sqrt(np.convolve(sound**2, np.ones(160) / 160, mode="same"))
    heard = np.flatnonzero(energy > 0.3 * energy.max()) / RATE
    assert heard[0] == pytest.approx(moved[1][1], abs=0.03) and heard[-1] == pytest.approx(moved[1][2], abs=0.04)


def test_stops_stretch_less_than_vowels():
    voice = analyse(buzz(150.0, 0.8))
    _, moved = stretch(voice, [("B", 0.1, 0.3), ("AA", 0.3, 0.5)], 1.5)
    assert moved[0][2] - moved[0][1] < 0.25 < 0.32 < moved[1][2] - moved[1][1]


def test_a_made_up_speaker_has_another_tract_and_pitch():
    voice = analyse(buzz(140.0))
    other = speak_as(voice, Speaker(formants=1.15, shift=5.0))
    assert np.median(other.f0[other.f0 > 0]) == pytest.approx(140.0 * 2 ** (5 / 12), rel=0.03)
    peak = [int(v.envelope[60:160].mean(axis=0)[10:60].argmax()) + 10 for v in (voice, other)]
    assert peak[1] / peak[0] == pytest.approx(1.15, abs=0.07)
    assert made_up_speaker(4) == made_up_speaker(4) != made_up_speaker(5)
    assert made_up_speaker(4, strength=0.0) == Speaker()


def test_phrases_are_cut_at_pauses():
    phones = [("SIL", 0.0, 0.2)]
    phones += [("AA", 0.2 + 0.1 * k, 0.3 + 0.1 * k) for k in range(15)]
    phones += [("SIL", 1.7, 2.2)]
    phones += [("M", 2.2 + 0.1 * k, 2.3 + 0.1 * k) for k in range(14)]
    assert [len(p) for p in phrase_spans(phones)] == [15, 14]
    recording = Recording("x", np.ones(4 * RATE, dtype=np.float32), tuple(phones))
    first, second = phrases(recording)
    assert first.phones[0][:2] == ("AA", pytest.approx(0.15))
    assert second.phones[0][:2] == ("M", pytest.approx(0.15))
    assert second.duration == pytest.approx(1.4 + 0.15 + 0.15, abs=0.01)
    assert phrase_spans([("SIL", 0.0, 3.0)]) == []


def test_level_is_that_of_the_speech():
    audio = np.concatenate([np.zeros(RATE), buzz(150.0)])
    scaled = at_level(audio, [("AA", 1.1, 2.1)], -30.0)
    assert 10 * np.log10(np.mean(scaled[int(1.1 * RATE) : int(2.1 * RATE)] ** 2)) == pytest.approx(-30.0, abs=0.01)


def test_variants_hold_audio_phones_and_faces_of_one_content():
    phones = [("SIL", 0.0, 0.1), ("M", 0.1, 0.2), ("AA", 0.2, 0.5), ("B", 0.5, 0.6), ("IY", 0.6, 0.7)]
    chosen = (("neutral", 0.0), ("happy", 1.0), ("sad", 1.0))
    audio = buzz(160.0, 0.6)
    clips = emotional_variants(audio, phones, chosen, actor=2, seed=1, name="a")
    assert [clip.emotion for clip in clips] == ["neutral", "happy", "sad"]
    for clip in clips:
        clip.validate()
        assert len(clip.coefficients) == int(len(clip.audio) / RATE * 30)
        assert np.abs(clip.audio).max() <= 0.971
        assert [p[0] for p in clip.phones] == [p[0] for p in phones]
    smile = [clip.coefficients[:, INDEX["mouthSmileLeft"]].max() for clip in clips]
    assert smile[1] > 0.2 > smile[2]
    assert clips[2].duration > clips[0].duration
    level = [np.sqrt(np.mean(clip.audio**2)) for clip in clips]
    assert level[1] > 2.0 * level[0]
    in_step = emotional_variants(audio, phones, chosen, actor=2, seed=1, name="a", keep_time=True)
    assert {len(clip.audio) for clip in in_step} == {len(audio)}
    assert all(list(clip.phones) == phones for clip in in_step)


def test_fifteen_portrayals_as_ravdess_has():
    assert len(PORTRAYALS) == len(set(PORTRAYALS)) == 15
    assert ("neutral", 1.0) not in PORTRAYALS


@pytest.mark.parametrize(
    ("ipa", "phones"),
    [
        ("ˈaɪɚ", ["AY", "ER"]),
        ("tʃ", ["CH"]),
        ("ɑːɹ", ["AA", "R"]),
        ("əl", ["AH", "L"]),
        ("oʊ", ["OW"]),
        ("", []),
        ("ˌʊ", ["UH"]),
    ],
)
def test_ipa_becomes_arpabet(ipa, phones):
    assert arpabet_from_ipa(ipa) == phones


@pytest.mark.parametrize(
    ("ipa", "phones"),
    [
        ("ˈpa", ["P", "AA"]),  # English writes the a of trap so
        ("kʰoː", ["K", "AO"]),
        ("ts.h", ["T", "S"]),
        ("tɕʰi", ["CH", "IY"]),
        ("œ̃", ["ER"]),
        ("ç", ["HH"]),
        ("ãʊ̃", ["AW"]),
        ("tʲ", ["T"]),
        ("y", ["UW"]),
    ],
)
def test_sounds_of_other_languages_become_those_whose_mouth_is_nearest(ipa, phones):
    assert arpabet_from_ipa(ipa, english=False) == phones


def test_unknown_phones_are_named():
    with pytest.raises(ValueError, match="ʘ"):
        arpabet_from_ipa("aʘ")
    with pytest.raises(ValueError, match="qq"):
        arpabet_from_cmu("qq")
    assert arpabet_from_cmu("pau") is None and arpabet_from_cmu("ax") == "AH"


def test_every_phone_has_a_viseme():
    assert set(VISEMES) >= ARPABET


def test_the_sentence_list_is_long_varied_and_rich_in_closures(tmp_path):
    sentences = default_sentences()
    assert len(sentences) == len(set(sentences)) >= 300
    letters = "".join(sentences).lower()
    assert sum(letters.count(c) for c in "pbm") / len(letters) > 0.06
    path = tmp_path / "mine.txt"
    path.write_text("# comment\n\nOne.\n Two. \n")
    assert read_sentences(path) == ("One.", "Two.")
    path.write_text("# nothing\n")
    with pytest.raises(ValueError, match="no sentences"):
        read_sentences(path)


@pytest.mark.skipif("espeak" not in available_engines(), reason="espeak-ng is not installed")
class TestEspeak:
    def speak(self, text, seed=3):
        from emotalk_ros.corpus.espeak import Espeak, made_up_voice

        return Espeak.instance().speak(text, made_up_voice(seed))

    def test_phones_are_in_order_and_known(self):
        recording = self.speak("The royal fire engine, curious and rare, measures five thousand bushels.")
        last = 0.0
        for name, start, end in recording.phones:
            assert name in ARPABET
            assert last - 1e-3 <= start < end <= recording.duration + 0.02
            last = end

    @pytest.mark.parametrize("language", sorted(other_languages()))
    def test_every_sentence_of_every_language_is_spoken_in_phones_we_know(self, language):
        from emotalk_ros.corpus.espeak import Espeak, made_up_voice

        sentences = other_languages()[language].sentences
        phones = [Espeak.instance().speak(text, made_up_voice(1, language)).phones for text in sentences]
        said = [name for one in phones for name, _, _ in one]
        assert set(said) <= ARPABET and min(len(one) for one in phones) >= 10
        assert sum(name in BILABIALS for name in said) >= len(sentences) / 2  # sounds that close the lips

    def test_a_voiceless_stop_spans_its_silence_not_its_burst(self):
        recording = self.speak("happy papa keeps apples")
        for name, start, end in recording.phones:
            if name == "P" and start > 0.15:
                assert 0.03 <= end - start <= 0.11
                closed = recording.audio[int((start + 0.008) * RATE) : int((end - 0.016) * RATE)]
                assert np.abs(closed).max() < 0.05 * np.abs(recording.audio).max()

    def test_the_same_text_always_gives_the_same_samples(self):
        first = self.speak("Papa kept the fish fresh.")
        self.speak("Something else in between.", seed=8)
        again = self.speak("Papa kept the fish fresh.")
        assert np.array_equal(first.audio, again.audio) and first.phones == again.phones

    def test_made_up_voices_differ_in_pitch(self):
        pitches = [median_f0(self.speak("A long and even road.", seed).audio) for seed in range(5)]
        assert max(pitches) / min(pitches) > 1.3

    def test_an_unknown_accent_is_named(self):
        from emotalk_ros.corpus.espeak import Espeak, EspeakVoice

        with pytest.raises(ValueError, match="xx-none"):
            Espeak.instance().speak("a", EspeakVoice("x", "xx-none"))


@pytest.mark.parametrize(("name", "speak"), [("flite", speak_flite), ("festival", speak_festival)])
def test_other_engines_give_phones_where_installed(name, speak):
    if name not in available_engines():
        from emotalk_ros.corpus.espeak import SynthesizerUnavailableError

        with pytest.raises(SynthesizerUnavailableError, match=name):
            speak("Papa")
        return
    recording = speak('Maybe "papa" left.')
    assert [p for p, _, _ in recording.phones][:2] == ["M", "EY"]
    assert recording.phones[-1][2] <= recording.duration + 0.05


@pytest.mark.parametrize("kind", NOISES)
def test_noise_has_unit_power(kind):
    noise = make_noise(kind, RATE, np.random.default_rng(2))
    assert noise.shape == (RATE,) and np.mean(noise**2) == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize(
    "setting",
    [
        Augmentation(reverberation=0.4),
        Augmentation(noise="pink", snr_db=15.0),
        Augmentation(equaliser=(3.0, -3.0, 2.0, 0.0, -4.0)),
        *(Augmentation(codec=codec) for codec in CODECS),
    ],
)
def test_augmentation_does_not_move_time(setting):
    clean = buzz(np.geomspace(100.0, 180.0, RATE))
    heard = augment(clean, setting, seed=1)
    assert heard.shape == clean.shape and heard.dtype == np.float32
    assert not np.array_equal(heard, clean)
    lags = range(-40, 41)
    match = [float(np.dot(np.roll(heard, -lag), clean)) for lag in lags]
    assert abs(lags[int(np.argmax(match))]) <= 8


def test_noise_lies_where_asked_under_the_speech():
    clean = buzz(150.0)
    added = augment(clean, Augmentation(noise="white", snr_db=20.0)) - clean
    loud = np.percentile(np.mean(clean[: len(clean) // 160 * 160].reshape(-1, 160) ** 2, axis=1), 80)
    assert 10 * np.log10(loud / np.mean(added**2)) == pytest.approx(20.0, abs=0.1)


def test_situations_are_drawn_by_seed_and_none_changes_nothing():
    assert draw_augmentation(3) == draw_augmentation(3)
    assert len({draw_augmentation(k) for k in range(20)}) > 15
    clean = buzz(150.0, 0.2)
    assert np.array_equal(augment(clean, draw_augmentation(1, strength=0.0)), clean)
    for k in range(12):
        heard = augment(clean * 5.0, draw_augmentation(k), k)
        assert np.isfinite(heard).all() and np.abs(heard).max() <= 0.9901
    assert augment(np.zeros(0), Augmentation(noise="hum")).shape == (0,)


def test_an_unknown_noise_or_codec_is_named():
    with pytest.raises(ValueError, match="jazz"):
        augment(buzz(150.0, 0.2), Augmentation(noise="jazz"))
    with pytest.raises(ValueError, match="mp9"):
        augment(buzz(150.0, 0.2), Augmentation(codec="mp9"))
