"""From stamped chunks to one time line: gaps, overlaps, drift, jumps, broken chunks, two publishers."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emotalk_ros.audio import AudioFormatError, AudioIntake, PcmChunk, TimelineSettings, encode_pcm

T0 = 1_700_000_000_000_000_000
NS = 10**9


def tone(seconds, rate=16000, start=0.0):
    time = start + np.arange(round(seconds * rate)) / rate
    return (0.4 * np.sin(2 * np.pi * 200 * time)).astype(np.float32)


def chunk(samples, at, rate=16000, encoding="f32le", **fields):
    stamp = T0 + round(at * NS) if at is not None else 0
    return PcmChunk(
        encode_pcm(samples, encoding), encoding, 1 if samples.ndim == 1 else samples.shape[1], rate, stamp, **fields
    )


def stream(intake, pieces, rate=16000):
    """Push (samples, seconds) pieces; returns the segments with the flush."""
    segments = []
    for samples, at in pieces:
        segments += intake.push(chunk(samples, at, rate))
    return segments + intake.flush()


def cut(audio, size, rate=16000):
    return [(audio[at : at + size], at / rate) for at in range(0, len(audio), size)]


def joined(segments):
    return np.concatenate([s.samples for s in segments])


def check_line(segments):
    """Within a time line every segment begins where the one before it ended."""
    end = None
    for segment in segments:
        assert segment.samples.dtype == np.float32 and np.isfinite(segment.samples).all()
        if end is not None and not segment.reset:
            assert abs(segment.stamp_ns - end) <= 1
        end = segment.stamp_ns + len(segment.samples) * NS // 16000
    return end


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000])
@pytest.mark.parametrize("size", [1.0, 0.02, 0.0071])
def test_a_clean_stream_passes_whole_and_in_time(rate, size):
    audio = tone(1.0, rate)
    intake = AudioIntake()
    segments = stream(intake, cut(audio, round(size * rate), rate), rate)
    out = joined(segments)
    assert abs(len(out) - 16000) <= 1
    assert segments[0].stamp_ns == T0 and not segments[0].reset
    check_line(segments)
    np.testing.assert_array_equal(out, joined(stream(AudioIntake(), [(audio, 0.0)], rate)))
    quiet = dataclasses.replace(intake.statistics, chunks=0, samples=0)
    assert set(quiet.as_dict().values()) == {0} and intake.take_warnings() == []


def test_a_lost_chunk_becomes_silence_of_its_length():
    audio = tone(1.0)
    pieces = cut(audio, 320)
    del pieces[20]
    intake = AudioIntake()
    out = joined(stream(intake, pieces))
    expected = audio.copy()
    expected[6400:6720] = 0
    np.testing.assert_array_equal(out, expected)
    assert (intake.statistics.gaps, intake.statistics.filled_samples) == (1, 320)
    assert "20.0 ms" in intake.take_warnings()[0] and intake.take_warnings() == []


def test_a_chunk_sent_twice_and_one_that_overlaps_are_heard_once():
    audio = tone(1.0)
    pieces = cut(audio, 1600)
    pieces.insert(4, pieces[3])
    pieces[8] = (audio[7 * 1600 - 800 : 8 * 1600], 0.65)
    intake = AudioIntake()
    np.testing.assert_array_equal(joined(stream(intake, pieces)), audio)
    assert (intake.statistics.overlaps, intake.statistics.dropped_samples) == (2, 2400)


def test_a_long_gap_starts_a_new_time_line_at_its_own_stamp():
    intake = AudioIntake(TimelineSettings(max_gap=1.0))
    segments = stream(intake, [(tone(0.5), 0.0), (tone(0.5), 1.8)])
    assert [s.reset for s in segments] == [False, True]
    assert segments[1].stamp_ns == T0 + 1_800_000_000
    assert intake.statistics.long_gaps == 1 and "too long to fill" in intake.take_warnings()[0]


@pytest.mark.parametrize("rate", [16000, 48000])
def test_nothing_is_lost_at_a_long_gap(rate):
    intake = AudioIntake()
    segments = stream(intake, [(tone(0.5, rate), 0.0), (tone(0.5, rate), 100.0)], rate)
    assert sum(len(s.samples) for s in segments) == 16000
    first = [s for s in segments if s.stamp_ns < T0 + 50 * NS]
    assert sum(len(s.samples) for s in first) == 8000
    assert [s.reset for s in segments].count(True) == 1


def test_a_jump_back_starts_anew():
    intake = AudioIntake()
    segments = stream(intake, [(tone(0.5), 100.0), (tone(0.5), 0.0), (tone(0.5), 0.5)])
    assert [s.reset for s in segments] == [False, True, False]
    assert intake.statistics.jumps_back == 1 and "jumped back by 100.5" in intake.take_warnings()[0]


def test_a_short_loop_is_recognised_after_half_a_second():
    intake = AudioIntake()
    once = cut(tone(1.0), 320)
    segments = stream(intake, once * 3)
    assert sum(s.reset for s in segments) == 2
    assert len(joined(segments)) >= 3 * 16000 - 2 * 8320


def test_unstamped_chunks_follow_each_other():
    audio = tone(0.5)
    segments = stream(AudioIntake(), [(samples, None) for samples, _ in cut(audio, 480)])
    np.testing.assert_array_equal(joined(segments), audio)
    assert segments[0].stamp_ns == 0
    check_line(segments)


def test_unstamped_chunks_take_their_time_of_arrival_at_first_and_after_a_pause():
    intake, audio = AudioIntake(), tone(0.1)
    first = intake.push(chunk(audio, None, arrival_ns=T0 + NS // 10))
    jittery = intake.push(chunk(audio, None, arrival_ns=T0 + NS // 3))
    late = intake.push(chunk(audio, None, arrival_ns=T0 + 10 * NS))
    assert first[0].stamp_ns == T0
    assert jittery[0].stamp_ns == T0 + NS // 10
    assert late[0].reset and late[0].stamp_ns == T0 + 10 * NS - NS // 10


def test_jitter_within_the_tolerance_changes_nothing():
    random = np.random.default_rng(0)
    audio = tone(20.0)
    pieces = [(samples, at + random.uniform(-0.004, 0.004)) for samples, at in cut(audio, 320)]
    pieces[0] = (pieces[0][0], 0.0)
    intake = AudioIntake()
    np.testing.assert_array_equal(joined(stream(intake, pieces)), audio)
    assert intake.statistics.slipped_samples == 0


@pytest.mark.parametrize("ppm", [-300, 300])
def test_a_drifting_clock_is_followed_without_gaps_overlaps_or_clicks(ppm):
    audio = tone(60.0)
    random = np.random.default_rng(1)
    pieces = [(s, at * (1 + ppm * 1e-6) + random.uniform(0, 0.001)) for s, at in cut(audio, 320)]
    intake = AudioIntake()
    out = joined(stream(intake, pieces))
    assert intake.statistics.gaps == intake.statistics.overlaps == 0
    drift = 60 * ppm * 1e-6 * 16000
    assert abs(len(out) - len(audio) - drift) < 0.005 * 16000
    assert intake.statistics.slipped_samples == len(out) - len(audio)
    assert np.abs(np.diff(out)).max() < 1.05 * np.abs(np.diff(audio)).max()


def test_bursts_stamped_when_published_lose_nothing():
    """Four chunks of 16 ms at once, every 64 ms, stamped when published; the first burst begins in its middle."""
    audio = np.random.default_rng(2).uniform(-0.5, 0.5, 16000 * 6).astype(np.float32)
    pieces = [(audio[k * 256 : (k + 1) * 256], 0.064 * ((k + 2) // 4) + 0.0002 * ((k + 2) % 4)) for k in range(375)]
    intake = AudioIntake()
    segments = stream(intake, pieces)
    out = joined(segments)
    assert intake.statistics.dropped_samples == 0 and intake.statistics.gaps <= 1
    np.testing.assert_array_equal(out[-256 * 370 :], audio[-256 * 370 :])
    assert intake.statistics.late_stamps > 100
    assert any("stamp chunks with the time of capture" in text for text in intake.take_warnings())


def test_a_broken_chunk_sent_twice_is_heard_once():
    intake = AudioIntake()
    broken = tone(0.02)
    broken[::7] = np.nan
    broken[3] = 5.0
    assert len(joined(stream(intake, [(broken, 0.0), (broken, 0.0), (tone(0.02), 0.02)]))) == 640
    assert intake.statistics.overlaps == 1


def test_late_stamps_do_not_bring_back_what_was_heard():
    audio = np.random.default_rng(2).uniform(-0.5, 0.5, 16000).astype(np.float32)
    pieces = cut(audio, 1600)
    pieces[5] = (audio[5 * 1600 - 700 : 6 * 1600], 0.5 - 700 / 16000)
    np.testing.assert_array_equal(joined(stream(AudioIntake(), pieces)), audio)


def test_stamps_that_are_not_trusted_count_only_after_a_pause():
    audio = tone(1.0)
    intake = AudioIntake(TimelineSettings(stamps="none"))
    segments = []
    for samples, at in cut(audio, 320):
        segments += intake.push(chunk(samples, at * 0.01))  # all at once, stamped when published
    np.testing.assert_array_equal(joined(segments), audio)
    later = intake.push(chunk(audio, 60.0))
    assert later[0].reset and later[0].stamp_ns == T0 + 60 * NS


def test_a_change_of_rate_and_channels_loses_nothing_and_keeps_the_time():
    intake = AudioIntake()
    segments = intake.push(chunk(tone(0.5, 48000), 0.0, 48000))
    segments += intake.push(chunk(np.stack([tone(0.5, 44100, 0.5)] * 2, axis=1), 0.5, 44100))
    segments += intake.push(chunk(tone(0.5, 16000, 1.0), 1.0, 16000)) + intake.flush()
    out = joined(segments)
    assert abs(len(out) - 24000) <= 2
    check_line(segments)
    assert not any(s.reset for s in segments)
    assert intake.statistics.rate_changes == 2
    time = np.arange(len(out)) / 16000
    quiet = np.abs(out - 0.4 * np.sin(2 * np.pi * 200 * (time - 0.0001)))
    assert np.median(quiet) < 0.01 and quiet.max() < 0.25  # each join shows the filters' edge, no hole


def test_channels_are_averaged_or_chosen():
    both = np.stack([np.full(100, 0.5), np.full(100, -0.1)], axis=1).astype(np.float32)
    assert joined(AudioIntake().push(chunk(both, 0.0)))[0] == pytest.approx(0.2)
    assert joined(AudioIntake(channel=1).push(chunk(both, 0.0)))[0] == pytest.approx(-0.1)
    with pytest.raises(AudioFormatError, match="channel 2 is asked for, but the audio has 2"):
        AudioIntake(channel=2).push(chunk(both, 0.0))
    with pytest.raises(ValueError, match="channel -1"):
        AudioIntake(channel=-1)


def test_ten_minutes_in_one_chunk_come_in_pieces():
    segments = AudioIntake().push(PcmChunk(bytes(600 * 8000 * 2), "s16le", 1, 8000, T0))
    assert len(joined(segments)) == pytest.approx(9_600_000, abs=1000)
    assert max(len(s.samples) for s in segments) <= 16800
    check_line(segments)


def test_broken_samples_are_repaired_and_counted():
    intake = AudioIntake()
    dirty = np.array([0.5, np.nan, np.inf, -np.inf, 3.0, 32767.0], np.float32)
    np.testing.assert_allclose(joined(intake.push(chunk(dirty, 0.0))), [0.5, 0, 0, 0, 1, 1])
    assert (intake.statistics.invalid_samples, intake.statistics.clipped_samples) == (3, 2)
    warnings = intake.take_warnings()
    assert "3 samples are NaN" in warnings[0] and "full scale is 1.0" in warnings[1]


def test_bytes_left_over_are_dropped_and_the_rest_is_heard():
    intake = AudioIntake()
    out = intake.push(PcmChunk(encode_pcm(tone(0.02), "s16le") + b"\x01", "s16le", 1, 16000, T0))
    assert len(joined(out)) == 320
    assert intake.statistics.trimmed_bytes == 1 and "641 bytes" in intake.take_warnings()[0]
    assert intake.push(PcmChunk(b"\x01", "s16le", 1, 16000, T0)) == []


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"encoding": "mulaw"}, "unknown encoding 'mulaw'"),
        ({"encoding": "mp3"}, "format:=wave"),
        ({"channels": 0}, "0 channels"),
        ({"channels": 300}, "300 channels"),
        ({"sample_rate": 0}, "sample rate 0 Hz"),
        ({"sample_rate": 10_000_000}, "sample rate 10000000 Hz"),
    ],
)
def test_a_chunk_that_cannot_be_understood_is_refused_and_the_stream_goes_on(fields, words):
    intake, audio = AudioIntake(), tone(0.06)
    segments = intake.push(chunk(audio[:320], 0.0))
    with pytest.raises(AudioFormatError, match=words):
        intake.push(dataclasses.replace(chunk(audio[320:640], 0.02), **fields))
    segments += intake.push(chunk(audio[640:], 0.04))
    expected = audio.copy()
    expected[320:640] = 0
    np.testing.assert_array_equal(joined(segments), expected)
    assert intake.statistics.rejected_chunks == 1


def test_empty_chunks_are_nothing():
    intake = AudioIntake()
    assert intake.push(PcmChunk(b"", "s16le", 1, 16000, T0)) == []
    assert intake.flush() == []


def test_after_a_flush_the_next_chunk_begins_a_stream():
    intake = AudioIntake()
    intake.push(chunk(tone(0.1), 0.0))
    intake.flush()
    segment = intake.push(chunk(tone(0.1), 0.05))[0]
    assert segment.reset and segment.stamp_ns == T0 + 50_000_000 and intake.statistics.overlaps == 0


def test_two_publishers_with_other_clocks_do_not_thrash():
    ours, theirs = cut(tone(4.0), 320), cut(tone(4.0) * 0.1, 320)
    mixed = [piece for a, (samples, at) in zip(ours, theirs, strict=True) for piece in (a, (samples, at + 5000.0))]
    intake = AudioIntake()
    segments = stream(intake, mixed)
    assert sum(s.reset for s in segments) <= 2
    assert intake.statistics.foreign_chunks > 190
    assert any("second publisher" in text for text in intake.take_warnings())
    assert len(joined(segments)) >= 15 * 4000 * 0.98


def test_two_publishers_on_one_clock_are_told_about():
    ours, theirs = cut(tone(2.0), 320), cut(tone(2.0) * 0.1, 320)
    mixed = [piece for a, (samples, at) in zip(ours, theirs, strict=True) for piece in (a, (samples, at + 0.003))]
    intake = AudioIntake()
    out = joined(stream(intake, mixed))
    assert len(out) == pytest.approx(32000, abs=400)
    assert any("two publishers" in text for text in intake.take_warnings())


def test_when_the_first_of_two_publishers_stops_the_other_takes_over():
    mixed = []
    for k, (samples, at) in enumerate(cut(tone(4.0), 320)):
        if k < 50:
            mixed.append((samples, at))
        mixed.append((samples, at + 5000.0))
    segments = stream(AudioIntake(), mixed)
    assert segments[-1].stamp_ns == pytest.approx(T0 + 5004 * NS, abs=NS // 20)


@settings(max_examples=60, deadline=None)
@given(
    moves=st.lists(
        st.tuples(
            st.sampled_from(["next", "next", "next", "gap", "overlap", "jump", "back", "repeat", "unstamped"]),
            st.integers(1, 4000),
            st.floats(0, 1),
        ),
        max_size=40,
    ),
    rate=st.sampled_from([16000, 8000, 44100]),
)
def test_any_pattern_of_stamps_gives_lines_without_holes(moves, rate):
    intake, at, segments = AudioIntake(), 1000.0, []
    for kind, size, share in moves:
        audio = np.full(size, 0.1, np.float32)
        shift = {
            "gap": 3 * share,
            "overlap": -share / 2,
            "jump": 1000 * share,
            "back": -1000 * share,
            "repeat": -size / rate,
        }
        at += shift.get(kind, 0.0)
        segments += intake.push(chunk(audio, None if kind == "unstamped" else at, rate))
        at += size / rate
    segments += intake.flush()
    check_line(segments)
    pushed = sum(round(size * 16000 / rate) for _, size, _ in moves)
    counted = intake.statistics
    total = sum(len(s.samples) for s in segments)
    assert counted.samples == total
    expected = pushed + counted.filled_samples - counted.dropped_samples + counted.slipped_samples
    assert abs(total - expected) <= 3 * len(moves) + 0.02 * abs(counted.slipped_samples) + 3


def test_settings_are_checked():
    for fields in ({"tolerance": 3.0}, {"drift_start": 0.5}, {"window": 0.0}, {"max_jitter": -1.0}):
        with pytest.raises(ValueError):
            TimelineSettings(**fields)


def sent_ahead(audio, size, every, start=100.0, delay=0.001):
    """Chunks of `size` samples sent `every` seconds, stamped when they are sent."""
    pieces = [audio[at : at + size] for at in range(0, len(audio), size)]
    return [
        chunk(piece, start + k * every, arrival_ns=T0 + round((start + k * every + delay) * NS))
        for k, piece in enumerate(pieces)
    ]


def speech_like(seconds, seed=3):
    """Noise with pauses of digital silence, as speech synthesis has them, and silence at its beginning."""
    noise = np.random.default_rng(seed).uniform(-0.3, 0.3, round(seconds * 16000)).astype(np.float32)
    noise[:3200] = 0.0
    for at in range(16000, len(noise), 32000):
        noise[at : at + 6400] = 0.0
    return noise


BURSTS = {
    "10 s in 20 ms chunks within 0.6 s": (10.0, 320, 0.0012),
    "1 s chunks every 0.3 s": (6.0, 16000, 0.3),
    "all at once": (10.0, 320, 0.0),
    "twice as fast": (10.0, 1600, 0.05),
}


@pytest.mark.parametrize("seconds, size, every", BURSTS.values(), ids=BURSTS.keys())
def test_sound_that_comes_faster_than_its_stamps_is_heard_whole(seconds, size, every):
    audio, intake = speech_like(seconds), AudioIntake()
    segments = [segment for c in sent_ahead(audio, size, every) for segment in intake.push(c)] + intake.flush()
    np.testing.assert_array_equal(joined(segments), audio)
    assert segments[0].stamp_ns == T0 + 100 * NS and sum(s.reset for s in segments) == 0
    assert intake.statistics.dropped_samples == 0 and intake.statistics.sent_ahead == 1
    assert any("faster than its stamps allow" in text for text in intake.take_warnings())


def test_sound_that_comes_a_little_faster_than_its_stamps_is_heard_whole():
    """Half seconds every 0.45 s: at first they may be late stamps, which are followed by single samples."""
    audio, intake = speech_like(8.0), AudioIntake()
    out = joined([s for c in sent_ahead(audio, 8000, 0.45) for s in intake.push(c)] + intake.flush())
    assert len(audio) * (1 - 1 / 128) <= len(out) <= len(audio)
    assert intake.statistics.dropped_samples == 0 and intake.statistics.sent_ahead == 1


def test_a_burst_is_recognised_by_its_stamps_where_the_arrival_is_unknown():
    audio = np.random.default_rng(0).uniform(-0.3, 0.3, 160000).astype(np.float32)
    intake = AudioIntake()
    chunks = [dataclasses.replace(c, arrival_ns=0) for c in sent_ahead(audio, 320, 0.0012)]
    np.testing.assert_array_equal(joined([s for c in chunks for s in intake.push(c)] + intake.flush()), audio)


def test_after_a_burst_a_pause_is_silence_and_a_long_one_a_new_stream():
    intake, audio = AudioIntake(), speech_like(2.0)
    first = [s for c in sent_ahead(audio, 16000, 0.3) for s in intake.push(c)]
    pause = intake.push(chunk(audio, 103.0, arrival_ns=T0 + 103 * NS))  # the sentence lasted until 102.0
    assert len(joined(first)) == 32000 and len(joined(pause)) == 16000 + 32000 and not any(s.reset for s in pause)
    later = intake.push(chunk(audio, 120.0, arrival_ns=T0 + 120 * NS))
    assert later[0].reset and later[0].stamp_ns == T0 + 120 * NS


def test_chunks_that_a_network_held_up_and_sent_at_once_keep_their_places():
    """True stamps of capture, half a second late and all at once: no rush, no silence, nothing moved."""
    audio, intake = speech_like(4.0), AudioIntake()
    arrivals = [max(at + 0.02, 2.5) if 2.0 <= at < 2.5 else at + 0.02 for at in np.arange(200) * 0.02]
    segments = []
    for (samples, at), arrival in zip(cut(audio, 320), arrivals, strict=True):
        segments += intake.push(chunk(samples, at, arrival_ns=T0 + round(arrival * NS)))
    np.testing.assert_array_equal(joined(segments), audio)
    assert intake.statistics.sent_ahead == intake.statistics.late_stamps == 0


@pytest.mark.parametrize("stamps", ["capture", "auto"])
def test_two_publishers_of_live_sound_are_no_burst(stamps):
    ours, theirs = cut(tone(2.0), 320), cut(tone(2.0) * 0.1, 320)
    mixed = [piece for a, (samples, at) in zip(ours, theirs, strict=True) for piece in (a, (samples, at + 0.003))]
    intake = AudioIntake(TimelineSettings(stamps=stamps))
    for samples, at in mixed:
        intake.push(chunk(samples, at, arrival_ns=T0 + round((at + 0.021) * NS)))
    assert intake.statistics.sent_ahead == 0 and intake.statistics.dropped_samples > 30000


def test_capture_forbids_what_auto_allows():
    intake = AudioIntake(TimelineSettings(stamps="capture"))
    for c in sent_ahead(speech_like(6.0), 16000, 0.3):
        intake.push(c)
    assert intake.statistics.dropped_samples > 30000 and intake.statistics.sent_ahead == 0


def test_a_sentence_without_a_stamp_begins_when_it_arrives_whole_or_in_chunks():
    audio = speech_like(10.0)
    whole = AudioIntake().push(chunk(audio, None, arrival_ns=T0))
    intake = AudioIntake()
    cuts = [
        segment
        for k in range(500)
        for segment in intake.push(chunk(audio[k * 320 : (k + 1) * 320], None, arrival_ns=T0 + k * 1_200_000))
    ]
    assert whole[0].stamp_ns == T0 and cuts[0].stamp_ns == T0 - NS // 50
