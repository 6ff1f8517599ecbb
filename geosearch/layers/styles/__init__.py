"""The QGIS styles of the layers (QML): one source for exported files, databases and projects."""

from __future__ import annotations

from importlib import resources

from geosearch.untrusted import for_map_tips


def read_style(name: str) -> str:
    """The style of a layer, e.g. `regions`: a document of QML.

    Raises
    ------
    FileNotFoundError
        There is no such style.
    """
    return for_map_tips((resources.files(__name__) / f"{name}.qml").read_text(encoding="utf-8"))
