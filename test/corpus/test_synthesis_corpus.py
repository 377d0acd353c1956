"""`emotalk synthesize`: planning, determinism, resuming, real folders, the command."""

import hashlib
import json
import os
import resource
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from emotalk_ros.cli import app
from emotalk_ros.corpus import synthesize as module
from emotalk_ros.corpus.real_speech import read_speech_folder, speaker_of
from emotalk_ros.corpus.sentences import other_languages
from emotalk_ros.corpus.speech_engines import available_engines
from emotalk_ros.corpus.store import Corpus, CorpusError
from emotalk_ros.corpus.synthesize import SynthesisSettings, perform, plan, synthesize
from emotalk_ros.corpus.voices import PORTRAYALS
from emotalk_ros.files import LEFTOVERS

pytest.importorskip("pyworld", reason="extra emotalk_ros[corpus]: pyworld makes voices emotional")

RATE = 16000
needs_espeak = pytest.mark.skipif("espeak" not in available_engines(), reason="espeak-ng is not installed")


@pytest.fixture
def speech(tmp_path):
    """A folder of two LibriSpeech-like readers, two phrases each: buzzing vowels with phone times."""
    folder = tmp_path / "readers"
    (folder / "audio").mkdir(parents=True)
    table = {}
    for k, stem in enumerate(("11-1-0001", "22-1-0001")):
        count = int(2.4 * RATE)
        pulses = (np.arange(count) % (RATE // (110 + 60 * k)) == 0).astype(float)
        shape = np.exp(-np.arange(200) / 40.0) * np.sin(np.arange(200) * 0.3)
        voice = np.convolve(pulses, shape)[:count] * 0.2
        silent = (np.arange(count) / RATE % 1.2) > 0.9
        voice[silent] = 0.0
        soundfile.write(folder / "audio" / f"{stem}.wav", voice, RATE)
        table[stem] = [["SIL", 0.0, 0.0]]
        for start in (0.0, 1.2):
            table[stem] += [
                ["M", start, start + 0.2],
                ["AA", start + 0.2, start + 0.9],
                ["SIL", start + 0.9, start + 1.2],
            ]
    (folder / "phones.json").write_text(json.dumps(table))
    return folder


def settings_for(folder, **changes):
    return SynthesisSettings(**{"hours": 0.001, "actors": 2, "real": (str(folder),), "engines": (), **changes})


def digest(folder):
    """Every file below `folder`, by its content."""
    files = (p for p in sorted(Path(folder).rglob("*")) if p.is_file())
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_readers_are_read_with_their_speakers(speech):
    files = read_speech_folder(speech)
    assert [f.speaker for f in files] == ["readers/11", "readers/22"]
    assert all(end > start for f in files for _, start, end in f.phones)
    assert speaker_of("LJ001-0001") == "LJ" and speaker_of("alexa_10") == "alexa_10"


def test_a_folder_that_is_no_speech_is_named(tmp_path, speech):
    with pytest.raises(CorpusError, match=r"phones\.json"):
        read_speech_folder(tmp_path)
    (speech / "phones.json").write_text('{"gone": [["AA", 0, 1]]}')
    with pytest.raises(CorpusError, match="none of the 1 recordings"):
        read_speech_folder(speech)
    (speech / "phones.json").write_text('{"11-1-0001": [["AA", "x", 1]]}')
    with pytest.raises(CorpusError, match="expected"):
        read_speech_folder(speech)


def test_the_plan_shares_contents_between_emotions_and_reaches_the_hours(speech):
    settings = settings_for(speech, hours=0.2, actors=6, engines=("espeak",), real_share=0.5)
    jobs = plan(settings)
    assert sum(job.seconds for job in jobs) == pytest.approx(720.0, rel=0.1)
    assert jobs == plan(settings) != plan(replace(settings, seed=1))
    ids = [i for job in jobs for i in job.ids()]
    assert len(ids) == len(set(ids))
    assert {job.actor.number for job in jobs} == set(range(6))
    assert Counter(job.actor.engine for job in jobs[:6]) == {"real": 3, "espeak": 3}
    first = [job for job in jobs if job.number < 2]
    assert all(job.portrayals == PORTRAYALS for job in first)
    texts = [{job.content.text for job in first if job.actor.number == k} for k in (3, 4, 5)]
    assert texts[0] == texts[1] == texts[2] and len(texts[0]) == 2
    assert all(len(job.portrayals) == 5 for job in jobs if job.number >= 2)


def test_languages_are_spoken_in_turn_each_with_its_own_sentences():
    settings = SynthesisSettings(hours=0.1, actors=6, engines=("espeak",), languages=("en", "cmn", "de"))
    jobs = plan(settings)
    assert [job.actor.language for job in jobs[:6]] == ["en", "cmn", "de"] * 2
    for job in jobs:
        own = settings.sentences if job.actor.language == "en" else other_languages()[job.actor.language].sentences
        assert job.content.text in own
    first = [job for job in jobs if job.number < 2]
    assert {job.content.text for job in first if job.actor.number == 1} == {
        job.content.text for job in first if job.actor.number == 4
    }


def test_a_voice_used_twice_becomes_somebody_else(speech):
    jobs = plan(settings_for(speech, actors=3, hours=0.05))
    assert [job.actor.made_up for job in jobs[:3]] == [None, None, 2]
    clips = [perform(replace(job, portrayals=PORTRAYALS[:1])) for job in (jobs[0], jobs[2])]
    assert not np.array_equal(clips[0][0].audio, clips[1][0].audio)


@needs_espeak
def test_one_worker_and_two_make_the_same_corpus_and_the_faces_fit(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_SHARED", 0)
    settings = SynthesisSettings(hours=0.004, actors=4, portrayals=1, sentences=("Maybe papa.", "Five more.", "Go on!"))
    told = []
    result = synthesize(tmp_path / "one", settings, 1, lambda *report: told.append(report))
    synthesize(tmp_path / "two", settings, 2)
    assert digest(tmp_path / "one") == digest(tmp_path / "two")
    corpus = Corpus.open(tmp_path / "one")
    assert len(corpus) == result.clips == len(plan(settings)) and result.problems == ()
    assert corpus.seconds == pytest.approx(result.seconds) and told[-1][:2] == (len(corpus), len(corpus))
    for clip in corpus:
        clip.validate()
        assert len(clip.coefficients) == int(len(clip.audio) / RATE * 30)
        assert clip.source == "espeak-ng" and clip.sentence in settings.sentences
        assert clip.coefficients[:2].max(axis=0)[24] < 0.1
    assert set(corpus.sources) == {"espeak-ng"}


def test_an_interrupted_run_goes_on_and_ends_the_same(tmp_path, speech, monkeypatch):
    monkeypatch.setattr(module, "_SHARED", 0)
    settings = settings_for(speech, hours=0.0025, portrayals=2)
    assert len(plan(settings)) >= 2
    synthesize(tmp_path / "whole", settings)

    def stop(done, *_):
        if done >= 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthesize(tmp_path / "parts", settings, 1, stop)
    with pytest.raises(CorpusError, match="interrupted"):
        Corpus.open(tmp_path / "parts")
    synthesize(tmp_path / "parts", settings)
    assert digest(tmp_path / "parts") == digest(tmp_path / "whole")


def test_another_folder_or_other_settings_are_refused(tmp_path, speech):
    settings = settings_for(speech, portrayals=1)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"x")
    with pytest.raises(CorpusError, match="not empty"):
        synthesize(tmp_path / "photos", settings)
    assert [p.name for p in (tmp_path / "photos").iterdir()] == ["cat.jpg"]
    synthesize(tmp_path / "out", settings)
    with pytest.raises(CorpusError, match="other settings"):
        synthesize(tmp_path / "out", replace(settings, seed=5))
    assert synthesize(tmp_path / "out", replace(settings, seed=5), overwrite=True).clips > 0


def test_a_broken_recording_is_left_out_and_named(tmp_path, speech):
    (speech / "audio" / "11-1-0001.wav").write_bytes(b"not a sound")
    result = synthesize(tmp_path / "out", settings_for(speech, portrayals=1, hours=0.02))
    assert result.clips > 0 and any("11-1-0001" in problem for problem in result.problems)
    (speech / "audio" / "22-1-0001.wav").write_bytes(b"not a sound")
    with pytest.raises(CorpusError, match="none of the"):
        synthesize(tmp_path / "none", settings_for(speech, portrayals=1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hours": 0}, "hours"),
        ({"portrayals": 16}, "16"),
        ({"real": ()}, "speak"),
        ({"languages": ("en", "klingon")}, "klingon; known: en, cmn"),
    ],
)
def test_settings_that_cannot_be_are_named(speech, changes, message):
    with pytest.raises(ValueError, match=message):
        settings_for(speech, **changes)


def test_a_full_disk_is_one_line_and_the_same_command_goes_on(tmp_path, speech):
    """The limit of a file's size stands in for the disk's: no sound of a clip fits."""
    out = tmp_path / "corpus"
    words = [str(out), "--real", str(speech), "--real-share", "1", "--hours", "0.001", "--actors", "1"]
    command = [sys.executable, "-m", "emotalk_ros.cli", "synthesize", *words, "--workers", "2"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "500"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000)),
    )
    said = done.stdout + done.stderr
    assert done.returncode == 1 and "Traceback" not in said, said
    assert f"error: no space is left to write {out}" in said and "free some, then run it again" in said
    assert not list(out.rglob(LEFTOVERS)) and not (out / "manifest.jsonl").exists()
    assert subprocess.run(command, capture_output=True).returncode == 0
    assert len(Corpus.open(out)) == 15


def test_the_command_makes_a_corpus_and_says_what_is_wrong(tmp_path, speech):
    out = tmp_path / "corpus"
    options = ["--real", str(speech), "--real-share", "1", "--hours", "0.001", "--actors", "1", "--workers", "1"]
    done = CliRunner().invoke(app, ["synthesize", str(out), *options])
    assert done.exit_code == 0, done.output
    assert len(Corpus.open(out)) == 15
    wrong = CliRunner().invoke(app, ["synthesize", str(tmp_path / "x"), "--real", str(tmp_path), "--workers", "1"])
    assert wrong.exit_code == 1 and "phones.json" in wrong.output
