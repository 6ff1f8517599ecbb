"""geosearch: find where a photo was taken."""

__version__ = "0.1.0"
