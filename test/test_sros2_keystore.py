"""Keys and permissions made with openssl, as sros2 lays them out."""

import importlib.util
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree as Xml

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "scripts" / "sros2_keystore.py"

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="the program openssl is missing")


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("sros2_keystore", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def store(script, tmp_path_factory):
    store = tmp_path_factory.mktemp("sros2") / "keystore"
    script.make_authority(store)
    policy = script.read_policy(script.POLICY)
    for enclave in ("/emotalk/emotalk", "/emotalk/speaker"):
        script.make_enclave(store, enclave, policy[enclave])
    return store


def openssl(*words):
    return subprocess.run(["openssl", *map(str, words)], capture_output=True, text=True)


def test_each_enclave_has_what_rcl_asks_for(store):
    folder = store / "enclaves" / "emotalk" / "speaker"
    for name in (
        *("cert.pem", "key.pem", "identity_ca.cert.pem", "permissions_ca.cert.pem"),
        *("governance.p7s", "permissions.p7s"),
    ):
        assert (folder / name).stat().st_size, name
    assert (folder / "key.pem").stat().st_mode & 0o077 == 0
    assert (store / "private").stat().st_mode & 0o077 == 0
    subject = openssl("x509", "-in", folder / "cert.pem", "-noout", "-subject").stdout
    assert subject.replace(" ", "").strip() == "subject=CN=/emotalk/speaker"
    assert openssl("verify", "-CAfile", folder / "identity_ca.cert.pem", folder / "cert.pem").returncode == 0


def test_permissions_are_signed_and_say_no_more_than_the_policy(store):
    folder = store / "enclaves" / "emotalk" / "speaker"
    authority = folder / "permissions_ca.cert.pem"
    for name in ("permissions", "governance"):
        found = openssl("smime", "-verify", "-text", "-in", folder / f"{name}.p7s", "-CAfile", authority)
        assert found.returncode == 0, found.stderr
    document = Xml.fromstring(
        openssl("smime", "-verify", "-text", "-in", folder / "permissions.p7s", "-CAfile", authority).stdout.encode()
    )
    assert document.findtext(".//subject_name") == "CN=/emotalk/speaker" and document.findtext(".//default") == "DENY"
    topics = {way: {t.text for t in document.findall(f".//{way}/topics/topic")} for way in ("publish", "subscribe")}
    assert {"rt/audio", "rt/blendshapes", "rt/interrupt", "rq/speaker/interruptRequest"} <= topics["subscribe"]
    assert {"rt/interrupt", "rr/speaker/interruptReply"} <= topics["publish"]
    assert not {"rt/audio", "rt/blendshapes", "rt/emotion_command"} & topics["publish"]


def test_permissions_changed_by_hand_do_not_verify(store, tmp_path):
    folder = store / "enclaves" / "emotalk" / "speaker"
    signed = (folder / "permissions.p7s").read_text()
    (tmp_path / "changed.p7s").write_text(signed.replace("rt/diagnostics", "rt/blendshapes", 1))
    authority = folder / "permissions_ca.cert.pem"
    assert openssl("smime", "-verify", "-in", tmp_path / "changed.p7s", "-CAfile", authority).returncode != 0


def test_keys_are_kept_when_permissions_are_made_again(script, store):
    folder = store / "enclaves" / "emotalk" / "emotalk"
    before = (folder / "cert.pem").read_bytes(), (folder / "key.pem").read_bytes()
    script.make_authority(store)
    script.make_enclave(store, "/emotalk/emotalk", {"publish": {"rt/x"}, "subscribe": set()})
    assert (folder / "cert.pem").read_bytes() == before[0] and (folder / "key.pem").read_bytes() == before[1]
    assert "rt/x" in (folder / "permissions.xml").read_text()


def test_names_are_expanded_as_ros_does(script):
    assert script.full_name("audio", "/", "emotalk") == "/audio"
    assert script.full_name("audio", "/robot", "emotalk") == "/robot/audio"
    assert script.full_name("~/interrupt", "/robot", "emotalk") == "/robot/emotalk/interrupt"
    assert script.full_name("/rosout", "/robot", "emotalk") == "/rosout"
