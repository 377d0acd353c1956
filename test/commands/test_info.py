"""`emotalk info`, and the figures of the network that ships as the documents quote them."""

import re
from pathlib import Path

from typer.testing import CliRunner

from emotalk_ros.cli import app
from emotalk_ros.model import EmoTalk, EmoTalkConfig, default_model_path, load_model
from emotalk_ros.model.summary import summary

DOCUMENT = Path(__file__).parents[2] / "docs" / "model.md"


def test_the_document_quotes_the_networks() -> None:
    figures = summary(EmoTalk(EmoTalkConfig.preset("tiny")))
    table = DOCUMENT.read_text(encoding="utf-8").split("| field of `EmoTalkConfig`")[1].split("\n\n")[0]
    rows = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    quoted = {row[0]: row[2] for row in rows if row[0] in figures}
    assert {"lookahead_frames", "content encoder", "emotion encoder", "decoder", "parameters"} <= set(quoted)
    assert quoted == {name: figures[name] for name in quoted}
    figures = summary(load_model(default_model_path()))
    reach = re.search(r"reaches (\d+) samples \((\d+) ms\)", DOCUMENT.read_text(encoding="utf-8"))
    assert reach is not None and figures["look-ahead"] == f"{reach[1]} samples, {reach[2]} ms"


def test_it_prints_the_figures_and_names_what_is_no_model(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["info"])
    assert done.exit_code == 0 and re.search(r"^look-ahead +\d+ samples", done.stdout, re.MULTILINE)
    done = CliRunner().invoke(app, ["info", str(tmp_path)])
    assert done.exit_code == 1 and str(tmp_path) in done.stderr.replace("\n", "")
