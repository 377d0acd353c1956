"""From public repositories to phone times, on made-up repositories of the same form; nothing is downloaded."""

import importlib.util
import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from typer.testing import CliRunner

from emotalk_ros.audio import load_audio
from emotalk_ros.cli import app
from emotalk_ros.corpus import phone_times
from emotalk_ros.corpus.shipped import collections
from emotalk_ros.corpus.store import CorpusError

ROOT = Path(__file__).resolve().parents[2]
needs_pocketsphinx = pytest.mark.skipif(
    importlib.util.find_spec("pocketsphinx") is None, reason="pocketsphinx (an optional extra) is not installed"
)
SAID = {
    "LJ900-0001": (0.0, 4.4, "Hello. I am a robot with a face, and these are my lips."),
    "LJ900-0002": (4.4, 8.4, "What a wonderful morning! I am so glad that you came by."),
}
"""Two sentences of examples/speech/demo.ogg."""


def run_git(folder, *arguments):
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    done = subprocess.run(["git", "-C", folder, *identity, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def get(*arguments):
    """`emotalk prepare shipped-sources`."""
    return CliRunner().invoke(app, ["prepare", "shipped-sources", *map(str, arguments)])


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A host with a repository of LJ Speech's form; the pinned commit is not its newest, one recording is damaged."""
    host = tmp_path / "host"
    repository = host / collections.DC_TTS.name
    (repository / "LJSpeech-1.1/wavs").mkdir(parents=True)
    speech = load_audio(ROOT / "examples/speech/demo.ogg")
    for stem, (start, end, _) in SAID.items():
        cut = soxr.resample(speech[round(start * 16000) : round(end * 16000)], 16000, 22050)
        soundfile.write(repository / f"LJSpeech-1.1/wavs/{stem}.wav", np.stack([cut, cut], axis=1), 22050)
    (repository / "LJSpeech-1.1/wavs/LJ900-0003.wav").write_bytes(b"RIFF")
    rows = "".join(f"{stem}|as written|{text}\n" for stem, (_, _, text) in SAID.items())
    (repository / "LJSpeech-1.1/metadata_all.csv").write_text(rows)
    (repository / "weights.bin").write_bytes(b"not needed")
    run_git(host, "init", "--quiet", repository)
    run_git(repository, "config", "uploadpack.allowFilter", "true")
    run_git(repository, "config", "uploadpack.allowAnySHA1InWant", "true")
    run_git(repository, "add", ".")
    run_git(repository, "commit", "--quiet", "-m", "pinned")
    pinned = run_git(repository, "rev-parse", "HEAD")
    run_git(repository, "rm", "--quiet", "-r", "LJSpeech-1.1/wavs")
    run_git(repository, "commit", "--quiet", "-m", "newer")
    recordings = replace(collections.DC_TTS, commit=pinned)
    collection = replace(collections.COLLECTIONS["ljspeech"], recordings=recordings)
    monkeypatch.setitem(collections.COLLECTIONS, "ljspeech", collection)
    return host


@needs_pocketsphinx
def test_from_a_repository_to_phone_times(server, tmp_path):
    out = tmp_path / "out"
    command = [out, "--jobs", 1, "--collection", "ljspeech"]
    done = get(*command, "--host", server.as_uri())
    assert done.exit_code == 0, done.output
    assert "ljspeech: 2 of 3 aligned" in done.stdout
    assert "left out ljspeech/LJ900-0003" in done.stderr and "unreadable audio" in done.stderr
    checkout = out / ".repositories/PhilippMatthes/dc_tts"
    assert (checkout / "LJSpeech-1.1/wavs").is_dir() and not (checkout / "weights.bin").exists()
    folder = out / "ljspeech"
    assert sorted(p.name for p in (folder / "audio").iterdir()) == ["LJ900-0001.flac", "LJ900-0002.flac"]
    info = soundfile.info(folder / "audio/LJ900-0001.flac")
    assert (info.samplerate, info.channels) == (16000, 1) and abs(info.frames - 4.4 * 16000) < 8
    phones = json.loads((folder / "phones.json").read_text())
    assert sorted(phones) == sorted(SAID)
    names = [name for name, _, _ in phones["LJ900-0001"] if name != "SIL"]
    assert names[:6] in (["HH", "AH", "L", "OW", "AY", "AE"], ["HH", "EH", "L", "OW", "AY", "AE"])
    assert all(0 <= start < end <= 4.4 for _, start, end in phones["LJ900-0001"])
    assert json.loads((folder / "transcripts.json").read_text())["LJ900-0002"] == SAID["LJ900-0002"][2]
    assert sorted(p.name for p in folder.iterdir()) == [
        *("align_status.json", "audio", "phones.json", "transcripts.json"),
    ]

    # Again, without the host: what is there is kept. By a clone of one's own, at another commit: told, and used.
    shutil.move(server / "PhilippMatthes", tmp_path / "mine/PhilippMatthes")
    assert get(*command, "--host", server.as_uri()).exit_code == 0
    clone = tmp_path / "mine/PhilippMatthes/dc_tts"
    done = get(*command, "--repositories", str(tmp_path / "mine"))
    error = done.stderr
    assert done.exit_code == 1
    assert "the network was trained on" in error and "is the checkout complete" in error
    run_git(clone, "checkout", "--quiet", "HEAD~")
    shutil.rmtree(out)
    assert get(*command, "--repositories", str(tmp_path / "mine"), "--limit", "1").exit_code == 0
    assert list(json.loads((folder / "phones.json").read_text())) == ["LJ900-0001"]


def test_what_cannot_be_had_is_named_with_the_remedy(server, tmp_path):
    out = tmp_path / "out"
    command = [out, "--collection", "ljspeech"]
    done = get(*command, "--host", (tmp_path / "nowhere").as_uri())
    error = done.stderr
    assert done.exit_code == 1
    assert "cannot get file:" in error and "PhilippMatthes/dc_tts" in error and "--repositories DIR" in error
    assert not any(path.is_dir() for path in out.glob(".repositories/*/*"))
    done = get(*command, "--repositories", tmp_path / "none")
    assert done.exit_code == 1 and "git clone https://github.com/PhilippMatthes/dc_tts" in done.stderr
    done = get(out, "--collection", "ljspeach")
    assert done.exit_code == 2 and "ljspeech" in done.stderr


@needs_pocketsphinx
def test_an_interrupted_run_goes_on(server, tmp_path, monkeypatch):
    out, seen = tmp_path / "out", []
    real = phone_times.time_phones

    def interrupted(spoken):
        seen.append(spoken.stem)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return real(spoken)

    command = [out, "--jobs", 1, "--collection", "ljspeech", "--host", server.as_uri()]
    monkeypatch.setattr(phone_times, "time_phones", interrupted)
    done = get(*command)
    assert done.exit_code == 130 and "goes on from here" in done.stderr
    assert not (out / "ljspeech/phones.json").exists()
    with open(out / "ljspeech/phones.jsonl.partial", "a") as journal:
        journal.write('{"stem": "LJ900-0002", "te')  # killed in the middle of a line
    assert get(*command).exit_code == 0
    assert seen == ["LJ900-0001", "LJ900-0002", "LJ900-0002"]
    assert sorted(json.loads((out / "ljspeech/phones.json").read_text())) == sorted(SAID)
    assert not (out / "ljspeech/phones.jsonl.partial").exists()


@needs_pocketsphinx
def test_phones_verb_aligns_any_transcribed_folder_alike_in_parallel(tmp_path):
    speech = load_audio(ROOT / "examples/speech/demo.ogg")
    results = []
    for jobs in ("1", "2"):
        folder = tmp_path / jobs
        (folder / "audio").mkdir(parents=True)
        for stem, (start, end, text) in SAID.items():
            soundfile.write(folder / f"audio/{stem}.wav", speech[round(start * 16000) : round(end * 16000)], 16000)
            (folder / f"audio/{stem}.txt").write_text(text)
        soundfile.write(folder / "audio/alone.wav", speech[:16000], 16000)
        done = CliRunner().invoke(app, ["prepare", "phones", str(folder), "--jobs", jobs])
        assert done.exit_code == 0 and done.stdout.strip() == str(folder / "phones.json")
        assert "left out alone: has audio but no alone.txt" in done.stderr
        results.append((folder / "phones.json").read_text())
    assert results[0] == results[1] and sorted(json.loads(results[0])) == sorted(SAID)
    again = CliRunner().invoke(app, ["prepare", "phones", str(folder)])
    assert "2 aligned (2 of them before)" in again.stderr
    (folder / "align_status.json").unlink()
    other = CliRunner().invoke(app, ["prepare", "phones", str(folder)])
    assert other.exit_code == 1 and "comes from elsewhere" in other.stderr


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def test_librispeech_texts_of_the_lists_or_of_ones_own(tmp_path):
    c = collections
    trees = {r.name: tmp_path / r.name for r in (c.RESEMBLYZER, c.FLAKY_LIBRISPEECH, c.FBAI_SPEECH)}
    root = trees[c.RESEMBLYZER.name] / "audio_data"
    touch(root, "librispeech_train-clean-100/1-2-0003.flac", "librispeech_train-clean-100/103-1240-0000.flac")
    touch(root, "librispeech_test-other/4/4-5-0006.flac")
    touch(trees[c.FLAKY_LIBRISPEECH.name], "spin/a.query.txt.spin")
    (trees[c.FLAKY_LIBRISPEECH.name] / "spin/a.query.txt.spin").write_text(
        "x/1/2/1-2-0003.flac\t<↑> ▁SHE ' S ▁SO ▁E AS Y\nx/1/2/4-5-0006.flac\t<↓> ▁MIS HEARD\n", encoding="utf-8"
    )
    listed = trees[c.FBAI_SPEECH.name] / "is21_deep_bias/ref/test-other.biasing_100.tsv"
    touch(listed.parent, listed.name)
    listed.write_text('4-5-0006\tthe other text\t["other"]\t["rare"]\n')
    found = {spoken.stem: spoken.text for spoken in c.librispeech(trees)}
    assert found["1-2-0003"] == "she's so easy" and found["4-5-0006"] == "the other text"
    assert found["103-1240-0000"].startswith("chapter one missus rachel lynde")
    touch(tmp_path, "LibriSpeech/4/5/4-5.trans.txt")
    (tmp_path / "LibriSpeech/4/5/4-5.trans.txt").write_text("4-5-0006 ITS OWN TEXT\n")
    own = {spoken.stem: spoken.text for spoken in c.librispeech({**trees, "transcripts": tmp_path / "LibriSpeech"})}
    assert own["4-5-0006"] == "its own text" and own["1-2-0003"] == ""


def test_every_second_wake_word_and_only_waived_ones(tmp_path):
    c = collections
    wake, precise = tmp_path / c.WAKE_WORDS.name, tmp_path / c.PRECISE.name
    trees = {c.WAKE_WORDS.name: wake, c.PRECISE.name: precise}
    touch(wake, "audio/multiple_keywords.wav", *(f"audio/alexa/{k}.flac" for k in range(11)))
    touch(wake, *(f"audio/smart mirror/{k}.wav" for k in ("ab", "aa", "b0")))
    found = {spoken.stem: spoken.text for spoken in c.picovoice_wakewords(trees)}
    assert sorted(found) == ["alexa_0", "alexa_10", "alexa_2", "alexa_4", "alexa_6", "alexa_8",
                             "smart_mirror_aa", "smart_mirror_b0"]  # fmt: skip
    assert found["smart_mirror_aa"] == "smart mirror"
    names = [f"{folder}/{stem}.wav" for folder in c.PRECISE_WORDS for stem in (folder.split("/")[0],)]
    touch(precise, *names, "amelia/en/unsigned.wav", "not-wake-words/en/n1.wav", "licenses/license-2019-a.txt")
    (precise / "not-wake-words/en/metadata.csv").write_text("n1.wav,wine glass,en,heychatterbox\n")
    (precise / "licenses/license-2019-a.txt").write_text("\n".join([*(Path(n).name for n in names), "n1.wav"]))
    said = {spoken.stem: spoken.text for spoken in c.precise_community(trees)}
    assert said == {
        **{"amelia": "amelia", "athena": "athena", "computer": "computer", "heychatterbox": "hey chatterbox"},
        **{"heycomputer": "hey computer", "n1": "wine glass"},
    }


def test_an_order_is_one_of_the_patterns_with_its_slots(tmp_path):
    c = collections
    patterns = [
        "[brew, can I get] [a, an] $roast:roast $drink:drink",
        "[brew, can I get] [a, an] $drink:drink with $milk:milk",
        "[brew, can I get] [a, an] $drink:drink",
    ]
    root = tmp_path / c.SPEECH_TO_INTENT.name
    touch(root, "data/speech/clean/u1.wav", "data/label/label.json", "data/rhino/coffee_maker.yaml")
    label = {"u1.wav": {"intent": "order", "slots": {"drink": "Mocha", "milk": " soy milk"}}}
    (root / "data/label/label.json").write_text(json.dumps(label))
    (root / "data/rhino/coffee_maker.yaml").write_text(json.dumps({"context": {"expressions": {"order": patterns}}}))
    (order,) = c.picovoice_barista({c.SPEECH_TO_INTENT.name: root})
    assert order.grammar == "(brew | can i get) (a | an) mocha with soy milk" and order.text == ""
    (root / "data/label/label.json").unlink()
    with pytest.raises(CorpusError, match=r"no file data/label/label\.json"):
        list(c.picovoice_barista({c.SPEECH_TO_INTENT.name: root}))


def test_studio_takes_are_copied_as_they_are(tmp_path):
    clone = tmp_path / "clones" / collections.FACEGOOD.name
    for pattern in collections.FACEGOOD.paths:
        path = clone / pattern.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(path.name.encode())
    options = ("--collection", "facegood", "--repositories", tmp_path / "clones")
    done = get(tmp_path / "out", *options)
    assert done.exit_code == 0 and "4 studio takes" in done.output
    copied = {str(p.relative_to(tmp_path / "out/facegood")) for p in (tmp_path / "out").rglob("*.*")}
    assert {"bs_value/bs_value_1114_2_01.npy", "wav/1114_2_04.wav", "shirley_1119_bs_name316.npy"} <= copied
    (clone / "code/train/wav/1114_2_03.wav").unlink()
    done = get(tmp_path / "again", *options)
    assert done.exit_code == 1 and "1114_2_03.wav" in done.output
