"""Versions of geosearch and what its answers depend on, kept with every answer."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from geosearch import __version__

_PACKAGES = (
    *("numpy", "scipy", "torch", "torchvision", "onnxruntime", "pillow"),
    "opencv-python-headless",
)


@cache
def software_versions() -> dict[str, str]:
    """Package name → version, with `python`; packages not installed are left out."""
    found = {"geosearch": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
