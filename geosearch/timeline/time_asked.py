"""What is asked of time beside the picture: a timeline, a track, and whose clock is how far off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np

from geosearch.database.connection import Connection
from geosearch.retrieval import Filter
from geosearch.timeline.clock_offset import ClockReadings, LikelyOffsets
from geosearch.timeline.fusion import Fusion
from geosearch.timeline.time_evidence import OnTrack, TimeEvidence
from geosearch.timeline.timeline_rows import (
    Dated,
    Reading,
    file_dated,
    find_moment,
    located_readings,
    stored_dated,
)
from geosearch.timeline.track_files import Track


@dataclass(frozen=True)
class TimeAsked:
    """A track to go by, and how many seconds cameras' clocks are ahead; None finds out.

    `files` reads the metadata of photos that are not in the database: never those that somebody
    sent under a name of his choice.
    """

    track: Track | None = None
    clock_offset: float | None = None
    files: bool = False
    _readings: dict[Any, tuple[ClockReadings, list[Reading]]] = field(
        default_factory=dict, compare=False, repr=False
    )
    _lock: Any = field(default_factory=Lock, compare=False, repr=False)

    def to_json(self) -> Mapping[str, Any]:
        """By what the same question is known again; nothing where nothing is asked."""
        if self.track is None:
            return {}
        return {"track": self.track.sha256, "clock_offset": self.clock_offset}

    def evidence(
        self,
        connection: Connection,
        sha256: bytes,
        uri: str,
        where: Filter,
        fusion: Fusion,
        *,
        timeline: bool,
    ) -> TimeEvidence | None:
        """What time says of a photo, if anything; None if not even the photo is known."""
        photo = stored_dated(connection, sha256)
        if photo is None and self.files:
            photo = file_dated(sha256, uri)
        if photo is None:
            return None
        moment = find_moment(connection, photo, where) if timeline else None
        on_track = self.on_track(connection, photo, where)
        return TimeEvidence(photo, moment or None, fusion, on_track)

    def on_track(self, connection: Connection, photo: Dated, where: Filter) -> OnTrack | None:
        """What a track says of a photo, by what others tell of its clock; None if nothing."""
        track = self.track
        if track is None or photo.taken_at is None:
            return None
        offsets = self._offsets(connection, photo, where, track)
        if offsets.photos == 0 and photo.zone == "assumed":
            return None  # it may be hours off
        chances = offsets.chances(track, photo.taken_at.timestamp() / 3600)
        if not any(each.moment for each in chances):
            return None
        return OnTrack(track.name, track.sha256, offsets.best, chances)

    def _offsets(
        self, connection: Connection, photo: Dated, where: Filter, track: Track
    ) -> LikelyOffsets:
        """Those of the photo's camera, by its photos with positions, which are looked up once."""
        if self.clock_offset is not None:
            return LikelyOffsets.given(self.clock_offset)
        zoned = photo.zone != "assumed"
        key = where, photo.collection_id, photo.author, photo.camera, zoned
        with self._lock:
            if key not in self._readings:
                rows = located_readings(connection, photo, where, track.hours[0], track.hours[-1])
                hours, lat, lon = np.array([row[:3] for row in rows], float).reshape(-1, 3).T
                self._readings[key] = ClockReadings(track, hours, lat, lon, zoned), rows
            readings, rows = self._readings[key]
            return readings.offsets(np.array([row.sha256 != photo.sha256 for row in rows], bool))


#: Nothing but the timeline, of photos in the database.
NOTHING_MORE = TimeAsked()
