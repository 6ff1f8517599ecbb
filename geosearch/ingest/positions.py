"""A position as metadata give it, and the checks every position passes before it is believed."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from geosearch.errors import PhotoRejected, Reason

Axis = Literal["latitude", "longitude"]
Source = Literal["exif", "xmp", "manifest", "corrected", "estimated", "reviewed"]

_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?")
_LETTER = re.compile(r"(?<![A-Za-z])(north|south|east|west|[NSEW])(?![A-Za-z])", re.IGNORECASE)
_HEMISPHERES = {"latitude": {"N": 1.0, "S": -1.0}, "longitude": {"E": 1.0, "W": -1.0}}


#: What the forms that positions are written in may round away, degrees: a centimetre.
_SAME_DEG = 1e-7
#: What other programs round away that write a position again: a metre.
_UNMOVED_DEG = 1e-5
# How geosearch marks what it found by itself where it writes it, and where it was then.
_MARK = re.compile(r"geosearch (estimated|reviewed) at (-?\d+\.\d+),(-?\d+\.\d+)")


@dataclass(frozen=True)
class Position:
    """A checked position: degrees (WGS 84), where it was read, its accuracy in metres if known."""

    lat: float
    lon: float
    source: Source
    accuracy_m: float | None = None

    @property
    def is_estimate(self) -> bool:
        """Whether it was guessed: the photo is no reference then."""
        return self.source == "estimated"

    @property
    def trust(self) -> int:
        """2 for what is known, 1 for a guess that was reviewed, 0 for one that was not."""
        return {"estimated": 0, "reviewed": 1}.get(self.source, 2)

    @property
    def method(self) -> str | None:
        """How it was found, as `GPSProcessingMethod` says it, by which `marked` knows it again."""
        if self.trust < 2:
            return f"geosearch {self.source} at {self.lat:.9f},{self.lon:.9f}"
        return "MANUAL" if self.source == "corrected" else None

    def makes_reference(self, *, reviewed: bool = False) -> bool:
        """Whether its photo is a reference; what was `reviewed` only where the collection says."""
        return self.trust + reviewed >= 2

    def columns(self, *, reviewed: bool = False) -> dict[str, Any]:
        """What a photo that has it has, by the names of `geosearch.database.photo_changes`."""
        return {
            "lat": self.lat,
            "lon": self.lon,
            "position_source": self.source,
            "accuracy_m": self.accuracy_m,
            "localization_id": None,
            "reference": self.makes_reference(reviewed=reviewed),
        }

    def is_at(self, other: Position) -> bool:
        """Whether the other is the same place, to 1e-7 degrees."""
        return self._near(other.lat, other.lon, _SAME_DEG)

    def is_still(self, written: Position) -> bool:
        """Whether it is what was written back; other programs round a guess, and leave its mark."""
        off = _SAME_DEG if self.trust == 2 else _UNMOVED_DEG
        return self._near(written.lat, written.lon, off)

    def is_as(self, other: Position) -> bool:
        """Whether the other is the same place, and as sure."""
        return self.is_at(other) and self.trust == other.trust

    def marked(self, method: str | None) -> Position:
        """The position as what it was written back as, by its GPSProcessingMethod.

        Who has moved it since, in whatever program, has made it known.
        """
        said = (method or "").strip(" \0")
        if not said.lower().startswith("geosearch"):
            return self
        found = _MARK.fullmatch(said)
        if found is None:
            return replace(self, source="estimated")
        if not self._near(float(found[2]), float(found[3]), _UNMOVED_DEG):
            return self
        return replace(self, source="reviewed" if found[1] == "reviewed" else "estimated")

    def _near(self, lat: float, lon: float, degrees: float) -> bool:
        east = abs(self.lon - lon)
        return abs(self.lat - lat) <= degrees and min(east, 360 - east) <= degrees


def believed_accuracy(metres: float | None) -> float | None:
    """An accuracy in metres; none for 0 and huge ones, which devices write that do not know."""
    return metres if metres is not None and 0 < metres < 1e7 else None


def checked(lat: float, lon: float, source: Source, accuracy_m: float | None = None) -> Position:
    """The position, if it is one.

    Raises
    ------
    PhotoRejected
        `not_a_number`, `out_of_range`, or `zero_zero` for exactly (0, 0), which is what devices
        write without a fix.
    """
    if not (math.isfinite(lat) and math.isfinite(lon)):
        raise PhotoRejected(Reason.NOT_A_NUMBER, f"the position is not a number: {lat}, {lon}")
    if abs(lat) > 90:
        raise PhotoRejected(Reason.OUT_OF_RANGE, f"latitude {lat} is beyond ±90 degrees")
    if abs(lon) > 180:
        raise PhotoRejected(Reason.OUT_OF_RANGE, f"longitude {lon} is beyond ±180 degrees")
    if lat == 0 and lon == 0:
        raise PhotoRejected(Reason.ZERO_ZERO, "the position is (0, 0): a device without a fix")
    return Position(lat, lon, source, accuracy_m)


def sign(axis: Axis, reference: object) -> float:
    """+1 or −1 for the hemisphere `reference` names (`N`, `south`, `b"W\\0"`).

    Raises
    ------
    PhotoRejected
        `missing_reference`: absent, or not a hemisphere of this axis.
    """
    if isinstance(reference, bytes):
        reference = reference.decode("ascii", "replace")
    letter = reference.strip(" \0")[:1].upper() if isinstance(reference, str) else ""
    try:
        return _HEMISPHERES[axis][letter]
    except KeyError:
        wanted = " or ".join(_HEMISPHERES[axis])
        raise PhotoRejected(
            Reason.MISSING_REFERENCE, f"{axis} without hemisphere: {wanted} wanted, not {letter!r}"
        ) from None


def coordinate(axis: Axis, text: str, reference: object = None) -> float:
    """Degrees in a text such as `51 deg 30' 7.5" N`, `33.8S`, `51,30.5N` or `-33.8`.

    A letter or a sign in the text and `reference`, what is said of the hemisphere elsewhere, must
    agree; one of them must be there.

    Raises
    ------
    PhotoRejected
        As `sign`, `from_parts` and `numbers`, or `contradiction`.
    """
    letters = _LETTER.findall(text)
    if len(letters) > 1:  # "51d 30m 7s N"
        letters = [letter for letter in letters if letter.isupper()] or letters[-1:]
    parts = numbers(axis, text)
    said = {sign(axis, letter) for letter in letters}
    if reference not in (None, "", b""):
        said.add(sign(axis, reference))
    if parts[0] < 0 or text.lstrip().startswith("-"):
        said.add(-1.0)
        parts[0] = abs(parts[0])
    elif not said and len(parts) == 1 and text.lstrip().startswith("+"):
        # A signed decimal needs no letter; an unsigned one may have lost it.
        said.add(1.0)
    if len(said) > 1:
        raise PhotoRejected(
            Reason.CONTRADICTION, f"{axis} on two hemispheres: {text[:80]!r}, {reference!r}"
        )
    return (said.pop() if said else sign(axis, None)) * from_parts(axis, parts)


def from_parts(axis: str, parts: Sequence[float]) -> float:
    """Degrees, and optionally minutes and seconds, as unsigned decimal degrees.

    Raises
    ------
    PhotoRejected
        `not_a_number` (not one to three finite numbers), `out_of_range` (negative, or 60 minutes
        and more; 60.0 seconds are the rounding of 59.99… and carry over).
    """
    if not 1 <= len(parts) <= 3 or not all(math.isfinite(part) for part in parts):
        raise PhotoRejected(Reason.NOT_A_NUMBER, f"{axis} is not degrees, minutes, seconds")
    degrees, minutes, seconds = [*parts, 0.0, 0.0][:3]
    if min(parts) < 0 or minutes >= 60 or seconds > 60:
        raise PhotoRejected(
            Reason.OUT_OF_RANGE, f"{axis} of {degrees} degrees {minutes} minutes {seconds} seconds"
        )
    return degrees + minutes / 60 + seconds / 3600


def numbers(axis: str, text: str) -> list[float]:
    """The first three numbers in a text such as `51 deg 30' 7.5"`.

    A comma separates: `52,00000,50,00000,34,01180` reads as 52, 0, 50, the way exiftool reads it.

    Raises
    ------
    PhotoRejected
        `not_a_number`: there is none.
    """
    found = _NUMBER.findall(text)[:3]
    if not found:
        raise PhotoRejected(Reason.NOT_A_NUMBER, f"{axis} is text without a number: {text[:80]!r}")
    return [float(number) for number in found]
