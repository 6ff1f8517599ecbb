"""Colours of errors, known or probable, on maps: of pictures and of the layers of QGIS alike."""

from __future__ import annotations

from collections.abc import Sequence

from geosearch.words import threshold

#: Of distances up to the first, second, … limit, ...
COLOURS = ("#a7f3d0", "#5eead4", "#7cc4f8", "#fde68a", "#fb923c")
#: ... and beyond all.
FARTHEST = "#f43f5e"


def class_names(limits: Sequence[float]) -> list[str]:
    """Of the classes between these distances, kilometres: one more than there are limits."""
    return [
        *(
            f"{'0' if low is None else threshold(low)} to {threshold(high)}"
            for low, high in zip((None, *limits), limits, strict=False)
        ),
        f"over {threshold(limits[-1])}",
    ]
