"""From a query photo to a recorded answer: localize, read back, reproduce."""

from geosearch.localization.answer import Failure, Localization, Parameters
from geosearch.localization.localize import localize
from geosearch.localization.reproduce import Reproduction, reproduce
from geosearch.localization.request import Request
from geosearch.localization.store import load

__all__ = [
    "Failure",
    "Localization",
    "Parameters",
    "Reproduction",
    "Request",
    "load",
    "localize",
    "reproduce",
]
