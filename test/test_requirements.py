"""A missing Python package is said with its remedy, and nothing else is swallowed."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from emotalk_ros import requirements
from emotalk_ros.requirements import EXTRAS, MISSING, PACKAGES, explained, remedy

ROOT = Path(__file__).resolve().parents[1]


def test_every_dependency_of_the_project_is_known():
    text = (ROOT / "pyproject.toml").read_text()
    listed = {None: text.split("\ndependencies = [")[1].split("]")[0]}
    for extra in ("onnx", "torch", "reports", "convert"):
        listed[extra] = text.split(f"\n{extra} = [")[1].split("]")[0]
    names = {(name, extra) for extra, words in listed.items() for name in re.findall(r'"([a-z0-9-]+)>', words)}
    assert {(package, EXTRAS.get(module)) for module, package in PACKAGES.items()} == names


@pytest.mark.parametrize(
    ("module", "words"),
    [("scipy.stats", f"'{ROOT}[reports]'` ([full]: everything)"), ("torch", f"'{ROOT}[torch]'` ([full]"),
     ("soxr", f"pip install {ROOT}` ([full]"), ("onnxscript", f"'{ROOT}[convert]'`;")],
)  # fmt: skip
def test_the_remedy_names_the_smallest_extra(module, words):
    assert words in remedy(module)


def test_without_torch_a_program_says_what_to_do(tmp_path):
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import emotalk_ros.requirements as r; r.program('torch')"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert ended.returncode == MISSING
    assert "the Python package torch is missing" in ended.stderr and "pip install" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_in_an_installation_the_folder_is_not_known(tmp_path):
    (tmp_path / "requirements.py").write_bytes(Path(requirements.__file__).read_bytes())
    code = "import requirements; print(requirements.install_command('x'))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    assert said == f"{sys.executable} -m pip install '<folder of emotalk_ros>[x]'\n"


def test_what_is_no_package_of_ours_is_not_explained_away():
    assert remedy("emotalk_ros.no_such") is None
    with pytest.raises(ModuleNotFoundError), explained():
        import no_such_module_at_all  # noqa: F401
