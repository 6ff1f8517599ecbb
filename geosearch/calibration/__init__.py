"""From labelled queries to densities, regions and probabilities that mean what they say."""

from geosearch.calibration.calibration_rows import Calibration, find_calibration, latest_calibration
from geosearch.calibration.domain import Domain, Fits
from geosearch.calibration.fitted import Calibrated, Fitted, Judgement

__all__ = [
    "Calibrated",
    "Calibration",
    "Domain",
    "Fits",
    "Fitted",
    "Judgement",
    "find_calibration",
    "latest_calibration",
]
