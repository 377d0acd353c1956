"""Loss terms against numbers worked out by hand."""

import numpy as np
import pytest
import torch

from emotalk_ros.face.names import INDEX, indices
from emotalk_ros.training.data import IGNORED
from emotalk_ros.training.losses import (
    LipGap,
    classification,
    expression_choice,
    mean_expression,
    reconstruction,
    region_weights,
    velocity,
)

ONES = torch.ones(52)
SMILE, FROWN = ["mouthSmileLeft", "mouthSmileRight"], ["mouthFrownLeft", "mouthFrownRight"]


def test_reconstruction_sums_frames_and_averages_coefficients_within_lengths():
    target = torch.zeros(2, 4, 52)
    made = torch.full((2, 4, 52), 0.5)
    assert reconstruction(made, target, ONES, torch.tensor([4, 1])).item() == pytest.approx(5 * 0.25)
    known = torch.ones(2, 52)
    known[0, :26] = 0
    assert reconstruction(made, target, known, torch.tensor([4, 1])).item() == pytest.approx(4 * 0.125 + 0.25)


def test_velocity_sees_changes_only():
    time = torch.arange(5.0)[None, :, None]
    made, target = (0.1 * time).expand(1, 5, 52), torch.full((1, 5, 52), 3.0)
    assert velocity(made, target, ONES, torch.tensor([5])).item() == pytest.approx(4 * 0.01)
    assert velocity(made, target, ONES, torch.tensor([3])).item() == pytest.approx(2 * 0.01)


def test_classification_skips_windows_without_a_label():
    logits = torch.tensor([[2.0, 0.0], [0.0, 5.0], [1.0, 1.0]])
    expected = np.log(1 + np.exp(-2)) + np.log(2)
    assert classification(logits, torch.tensor([0, -100, 1])).item() == pytest.approx(expected, rel=1e-5)


def test_regions_take_the_longest_prefix_and_keep_the_mean():
    weights = region_weights({"mouth": 2.0, "mouthClose": 6.0, "jawOpen": 3.0})
    assert weights.mean().item() == pytest.approx(1.0)
    ratio = weights[INDEX["mouthClose"]] / weights[INDEX["mouthFunnel"]]
    assert ratio.item() == pytest.approx(3.0)
    assert (weights[INDEX["jawOpen"]] / weights[INDEX["browInnerUp"]]).item() == pytest.approx(3.0)
    with pytest.raises(ValueError, match="weight 0"):
        region_weights(dict.fromkeys(("brow", "cheek", "eye", "jaw", "mouth", "nose", "tongue"), 0.0))


def test_the_lip_gap_weighs_closed_lips_most():
    gap = LipGap()
    face = torch.zeros(1, 1, 52)
    face[..., INDEX["jawOpen"]] = 0.3
    opened = gap(face).item()
    face[..., INDEX["mouthClose"]] = 0.3
    assert opened == pytest.approx(0.3) and gap(face).item() < 0
    frames = torch.tensor([1])

    def error(target_jaw):
        target = torch.zeros(1, 1, 52)
        target[..., INDEX["jawOpen"]] = target_jaw
        made = target.clone()
        made[..., INDEX["jawOpen"]] += 0.1
        return gap.loss(made, target, frames, closed=8.0, scale=0.04).item()

    assert error(0.0) == pytest.approx(9 * 0.01, rel=1e-4)
    assert error(0.5) == pytest.approx(0.01, rel=1e-3)


def test_clips_of_two_lengths_in_one_batch_cost_what_they_cost_alone(toy_corpus, toy_recipe):
    from emotalk_ros.corpus.store import Corpus
    from emotalk_ros.training.data import ClipStore, WindowMaker, collate
    from emotalk_ros.training.losses import TERMS, Objective
    from emotalk_ros.training.models import build_model
    from emotalk_ros.training.prototypes import expression_centres

    recipe = toy_recipe(data={"window": None, "pack": False}, loss={"expression": 0.1})
    maker = WindowMaker(ClipStore([Corpus.open(toy_corpus)], 30), range(36), recipe, ("neutral", "happy", "angry"), 24)
    groups = [maker.make(clip, np.random.default_rng(clip), augment=False) for clip in (0, 8)]
    assert [len(g) for g in groups] == [2, 2] and len({len(w.target) for g in groups for w in g}) > 1
    torch.manual_seed(0)
    model = build_model(recipe.model).eval()
    with torch.no_grad():
        model.output.weight.normal_(0, 0.3)
    objective = Objective(model, recipe.loss, expression_centres(maker, model)).eval()
    ones = torch.ones(len(TERMS))
    with torch.no_grad():
        whole = objective(collate(groups), ones)[1]
        alone = sum(objective(collate([group]), ones)[1] for group in groups)
    torch.testing.assert_close(whole, alone, rtol=1e-4, atol=1e-5)
    streaming = {"closure", "spread", "distillation"}  # not of this network, or not asked for
    assert [name for name, value in zip(TERMS, whole, strict=True) if value > 0] == [
        n for n in TERMS if n not in streaming
    ]


def test_an_expression_is_told_from_those_of_other_emotions():
    rest = torch.zeros(1, 4, 52)
    smile, frown = (rest.index_fill(2, torch.as_tensor(indices(names)), 0.5) for names in (SMILE, FROWN))
    frames, known = torch.tensor([4]), torch.ones(1, 52)
    means = [mean_expression(face, frames) for face in (smile, frown)]
    centres = torch.cat([*means, torch.full_like(means[0], torch.nan)])

    def cost(face, label, known=known, weight=1.0):
        weights = torch.tensor([weight])
        return expression_choice(face, frames, torch.tensor([label]), centres, known, 0.2, weights).item()

    # Two centres 1 apart (four coefficients by 0.5), scale 0.2: logits 0 and -12.5.
    assert cost(smile, 0) == pytest.approx(np.log1p(np.exp(-12.5)), abs=1e-6)
    assert cost(frown, 0) == pytest.approx(12.5, abs=1e-3)
    # Between the two nothing is told; the third emotion, which has no face, is never chosen.
    assert cost((smile + frown) / 2, 1) == pytest.approx(np.log(2), abs=1e-5)
    assert cost(frown, IGNORED) == 0
    assert cost(frown, 0, weight=0.2) == pytest.approx(2.5, abs=1e-3)
    # Where nothing is known of the expression, no face is better than another.
    assert cost(smile, 0, torch.zeros(1, 52)) == pytest.approx(np.log(2), abs=1e-5)


def test_the_expression_of_own_words_counts_as_asked_and_that_of_crossed_faces_in_full(toy_corpus, toy_recipe):
    from emotalk_ros.corpus.store import Corpus
    from emotalk_ros.training.data import ClipStore, WindowMaker, collate
    from emotalk_ros.training.losses import TERMS, Objective
    from emotalk_ros.training.models import build_model
    from emotalk_ros.training.prototypes import expression_centres

    recipe = toy_recipe(loss={"expression": 0.1, "own_expression": 0.0})
    maker = WindowMaker(ClipStore([Corpus.open(toy_corpus)], 30), range(36), recipe, ("neutral", "happy", "angry"), 24)
    batch = collate([maker.make(0, np.random.default_rng(0), augment=False, always_pair=True)])
    assert len(batch.content_of)
    model = build_model(recipe.model).eval()
    objective = Objective(model, recipe.loss, expression_centres(maker, model)).eval()
    ones, brow = torch.ones(len(TERMS)), INDEX["browInnerUp"]

    def terms():
        with torch.no_grad():
            return dict(zip(TERMS, objective(batch, ones)[1].tolist(), strict=True))

    before = terms()
    batch.target[..., brow] += 0.3  # of the windows' own faces
    assert terms()["self"] == pytest.approx(before["self"], rel=1e-5)
    batch.cross_target[..., brow] += 0.3
    assert terms()["cross"] > 1.1 * before["cross"]
    batch.target[..., INDEX["jawOpen"]] += 0.3
    assert terms()["self"] > 1.1 * before["self"]
    assert before["expression"] > 0


def test_errors_of_shots_without_speech_weigh_as_much_more_as_asked(toy_corpus, toy_recipe):
    from emotalk_ros.corpus.store import Corpus
    from emotalk_ros.training.data import ClipStore, WindowMaker, collate
    from emotalk_ros.training.losses import TERMS, Objective
    from emotalk_ros.training.models import build_model

    recipe = toy_recipe(pairs={"probability": 0.0})
    maker = WindowMaker(ClipStore([Corpus.open(toy_corpus)], 30), range(36), recipe, ("neutral", "happy", "angry"), 24)
    spoken, still = maker.make(0, np.random.default_rng(0), augment=False), [maker.still(np.random.default_rng(0))]
    torch.manual_seed(0)
    model = build_model(recipe.model).eval()
    with torch.no_grad():
        model.output.bias.fill_(0.2)

    def terms(groups, weight):
        loss = recipe.loss.model_copy(update={"still": weight})
        with torch.no_grad():
            sums = Objective(model, loss).eval()(collate(groups), torch.ones(len(TERMS)))[1]
        return sums[TERMS.index("self")].item()

    assert terms([still], 5.0) == pytest.approx(5 * terms([still], 1.0), rel=1e-5)
    assert terms([spoken], 5.0) == terms([spoken], 1.0)
