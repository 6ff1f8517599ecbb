"""Partitions in the database: their rules, and their cells as polygons."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, LiteralString

import numpy as np
import shapely
from psycopg import errors
from psycopg.types.json import Jsonb

from geosearch.arguments import check_choice
from geosearch.database.connection import Connection, Database
from geosearch.database.inserting import insert, insert_all
from geosearch.errors import InputError, NotFoundError
from geosearch.geocells.clusters import Voronoi, clusters
from geosearch.geocells.partition import Division, Partition
from geosearch.geocells.quadtree import Quadtree, quadtree
from geosearch.json_record import Record
from geosearch.retrieval import EVERYTHING, Filter
from geosearch.retrieval.algebra import check_references
from geosearch.sphere import Array
from geosearch.versions import software_versions

#: How partitions can be made.
KINDS = ("quadtree", "clusters")


@dataclass(frozen=True)
class Stored(Record, id="partition_id", where="filter"):
    """A partition's row: what it was made of, and how many photos and cells it has."""

    id: int
    name: str
    kind: str
    parameters: dict[str, Any]
    where: Filter
    photos: int
    cells: int
    software: dict[str, str]
    created_at: datetime


def make_partition(
    database: Database,
    name: str,
    *,
    kind: str = "quadtree",
    max_photos: int | None = None,
    min_photos: int = 1,
    cells: int | None = None,
    seed: int | None = None,
    where: Filter = EVERYTHING,
) -> Partition:
    """Divide the world by the photos that pass `where`, and store the partition under `name`.

    The same again is the one that is stored: a command that was killed can be run again.

    `cells` and `seed` (default 0) are of the kind `clusters`.

    Raises
    ------
    InputError
        The name is that of another partition or impossible, the kind unknown, a number out of
        range, or no photo passes the filter.
    NotFoundError
        A collection or country in the filter does not exist.
    InputError
        The filter asks for estimated positions.
    """
    check_partition_name(name)
    check_choice("kind", kind, KINDS)
    with database.connection() as connection:
        lat, lon = photo_positions(connection, where)
    if not len(lat):
        raise InputError(f"no photo passes the filter ({where})", "Widen it, or ingest photos.")
    if kind == "quadtree":
        if max_photos is None or cells is not None or seed is not None:
            raise InputError(
                "`kind` quadtree goes by `max_photos`, not by `cells` or `seed`",
                "Give `max_photos` N.",
            )
        made = quadtree(name, lat, lon, max_photos=max_photos, min_photos=min_photos)
    else:
        made = clusters(
            name,
            lat,
            lon,
            cells=cells,
            max_photos=max_photos,
            min_photos=min_photos,
            seed=seed or 0,
        )
    with database.connection() as connection:
        there = _alike(connection, made, where)
        return replace(made, id=there or store_partition(connection, made, where))


def photo_positions(connection: Connection, where: Filter = EVERYTHING) -> tuple[Array, Array]:
    """Latitudes and longitudes in degrees (n,) of the photos that pass a filter, by id.

    Raises
    ------
    NotFoundError
        A collection or country in the filter does not exist.
    """
    check_references(where)
    condition, values = where.compile(connection)
    statement = _POSITIONS.format(condition=condition.as_string(connection))
    with connection.cursor(binary=True) as cursor:
        rows = cursor.execute(statement.encode(), values).fetchall()
    lat, lon = np.array(rows, float).reshape(-1, 2).T
    return lat, lon


# A filter is a condition on the columns that embeddings have of their photos.
_POSITIONS = """
SELECT ST_Y(geom), ST_X(geom)
FROM (
    SELECT id AS photo_id, collection_id, geom, accuracy_m, taken_at, author, licence
    FROM geosearch.photos WHERE geom IS NOT NULL AND position_source <> 'place'
) AS located
WHERE {condition}
ORDER BY photo_id
"""

_ALIKE = """
SELECT id FROM geosearch.partitions
WHERE name = %(name)s AND kind = %(kind)s AND parameters = %(parameters)s AND filter = %(filter)s
    AND definition = %(definition)s AND photos = %(photos)s
"""


def _alike(connection: Connection, partition: Partition, where: Filter) -> int | None:
    """The id of the partition that is stored already, if it is the same to the last cell."""
    values = {
        name: Jsonb(value) if isinstance(value, dict) else value
        for name, value in _row(partition, where).items()
    }
    found = connection.execute(_ALIKE, values).fetchone()
    return None if found is None else int(found[0])


def _row(partition: Partition, where: Filter) -> dict[str, Any]:
    return {
        "name": partition.name,
        "kind": partition.kind,
        "parameters": dict(partition.parameters),
        "filter": where.to_json(),
        "definition": partition.division.to_json(),
        "photos": int(partition.photos.sum()),
        "software": software_versions(),
    }


def store_partition(
    connection: Connection, partition: Partition, where: Filter = EVERYTHING
) -> int:
    """Store a partition of the photos that pass `where`; returns its id.

    Raises
    ------
    InputError
        There is a partition of this name, or the name is impossible.
    """
    check_partition_name(partition.name)
    try:
        with connection.transaction():
            key = insert(connection, "partitions", _row(partition, where))
    except errors.UniqueViolation:
        raise InputError(
            f"there is a partition {partition.name!r} already",
            f"Choose another name, or: geosearch partitions delete {partition.name}",
        ) from None
    columns = {
        "photos": partition.photos.tolist(),
        "spread_km": partition.spread_km.tolist(),
        "area_km2": partition.area_km2.tolist(),
        "medoid": shapely.to_wkb(shapely.points(partition.lon, partition.lat)),
        "geom": shapely.to_wkb(np.array(partition.polygons(), object)),
    }
    cells = [
        dict(zip(columns, cell, strict=True), partition_id=key, number=number)
        for number, cell in enumerate(zip(*columns.values(), strict=True))
    ]
    as_geometry = "ST_GeomFromWKB({}, 4326)"
    insert_all(connection, "geocells", cells, medoid=as_geometry, geom=as_geometry)
    return key


def find_partition(connection: Connection, name: str) -> Partition:
    """The partition of this name.

    Raises
    ------
    NotFoundError
        There is none; the message lists those that exist.
    """
    row = connection.execute(
        "SELECT id FROM geosearch.partitions WHERE name = %s", (name,)
    ).fetchone()
    if row is None:
        names = ", ".join(item.name for item in list_partitions(connection)) or "none yet"
        raise NotFoundError(
            f"there is no partition {name!r}",
            f"Partitions here: {names}. Make one: geosearch partition NAME --max N",
        )
    return partition_by_id(connection, int(row[0]))


def partition_by_id(connection: Connection, partition_id: int) -> Partition:
    """The partition with this id, which must exist."""
    row = connection.execute(
        "SELECT name, kind, parameters, definition FROM geosearch.partitions WHERE id = %s",
        (partition_id,),
    ).fetchone()
    assert row is not None
    name, kind, parameters, definition = row
    cells = connection.execute(
        "SELECT photos, ST_Y(medoid), ST_X(medoid), spread_km, area_km2 FROM geosearch.geocells "
        "WHERE partition_id = %s ORDER BY number",
        (partition_id,),
    ).fetchall()
    photos, lat, lon, spread_km, area_km2 = np.array(cells, float).T
    return Partition(
        name,
        kind,
        parameters,
        _division(kind, definition),
        photos.astype(np.int64),
        lat,
        lon,
        spread_km,
        area_km2,
        partition_id,
    )


def list_partitions(connection: Connection) -> list[Stored]:
    """All partitions, oldest first."""
    return _select(connection, "ORDER BY id", ())


def describe_partition(connection: Connection, partition_id: int) -> Stored:
    """The row of the partition with this id, which must exist."""
    (found,) = _select(connection, "WHERE id = %s", (partition_id,))
    return found


_SELECT = """
SELECT id, name, kind, parameters, filter, photos,
    (SELECT count(*) FROM geosearch.geocells WHERE partition_id = partitions.id),
    software, created_at
FROM geosearch.partitions
"""


def _select(
    connection: Connection, condition: LiteralString, values: tuple[object, ...]
) -> list[Stored]:
    rows = connection.execute(_SELECT + condition, values).fetchall()
    return [
        Stored(key, name, kind, parameters, Filter.from_json(where), *rest)
        for key, name, kind, parameters, where, *rest in rows
    ]


def check_partition_name(name: str) -> None:
    """Raise `InputError` for what no partition can be called."""
    if not name.strip() or name != name.strip() or "," in name or "\0" in name:
        raise InputError(
            f"a partition cannot have the name {name!r}",
            "Give one without commas, which separate names, and without spaces round it.",
        )


def _division(kind: str, definition: dict[str, Any]) -> Division:
    if kind == "quadtree":
        return Quadtree(definition["tree"], np.array(definition["cells"], np.int64))
    return Voronoi(np.array(definition["lat"], float), np.array(definition["lon"], float))
