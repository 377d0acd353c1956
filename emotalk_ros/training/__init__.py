"""From a corpus to a checkpoint: pseudo pairs, losses, recipes, the trainer and its model card.

`load_recipe` needs neither torch nor accelerate; `train`, `TrainingResult` bring them in when first asked for.
"""

from typing import TYPE_CHECKING, Any

from emotalk_ros.training.recipe import Recipe, RecipeError, load_recipe
from emotalk_ros.training.splits import Split, SplitError, read_split

if TYPE_CHECKING:
    from emotalk_ros.training.trainer import TrainingResult, train

__all__ = [
    "Recipe",
    "RecipeError",
    "Split",
    "SplitError",
    "TrainingResult",
    "load_recipe",
    "read_split",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in ("train", "TrainingResult"):
        from emotalk_ros.training import trainer

        return getattr(trainer, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
