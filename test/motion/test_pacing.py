"""Frames released at an even rate: hops, late audio, whole sentences at once, other clocks, interruption."""

import time
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emotalk_ros.motion.pacing import MARGIN, Pacer, Schedule

FPS = 30.0


@dataclass(frozen=True)
class Frame:
    index: int
    stamp_ns: int


def frame(index, origin=1000.0):
    return Frame(index, round((origin + index / FPS) * 1e9))


def live(seconds, hop=0.1, lookahead=0.16, compute=0.01, stall=None, origin=1000.0):
    """(arrival, frame) of a microphone: three frames a hop; `stall` = (from second, until second) holds audio back."""
    out = []
    for index in range(round(seconds * FPS)):
        per_hop = round(hop * FPS)
        ready = ((index // per_hop + 1) * per_hop - 1) / FPS + lookahead + compute
        if stall and stall[0] <= ready < stall[1]:
            ready = stall[1]
        out.append((origin + ready, frame(index, origin)))
    return out


def released(arrivals):
    schedule = Schedule(FPS)
    return schedule, np.array([schedule.due(one, now) for now, one in arrivals])


def test_three_frames_a_hop_come_out_evenly():
    schedule, due = released(live(10.0))
    steps = np.diff(due)[30:]
    assert np.abs(steps - 1 / FPS).max() < 0.001
    assert schedule.late <= 1
    # Not later than the frame that waits longest for its hop, and the margin.
    longest = max(now - one.stamp_ns / 1e9 for now, one in live(10.0))
    assert max(d - one.stamp_ns / 1e9 for d, (_, one) in zip(due, live(10.0), strict=True)) < longest + 2 * MARGIN


def test_late_audio_delays_the_face_but_not_for_good():
    arrivals = live(60.0, stall=(10.0, 10.6))
    _, due = released(arrivals)
    delays = np.array([d - one.stamp_ns / 1e9 for d, (_, one) in zip(due, arrivals, strict=True)])
    assert delays[round(10.2 * FPS) :].max() > delays[: round(9 * FPS)].max() + 0.4
    assert delays[-1] == pytest.approx(delays[round(9 * FPS)], abs=0.02)
    assert (np.diff(due) > 0.9 / FPS - 1e-6).all()


def test_a_long_stall_is_made_up_for_within_a_minute_and_nobody_sees_it_hurry():
    arrivals = live(90.0, stall=(10.0, 13.0))
    _, due = released(arrivals)
    delays = np.array([d - one.stamp_ns / 1e9 for d, (_, one) in zip(due, arrivals, strict=True)])
    before = delays[: round(9 * FPS)].max()
    assert delays[round(13 * FPS)] > before + 2.5
    assert delays[round(75 * FPS)] == pytest.approx(before, abs=0.03)  # at 2 % it took two and a half minutes
    steps = np.diff(due)[round(14 * FPS) :]
    assert steps.min() > 0.9 / FPS - 1e-6


def test_a_face_that_was_late_rests_at_once_when_it_is_told_to():
    """A node that is three seconds late sends evenly; its rest frames bear the time of now."""
    arrivals = [(1003.0 + index / FPS, frame(index)) for index in range(60)]
    schedule, due = released(arrivals)
    np.testing.assert_allclose(due, [now for now, _ in arrivals], atol=2 * MARGIN)
    now = arrivals[-1][0]
    for count in range(1, 10):
        now += 1 / FPS
        assert schedule.due(frame(round((now - 1000.0) * FPS)), now) == pytest.approx(now, abs=0.02), count


def test_a_hole_in_a_sentence_that_comes_ahead_of_time_is_no_reason_to_hurry():
    kept = [index for index in range(150) if not 40 <= index < 60]
    _, due = released([(1000.3, frame(index)) for index in kept])
    assert np.abs(due - (1000.305 + np.array(kept) / FPS)).max() < 0.01


def test_a_sentence_in_one_message_is_shown_in_its_own_time():
    arrivals = [(1000.3, frame(index)) for index in range(150)]
    _, due = released(arrivals)
    assert due[0] == pytest.approx(1000.3, abs=2 * MARGIN)
    assert due[-1] - due[0] == pytest.approx(149 / FPS, abs=0.01)


def test_a_synthesiser_that_runs_ahead_does_not_make_the_face_run_ahead():
    # One second of audio every 0.3 s.
    arrivals = [(1000.0 + 0.3 * (index // 30 + 1), frame(index)) for index in range(30 * 20)]
    _, due = released(arrivals)
    ahead = [one.stamp_ns / 1e9 - d for d, (_, one) in zip(due, arrivals, strict=True)]
    assert max(ahead) <= 1e-6


def test_stamps_of_another_clock_are_taken_as_they_come():
    arrivals = [(now + 1e6, one) for now, one in live(5.0)]
    _, due = released(arrivals)
    assert np.abs(np.diff(due)[30:] - 1 / FPS).max() < 0.002


@given(st.lists(st.floats(0.0, 0.4), min_size=2, max_size=80), st.floats(0.02, 0.5))
def test_whatever_the_jitter_frames_stay_in_order_and_apart(jitter, hop):
    arrivals, now = [], 0.0
    for index, late in enumerate(jitter):
        now = max(now, 1000.0 + index / FPS + hop + late)
        arrivals.append((now, frame(index)))
    _, due = released(arrivals)
    assert (np.diff(due) >= 0.9 / FPS - 1e-9).all()
    assert all(d >= now - 1e-9 and d >= one.stamp_ns / 1e9 for d, (now, one) in zip(due, arrivals, strict=True))


def test_the_thread_hands_out_each_frame_once_and_in_order():
    seen = []
    pacer = Pacer(200.0, lambda one: seen.append((time.time(), one.index)))
    pacer.start()
    origin = time.time()
    pacer.put([Frame(index, round((origin + index / 200) * 1e9)) for index in range(20)])
    deadline = time.monotonic() + 5
    while len(seen) < 20 and time.monotonic() < deadline:
        time.sleep(0.01)
    pacer.stop()
    assert [index for _, index in seen] == list(range(20))
    assert seen[-1][0] - seen[0][0] >= 19 / 200 - 0.02


def test_an_interruption_forgets_what_waits():
    seen = []
    pacer = Pacer(30.0, seen.append)
    pacer.start()
    pacer.put([Frame(index, round((time.time() + 1 + index / 30) * 1e9)) for index in range(60)])
    assert pacer.drop() >= 58 and pacer.waiting == 0
    pacer.stop()
    assert len(seen) <= 2
