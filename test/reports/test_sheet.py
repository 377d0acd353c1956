"""Sheets of stills: which faces, in which order, and the picture on disk."""

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from emotalk_ros.commands import sheet
from emotalk_ros.emotions import EMOTIONS
from emotalk_ros.face import INDEX, expression
from emotalk_ros.face.composition import lip_opening
from emotalk_ros.reports.sheet import Still, emotions_by_intensity, persons_by_emotion, without_names


def run(*words):
    app = typer.Typer()
    sheet.register(app)
    return CliRunner().invoke(app, [str(word) for word in words])


def test_rows_are_emotions_and_columns_intensities():
    stills = emotions_by_intensity(3)
    assert len(stills) == 40
    assert [s.emotion for s in stills[::5]] == list(EMOTIONS)
    assert [s.intensity for s in stills[:5]] == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert {s.person for s in stills} == {3}
    assert [s.title for s in persons_by_emotion([2, 4])][7:9] == ["2: surprised", "4: neutral"]


def test_a_still_is_the_expression_on_a_mouth_at_rest_or_on_speech():
    np.testing.assert_allclose(Still("angry").coefficients(), expression("angry"), atol=1e-6)
    assert lip_opening(Still("surprised").coefficients()) > 5
    said = np.zeros(52, dtype=np.float32)
    said[INDEX["jawOpen"]] = 0.2
    spoken = Still("surprised", 2.0).coefficients(said)
    assert lip_opening(spoken) == pytest.approx(lip_opening(said), rel=0.1)
    assert spoken[INDEX["browInnerUp"]] == 1.0


def test_without_names_each_emotion_stands_once_in_an_order_of_the_seed():
    first, again, other = (without_names(0, seed) for seed in (1, 1, 2))
    assert first == again and first != other
    assert sorted(s.emotion for s in first) == sorted(EMOTIONS)
    assert [s.title for s in first] == list("ABCDEFGH")


def test_the_verb_draws_sheets(tmp_path):
    out = tmp_path / "sheet.png"
    result = run("-o", out, "--size", 64, "--intensities", "0,1")
    assert result.exit_code == 0, result.output
    with Image.open(out) as picture:
        assert picture.size[0] == 2 * (64 - 2 * 8)
    result = run("-o", out, "--size", 64, "--blind", 5)
    assert result.exit_code == 0 and "key: A " in result.output
    result = run("-o", out, "--size", 64, "--persons", "1,2")
    assert result.exit_code == 0 and "16 faces" in result.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--intensities", "0,3"), "must lie in 0 to 2"),
        (("--intensities", "weak"), "must be numbers"),
        (("--persons", "24"), "must lie in 0 to 23"),
        (("--motion", "nowhere.csv"), "nowhere.csv"),
    ],
)
def test_faults_are_one_line_and_leave_nothing(tmp_path, words, message):
    result = run("-o", tmp_path / "sheet.png", "--size", 64, *words)
    assert result.exit_code == 1 and message in result.output
    assert not list(tmp_path.iterdir())
