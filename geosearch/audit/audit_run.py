"""Every located photo placed without itself, by its picture and by time, and compared with what it
states: resumable, some photos at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from functools import cached_property, partial
from itertools import product
from typing import Any

import numpy as np
from psycopg.types.json import Jsonb

from geosearch.arguments import check_range
from geosearch.audit.audit_rows import (
    Stated,
    name_homes,
    read_judged,
    read_stated,
    save_judgements,
)
from geosearch.audit.plausibility import Known
from geosearch.audit.stated_lines import (
    TRUSTED,
    Line,
    by_author,
    lines_of,
    sessions_of,
)
from geosearch.database.connection import Database
from geosearch.database.copying import point_ewkb
from geosearch.database.embedding_tables import visible_vectors
from geosearch.defaults import DEFAULT_MODEL, DUPLICATE_DISTANCE, LEAST_PROBABILITY
from geosearch.density import Mixture
from geosearch.density.products import united
from geosearch.features.backbones import Backbone
from geosearch.features.model_rows import Model, find_model
from geosearch.features.places_model import refuse_places
from geosearch.json_record import Record
from geosearch.localization.answer import Parameters
from geosearch.localization.localizing import answer_query, chosen_parameters
from geosearch.localization.request import Request
from geosearch.parallel import ordered_map
from geosearch.query import Query
from geosearch.retrieval import EVERYTHING, Filter
from geosearch.retrieval.conditions import Photos
from geosearch.retrieval.duplicates import Exclusions
from geosearch.sphere import EARTH_RADIUS_KM, great_circle_km, unit_vectors
from geosearch.timeline import Movement, fit_movement
from geosearch.versions import software_versions
from geosearch.waiting import Progress

#: Photos judged and recorded together: what a killed run does again.
BATCH = 256

#: References that are no evidence.
_OTHERS = Exclusions(same_bytes=True, duplicate_distance=DUPLICATE_DISTANCE)

#: How often a photo that is trusted is wrong all the same.
_TRUSTED_DOUBT = 0.005

#: What is not told from one another in place, kilometres; and how far a steady way may stray.
_FLOOR_KM, _WANDER = 0.1, 0.05

#: The kernels of a picture's density are so many times as wide, with these probabilities.
_TAILS = ((1.0, 0.7), (4.0, 0.25), (16.0, 0.05))

#: Kernels of this share together are left out, and close ones are one: every pair is looked at.
_LIGHTEST, _CLOSE = 0.01, 0.5


@dataclass(frozen=True)
class AuditSummary(Record):
    """What an audit did: of so many `photos`, so many were `judged` now, the others by an earlier
    run. `reasons` counts those of the doubtful ones.
    """

    photos: int
    judged: int
    doubtful: int
    reasons: Mapping[str, int]


@dataclass(frozen=True)
class _Reading:
    """How pictures are read: kernels so many times as wide, and no narrower than so many
    kilometres, and how often they mislead.
    """

    width: float
    floor_km: float
    doubt: float

    def of(self, picture: Mixture) -> Mixture:
        """The density, with tails: neighbours crowd where photos are taken, not where this was."""
        lean = picture.without_lightest(_LIGHTEST).condensed(_CLOSE)
        variance = self.width**2 / lean.kappa + (self.floor_km / EARTH_RADIUS_KM) ** 2
        parts = [
            (share, Mixture(lean.centres, lean.weights, 1 / (variance * times**2)))
            for times, share in _TAILS
        ]
        return united(parts)


#: What is tried, on so many photos.
_READ = 64
_WIDTHS, _FLOORS_KM = (1.0, 3.0), (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
_DOUBTS = (0.01, 0.03, 0.1, 0.2, 0.4)


@dataclass(frozen=True)
class _Seen:
    """What the picture of a photo shows: a density, and the place, degrees."""

    mixture: Mixture
    place: tuple[float, float]


def audit(
    database: Database,
    *,
    model: str | Backbone = DEFAULT_MODEL,
    where: Filter = EVERYTHING,
    parameters: Parameters | Request | None = None,
    least_probability: float = LEAST_PROBABILITY,
    again: bool = False,
    progress: Progress | None = None,
) -> AuditSummary:
    """Judge the photos that pass `where` and have a position, and record what was found.

    Each is placed by its picture among all visible references, without itself, its near-duplicates,
    its author's photos of the same quarter of an hour, and those that time shows to be wrong, by
    `parameters` as `localize` does; and by the trusted photos before and after it by the same
    camera. One is doubtful if what it states is less probable than `least_probability`. Can be
    killed at any moment and run again: photos that were judged as they are now are left out, unless
    `again`.

    Raises
    ------
    InputError
        `least_probability` is out of range.
    NotFoundError
        Nothing is embedded with this model, or a collection or country does not exist.
    """
    check_range("least_probability", least_probability, 0, 1)
    with database.connection() as connection:
        row = find_model(connection, model)
        refuse_places(row.name, "places of photos are not judged")
        chosen = chosen_parameters(connection, row, EVERYTHING, parameters)
        chosen = replace(chosen, timeline=False)  # which is judged by itself
        photos = read_stated(connection, where)
        ids = [photo.id for photo in photos]
        judged = {} if again else read_judged(connection, row.id, ids)
    if len(judged) < len(photos):
        lines, movement = _in_order(photos)
        work = _Work(database, row, chosen, movement, least_probability, sessions_of(photos), lines)
        _judge(database, work, judged, progress)
    with database.connection() as connection:
        name_homes(connection, ids)
        reasons = connection.execute(
            "SELECT reason FROM geosearch.audits WHERE photo_id = ANY(%s) "
            "AND recorded_by = current_user AND reason IS NOT NULL ORDER BY reason",
            (ids,),
        ).fetchall()
    counts = Counter(reason for (reason,) in reasons)
    return AuditSummary(len(photos), len(photos) - len(judged), counts.total(), dict(counts))


def _in_order(photos: Sequence[Stated]) -> tuple[list[Line], Movement]:
    """The photos in order of time, trusted as far as time tells, and how one moves by them."""
    lines = [line.likelier(Movement()) for line in lines_of(photos)]
    for line in lines:
        line.trust_by_time(Movement())
    lines = by_author(lines, Movement())
    # Of those that go by the usual movement: wrong ones would teach that one flies all the time.
    fitted = fit_movement([line.trusted for line in lines])
    return lines, replace(
        fitted,
        doubt=_TRUSTED_DOUBT,
        floor_km=max(fitted.floor_km, _FLOOR_KM),
        wander=max(fitted.wander, _WANDER),
    )


def _judge(
    database: Database, work: _Work, judged: Mapping[int, float], progress: Progress | None
) -> None:
    """Judge the photos that are not judged yet, and record what is found, some at a time."""
    for line in work.lines:
        for index, photo in enumerate(line.photos):
            line.trust[index] = judged.get(photo.id, line.trust[index])
    places = [(line, index) for line in work.lines for index in range(len(line.photos))]
    waiting = [place for place in places if place[0].photos[place[1]].id not in judged]
    for start in range(0, len(waiting), BATCH):

        def report(done: int, _: int | None, start: int = start) -> None:
            if progress is not None:
                progress(len(judged) + start + done, len(places))

        rows = work.judge(waiting[start : start + BATCH], report)
        with database.connection() as connection:
            save_judgements(connection, rows)


@dataclass(frozen=True, eq=False)
class _Work:
    database: Database
    model: Model
    parameters: Parameters
    movement: Movement
    least: float
    sessions: Mapping[int, tuple[int, ...]]
    lines: Sequence[Line]

    @cached_property
    def distrusted(self) -> tuple[int, ...]:
        """Photos that were shown to be wrong before pictures are looked at."""
        photos = ((line, index) for line in self.lines for index in range(len(line.photos)))
        return tuple(line.photos[index].id for line, index in photos if line.trust[index] < TRUSTED)

    def judge(self, batch: Sequence[tuple[Line, int]], progress: Progress) -> list[dict[str, Any]]:
        """The rows of some photos."""
        seen = self._pictures([line.photos[index] for line, index in batch], progress)
        reading = self._reading(batch, seen)
        for line in {id(line): line for line, _ in batch}.values():
            chosen = [index for each, index in batch if each is line]
            line.trust_together(chosen, partial(self._known, line, seen=seen, reading=reading))
        return [self._row(line, index, seen, reading) for line, index in batch]

    def _known(self, line: Line, index: int, seen: Mapping[int, _Seen], reading: _Reading) -> Known:
        picture = seen.get(line.photos[index].id)
        mixture = None if picture is None else reading.of(picture.mixture)
        return Known(self.movement, line.moment(index), mixture, reading.doubt)

    def _reading(self, batch: Sequence[tuple[Line, int]], seen: Mapping[int, _Seen]) -> _Reading:
        """How pictures are to be read: so that the stated positions are likeliest."""
        best, most = _Reading(1.0, _FLOOR_KM, 0.1), -np.inf
        told_by = [
            (line, index)
            for line, index in batch
            if line.photos[index].id in seen and line.trust[index] >= TRUSTED
        ]
        for width, floor_km in product(_WIDTHS, _FLOORS_KM):
            totals = np.zeros(len(_DOUBTS))
            for line, index in told_by[:: max(1, -(-len(told_by) // _READ))]:
                known = self._known(line, index, seen, _Reading(width, floor_km, 0.1))
                point = unit_vectors(*line.photos[index].place)[None]
                assert known.picture is not None
                told = float(known.picture.log_density(point)[0]), known.log_mass
                for number, doubt in enumerate(_DOUBTS):
                    at, whole = (replace(known, doubt=doubt).believing(each) for each in told)
                    totals[number] += at - whole
            if totals.max() > most:
                best, most = _Reading(width, floor_km, _DOUBTS[int(totals.argmax())]), totals.max()
        return best

    def _pictures(self, photos: Sequence[Stated], progress: Progress) -> dict[int, _Seen]:
        """What the pictures show, of the photos that are embedded and have neighbours."""

        def look(query: tuple[int, Query]) -> tuple[int, _Seen | None]:
            key, asked = query
            others = ~Photos(*self.sessions.get(key, (key,)), *self.distrusted)
            given = (self.database, self.model, asked, self.parameters, others, _OTHERS)
            answer = answer_query(*given, regions=False)
            density = answer.by_picture
            if density is None or answer.lat is None or answer.lon is None:
                return key, None
            return key, _Seen(density, (answer.lat, answer.lon))

        found = {}
        looked = ordered_map(look, self._queries(photos), self.database.pool_size)
        for done, (key, seen) in enumerate(looked, start=1):
            if seen is not None:
                found[key] = seen
            progress(done, None)
        return found

    def _queries(self, photos: Sequence[Stated]) -> Iterator[tuple[int, Query]]:
        by_id = {photo.id: photo for photo in photos}
        with self.database.connection() as connection:
            vectors = visible_vectors(connection, self.model.id, list(by_id))
        for key, vector in vectors.items():
            photo = by_id[key]
            yield key, Query(photo.uri, photo.sha256, vector, photo.author, photo.taken_at)

    def _row(
        self, line: Line, index: int, seen: Mapping[int, _Seen], reading: _Reading
    ) -> dict[str, Any]:
        photo, picture = line.photos[index], seen.get(line.photos[index].id)
        known = self._known(line, index, seen, reading)
        found = line.judged(index, known)
        by_time = Known(self.movement, known.moment, None, 1.0)
        doubtful = found.probability < self.least

        def away(place: tuple[float, float] | None) -> float | None:
            return None if place is None else float(great_circle_km(*photo.place, *place))

        mend, shift, mend_at = found.mend, found.shift_hours, None
        if doubtful and shift is not None and photo.taken_at is not None:
            mend_at = photo.taken_at + timedelta(hours=shift)
        options = {
            "least_probability": self.least,
            "picture": asdict(reading),
            "movement": self.movement.to_json(),
        }
        return {
            "photo_id": photo.id,
            "photo_uri": photo.uri,
            "stated": point_ewkb(*photo.place),
            "stated_at": photo.taken_at,
            "probability": found.probability,
            "level": known.level_of(photo.place),
            "picture_km": away(None if picture is None else picture.place),
            "timeline_km": away(by_time.estimate if known.moment else None),
            "speed_kmh": found.speed_kmh,
            "reason": found.reason if doubtful else None,
            "reason_probability": found.reason_probability if doubtful else None,
            "mend": point_ewkb(*mend) if doubtful and mend is not None else None,
            "mend_at": mend_at,
            "model_id": self.model.id,
            "filter": Jsonb({}),
            "parameters": Jsonb(self.parameters.to_json() | options),
            "software": Jsonb(software_versions()),
        }
