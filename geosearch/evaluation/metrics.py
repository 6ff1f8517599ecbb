"""The field's figures: share of queries within five distances, median and mean error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Street, city, region, country, continent (Hays and Efros, IM2GPS, CVPR 2008).
THRESHOLDS_KM = (1, 25, 200, 750, 2500)


@dataclass(frozen=True)
class Accuracy:
    """Figures over `n` queries; `within` maps a threshold in km to a share, 0 to 1.

    `median_km` is infinite if half the queries have no estimate; `mean_km` is over those that
    have one. Both are None without queries.
    """

    n: int
    within: dict[int, float]
    median_km: float | None
    mean_km: float | None


def accuracy(errors_km: NDArray[np.float64]) -> Accuracy:
    """Figures from errors (n,) in kilometres; infinity stands for a query without estimate."""
    n = len(errors_km)
    if n == 0:
        return Accuracy(0, dict.fromkeys(THRESHOLDS_KM, 0.0), None, None)
    finite = errors_km[np.isfinite(errors_km)]
    return Accuracy(
        n=n,
        within={km: float(np.mean(errors_km <= km)) for km in THRESHOLDS_KM},
        median_km=float(np.median(errors_km)),
        mean_km=float(finite.mean()) if len(finite) else None,
    )
