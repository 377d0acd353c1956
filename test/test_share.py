"""What comes along is found in the source tree and in installations, and a wheel carries all of it."""

from pathlib import Path

import pytest

from emotalk_ros import share
from emotalk_ros.bags.messages import message_folder
from emotalk_ros.commands.demo import default_speech
from emotalk_ros.training.recipe import RecipeError, find_recipe, load_recipe

ROOT = Path(__file__).parents[1]


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Call with the folder of the modules below a prefix: from then on they seem to lie there."""
    monkeypatch.delenv("AMENT_PREFIX_PATH", raising=False)

    def install(folder):
        module = tmp_path / folder / "emotalk_ros" / "share.py"
        monkeypatch.setattr(share, "__file__", str(module))
        return tmp_path / "share" / "emotalk_ros"

    return install


def test_in_the_source_tree():
    assert find_recipe("tiny") == ROOT / "config" / "training" / "tiny.yaml"
    assert message_folder() == ROOT / "msg" and default_speech() == ROOT / "examples" / "speech" / "demo.ogg"


@pytest.mark.parametrize("folder", [".", "Lib/site-packages", "lib/python3.11/site-packages"])
def test_in_an_installation(installed, monkeypatch, tmp_path, folder):
    shared = installed(folder)
    with pytest.raises(RecipeError, match=r"no recipe 'tiny': .*install the package again, or name a YAML file"):
        find_recipe("tiny")
    with pytest.raises(FileNotFoundError, match="install the package again"):
        message_folder()
    with pytest.raises(FileNotFoundError, match="--speech"):
        default_speech()
    (shared / "config" / "training").mkdir(parents=True)
    (shared / "config" / "training" / "tiny.yaml").write_text("{name: installed, optim: {steps: 1}}")
    assert load_recipe("tiny").name == "installed"
    with pytest.raises(RecipeError, match="did you mean 'tiny'"):
        find_recipe("tinny")


def test_in_a_prefix_that_ros_names(installed, monkeypatch, tmp_path):
    installed("elsewhere/a/b/c/d/e")
    (tmp_path / "ros" / "share" / "emotalk_ros" / "msg").mkdir(parents=True)
    (tmp_path / "ros" / "share" / "emotalk_ros" / "msg" / "AudioChunk.msg").touch()
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"/nowhere:{tmp_path / 'ros'}")
    assert message_folder() == tmp_path / "ros" / "share" / "emotalk_ros" / "msg"


def test_a_wheel_carries_every_recipe_message_and_file_of_the_network(monkeypatch):
    from setuptools.config.pyprojecttoml import read_configuration

    monkeypatch.chdir(ROOT)
    pairs = read_configuration("pyproject.toml")["tool"]["setuptools"]["data-files"]
    carried = {f"{folder}/{Path(name).name}": name for folder, names in dict(pairs).items() for name in names}
    tops = ("config/training", "config/tables", "config/servos", "msg", "models")
    wanted = [path for top in tops for path in (ROOT / top).rglob("*") if path.is_file()]
    assert len(wanted) > 15
    names = [path.relative_to(ROOT).as_posix() for path in wanted]
    assert carried == {f"share/emotalk_ros/{name}": name for name in names}
