"""Checking every claim: metrics, bags, replay, comparison of models, reports.

Metrics are pure functions on arrays. `replay_bag` and `evaluate` bring in torch and rosbags when first asked for.
"""

from typing import TYPE_CHECKING, Any

from emotalk_ros.evaluation.metrics import score_clip
from emotalk_ros.evaluation.metrics_emotion import confusion_matrix, unweighted_average_recall
from emotalk_ros.evaluation.metrics_lips import best_lag, bilabial_closure, correlation
from emotalk_ros.evaluation.metrics_statistics import Interval, bootstrap_mean, bootstrap_ratio
from emotalk_ros.evaluation.references import energy_jaw, mean_coefficients, motionless

if TYPE_CHECKING:
    from emotalk_ros.evaluation.bags import BagError, open_bag
    from emotalk_ros.evaluation.datasets import DatasetError, open_dataset
    from emotalk_ros.evaluation.replay_run import Outputs, replay_bag
    from emotalk_ros.evaluation.subject import Subject

_LATER = {
    "BagError": "bags",
    "open_bag": "bags",
    "DatasetError": "datasets",
    "open_dataset": "datasets",
    "Outputs": "replay_run",
    "replay_bag": "replay_run",
    "Subject": "subject",
}

__all__ = [
    "BagError",
    "DatasetError",
    "Interval",
    "Outputs",
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
    "open_bag",
    "open_dataset",
    "replay_bag",
    "score_clip",
    "unweighted_average_recall",
]


def __getattr__(name: str) -> Any:
    if name in _LATER:
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
