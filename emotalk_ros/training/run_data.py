"""What a run learns from and validates on: corpora, split and samplers, as the recipe names them."""

from __future__ import annotations

from pathlib import Path

from transformers import PreTrainedModel

from emotalk_ros.corpus.store import Corpus, CorpusError
from emotalk_ros.training.data import ClipStore, StepSampler, WindowMaker
from emotalk_ros.training.recipe import Recipe, RecipeError
from emotalk_ros.training.splits import SIDES, Split, draw_split, read_split


class Data:
    """Corpora, split and samplers of a run."""

    def __init__(self, recipe: Recipe, folder: Path, model: PreTrainedModel) -> None:
        if not recipe.data.corpora:
            raise RecipeError("data.corpora is empty: name at least one corpus (--corpus FOLDER)")
        self.corpora = [Corpus.open(corpus.path) for corpus in recipe.data.corpora]
        config = model.config
        self.store = ClipStore(self.corpora, config.fps, recipe.data.cache_gb)
        self.split = self._split(recipe, folder)
        sides = [self.split.side(record) for record in self.store.records]
        self.indices = {side: [i for i, s in enumerate(sides) if s == side] for side in SIDES}
        if not self.indices["train"]:
            raise CorpusError("the split leaves no clip to train on: check data.split and the corpora's actors")
        labels, persons = getattr(config, "emotion_labels", []), getattr(config, "num_persons", 1)
        self.train = WindowMaker(self.store, self.indices["train"], recipe, labels, persons)
        self.sampler = StepSampler(self.train, recipe)
        held = self.indices["validation"]
        self.validation = WindowMaker(self.store, held, recipe, labels, persons) if held else None

    def _split(self, recipe: Recipe, folder: Path) -> Split:
        written = folder / "splits.yaml"
        if recipe.data.split is not None:
            return read_split(recipe.data.split)
        if written.is_file():  # a resumed run keeps its split whatever has been added to the corpora
            return read_split(written)
        return draw_split(self.store.records, recipe.data.validation_share, recipe.data.test_share, recipe.seed)
