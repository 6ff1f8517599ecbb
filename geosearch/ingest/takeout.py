"""Google Takeout: the JSON beside each photo, and which photo one belongs to by its name.

A name is cut to 46 letters before `.json`, also inside `.supplemental-metadata`; the number of a
name that came twice moves behind the ending; an edited copy has no JSON of its own.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import Any, Self

from geosearch.ingest import manifest_values as values
from geosearch.ingest.photo_times import with_zone
from geosearch.ingest.positions import Position, checked
from geosearch.ingest.records import shortened
from geosearch.photo_endings import PHOTO_ENDINGS

_ADDED = ".supplemental-metadata"
_LONGEST = range(47, 42, -1)  # letters that a cut name has, with the number behind it or without
#: What Google puts to the name of an edited copy, in the languages that are known.
EDITED = (
    *("-edited", "-effects", "-smile", "-mix"),
    *("-bearbeitet", "-modifié", "-ha editado", "-editado", "-modificato", "-bewerkt"),
    *("-edytowane", "-editat", "-編集済み"),
)
_NUMBERED = re.compile(r"(.+)(\(\d+\))")
# Beyond what zones explain, and what Google rounds away.
_CORRECTED, _MOVED = timedelta(hours=15), 1e-5


@dataclass(frozen=True)
class Takeout:
    """What Google knows of a photo. `moved`: somebody gave it another place than its EXIF has."""

    position: Position | None = None
    moved: bool = False
    taken_at: datetime | None = None
    title: str | None = None
    source_id: str | None = None

    @classmethod
    def of(cls, said: Any) -> Self | None:
        """The content of a JSON file; None if it is none of Takeout's.

        Raises
        ------
        PhotoRejected
            It has a position that cannot be believed.
        """
        if not isinstance(said, dict) or not said.keys() & {"photoTakenTime", "geoData"}:
            return None
        here, there = _position(said.get("geoData")), _position(said.get("geoDataExif"))
        moved = here is not None and there is not None and _apart(here, there)
        title, described = (shortened(str(said.get(key) or "")) for key in ("title", "description"))
        if PurePosixPath(title.lower()).suffix in PHOTO_ENDINGS:
            title = ""  # the name of the file
        return cls(
            here or there,
            moved,
            _time(said.get("photoTakenTime")),
            described or title or None,
            shortened(str(said.get("url") or "")) or None,
        )

    def corrects(self, time: datetime | None) -> bool:
        """Whether its time goes before the photo's own: no zone explains how they differ."""
        if self.taken_at is None or time is None:
            return self.taken_at is not None
        return abs(with_zone(time, UTC) - self.taken_at) > _CORRECTED


def _position(said: Any) -> Position | None:
    """A position; (0, 0) is Takeout's word for none."""
    if not isinstance(said, dict):
        return None
    lat, lon = (values.number(axis, said.get(axis)) or 0.0 for axis in ("latitude", "longitude"))
    return None if lat == lon == 0 else checked(lat, lon, "manifest")


def _apart(one: Position, other: Position) -> bool:
    return max(abs(one.lat - other.lat), abs(one.lon - other.lon)) > _MOVED


def _time(said: Any) -> datetime | None:
    stamp = str(said.get("timestamp")) if isinstance(said, dict) else ""
    try:
        return datetime.fromtimestamp(int(stamp), UTC)
    except (ValueError, OverflowError, OSError):
        return None


def takeout_files(photos: Iterable[str], files: Iterable[str]) -> dict[str, str]:
    """Photo → its JSON, of the names in one folder. A cut name that fits two photos fits none."""
    bodies = {_number(name[: -len(".json")])[::-1]: name for name in files}
    names = frozenset(photos) if bodies else frozenset()
    whole: dict[str, str] = {}
    cut: dict[str, tuple[str, _Original]] = {}
    for photo in names:
        for original in _originals(photo, names):
            found = next((bodies[key] for key in _whole(*original) if key in bodies), None)
            if found is not None:
                whole[photo] = found
                break
            found = next((bodies[key] for key in _cut(*original) if key in bodies), None)
            if found is not None:
                cut.setdefault(photo, (found, original))
    claims = Counter(name for name, _ in set(cut.values()))
    taken = set(whole.values())
    return {
        photo: name for photo, (name, _) in cut.items() if claims[name] == 1 and name not in taken
    } | whole


#: The number of a photo, and its name without.
_Original = tuple[str, str]


def _originals(photo: str, photos: Container[str]) -> Iterator[_Original]:
    """The photos that it may be, or be an edited copy of."""
    path = PurePosixPath(photo)
    for stem, number in dict.fromkeys([(path.stem, ""), _number(path.stem)]):
        yield number, stem + path.suffix
        for suffix in (suffix for suffix in EDITED if stem.endswith(suffix)):
            before = stem.removesuffix(suffix)
            # What is edited of an HEIC becomes a JPEG.
            yield from ((number, before + kind) for kind in (path.suffix, ".HEIC", ".heic"))
            if f"{before}{number}{path.suffix}" not in photos:
                yield "", before + path.suffix  # the copy has a number, and the original none


def _whole(number: str, name: str) -> Iterator[_Original]:
    """What its JSON may be called, the number apart, without `.json`."""
    full = name + _ADDED
    yield from ((number, full[:k]) for k in (len(name), *range(len(full), len(name), -1)))


def _cut(number: str, name: str) -> Iterator[_Original]:
    """What its JSON may be called where not all of the name is there."""
    yield from ((number, name[:k]) for k in _LONGEST if k < len(name))
    # Some have lost the ending of the photo.
    stem = PurePosixPath(name).stem
    full = stem + _ADDED
    yield from ((number, full[:k]) for k in range(len(full), len(stem) + 1, -1))


def _number(name: str) -> tuple[str, str]:
    found = _NUMBERED.fullmatch(name)
    return (found[1], found[2]) if found else (name, "")
