"""What is asked of time beside the picture: a timeline, a track, and whose clock is how far off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from threading import Lock
from typing import Any

import numpy as np

from geosearch.database.connection import Connection
from geosearch.retrieval import Filter
from geosearch.timeline.clock_offset import ClockOffset, find_offset
from geosearch.timeline.fusion import Fusion
from geosearch.timeline.time_evidence import OnTrack, TimeEvidence
from geosearch.timeline.timeline_rows import (
    Dated,
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
    _offsets: dict[Any, ClockOffset] = field(default_factory=dict, compare=False, repr=False)
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
        on_track = self._on_track(connection, photo, where)
        return TimeEvidence(photo, moment or None, fusion, on_track)

    def _on_track(self, connection: Connection, photo: Dated, where: Filter) -> OnTrack | None:
        track = self.track
        if track is None or photo.taken_at is None:
            return None
        offset = self._offset(connection, photo, where, track)
        if offset.photos == 0 and photo.zone == "assumed":
            return None  # it may be hours off
        shown = photo.taken_at - timedelta(seconds=offset.seconds)
        moment = track.moment(shown.timestamp() / 3600)
        return OnTrack(track.name, track.sha256, offset, moment) if moment else None

    def _offset(
        self, connection: Connection, photo: Dated, where: Filter, track: Track
    ) -> ClockOffset:
        """That of the photo's camera, by its photos with positions, found once."""
        if self.clock_offset is not None:
            return ClockOffset(self.clock_offset, None)
        key = where, photo.collection_id, photo.author, photo.camera, photo.zone == "assumed"
        with self._lock:
            if key not in self._offsets:
                rows = located_readings(connection, photo, where, track.hours[0], track.hours[-1])
                hours, lat, lon = np.array(rows, float).reshape(-1, 3).T
                self._offsets[key] = find_offset(track, hours, lat, lon)
            return self._offsets[key]


#: Nothing but the timeline, of photos in the database.
NOTHING_MORE = TimeAsked()
