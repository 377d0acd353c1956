"""Recipes: those that come along load, wrong ones are refused by name with the nearest valid key."""

from pathlib import Path

import pytest
import yaml

from emotalk_ros.training.recipe import RecipeError, build, find_recipe, load_recipe
from emotalk_ros.training.splits import read_split

FOLDER = Path(__file__).parents[2] / "config" / "training"
RECIPES = sorted(p.stem for p in FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("name", RECIPES)
def test_those_that_come_along_load_and_survive_a_round_trip(name, tmp_path):
    recipe = load_recipe(name)
    copy = tmp_path / "copy.yaml"
    copy.write_text(recipe.to_yaml())
    assert load_recipe(copy) == recipe


def test_the_paper_recipe_has_the_published_hyper_parameters():
    recipe = load_recipe("paper")
    assert (recipe.loss.cross, recipe.loss.self, recipe.loss.velocity) == (1.0, 1.0, 0.5)
    assert (recipe.optim.name, recipe.optim.lr, recipe.optim.epochs, recipe.optim.batch_size) == ("adam", 1e-4, 80, 1)
    assert recipe.loss.lip_gap == 0 and recipe.augment.still_probability == 0 and recipe.loss.regions == {}
    assert recipe.data.window is None and recipe.pairs.alignment == "linear"
    split = read_split(recipe.data.split)
    sizes = [len([a for a in side if a.startswith("RAVDESS")]) for side in (split.train, split.validation, split.test)]
    assert sizes == [20, 2, 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("optim: {steps: 3, lerning_rate: 1}", r"unknown key 'optim.lerning_rate'; valid: name, lr, "),
        ("optimizer: {}", "'optimizer'; did you mean 'optim'"),
        ("optim: {steps: many}", "optim.steps must be a valid integer, got 'many'"),
        ("optim: {steps: 3, lr: -1}", "optim.lr must be greater than 0, got -1"),
        ("optim: {steps: 3, precision: fp8}", "optim.precision must be 'auto', 'no', 'bf16' or 'fp16', got 'fp8'"),
        ("{}", "optim.steps or optim.epochs"),
        ("optim: {steps: 3, epochs: 2}", "optim.steps or optim.epochs"),
        (
            "{optim: {steps: 3}, loss: {regions: {moth: 2}}}",
            "starts with 'moth'; did you mean 'mouth",
        ),
        ("{optim: {steps: 3}, data: {pause: [1, 0]}}", "data.pause"),
        ("{optim: {steps: 3}, data: {pause: [1]}}", r"data.pause\[1\]"),
        ("{optim: {steps: 3}, data: {corpora: [{pth: x}]}}", r"'data.corpora\[0\].pth'; did you mean 'path'"),
        ("{optim: {steps: 3}, pairs: {probability: 2}}", "pairs.probability must be less than or equal to 1, got 2"),
        ("{optim: {steps: 3, lr: .nan}}", "optim.lr must be a finite number"),
        (
            "{optim: {steps: 3, lr: true, warmup: -1}}",
            "optim.lr must be a valid number, got True; optim.warmup",
        ),
        ("[1, 2]", "mapping"),
        ("optim: {steps: 3", "YAML"),
    ],
)
def test_wrong_recipes_are_refused_by_name(tmp_path, text, message):
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=message) as caught:
        load_recipe(path)
    assert str(path) in str(caught.value)


def test_aliases_that_multiply_are_refused_before_they_are_written_out(tmp_path):
    path, last = tmp_path / "wrong.yaml", "[x, x]"
    lines = []
    for depth in range(40):  # 2^40 entries in 40 lines
        lines.append(f"k{depth}: &a{depth} {last}")
        last = f"[*a{depth}, *a{depth}]"
    for text in ("\n".join(lines), "loop: &loop [*loop]"):
        path.write_text(text)
        with pytest.raises(RecipeError, match="aliases stand for more than 100000 entries"):
            load_recipe(path)


def test_overrides_and_extends(tmp_path):
    (tmp_path / "base.yaml").write_text("{optim: {epochs: 4, lr: 1e-4}, loss: {regions: {jaw: 2}}}")
    child = tmp_path / "child.yaml"
    child.write_text("{extends: base, optim: {steps: 7}, loss: {regions: {mouth: 3}}}")
    recipe = load_recipe(child, ["loss.cross=0.25", "data.corpora=[a, {path: b, weight: 2}]", "optim.precision=no"])
    assert recipe.optim.steps == 7 and recipe.optim.epochs is None and recipe.optim.lr == 1e-4
    assert recipe.loss.regions == {"jaw": 2, "mouth": 3} and recipe.loss.cross == 0.25
    assert [(c.path, c.weight) for c in recipe.data.corpora] == [("a", 1.0), ("b", 2.0)]
    assert load_recipe(child, ["optim.epochs=2"]).optim.steps is None
    with pytest.raises(RecipeError, match=r"section\.key=value"):
        load_recipe(child, ["optim.lr"])
    (tmp_path / "base.yaml").write_text("extends: child")
    with pytest.raises(RecipeError, match="extends itself"):
        load_recipe(child)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(RecipeError, match="did you mean 'tiny'"):
        find_recipe("tinny")


def test_a_bare_no_is_a_precision_and_not_false():
    raw = yaml.safe_load("optim: {steps: 1, precision: no}")
    assert build(raw).optim.precision == "no"
