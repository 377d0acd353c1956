"""Packets of the three protocols, read by decoders from public packages, and by ours."""

import numpy as np
import pytest

from emotalk_ros.bridges import PacketError, ifacialmocap, livelink, vmc
from emotalk_ros.bridges.remix import Remix
from emotalk_ros.face.aliases import MappingError, parse_mapping
from emotalk_ros.face.names import ARKIT_NAMES, INDEX
from emotalk_ros.motion import FaceFrame

VALUES = np.random.default_rng(5).random(52).astype(np.float32)
HEAD, EYES = np.array([0.1, -0.2, 0.3], np.float32), np.array([0.05, -0.1], np.float32)


def frame(coefficients=VALUES, index=0, fps=30):
    stamp = 10**9 + round(index * 1e9 / fps)
    return FaceFrame(index, stamp, coefficients, 1.0, np.zeros(0, np.float32), head=HEAD, eyes=EYES)


class Pipe:
    """Stands where the socket would: keeps the packets."""

    def __init__(self):
        self.packets = []

    def send(self, packet):
        self.packets.append(packet)
        return True

    def close(self):
        pass


@pytest.fixture
def live_link():
    output = livelink.LiveLinkOutput(subject="Ada")
    output.target.close()
    output.target = Pipe()
    return output


def test_pylivelinkface_reads_what_we_send(live_link):
    theirs = pytest.importorskip("pylivelinkface", reason="pylivelinkface is not installed (the test extra has it)")
    live_link.send(frame())
    ok, face = theirs.PyLiveLinkFace.decode(live_link.target.packets[0])
    assert ok and face.name == "Ada" and face.fps == 30
    for name in ARKIT_NAMES:
        shape = theirs.FaceBlendShape[name[0].upper() + name[1:]]
        assert face.get_blendshape(shape) == pytest.approx(VALUES[INDEX[name]], abs=1e-6)
    angles = [face.get_blendshape(theirs.FaceBlendShape[f"Head{turn}"]) for turn in ("Yaw", "Pitch", "Roll")]
    np.testing.assert_allclose(angles, HEAD, atol=1e-6)


def test_we_read_what_pylivelinkface_sends():
    theirs = pytest.importorskip("pylivelinkface", reason="pylivelinkface is not installed (the test extra has it)")
    face = theirs.PyLiveLinkFace(name="phone", fps=60, filter_size=0)
    for name in ARKIT_NAMES:
        value = float(VALUES[INDEX[name]])
        face.set_blendshape(theirs.FaceBlendShape[name[0].upper() + name[1:]], value, no_filter=True)
    found = livelink.decode(face.encode())
    assert found.subject == "phone" and found.fps == 60
    np.testing.assert_allclose(found.coefficients, VALUES, atol=1e-6)


def test_live_link_time_codes_rise_frame_by_frame(live_link):
    for index in range(90):
        live_link.send(frame(index=index))
    numbers = [livelink.decode(packet).frame for packet in live_link.target.packets]
    assert np.diff(numbers).tolist() == [1] * 89


def test_live_link_packets_without_a_face_are_none():
    whole = livelink.encode(livelink.LiveLinkFrame(VALUES, subject="a", device="b"))
    head = whole[: len(whole) - 61 * 4 - 1]
    assert livelink.decode(head) is None
    assert livelink.decode(head + b"\0") is None


@pytest.mark.parametrize(
    "packet, words",
    [
        (b"", "cut short"),
        (b"\x05\0\0\0\0", "version 5"),
        (b"\x06\x7f\xff\xff\xff", "name of 2147483647 bytes"),
        (livelink.encode(livelink.LiveLinkFrame(VALUES))[:-8], "61 values in"),
        (livelink.encode(livelink.LiveLinkFrame(np.full(52, np.nan, np.float32))), "no numbers"),
        (b"GET / HTTP/1.1\r\n", "version 71"),
    ],
)
def test_broken_live_link_packets_are_refused(packet, words):
    with pytest.raises(PacketError, match=words):
        livelink.decode(packet)


def osc(packets):
    theirs = pytest.importorskip("oscpy.parser", reason="oscpy is not installed (the test extra has it)")
    return [(a.decode(), [v.decode() if isinstance(v, bytes) else v for v in values])
            for packet in packets for a, _, values, *_ in theirs.read_packet(packet)]  # fmt: skip


def test_oscpy_reads_perfect_sync():
    packets = vmc.packets(vmc.messages(frame(), Remix.named(vmc.NAMES["perfect-sync"])))
    assert max(map(len, packets)) <= 1472  # fits an Ethernet frame
    found = osc(packets)
    values = {own[0]: own[1] for address, own in found if address == "/VMC/Ext/Blend/Val"}
    assert list(values) == [name[0].upper() + name[1:] for name in ARKIT_NAMES]
    np.testing.assert_allclose(list(values.values()), VALUES, atol=1e-6)
    addresses = [address for address, _ in found]
    assert addresses.count("/VMC/Ext/Blend/Apply") == 1 and addresses[52] == "/VMC/Ext/Blend/Apply"
    assert [own[0] for address, own in found if address.endswith("/Pos")] == ["Head", "LeftEye", "RightEye"]


def test_bones_turn_as_unity_turns():
    """In Unity's axes yaw to the left is about -y, chin down about +x, towards the left shoulder about +z."""
    bone = vmc._bone("Head", np.array([0.3, 0.0, 0.0]))
    assert [round(v, 4) for v in bone.params[4:]] == [0.0, -0.1494, 0.0, 0.9888]
    assert vmc._bone("Head", np.array([0.0, -0.3, 0.0])).params[4] > 0
    assert vmc._bone("Head", np.array([0.0, 0.0, 0.3])).params[6] > 0


def test_vowels_of_vrm():
    closed, opened = np.zeros(52, np.float32), np.zeros(52, np.float32)
    closed[INDEX["jawOpen"]] = closed[INDEX["mouthClose"]] = 0.3
    opened[INDEX["jawOpen"]] = 0.4
    remix = Remix.named(vmc.NAMES["vrm0"])
    at = remix.names.index("A")
    assert remix(closed)[at] == pytest.approx(0.0, abs=1e-6) and remix(opened)[at] > 0.5
    assert set("AIUEO") < set(remix.names)


def test_the_makers_own_example_of_ifacialmocap_is_read():
    text = (
        "mouthSmile_R-0|eyeLookOut_L-0|mouthUpperUp_L-11|jawOpen-12|jawLeft-3|=head#-21.488958,-6.038993,-6.6019735,"
        "-0.030653415,-0.10287084,-0.6584072|rightEye#6.0297494,2.4403017,0.25649446|leftEye#6.034903,-1.6660284,-0.1752|"
    )
    found, angles = ifacialmocap.decode(text.encode())
    assert found[INDEX["jawOpen"]] == pytest.approx(0.12) and found[INDEX["jawLeft"]] == pytest.approx(0.03)
    assert found[INDEX["mouthUpperUpLeft"]] == pytest.approx(0.11)
    assert np.degrees(angles[1]) == pytest.approx(-21.488958, abs=1e-4)


def test_ifacialmocap_there_and_back():
    packet = ifacialmocap.encode(VALUES, frame().angles)
    found, angles = ifacialmocap.decode(packet)
    np.testing.assert_allclose(found, VALUES, atol=0.0051)  # it knows whole hundredths only
    np.testing.assert_allclose(angles[:3], HEAD, atol=1e-5)
    parts = packet.decode().split("|")
    assert len([p for p in parts if "-" in p and "#" not in p]) == 52 and parts[-1] == ""


@pytest.mark.parametrize("packet", [b"", b"\xff\xfe", b"hello-world", b"jawOpen-x|"])
def test_other_packets_are_refused(packet):
    with pytest.raises(PacketError):
        ifacialmocap.decode(packet)


def test_a_mapping_changes_what_is_sent():
    mapping = parse_mapping("targets: {jaw_open: {jawOpen: 0.5, mouthFunnel: 0.5}}\ngains: {mouthFunnel: 2}")
    out = Remix.arkit(mapping)(VALUES)
    jaw, funnel = VALUES[INDEX["jawOpen"]], VALUES[INDEX["mouthFunnel"]]
    assert out[INDEX["jawOpen"]] == pytest.approx(min(1.0, 0.5 * jaw + funnel), abs=1e-6)
    assert out[INDEX["browInnerUp"]] == VALUES[INDEX["browInnerUp"]]
    named = Remix.named({"JawOpen": {"jawOpen": 1.0}}, parse_mapping("targets: {MyJaw: jawOpen}\nignore: [JawOpen]"))
    assert named.names == ("MyJaw",)


def test_live_link_knows_no_other_names():
    with pytest.raises(MappingError, match="MyJaw: this protocol sends the 52"):
        Remix.arkit(parse_mapping("targets: {MyJaw: jawOpen}"))
