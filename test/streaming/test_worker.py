"""The worker without a graph: skipping when it is behind, pauses, failures, the queue. Time is a number here."""

import time

import numpy as np
import pytest
from fake_model import CausalFake

from emotalk_ros.audio import PcmChunk, encode_pcm
from emotalk_ros.audio.capture import CaptureClock
from emotalk_ros.motion.frame import FrameKind
from emotalk_ros.motion.pacing import Schedule
from emotalk_ros.nodes.runtime import Throttled
from emotalk_ros.streaming import FaceStream, StreamSettings
from emotalk_ros.streaming.backlog import Backlog
from emotalk_ros.streaming.worker import Crew, Worker, WorkerSettings

NS = 1_000_000_000
T0 = 1_000 * NS


class _Result:
    def __init__(self, count):
        self.coefficients = np.full((count, 52), 0.5, np.float32)
        self.frame_emotion_logits = np.zeros((count, 2), np.float32)


class _Config:
    fps = 30
    lookahead_samples = 1600
    emotion_labels = ("neutral", "happy")


class Model:
    """Takes `cost` seconds of the test's clock a call, or fails."""

    config = _Config()

    def __init__(self, clock):
        self.clock = clock
        self.cost = 0.0
        self.error = None

    def analyse(self, audio, person=0, level=1.0, emotion=None):
        self.clock.now += self.cost
        if self.error:
            raise self.error
        return _Result(-(-len(audio) * 30 // 16000))


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def bench(clock):
    """(worker, model, frames published, warnings)."""
    model, frames, warnings = Model(clock), [], []
    settings = WorkerSettings(max_lag=0.5, max_chunk=60.0, idle_timeout=0.5, idle=False)
    worker = Worker(
        FaceStream(model, StreamSettings(hop=0.1), motion=None),
        settings,
        frames.extend,
        lambda kind, text: warnings.append(text),
        clock,
    )
    return worker, model, frames, warnings


def chunk(at, seconds=0.02, **changes):
    data = encode_pcm(np.full(round(seconds * 16000), 0.1, np.float32), "s16le")
    fields = {"data": data, "encoding": "s16le", "channels": 1, "sample_rate": 16000, "stamp_ns": T0 + round(at * NS)}
    return PcmChunk(**{**fields, **changes})


def live(worker, clock, seconds, start=0.0):
    """Chunks of 20 ms as they would arrive while the worker works."""
    waiting = [start + 0.02 * k for k in range(round(seconds / 0.02))]
    origin = clock.now - start
    while waiting or worker.backlog.seconds > 1e-6:
        if not worker.backlog.seconds > 1e-6 and waiting and clock.now < origin + waiting[0] + 0.02:
            clock.now = origin + waiting[0] + 0.02
        while waiting and clock.now >= origin + waiting[0] + 0.02 - 1e-9:
            worker.offer(chunk(waiting.pop(0)))
        worker.step(0.0)


def pause(worker, clock, seconds):
    end = clock.now + seconds
    while clock.now < end:
        worker.step(0.0)
        clock.now += 0.01


def test_latency_is_measured_from_the_arrival_of_the_sound(bench, clock):
    worker, model, frames, warnings = bench
    model.cost = 0.03
    live(worker, clock, 3.0)
    reading = worker.figures.reading(clock.now)
    # A frame waits for the rest of its hop and 0.1 s of look-ahead, at most a chunk more, then for the model.
    assert 0.1 + 0.03 <= reading["latency_p50_ms"] / 1e3 <= reading["latency_p99_ms"] / 1e3 <= 0.1 + 0.1 + 0.02 + 0.03
    assert reading["real_time_factor"] == pytest.approx(0.3, abs=0.05)
    assert reading["skipped_hops"] == 0 and not warnings
    assert [f.index for f in frames] == list(range(len(frames)))


def test_when_too_slow_whole_hops_are_skipped_and_stamps_stay_true(bench, clock):
    worker, model, frames, warnings = bench
    model.cost = 0.3  # for 0.1 s of sound
    live(worker, clock, 12.0)
    reading = worker.figures.reading(clock.now)
    indices = np.array([f.index for f in frames])
    assert reading["skipped_hops"] > 50 and any("hops are skipped" in text for text in warnings)
    assert (np.diff(indices) > 0).all() and set(indices // 3 * 3) | set(indices) == set(indices)  # three frames a hop
    np.testing.assert_array_equal([f.stamp_ns for f in frames], T0 + np.round(indices * NS / 30).astype(np.int64))
    assert reading["latency_p99_ms"] < 1500  # the delay does not grow
    model.cost = 0.01
    before = len(frames)
    live(worker, clock, 3.0, start=12.0)
    assert np.all(np.diff([f.index for f in frames[before + 30 :]]) == 1)  # and all is well again


def test_sound_ahead_of_time_is_not_behind(bench, clock):
    """A synthesiser that sends ten seconds at once: nothing is skipped, though it takes three seconds."""
    worker, model, frames, warnings = bench
    model.cost = 0.03
    worker.offer(chunk(0.0, 10.0))
    worker.step(0.0)
    pause(worker, clock, 12.0)
    assert [f.index for f in frames[:300]] == list(range(300)) and not warnings


def test_a_pause_ends_the_stream_and_the_next_sound_begins_another(bench, clock):
    worker, _, frames, _ = bench
    live(worker, clock, 1.0)
    assert len(frames) < 30
    pause(worker, clock, 0.4)
    assert len(frames) < 30
    pause(worker, clock, 0.2)
    assert [f.index for f in frames if f.kind is FrameKind.SPEECH] == list(range(30))
    before = len(frames)
    live(worker, clock, 1.0, start=5.0)
    pause(worker, clock, 0.7)
    spoken = [f for f in frames[before:] if f.kind is FrameKind.SPEECH]
    assert [f.index for f in spoken] == list(range(30))
    assert spoken[0].stamp_ns == T0 + 5 * NS


def test_after_the_audio_the_mouth_closes_on_the_grid(bench, clock):
    worker, _, frames, _ = bench
    live(worker, clock, 1.0)
    pause(worker, clock, 1.5)
    closing = [f for f in frames if f.kind is not FrameKind.SPEECH]
    assert [f.index for f in frames] == list(range(30 + len(closing))) and 7 <= len(closing) <= 9
    assert np.abs(closing[-1].coefficients).max() < 0.03
    assert (np.diff([f.coefficients[0] for f in frames[29:]]) < 0).all()
    for frame in closing:
        assert frame.kind is FrameKind.CLOSING and abs(frame.stamp_ns - T0 - frame.index * NS / 30) <= 1
    before = len(frames)
    pause(worker, clock, 5.0)
    assert len(frames) == before  # without idle output nothing more is said


def test_the_last_frames_of_an_utterance_are_neither_late_nor_together(clock):
    """The look-ahead of the last frames never comes: they wait for the pause, and are released one by one."""
    came = []
    worker = Worker(
        FaceStream(Model(clock), StreamSettings(hop=0.1), motion=None),
        WorkerSettings(),
        lambda frames: came.extend((frame, clock.now) for frame in frames),
        lambda kind, text: None,
        clock,
    )
    schedule, begun = Schedule(30.0), clock.now
    live(worker, clock, 2.0)
    pause(worker, clock, 2.0)
    due = [
        schedule.due(frame, T0 / NS + now - begun) - frame.stamp_ns / NS
        for frame, now in came
        if frame.kind is FrameKind.SPEECH
    ]
    assert len(due) == 60
    # Later than the others by what the pause (0.2 s) lasts longer than the look-ahead (0.1 s); once it was 0.54 s.
    assert max(due[-12:]) - np.median(due) < 0.15
    released = np.array(due) + np.arange(60) / 30
    assert np.diff(released).min() > 0.85 / 30


def test_idle_frames_come_at_the_frame_rate_whenever_no_audio_does(bench, clock):
    _, model, frames, _ = bench
    worker = Worker(
        FaceStream(model, StreamSettings(hop=0.1), motion=None),
        WorkerSettings(idle_timeout=0.2),
        frames.extend,
        lambda kind, text: None,
        clock,
        audio_now_ns=lambda: T0,
    )
    pause(worker, clock, 2.0)
    assert len(frames) == pytest.approx(60, abs=2) and {f.kind for f in frames} == {FrameKind.IDLE}
    np.testing.assert_allclose([f.stamp_ns - T0 for f in frames], np.arange(len(frames)) * NS / 30, atol=1.0, rtol=0)
    frames.clear()
    live(worker, clock, 1.0, start=3.0)
    pause(worker, clock, 2.0)
    kinds = [f.kind for f in frames]
    first, last = kinds.index(FrameKind.SPEECH), len(kinds) - 1 - kinds[::-1].index(FrameKind.SPEECH)
    assert kinds[first : last + 1] == [FrameKind.SPEECH] * 30 and frames[first].index == 0
    assert kinds[-1] is FrameKind.IDLE and not frames[-1].coefficients.any()
    assert len(frames) - last == pytest.approx(1.8 * 30, abs=4)


def test_an_interruption_leaves_nothing_of_the_sentence(bench, clock):
    worker, _, frames, _ = bench
    worker.offer(chunk(0.0, 10.0))
    worker.interrupt()
    pause(worker, clock, 1.0)
    assert not [f for f in frames if f.kind is FrameKind.SPEECH] and worker.backlog.seconds == 0.0
    live(worker, clock, 1.0, start=20.0)
    pause(worker, clock, 0.7)
    assert [f.index for f in frames if f.kind is FrameKind.SPEECH] == list(range(30))


@pytest.mark.parametrize("error", [RuntimeError("CUDA error: device lost"), ValueError("shape"), MemoryError()])
def test_a_failing_network_costs_only_its_own_sound(bench, clock, error):
    worker, model, frames, warnings = bench
    live(worker, clock, 1.0)
    model.error = error
    live(worker, clock, 0.5, start=1.0)
    assert any(type(error).__name__ in text for text in warnings)
    model.error = None
    count = len(frames)
    live(worker, clock, 1.0, start=1.5)
    pause(worker, clock, 0.7)
    assert len(frames) >= count + 30 and worker.figures.failures > 0


def test_long_and_empty_chunks_are_refused(bench, clock):
    worker, _, frames, warnings = bench
    worker.offer(chunk(0.0, 600.0))
    worker.offer(chunk(0.0, data=b""))
    worker.step(0.0)
    assert not frames and worker.backlog.seconds == 0.0
    assert "600.0 s" in warnings[0] and "0 bytes" in warnings[1]


def test_the_queue_is_bounded():
    backlog = Backlog(limit=1.0)
    for k in range(200):
        backlog.put(chunk(0.02 * k), 0.02, now=0.0)
    assert 0.9 < backlog.seconds <= 1.0 and backlog.dropped == 151
    assert backlog.get(0.0).chunk.stamp_ns == T0 + round(151 * 0.02 * NS)  # the oldest went


def test_stop_ends_the_thread(bench):
    worker, *_ = bench
    worker.start()
    worker.stop(timeout=5.0)


def test_warnings_do_not_flood(clock):
    told = []
    warn = Throttled(told.append, period=5.0, burst=3, clock=clock)
    for k in range(100):
        warn("gap", f"gap {k}")
    assert told == ["gap 0", "gap 1", "gap 2"]
    warn("other", "other")
    clock.now += 6.0
    warn("gap", "gap 0")
    assert told[3:] == ["other", "gap 0 (97 more like this before)"]


def test_22_000_random_messages_write_a_few_lines_a_second(bench, clock):
    worker, _, _, _ = bench
    lines, kinds = [], set()
    throttled = Throttled(lambda text: lines.append((clock.now, text)), clock=clock)

    def warn(kind, text):
        kinds.add(kind)
        throttled(kind, text)

    worker._warn = warn
    rng = np.random.default_rng(0)
    encodings = ["s16le", "f32le", "f64be", "u8", "", "mp3"]
    begin = clock.now
    for k in range(22_000):  # 500 a second
        clock.now += 0.002
        word = "".join(map(chr, rng.integers(33, 0x2FFF, rng.integers(0, 2000 if k % 100 == 0 else 12))))
        worker.offer(
            PcmChunk(
                rng.bytes(int(rng.integers(0, 400))),
                word if rng.random() < 0.5 else encodings[rng.integers(6)],
                int(rng.choice([0, 1, 2, 64, 65, 65535])),
                int(rng.choice([0, 1, 999, 16000, 2**32 - 1])),
                int(rng.integers(-(2**60), 2**60)),
            )
        )
        worker.step(timeout=0.0)
    seconds = clock.now - begin
    assert len(kinds) < 30  # words of the code, none from outside
    most = max(sum(at <= a < at + 1.0 for a, _ in lines) for at in np.arange(begin, clock.now))
    assert len(lines) / seconds <= 0.8 * len(kinds) and most <= 4 * len(kinds)
    refused = [text for _, text in lines if text.startswith("audio refused")]
    assert 4 <= len(refused) <= 4 * (seconds / 5.0 + 1)
    assert sum(len(text.encode()) for _, text in lines) < 500_000 and max(len(text) for _, text in lines) < 600


def test_a_throttle_stays_small_whatever_the_kinds(clock):
    told = []
    warn = Throttled(told.append, kinds=10, clock=clock)
    for k in range(1000):
        warn(f"kind {k}", f"text {k}")
    assert len(told) == 10 + 4 and len(warn._recent) == 11


def test_capture_stamps_are_steady_and_follow():
    rng = np.random.default_rng(0)
    clock = CaptureClock(16000)
    stamps = []
    for k in range(500):
        true = k * 20_000_000 * 1.0001  # a sound card 100 ppm slow
        stamps.append(clock.stamp(T0 + round(true + rng.normal(0.0, 3e6)), 320))
    steps = np.diff(stamps)
    assert np.abs(steps - 20_002_000).max() < 0.3e6 and abs(stamps[-1] - T0 - 499 * 20_002_000) < 3e6
    assert abs(clock.stamp(T0 + 20 * NS, 320) - T0 - 20 * NS) == 0  # samples were lost: jump


def test_a_crew_serves_many_voices_each_as_alone(speech):
    """Voices that come and go while others speak: every frame once, in order, with the values of a voice alone."""
    model, warnings = CausalFake(), []
    crew = Crew(model)
    settings = WorkerSettings(max_lag=60.0, max_chunk=60.0, idle_timeout=0.2, idle=False)
    published = [[] for _ in range(5)]
    workers = [
        Worker(FaceStream(model), settings, made.extend, lambda *w: warnings.append(w), crew=crew) for made in published
    ]
    for number, worker in enumerate(workers):
        worker.start()
        for at in range(0, len(speech), 1000 + 333 * number):
            piece = speech[at : at + 1000 + 333 * number]
            stamp = T0 + at * NS // 16000
            worker.offer(PcmChunk(encode_pcm(piece, "f32le"), "f32le", 1, 16000, stamp))
        if number == 1:
            workers[0].stop()
            workers[0].start()
    alone = FaceStream(model)
    wanted = alone.push(PcmChunk(encode_pcm(speech, "f32le"), "f32le", 1, 16000, T0)) + alone.end()
    deadline = time.monotonic() + 60.0
    while any(sum(f.kind is FrameKind.SPEECH for f in made) < len(wanted) for made in published[1:]):
        assert time.monotonic() < deadline and not warnings
        time.sleep(0.01)
    for worker in workers:
        worker.stop()
    for made in published[1:]:
        spoken = [f for f in made if f.kind is FrameKind.SPEECH]
        assert [f.stamp_ns for f in spoken] == [f.stamp_ns for f in wanted]
        assert np.abs(np.array([f.coefficients for f in spoken]) - [f.coefficients for f in wanted]).max() < 1e-5
    assert crew._thread is None


@pytest.mark.parametrize(
    ("error", "passes"), [(RuntimeError("CUDA error: device lost"), 1), (RuntimeError("a kernel failed"), 3)]
)
def test_a_lost_device_is_replaced(clock, error, passes):
    """Other failures have to come three times in a row; a lost device is lost at once. All voices then go on."""
    lost, other, warnings, published, failed = Model(clock), Model(clock), [], [], []
    lost.error = error

    def recover():
        failed.append(crew.passes.failures)
        return other

    crew = Crew(lost, recover=recover)
    settings = WorkerSettings(max_lag=60.0, idle_timeout=0.2, idle=False)
    workers = [
        Worker(FaceStream(lost, motion=None), settings, published.extend, lambda k, t: warnings.append(t), crew=crew)
        for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    deadline, at = time.monotonic() + 30.0, 0.0
    while not published:
        assert time.monotonic() < deadline
        for worker in workers:
            worker.offer(chunk(at, 0.4))
        at += 0.4
        time.sleep(0.02)
    for worker in workers:
        worker.stop()
    assert crew.model is other and any(str(error) in text for text in warnings)
    assert failed == [passes]
