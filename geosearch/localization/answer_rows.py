"""Answers in the database: written with all they rest on, read back as they were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, LiteralString

import numpy as np
import shapely
from pgvector import Vector
from psycopg import sql
from psycopg.types.json import Jsonb

from geosearch.database.connection import Connection, Database
from geosearch.database.copying import copy_into, point_ewkb
from geosearch.database.inserting import insert_all, insert_statement
from geosearch.density import Mode, Place, Region
from geosearch.errors import NotFoundError
from geosearch.json_record import plain
from geosearch.localization.answer import Localization, Parameters
from geosearch.query import Query
from geosearch.retrieval import Filter, Neighbours, Plan
from geosearch.retrieval.duplicates import Excluded
from geosearch.retrieval.neighbours import NOT_COMPARED, Verification
from geosearch.thresholds import whole_if_even
from geosearch.timeline.time_evidence import TimeEvidence

_NEIGHBOURS = sql.Identifier("geosearch", "localization_neighbours")
_NEIGHBOUR_COLUMNS = (
    *("localization_id", "rank", "photo_id", "uri", "geom"),
    *("distance", "inliers", "weight", "member"),
)
_NEIGHBOUR_TYPES = ["int8", "int4", "int8", "text", "bytea", "float8", "int4", "float8", "int2"]

#: A calibration that was removed since is not named.
_CALIBRATION = "(SELECT id FROM geosearch.calibrations WHERE id = {})"


#: Of each photo the answer to decide on, as SQL: the `probability` of an error of at most
#: `at_most_km`, and whether a calibration `holds` for it.
LATEST_ANSWERS: LiteralString = """
SELECT l.*, within.probability,
    coalesce(l.confident AND l.calibration_fits IS DISTINCT FROM 'no', false) AS holds
FROM geosearch.latest_answers AS l
CROSS JOIN LATERAL (
    SELECT max(value::float8) AS probability
    FROM jsonb_each_text(l.probability_within_km) AS each (km, value)
    WHERE km::float8 <= %(at_most_km)s
) AS within
"""


_PLACE_NAMES = """
SELECT geosearch.place_name(ST_SetSRID(ST_Point(lon, lat), 4326), radius_km)
FROM unnest(%s::float8[], %s::float8[], %s::float8[]) WITH ORDINALITY AS t (lon, lat, radius_km, n)
ORDER BY n
"""


def with_places(connection: Connection, answers: Sequence[Localization]) -> list[Localization]:
    """The answers with their places in words, fit for the radius that holds half the density."""
    columns = (
        [answer.lon for answer in answers],
        [answer.lat for answer in answers],
        [answer.radius_km.get(0.5) for answer in answers],
    )
    rows = connection.execute(_PLACE_NAMES, columns)
    return [replace(answer, place_name=name) for answer, (name,) in zip(answers, rows, strict=True)]


def no_answer(localization_id: int) -> NotFoundError:
    """There is no answer of this id."""
    return NotFoundError(
        f"there is no answer {localization_id}",
        "geosearch localize and geosearch evaluate print the ids of what they record.",
    )


def save(
    connection: Connection, answers: Sequence[Localization], evaluation_id: int | None = None
) -> list[int]:
    """Record answers with neighbours and regions; returns their ids, in order."""
    if not answers:
        return []
    with connection.cursor() as cursor:
        # psycopg sends these as a pipeline: one round trip for all answers.
        rows = [_row(answer, evaluation_id) for answer in answers]
        statement = insert_statement("localizations", rows[0], calibration_id=_CALIBRATION)
        cursor.executemany(statement + sql.SQL(" RETURNING id"), rows, returning=True)
        ids: list[int] = []
        for _ in answers:
            ids += [int(row[0]) for row in cursor]
            cursor.nextset()
        with copy_into(connection, _NEIGHBOURS, _NEIGHBOUR_COLUMNS) as copy:
            copy.set_types(_NEIGHBOUR_TYPES)
            for key, answer in zip(ids, answers, strict=True):
                found = answer.neighbours
                for index in range(len(found)):
                    copy.write_row(
                        (
                            key,
                            index + 1,
                            int(found.photo_id[index]),
                            found.uri[index],
                            point_ewkb(found.lat[index], found.lon[index]),
                            float(found.distance[index]),
                            found.counted(index),
                            float(answer.weights[index]),
                            None if found.member is None else int(found.member[index]),
                        )
                    )
    regions = [
        {
            "localization_id": key,
            "level": level,
            "geom": shapely.to_wkb(region.geometry),
            "area_km2": region.area_km2,
        }
        for key, answer in zip(ids, answers, strict=True)
        for level, region in answer.regions.items()
    ]
    form = "ST_Multi(ST_GeomFromWKB({}, 4326))"
    insert_all(connection, "localization_regions", regions, geom=form)
    members = [
        _member_row(key, number, member)
        for key, answer in zip(ids, answers, strict=True)
        for number, member in enumerate(answer.members, start=1)
    ]
    insert_all(connection, "localization_models", members)
    return ids


def _member_row(key: int, number: int, member: Localization) -> dict[str, Any]:
    """What one of several models answered alone, by column: some of those of an answer."""
    names = ("model_id", "model", "parameters", "filter", "plan", "query_embedding", "estimate")
    whole = _row(member, None)
    return {
        "localization_id": key,
        "number": number,
        **{name: whole[name] for name in (*names, "agreement", "modes", "excluded")},
        "share": member.share,
        "reference_photos": member.references,
    }


def _row(answer: Localization, evaluation_id: int | None) -> dict[str, Any]:
    """The columns of an answer."""
    place, truth, fitted = answer.place, answer.truth, answer.parameters.fitted
    probability, verification = plain(answer.probability_within_km), answer.neighbours.verification
    return {
        "photo_uri": answer.query.uri,
        "photo_sha256": answer.query.sha256,
        "picture": answer.query.picture,
        "model_id": answer.model_id,
        "model": Jsonb(dict(answer.model)),
        "method": answer.parameters.method,
        "parameters": Jsonb(answer.parameters.to_json()),
        "filter": Jsonb(answer.where.to_json()),
        "plan": Jsonb(dict(answer.plan)),
        "verification": None if verification is None else Jsonb(verification.to_json()),
        "software": Jsonb(dict(answer.software)),
        "query_embedding": Vector(answer.query.embedding),
        "estimate": None if place is None else point_ewkb(place.lat, place.lon),
        "place": answer.place_name,
        "agreement": answer.agreement,
        "radius_50_km": answer.radius_km.get(0.5),
        "radius_90_km": answer.radius_km.get(0.9),
        "modes": Jsonb(plain(answer.modes)),
        "elapsed_ms": Jsonb(dict(answer.elapsed_ms)),
        "truth": None if truth is None else point_ewkb(*truth),
        "error_km": answer.error_km,
        "truth_level": answer.truth_level,
        "excluded": None if answer.excluded is None else Jsonb(answer.excluded.to_json()),
        "evidence": None if answer.evidence is None else Jsonb(answer.evidence.to_row()),
        "evaluation_id": evaluation_id,
        "question": answer.question,
        "calibration_id": answer.parameters.calibration_id,
        "calibration": None if fitted is None else Jsonb(fitted.to_json()),
        "confident": answer.confident,
        "low_information": answer.query.low_information,
        "calibration_fits": answer.calibration_fits,
        "kind_above_km": answer.calibrated and answer.calibrated.kind.above_km,
        "probability_within_km": Jsonb(probability) if probability else None,
    }


_SELECT = """
SELECT id, photo_uri, photo_sha256, query_embedding, model_id, model, parameters, filter, plan,
    ST_Y(estimate), ST_X(estimate), agreement, radius_50_km, radius_90_km, modes, elapsed_ms,
    software, ST_Y(truth), ST_X(truth), error_km, created_at, excluded,
    truth_level, calibration, confident, probability_within_km, place, low_information,
    verification, picture, evidence
FROM geosearch.localizations WHERE id = %s
"""

_PICTURE = """
SELECT picture, (
    SELECT min(id) FROM geosearch.photos WHERE uri = photo_uri AND sha256 = photo_sha256
) FROM geosearch.localizations WHERE id = %s
"""

_SELECT_NEIGHBOURS = """
SELECT photo_id, uri, ST_Y(geom), ST_X(geom), distance, weight, coalesce(inliers, %s), member
FROM geosearch.localization_neighbours WHERE localization_id = %s ORDER BY rank
"""

_SELECT_MEMBERS = """
SELECT model_id, model, parameters, filter, plan, query_embedding, ST_Y(estimate), ST_X(estimate),
    agreement, modes, excluded, share, reference_photos
FROM geosearch.localization_models WHERE localization_id = %s ORDER BY number
"""

_SELECT_REGIONS = """
SELECT level, ST_AsBinary(geom), area_km2
FROM geosearch.localization_regions WHERE localization_id = %s ORDER BY level
"""


def load(database: Database, localization_id: int) -> Localization:
    """Read an answer back.

    Raises
    ------
    NotFoundError
        There is no such answer.
    """
    with database.connection() as connection:
        row = connection.execute(_SELECT, (localization_id,)).fetchone()
        if row is None:
            raise no_answer(localization_id)
        neighbours = connection.execute(
            _SELECT_NEIGHBOURS, (NOT_COMPARED, localization_id)
        ).fetchall()
        regions = connection.execute(_SELECT_REGIONS, (localization_id,)).fetchall()
        members = connection.execute(_SELECT_MEMBERS, (localization_id,)).fetchall()
    answer = _read(row, neighbours, regions)
    read = [_read_member(answer, *each) for each in enumerate(members)]
    return replace(answer, members=tuple(read)) if read else answer


def read_picture(connection: Connection, localization_id: int) -> tuple[bytes | None, int | None]:
    """The small WebP that is kept with an answer, and the photo of the collections it is of, by id,
    if it is one that this login may see; None each where there is none.

    Raises
    ------
    NotFoundError
        There is no such answer.
    """
    row = connection.execute(_PICTURE, (localization_id,)).fetchone()
    if row is None:
        raise no_answer(localization_id)
    return row[0] and bytes(row[0]), row[1]


def _read_member(answer: Localization, number: int, row: tuple[Any, ...]) -> Localization:
    """What one of several models answered alone."""
    fitted, found = answer.parameters.fitted, answer.neighbours
    parameters = replace(
        Parameters.from_json(row[2], None), fitted=None if fitted is None else fitted.alone[number]
    )
    weights = answer.weights[found.member == number + 1] if len(found) else np.zeros(0)
    place = Place(
        lat=row[6],
        lon=row[7],
        agreement=row[8],
        radius_km={},
        modes=tuple(Mode(**mode) for mode in row[9]),
        weights=weights / (weights.sum() or 1),
        regions={},
        bandwidth_km=parameters.bandwidth_km or (),
    )
    embedding = np.asarray(row[5].to_numpy(), dtype=np.float32)
    return replace(
        answer,
        id=None,
        query=replace(answer.query, embedding=embedding),
        model_id=row[0],
        model=row[1],
        parameters=parameters,
        where=Filter.from_json(row[3]),
        neighbours=found.of_member(number + 1, Plan.from_json(row[4])),
        place=None if row[6] is None else place,
        excluded=None if row[10] is None else Excluded(**row[10]),
        evidence=None,
        share=row[11],
        references=row[12],
    )


def _read(
    row: tuple[Any, ...], neighbours: list[tuple[Any, ...]], regions: list[tuple[Any, ...]]
) -> Localization:
    columns = list(zip(*neighbours, strict=True)) if neighbours else [()] * 8
    parameters = Parameters.from_json(row[6], row[23])
    radii = {0.5: row[12], 0.9: row[13]}
    place = Place(
        lat=row[9],
        lon=row[10],
        agreement=row[11],
        radius_km={level: km for level, km in radii.items() if km is not None},
        modes=tuple(Mode(**mode) for mode in row[14]),
        weights=np.array(columns[5], dtype=np.float64),
        regions={
            _level(level): Region(_level(level), shapely.from_wkb(wkb), area)
            for level, wkb, area in regions
        },
        bandwidth_km=parameters.bandwidth_km or (),
    )
    return Localization(
        id=row[0],
        query=Query(
            row[1],
            bytes(row[2]),
            np.asarray(row[3].to_numpy(), dtype=np.float32),
            low_information=row[27],
            picture=row[29] and bytes(row[29]),
        ),
        model_id=row[4],
        model=row[5],
        parameters=parameters,
        place=None if row[9] is None else place,
        where=Filter.from_json(row[7]),
        neighbours=Neighbours(
            photo_id=np.array(columns[0], dtype=np.int64),
            uri=tuple(columns[1]),
            lat=np.array(columns[2], dtype=np.float64),
            lon=np.array(columns[3], dtype=np.float64),
            distance=np.array(columns[4], dtype=np.float64),
            plan=Plan.from_json(row[8]),
            inliers=None if row[28] is None else np.array(columns[6], dtype=np.int64),
            verification=None if row[28] is None else Verification(**row[28]),
            member=np.array(columns[7], dtype=np.int64) if parameters.models else None,
        ),
        elapsed_ms=row[15],
        software=row[16],
        truth=None if row[17] is None else (row[17], row[18]),
        error_km=row[19],
        created_at=row[20],
        truth_level=row[22],
        confident=row[24],
        probability_within_km=dict(
            sorted((whole_if_even(float(km)), share) for km, share in (row[25] or {}).items())
        ),
        excluded=None if row[21] is None else Excluded(**row[21]),
        place_name=row[26],
        evidence=None if row[30] is None else TimeEvidence.from_row(row[30], bytes(row[2])),
    )


def _level(stored: float) -> float:
    return round(float(stored), 4)  # the column is float4
