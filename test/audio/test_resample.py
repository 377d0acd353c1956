"""The streaming resampler: independent of the cutting, in time, flushed to the last sample."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import correlate

from emotalk_ros.audio import AudioFormatError, StreamResampler, resample

RATES = [1000, 8000, 11025, 16000, 22050, 24000, 44100, 48000, 96000, 192000]


def burst(rate, seconds=1.0, centre=0.5):
    time = np.arange(round(rate * seconds)) / rate
    tone = np.sin(2 * np.pi * min(300.0, rate / 8) * time)
    return (tone * np.exp(-(((time - centre) / 0.05) ** 2))).astype(np.float32)


@pytest.mark.parametrize("rate", RATES)
def test_the_sound_stays_where_it_was(rate):
    out = resample(burst(rate), rate)
    expected = np.interp(np.arange(16000) / 16000, np.arange(64000) / 64000, burst_at(rate))
    assert abs(len(out) - 16000) <= 1
    count = min(len(out), 16000)
    lag = np.argmax(correlate(out[:count], expected[:count], method="fft")) - (count - 1)
    assert abs(lag) <= 2  # 0.13 ms
    np.testing.assert_allclose(np.abs(out).max(), np.abs(expected).max(), rtol=0.02)


def burst_at(rate):
    """The same burst drawn finely, at the frequency that `rate` allows."""
    time = np.arange(64000) / 64000
    return np.sin(2 * np.pi * min(300.0, rate / 8) * time) * np.exp(-(((time - 0.5) / 0.05) ** 2))


@settings(max_examples=15, deadline=None)
@given(rate=st.sampled_from([8000, 22050, 44100, 48000]), sizes=st.lists(st.integers(1, 3000), min_size=1, max_size=40))
def test_the_output_does_not_depend_on_the_cutting(rate, sizes):
    audio = np.random.default_rng(rate).standard_normal(sum(sizes)).astype(np.float32) * 0.2
    stream, parts, at = StreamResampler(rate), [], 0
    for size in sizes:
        parts.append(stream.push(audio[at : at + size]))
        at += size
    np.testing.assert_array_equal(np.concatenate([*parts, stream.flush()]), resample(audio, rate))


@pytest.mark.parametrize(("rate", "limit"), [(16000, 0.0), (44100, 0.0145), (48000, 0.0135), (8000, 0.031)])
def test_little_waits_inside(rate, limit):
    stream, fed, out, waiting = StreamResampler(rate), 0, 0, []
    for _ in range(100):
        chunk = np.zeros(rate // 100, np.float32)
        out += len(stream.push(chunk))
        fed += len(chunk)
        waiting.append(fed / rate - out / 16000)
    assert max(waiting) <= limit


def test_a_tone_above_8_khz_does_not_fold_down_and_one_below_passes():
    time = np.arange(48000) / 48000
    high = resample(np.sin(2 * np.pi * 9500 * time).astype(np.float32), 48000)[2000:-2000]
    low = resample(np.sin(2 * np.pi * 7000 * time).astype(np.float32), 48000)[2000:-2000]
    assert high.std() < 1e-4
    assert low.std() == pytest.approx(np.sqrt(0.5), rel=0.01)


def test_after_a_flush_it_begins_anew():
    stream = StreamResampler(48000)
    first = np.concatenate([stream.push(burst(48000)), stream.flush()])
    np.testing.assert_array_equal(np.concatenate([stream.push(burst(48000)), stream.flush()]), first)


@pytest.mark.parametrize("rate", [0, -1, 999, 10_000_000])
def test_impossible_rates_are_refused(rate):
    with pytest.raises(AudioFormatError, match=rf"{rate} Hz: must be 1000 to 384000 Hz"):
        StreamResampler(rate)
