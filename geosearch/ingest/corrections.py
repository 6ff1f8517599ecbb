"""What a photo that comes again changes of the stored one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from geosearch.database.photo_changes import GROUPS, Change
from geosearch.ingest.photo_times import rezoned
from geosearch.ingest.positions import Position
from geosearch.ingest.records import Candidate, Photo, Zone

_FIRSTS = tuple(next(iter(group)) for group in GROUPS)


@dataclass
class Known:
    """A photo the collection holds, or will at the end of this batch; an id of None is to come.

    `written` are the places, latitude and longitude, that a write-back has said it was taken at.
    """

    uri: str
    position: Position | None
    photo_id: int | None = None
    taken_at: datetime | None = None
    zone: Zone | None = None
    written: Sequence[tuple[float, float]] = ()

    @property
    def located(self) -> bool:
        """Whether it has a position that is no mere estimate."""
        return self.position is not None and not self.position.is_estimate

    @property
    def estimated(self) -> bool:
        """Whether its position was guessed."""
        return self.position is not None and self.position.is_estimate

    def wrote(self, position: Position) -> bool:
        """Whether that is what was written back, which is no news: it may be taken back since."""
        return any(position.is_still(Position(*place, "reviewed")) for place in self.written)


def said_by(candidate: Candidate) -> frozenset[str]:
    """The groups of columns of which a source speaks: of a photo without a row, all."""
    if candidate.origin is None:
        return frozenset(_FIRSTS)
    position = {"lat"} if candidate.position is not None else set()
    return frozenset(
        position | {name for name in _FIRSTS if getattr(candidate, name, None) is not None}
    )


def correction(photo: Photo, known: Known, *, update: bool, reviewed: bool = False) -> Change:
    """What changes of a stored photo: in an update, all that is said.

    One without a position gets it, and what it lacks besides. No guess replaces a known position,
    and what was written back no reviewed one. What was `reviewed` makes references or not. A time
    whose zone was that of the position has the zone of the new one.
    """
    position = photo.position
    before = known.position
    if position is not None and before is not None and not before.is_estimate:
        written_back = before.source == "reviewed" and position.is_at(before)
        if position.trust < 2 or written_back:
            position = None
    facts: dict[str, Any] = {name: getattr(photo, name, None) for group in GROUPS for name in group}
    if position is not None:
        facts |= position.columns(reviewed=reviewed)
    said = photo.said if update else frozenset()
    fill = update or (position is not None and not known.located)
    if not known.located:
        said |= {"lat"}
    values: dict[str, Any] = {}
    fills: dict[str, Any] = {}
    for first, group in zip(_FIRSTS, GROUPS, strict=True):
        if facts[first] is not None and (fill or first in said):
            (values if first in said else fills).update({name: facts[name] for name in group})
    if position is not None and "lat" in values and "taken_at" not in values:
        values |= rezoned(known.taken_at, known.zone, known.position, position)
    return Change(values, fills)


def corrected(first: Photo, later: Photo, *, update: bool) -> Photo:
    """A photo still to be stored, as one with the same bytes says in the same way."""
    change = correction(later, Known(first.uri, first.position), update=update)
    lacking = {name: value for name, value in change.fills.items() if not getattr(first, name)}
    fields = lacking | {
        name: value for name, value in change.values.items() if hasattr(first, name)
    }
    if "lat" in change.values:
        fields |= {"position": later.position, "defect": None}
    return replace(first, **fields)
