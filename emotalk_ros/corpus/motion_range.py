"""How far each coefficient of a captured face goes, and which go together: a prior for labels and a check of them.

Measured once from a range of motion (a person who makes every face there is, `readers.read_livelink_csv`) or from takes
of speech; kept as a small .npz.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emotalk_ros.corpus.store import CorpusError
from emotalk_ros.face.names import ARKIT_NAMES, COUNT
from emotalk_ros.files import replacing

Doubles = NDArray[np.float64]

PERCENTILES: tuple[float, ...] = (50.0, 90.0, 99.0, 100.0)
"""Those that are kept of each coefficient."""

_LEAST_SPREAD = 0.03  # of a coefficient that the capture hardly moved: below that, distances mean nothing
_SHRINKAGE = 0.1


@dataclass(frozen=True)
class MotionRange:
    """`percentiles` (4, 52) at `PERCENTILES`, `mean` (52,) and `covariance` (52, 52) of captured coefficients."""

    percentiles: Doubles
    mean: Doubles
    covariance: Doubles

    @classmethod
    def measure(cls, coefficients: NDArray[np.floating]) -> MotionRange:
        """Of (frames, 52). Raises ValueError for another shape or fewer than 100 frames."""
        values = np.asarray(coefficients, dtype=np.float64)
        if values.ndim != 2 or values.shape[1] != COUNT or len(values) < 100:
            raise ValueError(f"at least 100 frames of {COUNT} coefficients are needed, got {values.shape}")
        return cls(np.percentile(values, PERCENTILES, axis=0), values.mean(axis=0), np.cov(values.T))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> MotionRange:
        """What `save` wrote. Raises CorpusError for another file."""
        try:
            with np.load(path, allow_pickle=False) as file:
                return cls(*(file[name].astype(np.float64) for name in ("percentiles", "mean", "covariance")))
        except (OSError, ValueError, KeyError) as error:
            raise CorpusError(f"{path}: not a range of motion ({error})") from error

    def save(self, path: str | os.PathLike[str]) -> None:
        """As .npz of about 20 KB."""
        with replacing(Path(path), parents=True) as part:
            np.savez_compressed(
                part, percentiles=self.percentiles, mean=self.mean, covariance=self.covariance.astype(np.float32)
            )

    @property
    def correlation(self) -> Doubles:
        """Which coefficients go together (52, 52); 0 where one never moved."""
        spread = np.sqrt(np.diag(self.covariance))
        both = np.outer(spread, spread)
        return np.divide(self.covariance, both, out=np.zeros_like(both), where=both > 0)

    def companions(self, name: str, least: float = 0.6) -> dict[str, float]:
        """Coefficients that go with `name`, by correlation, at least `least` either way, closest first."""
        row = self.correlation[ARKIT_NAMES.index(name)]
        found = {
            other: float(r) for other, r in zip(ARKIT_NAMES, row, strict=True) if other != name and abs(r) >= least
        }
        return dict(sorted(found.items(), key=lambda item: -abs(item[1])))

    def beyond(self, coefficients: NDArray[np.floating], tolerance: float = 0.05) -> dict[str, float]:
        """Share of frames in which a coefficient passes the captured maximum by more than `tolerance`; none left out
        but those that never do.
        """
        over = (np.asarray(coefficients) > self.percentiles[-1] + tolerance).mean(axis=0)
        return {name: float(share) for name, share in zip(ARKIT_NAMES, over, strict=True) if share > 0}

    def distance(self, coefficients: NDArray[np.floating], names: tuple[str, ...] = ARKIT_NAMES) -> Doubles:
        """How far each frame (T, 52) lies from what was captured, (T,): Mahalanobis over `names`, per root of their
        number.

        About 1 for captured frames. The covariance is shrunk towards its diagonal, and no coefficient counts as
        steadier than 0.03.
        """
        index = [ARKIT_NAMES.index(name) for name in names]
        part = self.covariance[np.ix_(index, index)]
        diagonal = np.diag(np.maximum(np.diag(part), _LEAST_SPREAD**2))
        blended = (1.0 - _SHRINKAGE) * (part - np.diag(np.diag(part))) + diagonal
        away = np.asarray(coefficients, dtype=np.float64)[:, index] - self.mean[index]
        return np.asarray(
            np.sqrt(np.maximum(np.einsum("ti,ti->t", away, np.linalg.solve(blended, away.T).T), 0.0) / len(index))
        )
