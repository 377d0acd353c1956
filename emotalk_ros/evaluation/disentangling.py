"""Content and emotion apart: the words of clip A performed with the emotion of clip B.

Three questions (EmoTalk, section 3.2, puts them as training targets; here they are measured on voices held out): do the
lips stay those of A, does the expression move with B, and does it become that of B's label? Both clips are
of one actor, with different sentences and emotions; a corpus of `emotalk synthesize` has such pairs, RAVDESS too.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotalk_ros.corpus.store import Corpus, Record
from emotalk_ros.evaluation.metrics.faces import max_vertex_error
from emotalk_ros.evaluation.metrics.statistics import bootstrap_mean
from emotalk_ros.face import FaceBasis
from emotalk_ros.face.names import EXPRESSION

Array = NDArray[np.float32]


@dataclass(frozen=True)
class CrossDrive:
    """Indices of a corpus: the words of `content` with the emotion of `emotion`.

    `truth` shows just that, on the time line of `content`; None where the corpus has no such take.
    """

    content: int
    emotion: int
    truth: int | None


def draw_pairs(records: Sequence[Record], count: int, seed: int = 0) -> list[CrossDrive]:
    """Up to `count` pairs of clips of one actor that differ in sentence and emotion, the same for the same seed."""
    by_actor: dict[tuple[str, int], list[int]] = defaultdict(list)
    takes: dict[tuple[str, int, str, str | None, float], int] = {}
    for k, record in enumerate(records):
        if record.emotion is not None:
            by_actor[record.source, record.actor].append(k)
            takes[record.source, record.actor, record.sentence, record.emotion, record.level] = k
    found: list[CrossDrive] = []
    for (source, actor), clips in sorted(by_actor.items()):
        for a in clips:
            for b in clips:
                one, two = records[a], records[b]
                if one.emotion != two.emotion and one.sentence != two.sentence:
                    truth = takes.get((source, actor, one.sentence, two.emotion, two.level))
                    same_time = truth is not None and abs(records[truth].frames - one.frames) <= 1
                    found.append(CrossDrive(a, b, truth if same_time else None))
    random.Random(seed).shuffle(found)
    return sorted(found[:count], key=lambda pair: (pair.content, pair.emotion))


def measure(
    model: Any,
    corpus: Corpus,
    pairs: Sequence[CrossDrive],
    basis: FaceBasis,
    progress: Callable[[int, int], None] = lambda done, total: None,
    seed: int = 0,
) -> dict[str, Any]:
    """Figures of a model over `pairs`, with 95 % intervals as (mean, low, high).

    Returns:
        `lve_own_mm`: lips of A with A's own emotion against A's labels. `lve_cross_mm`: lips of A with B's emotion
        against the take of A's words in B's emotion where the corpus has one, else against A's labels.
        `lve_ratio`: of the two means. `follows_own`: share whose expression is nearer to the one the model itself
        gives B than to the one it gives A: whether the emotion that was heard moves with B. `follows`: share whose
        expression is nearer to B's emotion than to A's, so it has to be heard right as well; `follows_of_all`: nearest
        to B's among all emotions. Nearness: mean of `EXPRESSION` over the frames, Euclidean,
        to the means of the labels of the corpus's clips of that emotion. `labels_follow_of_all`: the same asked of
        B's own labels, the most that can be reached.

    Raises ValueError when there are no pairs.
    """
    if not pairs:
        raise ValueError("no two clips of one actor with different sentences and emotions: nothing to cross")
    from emotalk_ros.model import EmotionControl

    centres = _emotion_centres(corpus)
    own, cross, moved, nearer, nearest, ceiling = [], [], [], [], [], []
    for done, pair in enumerate(pairs):
        a, b = corpus[pair.content], corpus[pair.emotion]
        person = (a.person if a.person is not None else a.actor) % model.config.num_persons
        mine = model.predict(a.audio, person=person, level=a.level)
        control = EmotionControl.from_clip(b.audio)
        crossed = model.predict(a.audio, person=person, level=b.level, emotion=control)
        theirs = model.predict(b.audio, person=person, level=b.level)
        moved.append(float(_apart(crossed, theirs) < _apart(crossed, mine)))
        truth = a if pair.truth is None else corpus[pair.truth]
        own.append(_lip_error(mine, a.coefficients, basis))
        cross.append(_lip_error(crossed, truth.coefficients, basis))
        distance = _distances(crossed, centres)
        assert a.emotion is not None and b.emotion is not None
        nearer.append(float(distance[b.emotion] < distance[a.emotion]))
        nearest.append(float(min(distance, key=distance.__getitem__) == b.emotion))
        labelled = _distances(b.coefficients, centres)
        ceiling.append(float(min(labelled, key=labelled.__getitem__) == b.emotion))
        progress(done + 1, len(pairs))
    figures = {
        "lve_own_mm": own,
        "lve_cross_mm": cross,
        "follows_own": moved,
        "follows": nearer,
        "follows_of_all": nearest,
        "labels_follow_of_all": ceiling,
    }
    result: dict[str, Any] = {name: bootstrap_mean(values, seed=seed) for name, values in figures.items()}
    truths = sum(pair.truth is not None for pair in pairs)
    return {"pairs": len(pairs), "with_truth": truths, "lve_ratio": float(np.mean(cross) / np.mean(own)), **result}


def _lip_error(prediction: Array, reference: Array, basis: FaceBasis) -> float:
    frames = min(len(prediction), len(reference))
    lips = [basis.displacement(c[:frames], basis.lip_ids) for c in (prediction, reference)]
    return max_vertex_error(*lips)


def _emotion_centres(corpus: Corpus) -> dict[str, NDArray[np.float64]]:
    """Mean of the expression coefficients of the labels, for each emotion."""
    sums: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
    for k, record in enumerate(corpus.records):
        if record.emotion is not None:
            sums[record.emotion].append(corpus.read_coefficients(k)[:, EXPRESSION].mean(axis=0, dtype=np.float64))
    return {emotion: np.mean(means, axis=0) for emotion, means in sorted(sums.items())}


def _apart(one: Array, other: Array) -> float:
    """Distance between the mean expressions of two faces."""
    means = [c[:, EXPRESSION].mean(axis=0, dtype=np.float64) for c in (one, other)]
    return float(np.linalg.norm(means[0] - means[1]))


def _distances(coefficients: Array, centres: dict[str, NDArray[np.float64]]) -> dict[str, float]:
    mean = coefficients[:, EXPRESSION].mean(axis=0, dtype=np.float64)
    return {emotion: float(np.linalg.norm(mean - centre)) for emotion, centre in centres.items()}
