"""The parameter files say what the nodes declare; a wrong one is told about and does not keep a node from starting."""

from pathlib import Path

import pytest
import yaml

from emotalk_ros.nodes import (
    audio_file_node,
    bridge_nodes,
    emotalk_parameters,
    face_viewer_node,
    hri_node,
    livelink_receiver_node,
    marker_node,
    microphone_node,
    recorder_node,
    say_node,
    speaker_node,
)

CONFIG = Path(__file__).resolve().parents[2] / "config"
TABLES = {
    "emotalk": emotalk_parameters.PARAMETERS,
    "microphone": microphone_node.PARAMETERS,
    "audio_file": audio_file_node.PARAMETERS,
    "recorder": recorder_node.PARAMETERS,
    "face_viewer": face_viewer_node.PARAMETERS,
    "livelink_receiver": livelink_receiver_node.PARAMETERS,
    **{protocol: bridge_nodes.parameters(protocol) for protocol in ("livelink", "vmc", "ifacialmocap")},
    "say": say_node.PARAMETERS,
    "speaker": speaker_node.PARAMETERS,
    "hri": hri_node.PARAMETERS,
    "marker": marker_node.PARAMETERS,
}


def _flat(tree, prefix=""):
    for key, value in tree.items():
        yield from _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else [(prefix + key, value)]


@pytest.mark.parametrize("name", TABLES)
def test_files_and_tables_agree(name):
    text = (CONFIG / f"{name}.yaml").read_text()
    values = dict(_flat(yaml.safe_load(text)["/**"]["ros__parameters"]))
    assert values == {row.name: row.default for row in TABLES[name]}
    assert all(type(values[row.name]) is type(row.default) for row in TABLES[name])
    lines = text.splitlines()
    for row in TABLES[name]:  # each with a comment above
        at = next(i for i, line in enumerate(lines) if line.strip().startswith(f"{row.name.split('.')[-1]}:"))
        assert lines[at - 1].strip().startswith("#")
        assert row.description and row.coerce(row.default) == row.default


def test_a_node_takes_its_file_and_tells_what_is_wrong_in_it(graph, speech_file, tmp_path):
    path = tmp_path / "audio_file.yaml"
    text = (CONFIG / "audio_file.yaml").read_text().replace('file: ""', f'file: "{speech_file}"')
    text = text.replace("speed: 1.0", "speed: 1000000.0").replace("chunk: 0.02", "chunk: 1")
    text = text.replace("    speed:", "    spead: 2.0\n    speed:")
    path.write_text(text.replace("encoding: s16le", "encoding: s17le").replace("subscribers: 1", "subscribers: 3"))
    node = graph.start("audio_file_node", arguments=["--params-file", str(path), "-r", "__ns:=/far"])
    values = graph.parameters("/far/audio_file")
    assert values["file"].string_value == str(speech_file)
    assert (values["speed"].double_value, values["encoding"].string_value) == (1.0, "s16le")
    assert (values["chunk"].double_value, values["subscribers"].integer_value) == (1.0, 3)
    assert node.stop() == 0
    assert "speed: 1e+06 is outside of 0.05 to 1000; 1.0 is used" in node.log
    assert "encoding: 's17le' is not one of s16le" in node.log
    assert "spead: this node has no such parameter; did you mean speed?" in node.log
