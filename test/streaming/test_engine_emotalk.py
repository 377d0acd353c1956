"""The streaming contract with the real network (random weights): its look-ahead is as its configuration says."""

import numpy as np
import pytest
import torch
from small_models import small_config

from emotalk_ros.model import EmoTalk, EmoTalkConfig, EmotionControl
from emotalk_ros.streaming import Controls, Engine, FaceStream, StreamSettings, animate


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """More threads than idle cores make small networks many times slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(3)
    network = EmoTalk(EmoTalkConfig.preset("tiny")).eval()
    with torch.no_grad():
        network.output.weight.normal_(0, 0.05)
        network.output.bias.fill_(0.2)
        network.set_prototypes(torch.randn_like(network.emotion_prototypes))
    return network


def run(stream, audio, size):
    frames = []
    for at in range(0, len(audio), size):
        frames += stream.push(audio[at : at + size])
    return frames + stream.end()


def raw(model, settings):
    return FaceStream(model, settings, motion=None)


def coefficients(frames):
    return np.stack([f.coefficients for f in frames])


@pytest.mark.parametrize("hop", [1 / 30, 0.1])
def test_streamed_equals_offline_with_the_context_over_the_clip(model, speech, hop):
    clip = speech[:24017]
    streamed = coefficients(run(raw(model, StreamSettings(hop=hop, context=2.0)), clip, 320))
    assert np.ptp(streamed, axis=0).max() > 0.1  # the network does move
    np.testing.assert_allclose(streamed, model.predict(clip), atol=1e-5)


def test_every_cutting_gives_the_same_frames_with_motion_and_interpolation(model, speech):
    clip = speech[:24017]

    def frames(size):
        return run(FaceStream(model, StreamSettings(context=1.0, fps=50)), clip, size)

    whole = frames(len(clip))
    for size in (7, 320):
        parts = frames(size)
        np.testing.assert_allclose(coefficients(parts), coefficients(whole), atol=1e-5)
        np.testing.assert_allclose([f.emotion for f in parts], [f.emotion for f in whole], atol=1e-5)
    assert len(whole) == 76 and whole[0].emotion.shape == (8,)
    assert whole[-1].emotion.sum() == pytest.approx(1, abs=1e-5)


def test_a_short_context_gives_every_frame_too(model, speech):
    frames = run(raw(model, StreamSettings(hop=0.1, context=0.2)), speech, 5000)
    assert [f.index for f in frames] == list(range(model.frame_count(len(speech))))


def test_emotion_control_acts_from_the_next_hop_and_not_on_the_emotion_heard(model, speech):
    stream = raw(model, StreamSettings(context=4.0))
    plain = run(stream, speech, 1600)
    frames = []
    for at in range(0, len(speech), 1600):
        if at == 16000:
            stream.controls = Controls(emotion=EmotionControl.of("angry"))
        frames += stream.push(speech[at : at + 1600])
    frames += stream.end()
    change = np.abs(coefficients(frames) - coefficients(plain)).max(axis=1)
    first = int(np.flatnonzero(change > 1e-6)[0])
    assert 24 <= first <= 30
    assert change[first + 10 :].min() > 1e-3
    np.testing.assert_allclose([f.emotion for f in frames], [f.emotion for f in plain], atol=1e-5)


def test_offline_pass_equals_predict(model, speech):
    np.testing.assert_allclose(coefficients(animate(model, speech, motion=None)), model.predict(speech), atol=1e-5)


def test_the_papers_geometry_streams_in_aligned_windows(speech):
    torch.manual_seed(1)
    config = small_config("paper_group_norm")
    network = EmoTalk(config).eval()
    assert config.lookahead_samples is None
    frames = run(raw(network, StreamSettings(hop=0.2, context=1.0)), speech, 320)
    assert len(frames) == 91
    short = run(raw(network, StreamSettings(hop=0.2, context=1.0)), speech[:50], 50)
    assert len(short) == 1


def test_hops_go_on_from_each_other_and_skipped_ones_change_no_other_frame(model, speech):
    clip = np.concatenate([speech[:48_000], speech[:48_000]])
    every = Engine(model, StreamSettings(context=1.0))
    frames = every.feed(clip)
    assert max(len(ring.last()) for ring in every._memory.state.rings[:2]) <= 45  # of 180 frames
    whole = coefficients(frames + every.flush())
    skipping = Engine(model, StreamSettings(context=1.0))
    frames = skipping.feed(clip[:40_000])
    skipping.skip_hops(4)
    frames += skipping.feed(clip[40_000:]) + skipping.flush()
    assert len(frames) == 180 - 12
    np.testing.assert_allclose(coefficients(frames), whole[[f.index for f in frames]], rtol=1e-5, atol=1e-5)
