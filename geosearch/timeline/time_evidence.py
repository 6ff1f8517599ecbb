"""What time says of one photo, as an answer keeps it: from whom, by what, and how far believed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Self

from geosearch.density import Mixture
from geosearch.json_record import Record, plain
from geosearch.timeline.clock_offset import ClockOffset
from geosearch.timeline.fusion import FEWEST_OF_A_KIND, Fused, Fusion, fused
from geosearch.timeline.session_chain import Session
from geosearch.timeline.timeline_prior import Chance, Moment
from geosearch.timeline.timeline_rows import Dated

#: Below this probability that all kinds of evidence are right they disagree.
_EVEN = 0.5

#: How far a picture is doubted that has too little information to tell a place.
_BLANK = 0.99


@dataclass(frozen=True)
class OnTrack(Record):
    """Where a track may have been when a photo was taken, as the clock of its camera may be off."""

    name: str
    sha256: str
    clock_offset: ClockOffset
    chances: tuple[Chance, ...]

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """What `to_json` wrote."""
        chances = tuple(map(Chance.from_json, value["chances"]))
        return cls(value["name"], value["sha256"], ClockOffset(**value["clock_offset"]), chances)


@dataclass(frozen=True)
class TimeEvidence:
    """The photos before and after a photo, and what a track had then, with what weighs them.

    `timeline` and `track` are None where nothing is known. `believed` is, of `picture`, `timeline`
    and `track`, the probability that each is right once all are compared; `agree` that all are.
    `by_picture` is the estimate by the picture alone, degrees. `asked` is by what the photos were
    looked up and those without positions searched for, as JSON: filter, exclusions, and the
    bandwidth in km, if one was given.
    """

    photo: Dated
    timeline: Moment | None
    fusion: Fusion
    track: OnTrack | None = None
    believed: Mapping[str, float] = field(default_factory=dict)
    agree: float = 1.0
    by_picture: tuple[float, float] | None = None
    asked: Mapping[str, Any] | None = None

    def __bool__(self) -> bool:
        return bool(self.timeline or self.track)

    @property
    def disagrees(self) -> bool:
        """Whether picture and time contradict each other."""
        return self.agree < _EVEN

    @property
    def unlearned(self) -> str | None:
        """In words, what it goes by whose worth was not learned; None where all was."""
        moment, fusion = self.timeline, self.fusion
        if self.track is not None:
            return None if fusion.on_tracks else "it has seen no photos on a track"
        if moment is not None and not moment.fixes and fusion.chained < FEWEST_OF_A_KIND:
            return "it has seen no photos without positions that tell of one another"
        return None if fusion.photos or not moment else "it has seen no photos in order of time"

    def fused(self, picture: Mixture, within_km: tuple[float, ...], *, blank: bool) -> Fused:
        """The density by the picture, which is hardly believed if it is `blank`, and by time."""
        fusion = replace(self.fusion, picture_doubt=_BLANK) if blank else self.fusion
        track = () if self.track is None else self.track.chances
        return fused(fusion, picture, self.timeline, track, within_km)

    def weighed(self, told: Fused) -> Self:
        """The evidence, and how far each kind of it is believed."""
        kinds = [name for name in ("timeline", "track") if getattr(self, name)]
        believed = {name: told.told.right(index) for index, name in enumerate(["picture", *kinds])}
        return replace(self, believed=believed, agree=float(told.told.shares[-1]))

    @property
    def time_believed(self) -> bool:
        """Whether some kind of time is probably right, so that the place is known by it.

        By photos without positions it is if a picture of theirs tells theirs.
        """
        moment = self.timeline
        known = {
            "timeline": bool(
                moment and (moment.fixes or (moment.session and moment.session.confident))
            ),
            "track": True,
        }
        return any(share >= _EVEN and known.get(name) for name, share in self.believed.items())

    def to_json(self) -> dict[str, Any]:
        """As JSON, without what was fitted."""
        photo = self.photo
        return {
            "taken_at": None if photo.taken_at is None else photo.taken_at.isoformat(),
            "zone": photo.zone,
            "author": photo.author,
            "camera": photo.camera,
            "collection_id": photo.collection_id,
            "timeline": self.timeline and self.timeline.to_json(),
            "track": self.track and self.track.to_json(),
            "by_picture": self.by_picture
            and dict(zip(("lat", "lon"), self.by_picture, strict=True)),
            "believed": dict(self.believed),
            "agree": self.agree,
            "fitted_to": self.fusion.on_tracks if self.track else self.fusion.photos,
            "chained_to": self.fusion.chained,
        }

    def to_row(self) -> dict[str, Any]:
        """As JSON, with what was fitted: what the answer can be computed from again."""
        found = self.to_json() | {"fusion": self.fusion.to_json(), "asked": plain(self.asked)}
        session = self.timeline and self.timeline.session
        return found | {"session": session.to_row()} if session else found

    @classmethod
    def from_row(cls, value: Mapping[str, Any], sha256: bytes) -> Self:
        """What `to_row` wrote of a photo with these bytes."""
        taken, picture = value["taken_at"], value["by_picture"]
        moment = None if value["timeline"] is None else Moment.from_json(value["timeline"])
        if moment is not None and "session" in value:
            moment = replace(moment, session=Session.from_row(value["session"]))
        names = ("zone", "author", "camera", "collection_id")
        return cls(
            Dated(
                sha256,
                None if taken is None else datetime.fromisoformat(taken),
                *(value[name] for name in names),
            ),
            moment,
            Fusion.from_json(value["fusion"]),
            None if value["track"] is None else OnTrack.from_json(value["track"]),
            value["believed"],
            value["agree"],
            picture and (picture["lat"], picture["lon"]),
            value["asked"],
        )
