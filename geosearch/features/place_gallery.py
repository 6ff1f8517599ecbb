"""A gallery of places: what photos are compared with where there are no photos to compare with.

Its rows stand among the photos, so that all that searches, filters and places finds them; their
`position_source` is `place`, and they have no file: no bytes, size or format.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from psycopg import sql

from geosearch.arguments import check_choice
from geosearch.database.collection_rows import ensure_collection
from geosearch.database.connection import Connection, Database
from geosearch.database.embedding_tables import writable_tables
from geosearch.errors import InputError, PhotoRejected, unusable_file
from geosearch.features import geoclip_location
from geosearch.features.embedding_import import Run, load_blocks
from geosearch.features.external_vectors import BLOCK, Block
from geosearch.features.model_rows import Model, register_model
from geosearch.features.places_model import IMAGE_ENCODERS, places_description
from geosearch.ingest.delimited import UTF_8, delimited_rows, text_lines
from geosearch.ingest.manifests import COLUMNS
from geosearch.ingest.positions import checked
from geosearch.json_record import Record
from geosearch.storage import regular, resolve
from geosearch.waiting import Progress

#: The points that come with the encoder.
BUILTIN = "builtin"
_SAID = "Places, and no photos: vectors of the location encoder of {}."


@dataclass(frozen=True)
class Gallery(Record):
    """What was made: of `points` some `added`, others `there` before, or twice in the file, or
    `rejected`, such as those beyond the poles.
    """

    run_id: int
    model: str
    model_id: int
    collection: str
    points: int
    added: int
    there: int
    rejected: int
    seconds: float


def make_gallery(
    database: Database,
    kind: str = "geoclip",
    *,
    points: str | PathLike[str] = BUILTIN,
    collection: str = "places",
    progress: Progress | None = None,
) -> Gallery:
    """Store places with the vectors of a location encoder, to be found by its image encoder.

    Can be killed at any moment and run again: places that are there are left as they are.

    Parameters
    ----------
    kind
        Whose encoder: `geoclip`.
    points
        A CSV or TSV with a column each of latitudes and longitudes, in degrees; or `builtin`, those
        that come with the encoder.
    collection
        Where they are stored, made where it is missing: best one that has no photos.
    progress
        Called with (points done, all points).

    Raises
    ------
    InputError
        There is no such encoder; or the points cannot be read, or are none.
    MissingExtraError, ModelError
        The encoder's package is not installed, or another.
    DatabaseError
        Another run is at work on these places, or this login may not.
    """
    check_choice("kind", kind, IMAGE_ENCODERS)
    started = time.perf_counter()
    builtin = points == BUILTIN
    file = geoclip_location.places_file() if builtin else Path(resolve(str(points)))
    read, rejected = read_points(file)
    if not len(read):
        raise InputError(f"{file} has no place", "Give a table with columns lat and lon.")
    description = places_description(
        kind,
        geoclip_location.WEIGHTS_SHA256,
        geoclip_location.DIMENSION,
        geoclip_location.LICENCE,
    )
    with database.connection() as connection:
        key = ensure_collection(connection, collection, _SAID.format(kind))
        model = register_model(connection, description)
    licence = geoclip_location.LICENCE if builtin else None
    asked = {"gallery": kind, "points": str(points)}

    def blocks(run_id: int) -> Iterator[tuple[Path, Block]]:
        for start in range(0, len(read), BLOCK):
            part = read[start : start + BLOCK]
            with database.connection() as connection:
                names, bare = _stored(connection, part, model, (key, run_id, licence))
            if bare:
                vectors = geoclip_location.encode_places(part[bare])
                yield file, Block(start + 1, vectors, [names[place] for place in bare])
            if progress is not None:
                progress(start + len(part), len(read))

    done = load_blocks(database, model, key, Run("ingest", asked, "sha256"), blocks)
    return Gallery(
        done.run_id,
        model.name,
        model.id,
        collection,
        points=len(read) + rejected,
        added=done.embedded,
        there=len(read) - done.embedded,
        rejected=rejected,
        seconds=round(time.perf_counter() - started, 3),
    )


def read_points(file: Path) -> tuple[NDArray[np.float64], int]:
    """The places (n, 2) of a table, latitude and longitude in degrees, and how many are none.

    Raises
    ------
    InputError
        It cannot be read, or has no such columns.
    """
    places: list[tuple[float, float]] = []
    rejected = 0
    try:
        with regular(file).open("rb") as stream:
            rows = delimited_rows(text_lines(stream, str(file), UTF_8), str(file))
            _, header = next(rows, (1, []))
            lat, lon = (_column(file, header, name) for name in ("lat", "lon"))
            for _, cells in rows:
                try:
                    if isinstance(cells, str):
                        raise ValueError(cells)
                    position = checked(float(cells[lat]), float(cells[lon]), "manifest")
                    places.append((position.lat, position.lon))
                except (ValueError, PhotoRejected):
                    rejected += 1
    except OSError as error:
        raise unusable_file(
            f"{file} cannot be read: {error.strerror}", error, "Give a table of places."
        ) from error
    return np.array(places, np.float64).reshape(-1, 2), rejected


def _column(file: Path, header: list[str] | str, name: str) -> int:
    cells = [] if isinstance(header, str) else [cell.strip().lower() for cell in header]
    found = next((cells.index(alias) for alias in COLUMNS[name] if alias in cells), None)
    if found is None:
        raise InputError(
            f"{file} has no column {name}", f"Call it one of {', '.join(COLUMNS[name])}."
        )
    return found


_STORE = """
INSERT INTO {photos} (collection_id, shelf, uri, sha256, geom, position_source, run_id, licence)
SELECT c.id, c.shelf, p.uri, decode(p.sha256, 'hex'), ST_SetSRID(ST_Point(p.lon, p.lat), 4326),
    'place', %(run)s, %(licence)s
FROM unnest(%(uris)s::text[], %(digests)s::text[], %(lat)s::float8[], %(lon)s::float8[])
    AS p (uri, sha256, lat, lon),
    geosearch.collections AS c
WHERE c.id = %(collection)s
ON CONFLICT DO NOTHING
"""
_EMBEDDED = """
SELECT encode(p.sha256, 'hex') FROM geosearch.photos AS p
JOIN geosearch.embeddings AS e ON e.photo_id = p.id AND e.model_id = %(model)s
WHERE p.collection_id = %(collection)s
    AND p.sha256 = ANY (SELECT decode(d, 'hex') FROM unnest(%(digests)s::text[]) AS d)
"""


def _stored(
    connection: Connection,
    places: NDArray[np.float64],
    model: Model,
    of_run: tuple[int, int, str | None],
) -> tuple[list[str], list[int]]:
    """Places (n, 2) as rows, and by what each is found; and those of them without a vector yet."""
    uris = [f"place:{lat:.6f},{lon:.6f}" for lat, lon in places.tolist()]
    digests = [hashlib.sha256(uri.encode()).hexdigest() for uri in uris]
    collection, run, licence = of_run
    values = {
        "uris": uris,
        "digests": digests,
        "lat": places[:, 0].tolist(),
        "lon": places[:, 1].tolist(),
        "collection": collection,
        "run": run,
        "licence": licence,
        "model": model.id,
    }
    connection.execute(sql.SQL(_STORE).format(**writable_tables(connection, "photos")), values)
    known = {digest for (digest,) in connection.execute(_EMBEDDED, values)}
    return digests, [place for place, digest in enumerate(digests) if digest not in known]
