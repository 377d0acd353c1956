"""Text with emotions written into it."""

import pytest

from emotalk_ros.nodes.spoken_text import Sentence, sentences


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello there! How are you?", [("Hello there!", None), ("How are you?", None)]),
        (
            "[happy] Hello! Good news. [ sad ] But I must go. [voice] Bye.",
            [("Hello!", "happy"), ("Good news.", "happy"), ("But I must go.", "sad"), ("Bye.", None)],
        ),
        ("It is 3.5 degrees.\nCold", [("It is 3.5 degrees.", None), ("Cold", None)]),
        ("... ! [happy]", []),
        ("你好。再见！", [("你好。", None), ("再见！", None)]),
    ],
)
def test_sentences_and_their_emotions(text, expected):
    found, unknown = sentences(text)
    assert [(s.text, s.emotion) for s in found] == expected
    assert not unknown


def test_brackets_without_an_emotion_are_told_and_not_spoken():
    found, unknown = sentences("[laughs] Well. [fearful] Help!", "calm")
    assert found == [Sentence("Well.", "calm"), Sentence("Help!", "fearful")]
    assert unknown == ["laughs"]
