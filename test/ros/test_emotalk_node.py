"""The emotalk node as its own process: frames, bad input, parameters, commands, lifecycle. One process for all."""

import re
import time

import numpy as np
import pytest
from conftest import frames_of
from diagnostic_msgs.msg import DiagnosticStatus
from graph import NS, check_grid, chunk_message, raw_chunk, wait_until
from rclpy.qos import ReliabilityPolicy

from emotalk_ros.face.names import INDEX
from emotalk_ros.msg import EmotionCommand, EmotionState
from emotalk_ros.nodes.messages import from_time


@pytest.fixture(scope="module")
def node(graph, model_path):
    # Reliable, so that even the message of ten minutes (600 kB) arrives: it is the node's answer that is tested.
    reliable = {"qos_overrides./audio.subscription.reliability": "reliable"}
    deep = {"qos_overrides./emotion_command.subscription.depth": 7}
    return graph.start_emotalk(model_path, {**reliable, **deep, "stream.idle_timeout": 0.5})


@pytest.fixture(autouse=True)
def quiet(graph, node, request):
    """Nothing of the last test is still on its way."""
    assert node.alive, node.log
    if "speech" in request.fixturenames:
        wait_until(lambda: _settled(graph), 20.0, "silence")
    graph.clear()


def _settled(graph):
    before = len(graph.faces)
    time.sleep(0.2)
    return len(graph.faces) == before


def test_every_frame_comes_once_on_the_grid(graph, speech, expect_frames):
    stamp = graph.speak(speech, pace=1.0)
    values = check_grid(graph.wait_frames(expect_frames), stamp, expect_frames)
    assert values.std() > 0.01  # the face moves
    assert graph.feelings and abs(sum(graph.feelings[-1].probabilities) - 1.0) < 1e-3
    assert {m.header.frame_id for m in graph.faces} == {"face"}


@pytest.mark.parametrize("chunk", [0.005, 0.05, 1.3])
def test_the_size_of_the_chunks_does_not_matter(graph, speech, expect_frames, chunk):
    stamp = graph.speak(speech, chunk=chunk)
    values = check_grid(graph.wait_frames(expect_frames), stamp, expect_frames)
    graph.clear()
    time.sleep(0.6)
    stamp = graph.speak(speech)
    again = check_grid(graph.wait_frames(expect_frames), stamp, expect_frames)
    np.testing.assert_allclose(values, again, atol=1e-5)


def test_what_is_published_is_what_a_stream_computes(graph, speech, expect_frames, model_path):
    from emotalk_ros.model import load_model
    from emotalk_ros.motion import MotionSettings
    from emotalk_ros.motion.stages.blinks import BlinkSettings
    from emotalk_ros.streaming import FaceStream

    graph.speak(speech, encoding="f32le")
    frames = graph.wait_frames(expect_frames)
    stream = FaceStream(load_model(model_path), motion=MotionSettings(blinks=BlinkSettings(on=False)))
    offline = stream.push(speech) + stream.end()
    np.testing.assert_allclose([f.coefficients for f in frames], [f.coefficients for f in offline], atol=1e-5)
    np.testing.assert_allclose([f.speech_activity for f in frames], [f.activity for f in offline], atol=1e-6)


def _bad_chunks(stamp):
    """Name: messages to slip in between valid chunks, and words of the warning."""
    silence = np.zeros(320, np.float32)
    fine = silence.astype("<i2").tobytes()
    return {
        "empty": ([raw_chunk(b"", stamp)], "0 bytes"),
        "odd bytes": ([raw_chunk(b"\0", stamp)], "not a whole number"),
        "unknown encoding": ([raw_chunk(fine, stamp, encoding="vorbis?")], "'vorbis?'"),
        "mp3": ([raw_chunk(fine, stamp, encoding="mp3")], "format:=wave"),
        "no channels": ([raw_chunk(fine, stamp, channels=0)], "0 channels"),
        "300 channels": ([raw_chunk(fine, stamp, channels=300)], "300 channels"),
        "rate 0": ([raw_chunk(fine, stamp, rate=0)], "0 Hz"),
        "10 MHz": ([raw_chunk(fine, stamp, rate=10_000_000)], "10000000 Hz"),
        "ten minutes": ([raw_chunk(bytes(600_000), stamp, rate=1000, encoding="u8")], "600.0 s"),
    }


@pytest.mark.parametrize("name", list(_bad_chunks(NS)))
def test_bad_chunks_are_named_and_cost_nothing(graph, speech, expect_frames, name):
    said = len(graph.logs)
    stamp = time.time_ns()
    bad, words = _bad_chunks(stamp + NS)[name]
    graph.speak(speech, stamp_ns=stamp, between=lambda k: bad if k == 50 else ())
    check_grid(graph.wait_frames(expect_frames), stamp, expect_frames)
    wait_until(lambda: graph.said(words, said), 5.0, f"a warning with {words!r}")


def test_nan_and_inf_become_silence(graph, speech, expect_frames):
    said = len(graph.logs)
    broken = speech.copy()
    broken[8000:8100] = np.nan
    broken[9000] = np.inf
    stamp = graph.speak(broken, encoding="f32le")
    check_grid(graph.wait_frames(expect_frames), stamp, expect_frames)
    wait_until(lambda: graph.said("NaN or infinite", said), 5.0, "a warning")


def test_the_rate_may_change_in_mid_stream(graph, speech):
    said = len(graph.logs)
    stamp = time.time_ns()
    half = speech[:16000]
    graph.speak(half, stamp_ns=stamp)
    graph.speak(np.repeat(half, 3), stamp_ns=stamp + NS, rate=48000)
    check_grid(graph.wait_frames(60), stamp, 60)
    wait_until(lambda: graph.said("16000 to 48000 Hz", said), 5.0, "a warning")


@pytest.mark.parametrize(("jump", "words"), [(100.0, "100."), (-100.0, "jumped back by 100.")])
def test_a_jump_of_the_stamps_begins_a_new_stream(graph, speech, expect_frames, jump, words):
    said = len(graph.logs)
    first = graph.speak(speech, pace=8.0)
    second = first + len(speech) * NS // 16000 + round(jump * NS)
    graph.speak(speech, stamp_ns=second)
    frames = graph.wait_frames(2 * expect_frames)
    check_grid(frames[:expect_frames], first, expect_frames)
    check_grid(frames[expect_frames:], second, expect_frames)
    wait_until(lambda: graph.said(words, said), 5.0, f"a warning with {words!r}")


def test_a_short_gap_is_filled_and_counted(graph, speech):
    said = len(graph.logs)
    stamp = time.time_ns()
    graph.speak(speech[:8000], stamp_ns=stamp, pace=8.0)
    graph.speak(speech[8000:16000], stamp_ns=stamp + NS // 2 + NS // 10, pace=8.0)
    check_grid(graph.wait_frames(frames_of(17600)), stamp, frames_of(17600))
    wait_until(lambda: graph.said("gap of 100.0 ms", said), 5.0, "a warning")
    wait_until(lambda: int(graph.status()[2]["audio_gaps"]) >= 1, 5.0, "the count")


def test_a_second_publisher_is_told_about_and_changes_nothing(graph, speech, expect_frames):
    said = len(graph.logs)
    stamp = time.time_ns()
    noise = np.random.default_rng(1).normal(0.0, 0.1, 320).astype(np.float32)

    def intruder(k):
        return [chunk_message(noise, stamp - 500 * NS + k * NS // 50)] if k >= 20 else ()

    graph.speak(speech, stamp_ns=stamp, between=intruder)
    wait_until(lambda: graph.said("second publisher", said), 20.0, "a warning")
    graph.wait_frames(expect_frames)
    ours = [from_time(frame.header.stamp) - stamp for frame in graph.faces if from_time(frame.header.stamp) >= stamp]
    # Until the first intruder one stream, from then on another: every instant of the speech has its frame.
    assert len(ours) == frames_of(20 * 320) + frames_of(len(speech) - 20 * 320)
    assert max(np.diff(ours)) < 1.01 * NS / 30


@pytest.mark.parametrize(
    "seconds, chunk, every, expected",
    [(10.0, 0.02, 0.0012, 300), (6.01, 1.0, 0.3, 181)],
    ids=["10 s in 0.6 s", "1 s chunks every 0.3 s"],
)
def test_a_burst_stamped_when_it_is_sent_loses_nothing(graph, speech, seconds, chunk, every, expected):
    """A speech synthesiser that sends faster than it speaks, every chunk stamped with the time of sending."""
    said, seen = len(graph.logs), len(graph.statuses)
    sound = np.tile(speech, 8)[: round(seconds * 16000)]
    size = round(chunk * 16000)
    begun = stamp = time.time_ns()
    for k, at in enumerate(range(0, len(sound), size)):
        time.sleep(max(0.0, begun / NS + k * every - time.time()))
        sent = time.time_ns() if k else stamp
        graph.audio.publish(chunk_message(sound[at : at + size], sent))
    check_grid(graph.wait_frames(expected, timeout=60.0), stamp, expected)
    assert graph.said("faster than its stamps allow", said)
    time.sleep(1.1)
    assert not [s.message for s in graph.statuses[seen:] if "dropped" in s.message]


def test_diagnostics_are_not_ok_while_sound_is_dropped(graph, speech):
    seen, stamp = len(graph.statuses), time.time_ns()
    twice = [chunk_message(speech[k * 320 : (k + 1) * 320], stamp + k * NS // 50) for k in range(50)]
    for message in twice:
        graph.audio.publish(message)
        graph.audio.publish(message)
        time.sleep(0.02)

    def told():
        return [s for s in graph.statuses[seen:] if "ms of audio dropped" in s.message]

    assert wait_until(told, 5.0, "a warning")[0].level == DiagnosticStatus.WARN
    time.sleep(1.5)  # this stream is over before the next test speaks


# -- commands and parameters -----------------------------------------------------------------------------------------


def _command(label="", labels=(), weights=(), intensity=1.0, blend=1.0, hold=0.0):
    message = EmotionCommand(label=label, intensity=intensity, blend=blend, hold=hold)
    message.labels, message.weights = list(labels), list(weights)
    return message


def test_a_commanded_emotion_shows_until_it_is_taken_back(graph, speech, expect_frames):
    graph.speak(speech)
    heard = [f.coefficients for f in graph.wait_frames(expect_frames)]
    graph.clear()
    graph.commands.publish(_command(labels=["angry", "sad"], weights=[3.0, 1.0]))
    time.sleep(0.3)
    graph.speak(speech)
    angry = [f.coefficients for f in graph.wait_frames(expect_frames)]
    shown = graph.feelings[-1]
    assert (shown.source, shown.dominant, shown.blend) == (EmotionState.COMMANDED, "angry", 1.0)
    assert shown.probabilities[list(shown.labels).index("angry")] == pytest.approx(0.75)
    assert np.abs(np.array(angry) - np.array(heard)).max() > 0.01
    graph.clear()
    graph.commands.publish(_command("happy", blend=0.5))
    time.sleep(0.3)
    graph.speak(speech[:16000])
    graph.wait_frames(30)
    assert (graph.feelings[-1].source, graph.feelings[-1].blend) == (EmotionState.BLENDED, 0.5)
    graph.clear()
    graph.commands.publish(_command())
    time.sleep(0.3)
    graph.speak(speech)
    again = [f.coefficients for f in graph.wait_frames(expect_frames)]
    assert graph.feelings[-1].source == EmotionState.HEARD
    np.testing.assert_allclose(again, heard, atol=1e-5)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (_command("bored"), "'bored'"),
        (_command(labels=["happy", "sad"], weights=[1.0]), "2 labels, but 1 weight"),
        (_command(labels=["happy"], weights=[float("nan")]), "nan"),
        (_command(labels=["happy"], weights=[-1.0]), "-1"),
        (_command(labels=["happy"], weights=[0.0]), "sum to 0"),
        (_command("happy", intensity=7.0), "7"),
        (_command("happy", blend=1.5), "1.5"),
        (_command("happy", labels=["sad"], weights=[1.0]), "one of the two"),
        (_command("happy", hold=-1.0), "hold -1 s"),
    ],
)
def test_a_wrong_command_is_refused_by_name(graph, command, words):
    time.sleep(0.1)
    wait_until(lambda: _refused(graph, command, words), 30.0, f"a refusal with {words!r}")


def _refused(graph, command, words):
    """Warnings of one kind come at most every five seconds: ask until it is told."""
    said = len(graph.logs)
    graph.commands.publish(command)
    time.sleep(0.3)
    message = graph.said("emotion command refused", said)
    return message is not None and words in message


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"style__level": 1.5}, "1.5"),
        ({"style__level": float("nan")}, "nan"),
        ({"style__person": 99}, "99"),
        ({"emotion__intensity": -1.0}, "-1"),
        ({"emotion__label": "bored"}, "'bored' is not one of neutral"),
        ({"output__smoothing": "much"}, "'much'"),
        ({"output__gains": ["jawopen:2"]}, "'jawopen'"),
        ({"output__gains": ["jawOpen=2"]}, "NAME:FACTOR"),
        ({"output__blink_interval_min": 9.0}, "blink interval"),
        ({"model__device": "cuda"}, "deactivate the node first"),
        ({"stream__hop": 0.2}, "deactivate the node first"),
        ({"audio__type": "audio_common_msgs/AudioStamped"}, "deactivate the node first"),
        ({"style__level": 0.5, "emotion__blend": 2.0}, "2"),
    ],
)
def test_wrong_parameters_are_refused_with_the_reason(graph, values, words):
    accepted, reason = graph.set(**values)
    assert not accepted and words in reason, reason


def test_style_gains_and_smoothing_change_while_it_speaks(graph, speech, expect_frames):
    changes = {40: {"output__gains": ["jawOpen:0.0"], "output__smoothing": 0.0}}
    stamp = graph.speak(
        speech, pace=1.0, between=lambda k: graph.set(**changes[k]) == (True, "") and () if k in changes else ()
    )
    values = check_grid(graph.wait_frames(expect_frames), stamp, expect_frames)
    jaw = values[:, INDEX["jawOpen"]]
    assert jaw[:12].max() > 0.05 and jaw[-4:].max() < 0.02  # gains glide
    assert graph.set(output__gains=["jawOpen:1.0"], output__smoothing=0.02) == (True, "")
    assert graph.set(style__level=0.2, style__person=3, emotion__source="label", emotion__label="sad") == (True, "")
    graph.clear()
    graph.speak(speech)
    graph.wait_frames(expect_frames)
    assert graph.feelings[-1].dominant == "sad"
    assert graph.set(style__level=1, style__person=0, emotion__source="heard") == (True, "")


def test_the_qos_of_inputs_is_what_parameters_ask_for(graph):
    (audio,) = graph.node.get_subscriptions_info_by_topic("/audio")
    assert audio.qos_profile.reliability == ReliabilityPolicy.RELIABLE  # best effort by default
    names = graph.parameters("emotalk")
    assert names["qos_overrides./emotion_command.subscription.depth"].integer_value == 7


def test_parameters_are_described(graph):
    hop, level, label = graph.describe("emotalk", "stream.hop", "style.level", "emotion.label")
    assert (
        "seconds of audio between two runs" in hop.description and "only while not active" in hop.additional_constraints
    )
    assert (level.floating_point_range[0].from_value, level.floating_point_range[0].to_value) == (0.0, 1.0)
    assert "changes while running" in level.additional_constraints and "surprised" in label.additional_constraints


def test_diagnostics_tell_how_it_goes(graph, speech, expect_frames):
    graph.speak(speech, pace=1.0)
    graph.wait_frames(expect_frames)
    seen = len(graph.statuses)
    level, message, values = wait_until(lambda: graph.status(since=seen), 5.0, "a status")
    assert level == DiagnosticStatus.OK, message
    assert values["state"] == "active" and values["device"] == "cpu"
    for key in ("real_time_factor", "latency_p50_ms", "latency_p95_ms", "latency_p99_ms", "input_chunks_per_s"):
        assert re.fullmatch(r"\d+\.\d+", values[key]), (key, values[key])
    assert int(values["frames"]) >= expect_frames
    for key in ("skipped_hops", "audio_gaps", "audio_rejected_chunks", "model"):
        assert key in values
    wait_until(lambda: "no audio for" in graph.status()[1], 10.0, "a warning of silence")
    assert graph.status()[0] == DiagnosticStatus.WARN and "right type, are silent" in graph.status()[1]


# -- lifecycle: last, as it takes the node apart ---------------------------------------------------------------------


def test_lifecycle(graph, speech, expect_frames, model_path):
    assert graph.state() == "active"
    assert graph.transition("deactivate") and graph.state() == "inactive"
    wait_until(lambda: graph.audio.get_subscription_count() == 0, 10.0, "the end of the subscription")
    seen = len(graph.statuses)
    assert wait_until(lambda: graph.status(since=seen), 5.0, "a status")[2]["state"] == "inactive"
    refused, reason = graph.set(stream__hop=0.11)
    assert not refused and "nearest" in reason  # not a whole number of frames
    assert graph.set(stream__hop=0.2, output__fps=60) == (True, "")
    assert graph.transition("activate")
    wait_until(lambda: graph.audio.get_subscription_count() == 1, 10.0, "the subscription")
    time.sleep(0.3)
    stamp = graph.speak(speech)
    count = frames_of(len(speech), 60)
    check_grid(graph.wait_frames(count), stamp, count, fps=60)

    assert graph.transition("deactivate") and graph.transition("cleanup") and graph.state() == "unconfigured"
    assert graph.set(model__path="/nowhere") == (True, "")
    said = len(graph.logs)
    assert not graph.transition("configure") and graph.state() == "unconfigured"
    wait_until(lambda: graph.said("/nowhere", said), 5.0, "the reason")
    wait_until(
        lambda: graph.status()[0] == DiagnosticStatus.ERROR and "/nowhere" in graph.status()[1], 5.0, "the status"
    )
    assert graph.set(model__path=str(model_path), stream__hop=0.1, output__fps=0) == (True, "")
    assert graph.transition("configure") and graph.state() == "inactive"
    assert graph.set(audio__type="audio_common_msgs/AudioStamped") == (True, "")
    said = len(graph.logs)
    assert not graph.transition("activate") and graph.state() == "inactive"
    wait_until(lambda: graph.said("audio_common_msgs can't be imported", said), 5.0, "the reason")
    assert graph.set(audio__type="emotalk_ros/AudioChunk") == (True, "")
    assert graph.transition("activate") and graph.state() == "active"
    wait_until(lambda: graph.audio.get_subscription_count() == 1, 10.0, "the subscription")
    time.sleep(0.3)
    graph.clear()
    stamp = graph.speak(speech)
    check_grid(graph.wait_frames(expect_frames), stamp, expect_frames)


def test_a_finalized_node_says_that_it_is_over(graph):
    over = graph.start("emotalk_node", {"autostart": False}, arguments=["-r", "__node:=over"])
    assert graph.state("over") == "unconfigured"
    assert graph.transition("shutdown", "over") and graph.state("over") == "finalized"
    seen = len(graph.statuses)
    level, words, values = wait_until(lambda: graph.status("over", seen), 10.0, "a status")
    assert level == DiagnosticStatus.ERROR and "start it again" in words and values["state"] == "finalized"
    assert over.stop() == 0


def test_it_ends_cleanly_on_ctrl_c(graph, node, speech):
    graph.speak(speech[:8000])
    assert node.stop() == 0
    assert "Traceback" not in node.log
