"""Chunks with any stamps, through one voice: what comes out is always whole streams on their grids."""

from itertools import pairwise

import numpy as np
from fake_model import CausalFake
from hypothesis import given, settings
from hypothesis import strategies as st

from emotalk_ros.audio import PcmChunk, encode_pcm
from emotalk_ros.streaming import FaceStream, StreamSettings

T0 = 1_700_000_000_000_000_000
NS = 10**9
MOVES = ["next"] * 6 + ["gap", "overlap", "jump", "back", "repeat", "unstamped", "nan"]


def play(chunks):
    """(samples, frames, origin) of each stream that one voice makes of chunks."""
    voice, streams = FaceStream(CausalFake(), StreamSettings(context=1.0), motion=None), []
    for steps in (*(voice.steps(chunk) for chunk in chunks), voice.end_steps()):
        for step in steps:
            if step.begins:
                streams.append([0, [], step.stamp_ns])
            streams[-1][0] += len(step.audio)
            streams[-1][1].extend(step.frames)
    return streams


def chunk_of(samples, at, rate):
    stamp = 0 if at is None else T0 + round(at * NS)
    return PcmChunk(encode_pcm(samples, "f32le"), "f32le", 1, rate, stamp)


@settings(max_examples=40, deadline=None)
@given(
    moves=st.lists(st.tuples(st.sampled_from(MOVES), st.integers(1, 4000), st.floats(0, 1)), max_size=25),
    rate=st.sampled_from([8000, 16000, 48000]),
)
def test_every_stream_is_whole_in_order_and_on_its_grid(moves, rate):
    random, at, chunks = np.random.default_rng(len(moves)), 100.0, []
    for kind, size, share in moves:
        audio = random.uniform(-0.3, 0.3, size).astype(np.float32)
        if kind == "nan":
            audio[:: 1 + size // 3] = np.nan
        at += {"gap": 3 * share, "overlap": -share / 2, "jump": 1000 * share, "back": -1000 * share}.get(kind, 0.0)
        chunks.append(chunk_of(audio, None if kind == "unstamped" else at, rate))
        if kind == "repeat":
            chunks.append(chunks[-1])
        at += size / rate
    for samples, frames, origin in play(chunks):
        assert [f.index for f in frames] == list(range(-(-samples * 30 // 16000)))
        assert [f.stamp_ns for f in frames] == [origin + round(f.index * 1e9 / 30) for f in frames]
        assert all(np.isfinite(f.coefficients).all() for f in frames)


@settings(max_examples=20, deadline=None)
@given(sizes=st.lists(st.integers(8, 3000), min_size=1, max_size=25), rate=st.sampled_from([16000, 44100]))
def test_the_cutting_of_a_clean_stream_does_not_show_in_the_frames(sizes, rate):
    audio = np.random.default_rng(7).uniform(-0.3, 0.3, sum(sizes)).astype(np.float32)
    edges = np.cumsum([0, *sizes])
    pieces = [chunk_of(audio[a:b], a / rate, rate) for a, b in pairwise(edges)]
    ((_, parts, _),) = play(pieces)
    ((_, whole, _),) = play([chunk_of(audio, 0.0, rate)])
    assert [f.stamp_ns for f in parts] == [f.stamp_ns for f in whole]
    for a, b in zip(parts, whole, strict=True):
        np.testing.assert_allclose(a.coefficients, b.coefficients, atol=1e-5)
