"""Measuring: metrics, data sets, models under test, replay of bags, comparison of models.

Metrics are pure functions on arrays. `Subject` and `open_dataset` bring in torch when first asked for.
"""

from typing import TYPE_CHECKING, Any

from emotalk_ros.evaluation.metrics.emotion import confusion_matrix, unweighted_average_recall
from emotalk_ros.evaluation.metrics.faces import score_clip
from emotalk_ros.evaluation.metrics.lips import best_lag, bilabial_closure, correlation
from emotalk_ros.evaluation.metrics.statistics import Interval, bootstrap_mean, bootstrap_ratio
from emotalk_ros.evaluation.references import energy_jaw, mean_coefficients, motionless

if TYPE_CHECKING:
    from emotalk_ros.evaluation.datasets import DatasetError, open_dataset
    from emotalk_ros.evaluation.subject import Subject

_LATER = {
    "DatasetError": "datasets",
    "open_dataset": "datasets",
    "Subject": "subject",
}

__all__ = [
    "DatasetError",
    "Interval",
    "Subject",
    "best_lag",
    "bilabial_closure",
    "bootstrap_mean",
    "bootstrap_ratio",
    "confusion_matrix",
    "correlation",
    "energy_jaw",
    "mean_coefficients",
    "motionless",
    "open_dataset",
    "score_clip",
    "unweighted_average_recall",
]


def __getattr__(name: str) -> Any:
    if name in _LATER:
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
