"""Motion files that would stop a robot or fill a memory are refused in one line that names file, line or frame."""

import json
import resource
import subprocess
import sys

import numpy as np
import pytest

from emotalk_ros.face.names import ARKIT_NAMES
from emotalk_ros.motion.files import MotionError, read_motion

HEAD = ",".join(["time", *ARKIT_NAMES])


def csv(path, rows):
    path.write_text("\n".join([HEAD, *rows]) + "\n")
    return path


def row(time, value=0.1):
    return ",".join([str(time), *[str(value)] * 52])


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([row(0), row(1 / 30), row(1e7)], "without a frame after frame 1"),
        ([row(0), row(1e-9), row(2e-9), row(500)], "frames a second"),
        ([], "no frame beneath its heading"),
        ([row(0), row(0.03, "1e30")], "is 1e+30 at frame 1"),
        ([row(0), row(0.03, "1e300")], "at frame 1"),
        ([row(0), row(0.03, "nan")], "frame 1 is not all numbers"),
        ([row("nan"), row(0.03)], "times of its frames"),
        ([row("1e308"), row("inf")], "times of its frames"),
        ([row(0), "0.03,0.5"], "line 3: 2 of 53 values"),
        ([row(0), row(0.03, "open")], "line 3: 'open' is no number"),
        ([row(0.1), row(0.0)], "time does not grow"),
    ],
    ids=range(11),
)
def test_tables_are_refused_by_name(tmp_path, rows, said):
    path = csv(tmp_path / "m.csv", rows)
    with pytest.raises(MotionError) as caught:
        read_motion(path)
    assert str(path) in str(caught.value) and said in str(caught.value)


FRAME = {"time": 0.0, "coefficients": [0.1] * 52}
NAMES = list(ARKIT_NAMES)
DOCUMENTS = [
    ([], "the whole must be a mapping of keys to values, got []"),
    ({"names": NAMES}, "frames is missing"),
    ({"names": NAMES, "frames": "abc"}, "frames must be a valid list, got 'abc'"),
    ({"names": NAMES, "frames": [FRAME, "a"]}, "frames[1] must be a mapping of keys to values, got 'a'"),
    ({"names": NAMES, "frames": [{"coefficients": [0.1] * 52}]}, "frames[0].time is missing"),
    ({"names": NAMES, "frames": [{**FRAME, "time": "0"}]}, "frames[0].time must be a valid number, got '0'"),
    ({"names": NAMES, "frames": [{**FRAME, "coefficients": ["open"]}]}, "coefficients[0] must be a valid number, got"),
    ({"names": NAMES, "frames": [{**FRAME, "coefficients": [True] * 52}]}, "; and 42 more faults"),
    ({"names": NAMES, "frames": [FRAME, {**FRAME, "coefficients": [np.nan]}]}, "must be a finite number, got nan"),
    ({"names": NAMES, "frames": [FRAME, {**FRAME, "coefficients": [0.1]}]}, "frames[1] has 1 coefficients for 52 "),
    ({"names": NAMES[:-5], "frames": [FRAME]}, "frames[0] has 52 coefficients for 47 names"),
    ({"names": NAMES, "frames": []}, "coefficients have the shape (0, "),
]


@pytest.mark.parametrize(("content", "said"), DOCUMENTS, ids=range(len(DOCUMENTS)))
def test_documents_are_refused_by_key_and_value(tmp_path, content, said):
    path = tmp_path / "m.json"
    path.write_text(json.dumps(content))
    with pytest.raises(MotionError) as caught:
        read_motion(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ") and said in text and len(text) < 2000


def test_a_document_with_more_than_is_read_is_fine(tmp_path):
    frames = [{**FRAME, "time": k / 30, "activity": None, "mood": "x"} for k in range(3)]
    (tmp_path / "m.json").write_text(json.dumps({"names": NAMES, "frames": frames, "maker": {"a": 1}}))
    values, fps = read_motion(tmp_path / "m.json")
    assert values.shape == (3, 52) and fps == 30.0


def test_a_whole_table_is_read_as_before(tmp_path):
    values, fps = read_motion(csv(tmp_path / "m.csv", [row(k / 30, k / 100) for k in range(60)]))
    assert fps == 30.0 and values.shape == (60, 52)
    np.testing.assert_allclose(values[:, 7], np.arange(60) / 100, atol=1e-6)


def test_arrays_are_refused_by_name(tmp_path):
    path = tmp_path / "m.npz"
    good = np.zeros((3, 52))
    for time, said in (
        ([0, 1 / 30, 1e7], "without a frame"),
        ([0.0], "times of its frames"),
        ([[0, 1, 2]], "times of"),
    ):
        np.savez(path, coefficients=good, time=np.array(time))
        with pytest.raises(MotionError, match=said):
            read_motion(path)
    np.save(tmp_path / "m.npy", np.full((3, 52), 1e30))
    with pytest.raises(MotionError, match=r"is 1e\+30 at frame 0"):
        read_motion(tmp_path / "m.npy")


def test_a_long_table_takes_little_more_than_its_numbers(tmp_path):
    """60 000 frames within 0.1 s: refused, and on the way no more than ten times their 25 MB."""
    path = csv(tmp_path / "m.csv", [row(f"{k * 1e-6:.9f}") for k in range(60_000)])
    script = (
        "import resource, sys\n"
        "from emotalk_ros.motion.files import MotionError, read_motion\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: read_motion(sys.argv[1])\n"
        "except MotionError as error: print(error)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
    said, grown = done.stdout.splitlines()
    assert "frames a second; a motion has 0.1 to 1000" in said
    assert int(grown) < 120_000  # kB
    assert resource.getrusage(resource.RUSAGE_SELF)
