"""Readers: what is right comes in as it was, what is wrong is named and the rest is kept."""

import json

import numpy as np
import pytest
import soundfile

from emotalk_ros.corpus.readers import (
    Item,
    Problem,
    RavdessName,
    prepare,
    read_aligned,
    read_etf,
    read_livelink,
    read_livelink_csv,
    read_pairs,
    read_ravdess,
)
from emotalk_ros.corpus.store import Corpus, CorpusError, CorpusWriter
from emotalk_ros.face.names import ARKIT_NAMES, INDEX, LIVE_LINK_NAMES


def wav(path, seconds=1.0, rate=16000, channels=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    soundfile.write(path, rng.uniform(-0.3, 0.3, (int(seconds * rate), channels)), rate)
    return path


def face(path, frames=30, **changes):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(1).uniform(0, 1, (frames, 52)).astype(np.float32)
    np.save(path, values)
    return values


def run(items, folder):
    with CorpusWriter(folder) as writer:
        summary = prepare(items, writer)
    return Corpus.open(folder), summary


def reasons(summary):
    return {problem.name: problem.reason for problem in summary.problems}


def test_ravdess_names():
    name = RavdessName.parse("03-01-06-02-02-01-12")
    assert (name.emotion, name.level, name.actor) == ("fearful", 1.0, 11) and name.statement.startswith("Dogs")
    assert RavdessName.parse("03-01-09-02-02-01-12") is None and RavdessName.parse("a01") is None
    assert RavdessName.parse("03-01-06-02-02-01-25") is None


def test_etf_layout(tmp_path):
    values = face(tmp_path / "RAVDESS/blendshape/03-01-03-02-01-01-05.npy", 30)
    wav(tmp_path / "RAVDESS/audio/03-01-03-02-01-01-05.wav", 1.02, 44100, 2)
    for stem in ("RD_Radio1_000", "RD_Radio1_001", "WRA_Bob_000"):
        face(tmp_path / f"HDTF/blendshape/{stem}.npy", 60)
        wav(tmp_path / f"HDTF/audio/{stem}.wav", 2.0)
    wav(tmp_path / "HDTF/audio/alone.wav")
    corpus, summary = run(read_etf(tmp_path), tmp_path / "out")
    assert reasons(summary) == {"alone": "has audio but no blendshape/*.npy"}
    by_id = {clip.id: clip for clip in corpus}
    happy = by_id["03-01-03-02-01-01-05"]
    assert (happy.actor, happy.person, happy.emotion, happy.level) == (4, 4, "happy", 1.0)
    assert {record.source for record in corpus.records} == {"RAVDESS", "HDTF"}  # what the split file says
    np.testing.assert_allclose(happy.coefficients, values, atol=1e-3)
    assert len(happy.audio) == 16000  # trimmed to the 30 frames
    hdtf = [by_id[s] for s in ("RD_Radio1_000", "RD_Radio1_001", "WRA_Bob_000")]
    assert [c.actor for c in hdtf] == [100, 100, 101] and all(c.emotion is None for c in hdtf)
    with pytest.raises(CorpusError, match="neither RAVDESS"):
        list(read_etf(tmp_path / "out"))


def test_everything_wrong_is_named_and_the_rest_is_kept(tmp_path):
    for name in ("good", "short", "mismatch", "shape", "nan", "percent", "frozen", "noaudio", "deaf", "sameclip"):
        if name != "noaudio":
            wav(tmp_path / f"{name}.wav", 0.2 if name == "short" else 1.0)
        face(tmp_path / f"{name}.npy", 6 if name == "short" else 30)
    np.save(tmp_path / "mismatch.npy", np.random.rand(90, 52))  # noqa: NPY002 (any values)
    np.save(tmp_path / "shape.npy", np.zeros((30, 51)))
    np.save(tmp_path / "nan.npy", np.full((30, 52), np.nan))
    np.save(tmp_path / "percent.npy", np.linspace(0, 100, 30 * 52).reshape(30, 52))
    np.save(tmp_path / "frozen.npy", np.full((30, 52), 0.3))
    (tmp_path / "sameclip.npy").write_bytes(b"no numpy")
    (tmp_path / "deaf.wav").write_bytes(b"RIFF....")
    corpus, summary = run(read_pairs(tmp_path), tmp_path / "out")
    assert [c.id for c in corpus] == ["good"] and summary.clips == 1
    found = reasons(summary)
    expected = {
        "short": "0.20 s long",
        "mismatch": "1.00 s of audio but 3.00 s",
        "shape": r"(30, 51)",
        "nan": "NaN",
        "percent": "percent",
        "frozen": "never moves",
        "noaudio": "no audio",
        "deaf": "deaf.wav: unreadable",
        "sameclip": "sameclip.npy: unreadable",
    }
    assert set(found) == set(expected)
    for name, part in expected.items():
        assert part in found[name], (name, found[name])


def test_pairs_with_csv_npz_and_metadata(tmp_path):
    wav(tmp_path / "ann/one.wav")
    wav(tmp_path / "ann/two.wav")
    wav(tmp_path / "bob/three.wav")
    values = np.random.default_rng(0).uniform(0, 1, (30, 52))
    names = ARKIT_NAMES[::-1]
    np.savez(tmp_path / "ann/one.npz", coefficients=values[:, ::-1], names=np.array(names), fps=30)
    rows = "\n".join(f"{k / 30:.3f},{v[INDEX['jawOpen']]:.5f}" for k, v in enumerate(values))
    (tmp_path / "ann/two.csv").write_text("time,JawOpen\n" + rows)
    np.save(tmp_path / "bob/three.npy", values[None])  # (1, frames, 52), as published predictions are
    (tmp_path / "metadata.csv").write_text("stem,actor,emotion,level,sentence\none,ann,anger,0.5,hi\ntwo,ann,odd,,\n")
    corpus, summary = run(read_pairs(tmp_path), tmp_path / "out")
    assert "odd" in reasons(summary)["two"]
    one, three = corpus
    assert (one.emotion, one.level, one.sentence, one.actor, three.actor) == ("angry", 0.5, "hi", 0, 1)
    np.testing.assert_allclose(one.coefficients, values, atol=1e-3)
    np.testing.assert_allclose(three.coefficients, values, atol=1e-3)
    (tmp_path / "metadata.csv").unlink()
    corpus, _ = run(read_pairs(tmp_path), tmp_path / "again")
    two = next(c for c in corpus if c.id == "two")
    np.testing.assert_allclose(two.coefficients[:, INDEX["jawOpen"]], values[:, INDEX["jawOpen"]], atol=1e-3)
    assert "jawOpen" not in two.blind and len(two.blind) == 51


def test_mediapipes_names_come_in_and_what_they_lack_is_blind(tmp_path):
    wav(tmp_path / "x.wav")
    wav(tmp_path / "rig.wav")
    values = np.random.default_rng(0).uniform(0, 1, (30, 52))
    names = ["_neutral", *(n for n in ARKIT_NAMES if n != "tongueOut")]
    np.savez(tmp_path / "x.npz", coefficients=values, names=np.array(names), fps=30)
    np.savez(tmp_path / "rig.npz", coefficients=values[:, :2], names=np.array(["mouth_a", "mouth_b"]))
    corpus, summary = run(read_pairs(tmp_path), tmp_path / "out")
    assert corpus[0].blind == ("tongueOut",)
    np.testing.assert_allclose(corpus[0].coefficients[:, :51], values[:, 1:], atol=1e-3)
    assert "none of its names is an ARKit coefficient (mouth_a" in reasons(summary)["rig"]


def test_ravdess_with_coefficients_elsewhere(tmp_path):
    wav(tmp_path / "audio/Actor_01/03-01-05-01-01-01-01.wav")
    wav(tmp_path / "audio/Actor_01/03-02-05-01-01-01-01.wav")
    wav(tmp_path / "audio/Actor_01/03-01-05-01-01-02-01.wav")
    wav(tmp_path / "audio/notes.wav")
    face(tmp_path / "faces/03-01-05-01-01-01-01.npy")
    corpus, summary = run(read_ravdess(tmp_path / "audio", tmp_path / "faces"), tmp_path / "out")
    assert [(c.emotion, c.level, c.actor) for c in corpus] == [("angry", 0.0, 0)]
    found = reasons(summary)
    assert "song" in found["03-02-05-01-01-01-01"] and "not a RAVDESS name" in found["notes"]
    assert "no coefficients" in found["03-01-05-01-01-02-01"]


def livelink_csv(path, values, rate=60, start=35, drop=()):
    """Apple's columns from values (frames, 52) in the home order; a time code of `rate` frames a second."""
    names = [n[0].upper() + n[1:] for n in LIVE_LINK_NAMES]
    angles = ["HeadYaw", "HeadPitch", "HeadRoll", "LeftEyeYaw", "LeftEyePitch", "LeftEyeRoll"]
    lines = [",".join(["Timecode", "BlendShapeCount", *names, *angles])]
    order = [INDEX[n] for n in LIVE_LINK_NAMES]
    for k, row in enumerate(values):
        seconds, frame = divmod(k + start, rate)
        code = f"18:35:{seconds:02d}:{frame:02d}.000"
        if k in drop:
            lines.append(f"{code},0" + "," * 58)
        else:
            lines.append(",".join([code, "61", *(f"{row[i]:.6f}" for i in order), *["0.0"] * 6]))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def test_livelink_csv_comes_by_name_and_time(tmp_path):
    time = np.arange(120) / 60
    values = np.zeros((120, 52))
    values[:, INDEX["jawOpen"]] = 0.5 + 0.4 * np.sin(5 * time)
    values[:, INDEX["eyeBlinkRight"]] = time / 4
    livelink_csv(tmp_path / "me/take_cal.csv", values, drop=(40, 41))
    wav(tmp_path / "me/take.wav", 2.0, 48000)
    livelink_csv(tmp_path / "me/mute.csv", values)
    corpus, summary = run(read_livelink(tmp_path), tmp_path / "out")
    clip = corpus[0]
    assert clip.id == "take" and clip.fps == 30 and len(clip.coefficients) == 60
    np.testing.assert_allclose(clip.coefficients, values[::2], atol=0.01)
    assert "no sound" in reasons(summary)["mute"]
    assert len(read_livelink_csv(tmp_path / "me/take_cal.csv", 60)) == 120


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "no column `time` .seconds. or `Timecode`"),
        ("Timecode,JawOpen\n", "not a Live Link Face CSV: no column eyeBlinkLeft"),
        ("", "no frame"),
        (None, "no such file"),
    ],
)
def test_bad_livelink_files(tmp_path, text, message):
    path = tmp_path / "x.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(CorpusError, match=message):
        read_livelink_csv(path)


def test_a_livelink_line_that_is_no_number_is_named(tmp_path):
    values = np.random.default_rng(0).uniform(0, 1, (5, 52))
    livelink_csv(tmp_path / "x.csv", values)
    lines = (tmp_path / "x.csv").read_text().splitlines()
    lines[3] = lines[3].replace("18:35", "eighteen")
    (tmp_path / "x.csv").write_text("\n".join(lines))
    with pytest.raises(CorpusError, match="line 4"):
        read_livelink_csv(tmp_path / "x.csv")


PHONES = [["SIL", 0, 0.2], ["M", 0.2, 0.3], ["AA", 0.3, 0.6], ["P", 0.6, 0.7], ["SIL", 0.7, 1.0]]


def test_aligned_speech_with_given_phones(tmp_path):
    for stem in ("12-34-0001", "12-34-0002", "56-1-0001", "late", "silent", "failed", "torn"):
        wav(tmp_path / f"audio/{stem}.wav")
    phones = dict.fromkeys(("12-34-0001", "12-34-0002", "56-1-0001", "failed", "ghost"), PHONES)
    phones |= {"late": [["AA", 0.5, 4.0]], "silent": [["SIL", 0, 1]], "torn": [["AA", 0.5]]}
    (tmp_path / "phones.json").write_text(json.dumps(phones))
    (tmp_path / "transcripts.json").write_text(json.dumps({"12-34-0001": "map"}))
    (tmp_path / "align_status.json").write_text(json.dumps({"failed": "fail:g2p=x", "12-34-0001": "ok"}))
    corpus, summary = run(read_aligned(tmp_path, name="mine"), tmp_path / "out")
    assert [c.id for c in corpus] == ["12-34-0001", "12-34-0002", "56-1-0001"]
    clip = corpus[0]
    assert clip.sentence == "map" and clip.source == "mine" and clip.emotion is None and len(clip.phones) == 5
    assert corpus[1].actor == clip.actor != corpus[2].actor
    jaw, close = clip.coefficients[:, INDEX["jawOpen"]], clip.coefficients[:, INDEX["mouthClose"]]
    assert jaw[13] > 0.1 > jaw[0] and close[19] > close[13]  # open in the vowel, closed at the p
    assert set(reasons(summary)) == {"late", "silent", "failed", "torn", "ghost"}
    corpus, _ = run(read_aligned(tmp_path, speaker="one"), tmp_path / "one")
    assert {c.actor for c in corpus} == {0}
    with pytest.raises(CorpusError, match="finds no group"):
        list(read_aligned(tmp_path, speaker="nobody"))


class FakeAligner:
    def align(self, audio, text):
        from emotalk_ros.corpus.align import Alignment

        if "odd" in text:
            raise CorpusError(f"audio and transcript do not fit: {text}")
        return Alignment(tuple((p, float(a), float(b)) for p, a, b in PHONES))


def test_transcribed_layouts_are_recognised_and_aligned(tmp_path, monkeypatch):
    from emotalk_ros.corpus.readers import aligned

    monkeypatch.setattr(aligned, "shared_aligner", FakeAligner)
    libri, lj, text, rav = (tmp_path / name for name in ("libri", "lj", "text", "rav"))
    wav(libri / "12/34/12-34-0001.flac")
    wav(libri / "12/34/12-34-0002.flac")
    (libri / "12/34/12-34.trans.txt").write_text("12-34-0001 A MAP\n12-34-0003 GONE\n")
    wav(lj / "wavs/LJ001-0001.wav")
    (lj / "metadata.csv").write_text("LJ001-0001|No. 1|number one\n")
    wav(text / "a/x.wav")
    wav(text / "b/y.wav")
    (text / "a/x.txt").write_text("a map")
    (text / "b/y.txt").write_text("odd")
    wav(rav / "03-01-04-02-01-01-07.wav")
    libri_corpus, summary = run(read_aligned(libri), tmp_path / "o1")
    assert [c.sentence for c in libri_corpus] == ["A MAP"]
    assert set(reasons(summary)) == {"12-34-0002", "12-34-0003"}
    assert [c.sentence for c in run(read_aligned(lj), tmp_path / "o2")[0]] == ["number one"]
    corpus, summary = run(read_aligned(text), tmp_path / "o3")
    assert [c.id for c in corpus] == ["x"] and "do not fit" in reasons(summary)["y"]
    sad = run(read_aligned(rav), tmp_path / "o4")[0][0]
    assert (sad.emotion, sad.level, sad.sentence) == ("sad", 1.0, "Kids are talking by the door")
    assert sad.coefficients[:, INDEX["mouthFrownLeft"]].max() > 0.1
    with pytest.raises(CorpusError, match="transcripts are needed"):
        list(read_aligned(wav(tmp_path / "bare/x.wav").parent))


def test_several_processes_write_the_same_corpus(tmp_path):
    for name in "abcd":
        wav(tmp_path / f"{name}.wav")
        face(tmp_path / f"{name}.npy")
    (tmp_path / "c.wav").write_bytes(b"RIFF")
    found = []
    for jobs in (1, 2):
        with CorpusWriter(tmp_path / str(jobs)) as writer:
            summary = prepare(read_pairs(tmp_path), writer, jobs=jobs)
        assert summary.clips == 3 and list(reasons(summary)) == ["c"]
        found.append((tmp_path / str(jobs) / "manifest.jsonl").read_text())
    assert found[0] == found[1]
    np.testing.assert_array_equal(Corpus.open(tmp_path / "1")[1].audio, Corpus.open(tmp_path / "2")[1].audio)


def test_two_files_of_one_name_are_not_mixed_up(tmp_path):
    def item(name):
        from emotalk_ros.corpus.store import Clip

        return Item(name, lambda: Clip("same", np.zeros(16000, np.float32), np.zeros((30, 52), np.float32)))

    with CorpusWriter(tmp_path) as writer:
        summary = prepare([item("x"), item("y")], writer)
    assert summary.clips == 1 and "already" in reasons(summary)["y"]


def test_an_interrupted_preparation_is_taken_up(tmp_path):
    loads = []

    def item(name):
        def load():
            loads.append(name)
            if name == "c" and loads.count("c") == 1:
                raise KeyboardInterrupt
            from emotalk_ros.corpus.store import Clip

            return Clip(name, np.zeros(16000, np.float32), np.zeros((30, 52), np.float32))

        return Item(name, load)

    items = [item("a"), Problem("b", "bad"), item("c")]
    writer = CorpusWriter(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        prepare(items, writer)
    writer.close()
    with CorpusWriter(tmp_path, mode="append") as again:
        summary = prepare(items, again)
    assert loads == ["a", "c", "c"] and summary.kept_before == 1 and summary.clips == 1
    assert len(Corpus.open(tmp_path)) == 2
