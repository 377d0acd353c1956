"""The window schedule and what it refuses."""

from types import SimpleNamespace

import pytest

from emotalk_ros.streaming import StreamSettings, WindowSchedule

CAUSAL = SimpleNamespace(fps=30, lookahead_samples=1801, resampling="grid")
FULL = SimpleNamespace(fps=30, lookahead_samples=None, resampling="align_corners")


def test_windows_cover_the_grid_and_start_where_the_grids_meet():
    schedule = WindowSchedule.build(StreamSettings(hop=4 / 30, context=1.0), CAUSAL)
    stop = 0
    for hop in range(100):
        window = schedule.window(hop)
        assert window.first == stop
        stop = window.stop
        assert window.start % 1600 == 0 and window.base * 16000 == window.start * 30
        assert window.end == (window.stop - 1) * 16000 // 30 + 1801
        assert window.first * 16000 // 30 - window.start >= min(16000, window.first * 16000 // 30)
        assert window.end - window.start <= schedule.capacity


def test_windows_of_a_model_that_stretches_end_on_the_grid_too():
    schedule = WindowSchedule.build(StreamSettings(hop=0.1, context=2.0, lookahead=0.25), FULL)
    assert schedule.lookahead == 4800
    assert all(schedule.window(hop).end % 1600 == 0 for hop in range(50))


@pytest.mark.parametrize(
    ("settings", "config", "words"),
    [
        (StreamSettings(hop=0.05), CAUSAL, r"hop 0.05 s.*0.03333 s or 0.06667 s"),
        (StreamSettings(hop=0.0), CAUSAL, r"hop 0.0 s.*above 0"),
        (StreamSettings(hop=float("nan")), CAUSAL, r"hop nan"),
        (StreamSettings(hop=0.06667), FULL, r"hop 0.06667 s.*nearest: 0.1 s"),
        (StreamSettings(context=1.25), CAUSAL, r"context 1.25 s.*1.2 s or 1.3 s"),
        (StreamSettings(hop=0.5, context=0.3), FULL, r"context 0.3 s must not be shorter than the hop"),
        (StreamSettings(lookahead=0.05), CAUSAL, r"lookahead 0.05 s.*0.1126 s \(1801 samples\)"),
        (StreamSettings(lookahead=-1.0), FULL, r"lookahead -1.0 s"),
        (StreamSettings(fps=9.0), CAUSAL, r"fps 9.0.*10 to 120"),
    ],
)
def test_a_geometry_that_cannot_work_is_refused_with_the_nearest_that_can(settings, config, words):
    with pytest.raises(ValueError, match=words):
        WindowSchedule.build(settings, config)


def test_a_single_frame_hop_and_no_lookahead_are_allowed():
    config = SimpleNamespace(fps=30, lookahead_samples=0, resampling="grid")
    schedule = WindowSchedule.build(StreamSettings(hop=0.0333), config)
    assert schedule.hop_frames == 1
    assert schedule.latency == pytest.approx(1 / 16000)


def test_another_model_rate_has_its_own_grid():
    schedule = WindowSchedule.build(StreamSettings(hop=0.12, context=2.0), SimpleNamespace(fps=25, lookahead_samples=0))
    assert (schedule.align, schedule.hop_frames) == (640, 3)
