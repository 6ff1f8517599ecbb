"""From a query photo to a recorded answer: localize, read back, reproduce."""

from geosearch.localization.answer import Failure, Localization, Parameters
from geosearch.localization.answer_rows import load
from geosearch.localization.localizing import localize, localize_stored
from geosearch.localization.reproduction import Reproduction, reproduce
from geosearch.localization.request import Request

__all__ = [
    "Failure",
    "Localization",
    "Parameters",
    "Reproduction",
    "Request",
    "load",
    "localize",
    "localize_stored",
    "reproduce",
]
