"""What nodes listen to on the network, and what config/sros2 lets them say: as docs/security.md has it."""

import importlib.util
import ipaddress
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from graph import wait_until

from emotalk_ros.nodes.__main__ import PROGRAMS

ROOT = Path(__file__).resolve().parents[2]
FAKES = Path(__file__).parent / "fake_portaudio"
NODES = {
    "microphone_node": {},
    "speaker_node": {},
    "audio_file_node": {"loop": True},
    "say_node": {},
    "servo_node": {},
    "recorder_node": {},
    "face_viewer_node": {"port": 0},
    "vmc_node": {},
    "marker_node": {},
    "livelink_receiver_node": {},
}
"""Programs to start beside the emotalk node, with parameters."""
DDS = 7400 + 250 * int(os.environ["ROS_DOMAIN_ID"])
"""First of the 250 UDP ports of this domain (DDSI-RTPS 9.6.2)."""


def keystore_script():
    spec = importlib.util.spec_from_file_location("sros2_keystore", ROOT / "scripts" / "sros2_keystore.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def everything(graph, model_path, speech_file, tmp_path_factory):
    """All nodes, each in a process of its own, in the default configuration; by node name."""
    folder = tmp_path_factory.mktemp("everything")
    (folder / "device").write_text("plugged")
    environment = {
        "PYTHONPATH": os.pathsep.join([str(FAKES), os.environ.get("PYTHONPATH", "")]),
        "FAKE_PORTAUDIO": str(folder / "device"),
        "FAKE_LOUDSPEAKER": str(folder / "heard"),
    }
    own = {"audio_file_node": {"file": str(speech_file)}, "recorder_node": {"output": str(folder / "bag")}}
    running = {
        program: graph.start(program, {**parameters, **own.get(program, {})}, environment=environment)
        for program, parameters in NODES.items()
    }
    running["emotalk_node"] = graph.start_emotalk(model_path)
    own_words = {"vmc_node": "vmc_bridge", "marker_node": "face_marker"}
    names = {own_words.get(program, program.removesuffix("_node")) for program in running}
    wait_until(lambda: names <= set(graph.node.get_node_names()), 60.0, f"all of {names}")
    wait_until(lambda: {s.name for s in graph.statuses} >= names, 60.0, f"the first report of all of {names}")
    return running, names


def test_the_policy_allows_what_each_node_uses_and_the_others_not(graph, everything):
    _, names = everything
    policy = keystore_script().read_policy(ROOT / "config" / "sros2" / "policy.xml")
    # The first two are made as vmc_bridge is; hri needs messages that are no part of ROS's core.
    others = {"livelink_bridge", "ifacialmocap_bridge", "hri", "operator"}
    assert {f"/emotalk/{name}" for name in names | others} == set(policy)
    heard = {name: {t for t in allowed["subscribe"] if t.startswith("rt/")} for name, allowed in policy.items()}
    assert heard["/emotalk/livelink_bridge"] == heard["/emotalk/ifacialmocap_bridge"] == heard["/emotalk/vmc_bridge"]
    for name in names:
        allowed = policy[f"/emotalk/{name}"]
        topics = {
            "publish": graph.node.get_publisher_names_and_types_by_node(name, "/"),
            "subscribe": graph.node.get_subscriber_names_and_types_by_node(name, "/"),
        }
        assert topics["publish"], name
        for way, found in topics.items():
            assert {f"rt{topic}" for topic, _ in found} <= allowed[way], name
        for service, _ in graph.node.get_service_names_and_types_by_node(name, "/"):
            assert f"rq{service}Request" in allowed["subscribe"] and f"rr{service}Reply" in allowed["publish"], name
        assert not graph.node.get_client_names_and_types_by_node(name, "/"), name
    assert {name for name, allowed in policy.items() if "rt/blendshapes" in allowed["publish"]} == {
        "/emotalk/emotalk",
        "/emotalk/livelink_receiver",
    }
    programs = set(PROGRAMS) - {f"{name}_node" for name in ("livelink", "ifacialmocap", "hri")}
    assert programs == {*NODES, "emotalk_node"}  # a new node needs an enclave


def listening(process):
    """(protocol, address, port) of the sockets that take packets from anybody."""
    return {
        ("tcp" if socket.type == 1 else "udp", *socket.laddr[:2])
        for socket in psutil.Process(process.pid).net_connections("inet")
        if not socket.raddr and (socket.type == 2 or socket.status == psutil.CONN_LISTEN)
    }


def test_what_listens_on_the_network_is_what_the_documentation_says(everything):
    running, _ = everything
    for program, node in running.items():
        sockets = listening(node.process)
        assert any(kind == "udp" and DDS <= port < DDS + 250 for kind, _, port in sockets), program
        pages = {address for kind, address, _ in sockets if kind == "tcp"}
        assert pages == ({"127.0.0.1"} if program == "face_viewer_node" else set()), program
        phone = {address for kind, address, port in sockets if kind == "udp" and port == 11111}
        assert phone == ({"0.0.0.0"} if program == "livelink_receiver_node" else set()), program


def test_live_is_for_this_machine_only_unless_it_is_asked_for_more():
    from emotalk_ros.live import LiveServer, LiveSettings

    server = LiveServer(None, b"", LiveSettings(port=0))
    address = server.bind()
    try:
        host = address.split("//")[1].rpartition(":")[0]
        assert ipaddress.ip_address(host).is_loopback and "token" not in address
        assert server._socket.getsockname()[0] == "127.0.0.1"
    finally:
        server._socket.close()
    usage = subprocess.run(
        [sys.executable, "-m", "emotalk_ros.cli", "live", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert "[default: 127.0.0.1]" in " ".join(usage.replace("│", " ").split())
    assert LiveSettings(host="0.0.0.0").secret
