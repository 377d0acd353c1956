"""Twenty seconds of scripts/random_robot.py: random speech, commands, lifecycle changes, stops and kills."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "random_robot.py"


def test_limits_rest_and_processes_outlive_twenty_seconds_of_chance(model_path, tmp_path):
    words = ["--minutes", "0.33", "--seed", "5", "--model", str(model_path), "--patience", "5"]
    report = tmp_path / "figures.json"
    run = subprocess.run(
        [sys.executable, str(SCRIPT), *words, "--json", str(report)], capture_output=True, text=True, timeout=280
    )
    assert report.exists(), run.stdout + run.stderr
    figures = json.loads(report.read_text())
    assert run.returncode == 0 and figures["problems"] == [], figures["problems"]
    # A busy machine needs most of the time to start a node again that was killed.
    assert figures["commands"] > 100 and sum(figures["frames"].values()) > 0 and sum(figures["acts"].values()) > 5
    assert figures["worst_share_of_acceleration"] <= 1.0 + 1e-6 and figures["worst_share_of_speed"] <= 1.0 + 1e-6
    assert figures["worst_beyond_position_rad"] <= 1e-9
