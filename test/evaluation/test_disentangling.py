"""Content and emotion apart: the pairs, and the figures of models whose answer is known."""

import numpy as np
import pytest

from emotalk_ros.corpus.store import Clip, Corpus, CorpusWriter
from emotalk_ros.evaluation.disentangling import EXPRESSION, draw_pairs, measure
from emotalk_ros.face import default_face
from emotalk_ros.face.names import INDEX

FRAMES = 30
EMOTIONS = {"happy": 0, "sad": 5, "angry": 9}


def motion(sentence: int, emotion: str) -> np.ndarray:
    values = np.zeros((FRAMES, 52), dtype=np.float32)
    values[:, INDEX["jawOpen"]] = 0.2 + 0.2 * np.sin(np.arange(FRAMES) * (sentence + 1) / 3)
    values[:, EXPRESSION[EMOTIONS[emotion]]] = 0.6
    return values


def tone(sentence: int, emotion: str) -> np.ndarray:
    """Audio that says which clip it is: the constant's first decimal is the sentence, the second the emotion."""
    code = 0.1 * sentence + 0.01 * list(EMOTIONS).index(emotion) + 0.1
    return np.full(FRAMES * 16000 // 30, code, dtype=np.float32)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs") / "corpus"
    with CorpusWriter(folder) as writer:
        for sentence in range(2):
            for emotion in EMOTIONS:
                clip = Clip(f"s{sentence}-{emotion}", tone(sentence, emotion), motion(sentence, emotion))
                writer.add(Clip(**{**clip.__dict__, "emotion": emotion, "sentence": f"s{sentence}", "source": "made"}))
        writer.finish()
    return Corpus.open(folder)


class Reader:
    """Reads content and emotion off the audio; `leaks` tells whose emotion it performs in spite of the control."""

    class config:
        num_persons = 24

    def __init__(self, leaks: bool = False, trembles: float = 0.0) -> None:
        self.leaks, self.trembles = leaks, trembles

    def predict(self, audio, person=0, level=1.0, emotion=None):
        assert 0 <= person < 24
        sentence, own = self.read(audio)
        performed = own if emotion is None or self.leaks else self.read(emotion.clip)[1]
        values = motion(sentence, performed)
        if emotion is not None:
            values[:, INDEX["jawOpen"]] += self.trembles
        return values

    @staticmethod
    def read(audio):
        code = round(float(audio[0]) * 100) - 10
        return code // 10, list(EMOTIONS)[code % 10]


def test_pairs_are_of_one_actor_with_other_words_and_another_emotion(corpus):
    pairs = draw_pairs(corpus.records, 100)
    assert len(pairs) == 12  # 6 clips, each with the 2 other emotions of the other sentence
    for pair in pairs:
        a, b, truth = (corpus.records[k] for k in (pair.content, pair.emotion, pair.truth))
        assert a.sentence != b.sentence and a.emotion != b.emotion
        assert (truth.sentence, truth.emotion) == (a.sentence, b.emotion)
    assert draw_pairs(corpus.records, 5, seed=3) == draw_pairs(corpus.records, 5, seed=3)


def test_a_perfect_model_keeps_the_lips_and_follows(corpus):
    result = measure(Reader(), corpus, draw_pairs(corpus.records, 100), default_face())
    assert result["lve_cross_mm"][0] < 0.01  # mm; the corpus stores float16
    assert result["follows_own"][0] == result["follows"][0] == result["follows_of_all"][0] == 1.0
    assert result["labels_follow_of_all"][0] == 1.0


def test_a_model_that_leaks_its_own_emotion_is_found_out(corpus):
    result = measure(Reader(leaks=True), corpus, draw_pairs(corpus.records, 100), default_face())
    assert result["follows_own"][0] == result["follows"][0] == result["follows_of_all"][0] == 0.0


def test_lips_that_change_with_the_emotion_are_found_out(corpus):
    result = measure(Reader(trembles=0.1), corpus, draw_pairs(corpus.records, 100), default_face())
    assert result["lve_cross_mm"][0] == pytest.approx(4.2, rel=0.1)  # a tenth of jawOpen's 42 mm


def test_a_corpus_without_pairs_is_refused(corpus):
    with pytest.raises(ValueError, match="nothing to cross"):
        measure(Reader(), corpus, [], default_face())
