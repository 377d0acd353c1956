"""Files that are never half written: what is left after faults, permissions, folders that take no file."""

import os
import stat
import tempfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from emotalk_ros.files import LEFTOVERS, recover_folder, replace_folder, replacing, replacing_folder, write_text


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def umask():
    before = os.umask(0o027)
    yield
    os.umask(before)


@pytest.mark.parametrize("fault", [ValueError, KeyboardInterrupt, GeneratorExit])
def test_a_fault_leaves_the_old_file_and_no_litter(tmp_path, fault):
    for name, before in (("old.txt", ["old.txt"]), ("new.txt", ["old.txt"])):
        (tmp_path / "old.txt").write_text("old")
        with pytest.raises(fault), replacing(tmp_path / name) as part:
            part.write_text("half")
            assert list(tmp_path.glob(LEFTOVERS)) == [part]
            raise fault
        assert os.listdir(tmp_path) == before and (tmp_path / "old.txt").read_text() == "old"


def test_a_fault_of_the_last_move_leaves_no_litter(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_text(tmp_path / "a.txt", "text")
    assert os.listdir(tmp_path) == []


def test_the_file_appears_whole_at_the_end(tmp_path):
    path = tmp_path / "motion.npy"
    path.write_text("old")
    with replacing(path) as part:
        assert part.parent == tmp_path and part.suffix == ".npy"  # writers that go by the suffix
        part.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new" and os.listdir(tmp_path) == ["motion.npy"]


def test_two_at_once_do_not_disturb_each_other(tmp_path):
    path = tmp_path / "a.txt"
    with replacing(path) as one, replacing(path) as two:
        one.write_text("one")
        two.write_text("two")
    assert path.read_text() == "one" and os.listdir(tmp_path) == ["a.txt"]  # whoever ends last


def test_permissions_are_those_of_an_ordinary_file(tmp_path, umask):
    write_text(tmp_path / "ours", "text")
    with open(tmp_path / "ordinary", "w") as file:
        file.write("text")
    assert mode(tmp_path / "ours") == mode(tmp_path / "ordinary") == 0o640
    (tmp_path / "ours").chmod(0o604)
    write_text(tmp_path / "ours", "again")
    assert mode(tmp_path / "ours") == 0o604


def test_weights_can_be_read_by_whom_the_umask_lets_read(tmp_path, umask):
    """safetensors itself makes files that nobody but their owner may read."""
    weights = {"a": np.zeros(3, np.float32)}
    with replacing(tmp_path / "weights.safetensors") as part:
        save_file(weights, part)
    (tmp_path / "old.safetensors").write_bytes(b"")
    (tmp_path / "old.safetensors").chmod(0o604)
    with replacing(tmp_path / "old.safetensors") as part:
        save_file(weights, part)
    with replacing_folder(tmp_path / "model") as part:
        (part / "onnx").mkdir()
        (part / "onnx" / "graph.onnx").write_bytes(b"")
        save_file(weights, part / "model.safetensors")
    assert mode(tmp_path / "weights.safetensors") == mode(tmp_path / "model" / "model.safetensors") == 0o640
    assert mode(tmp_path / "model" / "onnx" / "graph.onnx") == 0o640
    assert mode(tmp_path / "model") == mode(tmp_path / "model" / "onnx") == 0o750
    assert mode(tmp_path / "old.safetensors") == 0o604


def test_the_folder_is_made_or_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=rf"no folder {tmp_path}/deep to write a\.txt into"):
        replacing(tmp_path / "deep" / "a.txt").__enter__()
    write_text(tmp_path / "deep" / "er" / "a.txt", "ä")
    assert (tmp_path / "deep" / "er" / "a.txt").read_bytes() == "ä".encode()
    with pytest.raises(IsADirectoryError, match="deep is a folder: name a file"):
        write_text(tmp_path / "deep", "text")


def test_a_folder_that_takes_no_file_is_named():
    with tempfile.TemporaryDirectory() as name:  # not tmp_path: others may not even look into pytest's
        folder = Path(name).resolve()
        folder.chmod(0o555)
        root = os.geteuid() == 0  # who may do anything: look at it as nobody
        try:
            if root:
                os.seteuid(65534)
            with pytest.raises(PermissionError) as caught:
                write_text(folder / "a.txt", "text")
        finally:
            if root:
                os.seteuid(0)
            folder.chmod(0o755)
        assert str(caught.value) == f"[Errno 13] no file can be written here (Permission denied): '{folder}'"
        assert os.listdir(folder) == []


def test_links_are_followed_and_pipes_written_to(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there" / "file")
    write_text(tmp_path / "link", "text")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "there" / "file").read_text() == "text"
    reader, writer = os.pipe()
    write_text(f"/dev/fd/{writer}", "through")
    os.close(writer)
    with os.fdopen(reader) as file:
        assert file.read() == "through"


def test_a_folder_replaced_halfway_is_recovered(tmp_path):
    final, new = tmp_path / "model", tmp_path / "new"
    final.mkdir()
    (final / "a").write_text("old")
    os.replace(final, tmp_path / ".model.old")  # killed between the two renames
    recover_folder(final)
    assert (final / "a").read_text() == "old"
    new.mkdir()
    (new / "a").write_text("new")
    replace_folder(new, final)
    assert (final / "a").read_text() == "new" and os.listdir(tmp_path) == ["model"]


def test_a_link_to_a_folder_is_replaced_not_what_it_points_to(tmp_path):
    for name in ("elsewhere", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").write_text(name)
    (tmp_path / "model").symlink_to(tmp_path / "elsewhere")
    replace_folder(tmp_path / "new", tmp_path / "model")
    assert sorted(os.listdir(tmp_path)) == ["elsewhere", "model"]
    assert [(tmp_path / name / "a").read_text() for name in ("elsewhere", "model")] == ["elsewhere", "new"]


def test_a_new_folder_takes_the_place_of_the_old_one_whole_or_not_at_all(tmp_path):
    place = tmp_path / "deeper" / "model"
    for content in ("old", "new"):
        with replacing_folder(place) as part:
            (part / "file.txt").write_text(content)
    assert (place / "file.txt").read_text() == "new"
    with pytest.raises(KeyboardInterrupt), replacing_folder(place) as part:
        (part / "file.txt").write_text("half")
        raise KeyboardInterrupt
    assert (place / "file.txt").read_text() == "new"
    assert [entry.name for entry in place.parent.iterdir()] == ["model"]
