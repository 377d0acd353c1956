"""`emotalk fit-emotion`: prototypes and classifier are fitted, the rest of the network stays as it is."""

import torch
from typer.testing import CliRunner

from emotalk_ros.cli import app
from emotalk_ros.corpus.labels import labels_from_phones
from emotalk_ros.corpus.store import Clip, CorpusWriter, Source
from emotalk_ros.model import EmoTalk, EmoTalkConfig, load_model

PHONES = [("M", 0.1, 0.2), ("AA", 0.2, 0.6), ("B", 0.6, 0.7), ("IY", 0.7, 0.9)]


def test_the_emotion_side_changes_and_nothing_else(tmp_path):
    torch.manual_seed(0)
    EmoTalk(EmoTalkConfig.preset("tiny")).save_pretrained(tmp_path / "model")
    with CorpusWriter(tmp_path / "corpus", [Source("toy", "CC0-1.0", "made by the test")]) as writer:
        for k, emotion in enumerate(("neutral", "happy", "sad")):
            audio = 0.1 * torch.randn(16000, generator=torch.Generator().manual_seed(k)).numpy()
            face = labels_from_phones(PHONES, 30, 30.0, emotion)
            writer.add(Clip(f"c{k}", audio, face, 30.0, k, emotion, 1.0, "ma bee", tuple(PHONES), "toy"))
    words = ["fit-emotion", str(tmp_path / "model"), str(tmp_path / "corpus"), str(tmp_path / "out"), "--steps", "2"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    before, after = (load_model(tmp_path / name) for name in ("model", "out"))
    own = after.state_dict()
    changed = {n.split(".")[0] for n, w in before.state_dict().items() if not torch.equal(w, own[n])}
    assert changed == {"emotion_classifier", "emotion_prototypes", "prototypes_set"}
    assert "already" not in done.stderr
    again = CliRunner().invoke(app, words)
    assert again.exit_code == 0 and f"note: {tmp_path / 'out'} is there already: it is replaced" in again.stderr
    refused = CliRunner().invoke(app, [*words[:3], str(tmp_path / "corpus"), *words[4:]])
    assert refused.exit_code == 1 and "is no model folder, so it is not overwritten" in refused.stderr
    assert (tmp_path / "corpus" / "manifest.jsonl").is_file()


def test_a_corpus_without_a_known_emotion_is_refused(tmp_path):
    EmoTalk(EmoTalkConfig.preset("tiny")).save_pretrained(tmp_path / "model")
    with CorpusWriter(tmp_path / "corpus", [Source("toy", "CC0-1.0", "made by the test")]) as writer:
        face = labels_from_phones(PHONES, 30, 30.0)
        writer.add(Clip("c", torch.zeros(16000).numpy(), face, 30.0, 0, None, 1.0, "ma bee", tuple(PHONES), "toy"))
    words = ["fit-emotion", str(tmp_path / "model"), str(tmp_path / "corpus"), str(tmp_path / "out")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 1 and "no clip" in done.stderr and not (tmp_path / "out").exists()
