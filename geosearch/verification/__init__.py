"""Geometric verification: which neighbours show the very scene of the query, by their pictures."""

from geosearch.verification.verifying import require_opencv, verified

__all__ = ["require_opencv", "verified"]
