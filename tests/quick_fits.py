"""Calibrations that search few settings, for tests of what becomes of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from geosearch.calibration.kernels import STARTS


@contextmanager
def quick_fits(
    queries: int = 20, weightings: tuple[str, ...] = ("power:10",)
) -> Iterator[pytest.MonkeyPatch]:
    """So many queries are searched with, for one of these weightings; and what may change more."""
    few = {
        **{"SEARCH_QUERIES": queries, "WEIGHTINGS": weightings, "BANDWIDTHS": (2.0,)},
        **{"SHARPNESS": (1.5,), "SIZES": (), "FOLDS": 2},
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in few.items():
            patch.setattr(f"geosearch.calibration.calibration_fit.{name}", value)
        patch.setattr("geosearch.evaluation.calibrating.FOLDS", 2)
        patch.setattr("geosearch.calibration.kernels.STARTS", STARTS[:1])
        yield patch
