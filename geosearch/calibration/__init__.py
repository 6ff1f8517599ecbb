"""From labelled queries to densities, regions and probabilities that mean what they say."""

from geosearch.calibration.fitted import Calibrated, Fitted, Judgement
from geosearch.calibration.store import Calibration, find_calibration, latest_calibration

__all__ = [
    "Calibrated",
    "Calibration",
    "Fitted",
    "Judgement",
    "find_calibration",
    "latest_calibration",
]
