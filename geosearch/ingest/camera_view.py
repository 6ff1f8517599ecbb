"""How the camera stood when it took a photo: where it looked, how wide, and how high."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Literal

#: True north, or the compass's; it is not converted, which would take a model of the field.
North = Literal["true", "magnetic"]

# The diagonal of the film to which focal lengths are compared (CIPA DCG-001), millimetres.
_DIAGONAL_MM = math.hypot(36, 24)


@dataclass(frozen=True, kw_only=True)
class View:
    """What is known of how the camera stood.

    `direction_deg` runs clockwise from the north that `direction_reference` names, if any does;
    `field_of_view_deg` is the width of what the upright picture shows; `pitch_deg` is above the
    horizon, -90 straight down; `altitude_m` above the sea, as far as the receiver knows.
    """

    direction_deg: float | None = None
    direction_reference: North | None = None
    field_of_view_deg: float | None = None
    pitch_deg: float | None = None
    altitude_m: float | None = None

    def or_else(self, other: View) -> View:
        """What is believable of this view, and of the other what this one does not say."""
        direction = self if _turned(self.direction_deg) is not None else other
        degrees = _turned(direction.direction_deg)
        return View(
            direction_deg=degrees,
            direction_reference=None if degrees is None else direction.direction_reference,
            field_of_view_deg=_first(1e-3, 360, self.field_of_view_deg, other.field_of_view_deg),
            pitch_deg=_first(-90, 90, self.pitch_deg, other.pitch_deg),
            # From the deepest sea to a satellite.
            altitude_m=_first(-12_000, 1e6, self.altitude_m, other.altitude_m),
        )


#: The columns of a photo that they are.
VIEW_FIELDS = tuple(field.name for field in fields(View))


def north(text: str) -> North | None:
    """The north that `T` or `True North`, `M` or `Magnetic North` name; None for anything else."""
    letter = text.strip(" \0")[:1].upper()
    return "true" if letter == "T" else "magnetic" if letter == "M" else None


def field_of_view(focal_mm: float | None, width: float, height: float) -> float | None:
    """Degrees across a picture of this shape, of a focal length as on film of 36 x 24 mm.

    `2 atan(d w / (2 f hypot(w, h)))`, where d is the film's diagonal, 43.27 mm.
    """
    if focal_mm is None or not 1 <= focal_mm < 1e5:
        return None
    across = _DIAGONAL_MM * width / math.hypot(width, height)
    return math.degrees(2 * math.atan(across / (2 * focal_mm)))


def _turned(degrees: float | None) -> float | None:
    """From 0 to below 360; None where there is none, or beyond a turn."""
    if degrees is None or not -360 <= degrees <= 360:
        return None
    return round(degrees % 360, 4) % 360  # to what a float of four bytes keeps below 360


def _first(least: float, most: float, *values: float | None) -> float | None:
    return next((each for each in values if each is not None and least <= each <= most), None)
