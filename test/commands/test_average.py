"""`emotalk average`: one network of several that came from one another."""

import os
import stat

import torch
from typer.testing import CliRunner

from emotalk_ros.cli import app
from emotalk_ros.model import EmoTalk, EmoTalkConfig, load_model


def save(folder, seed, **options):
    torch.manual_seed(seed)
    EmoTalk(EmoTalkConfig.preset("tiny", **options)).save_pretrained(folder)
    return folder


def run(*arguments):
    return CliRunner().invoke(app, ["average", *map(str, arguments)])


def test_the_mean_of_two_networks_by_their_shares(tmp_path):
    one, two = save(tmp_path / "one", 1), save(tmp_path / "two", 2)
    done = run(tmp_path / "mean", one, two, "--shares", "3,1")
    assert done.exit_code == 0, done.stderr
    a, b, mean = (dict(load_model(p).named_parameters()) for p in (one, two, tmp_path / "mean"))
    for name, weight in mean.items():
        torch.testing.assert_close(weight, 0.75 * a[name] + 0.25 * b[name], atol=1e-6, rtol=1e-5)


def test_networks_of_two_forms_and_wrong_shares_are_refused_by_name(tmp_path):
    one, two = save(tmp_path / "one", 1), save(tmp_path / "other", 2, decoder_ff=96)
    refused = run(tmp_path / "mean", one, two)
    assert refused.exit_code == 1 and "other has other weights than" in " ".join(refused.stderr.split())
    assert "2 networks need as many shares" in " ".join(run(tmp_path / "mean", one, two, "--shares", 1).stderr.split())
    assert not (tmp_path / "mean").exists()


def test_a_model_that_is_there_is_told_about_and_any_other_folder_is_kept(tmp_path):
    one = save(tmp_path / "one", 1)
    first, again = (run(tmp_path / "mean", one, one) for _ in range(2))
    assert first.exit_code == again.exit_code == 0 and "already" not in first.stderr
    assert f"note: {tmp_path / 'mean'} is there already: it is replaced" in again.stderr
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"cat")
    refused = run(tmp_path / "photos", one, one)
    assert refused.exit_code == 1 and "is no model folder, so it is not overwritten" in refused.stderr
    assert (tmp_path / "photos" / "cat.jpg").read_bytes() == b"cat"


def test_others_may_read_the_model_as_the_umask_says(tmp_path):
    one = save(tmp_path / "one", 1)
    before = os.umask(0o022)
    try:
        assert run(tmp_path / "mean", one, one).exit_code == 0
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "mean").iterdir()} == {0o644}
