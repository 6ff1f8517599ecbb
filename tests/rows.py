"""Rows that tests put straight into the database."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString

import numpy as np
from numpy.typing import NDArray
from psycopg import sql

from geosearch.database.collection_rows import ensure_collection
from geosearch.database.connection import Connection, Database
from geosearch.database.copying import PhotoKey, copy_embeddings
from geosearch.database.embedding_tables import create_embedding_table, writable_tables
from geosearch.retrieval.facts import forget
from geosearch.sphere import unit_vectors

Array = NDArray[np.float64]

#: What `add_varied_photos` dates its photos from.
START = datetime(2010, 1, 1, tzinfo=UTC)


def fetch(database: Database, statement: LiteralString, *parameters: Any) -> list[tuple[Any, ...]]:
    """The rows of a statement."""
    with database.connection() as connection:
        return connection.execute(statement, parameters).fetchall()


def add_model(connection: Connection, dimension: int, name: str = "test/model") -> int:
    """A model row with its partition."""
    row = connection.execute(
        """
        INSERT INTO geosearch.models (name, architecture, weights_source, weights_sha256,
            preprocessing, pooling, dimension, fingerprint, framework)
        VALUES (%s, 'none', 'none', '00', '{}', 'avg', %s, gen_random_uuid()::text, '{}')
        RETURNING id
        """,
        (name, dimension),
    ).fetchone()
    assert row is not None
    create_embedding_table(connection, int(row[0]))
    return int(row[0])


def add_photos(
    connection: Connection,
    latitudes: Sequence[float] | NDArray[np.float64],
    longitudes: Sequence[float] | NDArray[np.float64],
    *,
    collection: str = "test",
    authors: Sequence[str | None] | None = None,
    taken_at: Sequence[datetime | None] | None = None,
    licences: Sequence[str | None] | None = None,
    accuracy_m: Sequence[float | None] | None = None,
    prefix: str = "photo",
) -> list[PhotoKey]:
    """Photo rows at these positions, in order."""
    count = len(latitudes)
    collection_id = ensure_collection(connection, collection)
    names = [f"/{prefix}/{collection}/{index}.jpg" for index in range(count)]
    with connection.cursor() as cursor:
        insert = sql.SQL(
            """
            INSERT INTO {} (collection_id, shelf, uri, sha256, size_bytes, width, height,
                format, geom, position_source, author, taken_at, licence, accuracy_m)
            SELECT id, shelf, %s, %s, 1, 1, 1, 'JPEG', ST_SetSRID(ST_Point(%s, %s), 4326),
                'manifest', %s, %s::timestamptz, %s, %s::real
            FROM geosearch.collections WHERE id = %s
            """
        ).format(writable_tables(connection, "photos")["photos"])
        cursor.executemany(
            insert,
            [
                (name, hashlib.sha256(name.encode()).digest(), lon, lat, *facts, collection_id)
                for name, lat, lon, *facts in zip(
                    names,
                    map(float, latitudes),
                    map(float, longitudes),
                    authors or [None] * count,
                    taken_at or [None] * count,
                    licences or [None] * count,
                    accuracy_m or [None] * count,
                    strict=True,
                )
            ],
        )
    rows = connection.execute(
        """
        SELECT id, collection_id, ST_AsEWKB(geom), accuracy_m, taken_at, author, licence, shelf
        FROM geosearch.photos WHERE collection_id = %s AND uri = ANY(%s) ORDER BY id
        """,
        (collection_id, names),
    ).fetchall()
    return [PhotoKey(*row) for row in rows]


def add_varied_photos(
    connection: Connection, rng: np.random.Generator, lat: Array, lon: Array, collection: str
) -> list[PhotoKey]:
    """Photos of few authors and licences, taken at any time, known more or less accurately."""
    count = len(lat)
    return add_photos(
        connection,
        lat,
        lon,
        collection=collection,
        authors=[None if n == 0 else f"author {n}" for n in rng.integers(0, 8, count)],
        licences=[None if n == 0 else f"CC {n}" for n in rng.integers(0, 4, count)],
        taken_at=[
            None if n == 0 else START + timedelta(days=int(n)) for n in rng.integers(0, 3000, count)
        ],
        accuracy_m=[None if n == 0 else float(n) for n in rng.integers(0, 90, count)],
    )


def places(rng: np.random.Generator, n: int) -> tuple[Array, Array]:
    """Latitudes and longitudes all over the Earth."""
    return np.degrees(np.arcsin(rng.uniform(-1, 1, n))), rng.uniform(-180, 180, n)


def looks(rng: np.random.Generator, lat: Array, lon: Array, dimension: int) -> NDArray[np.float32]:
    """Embeddings, of length 1, of photos that look like their surroundings."""
    noise = rng.normal(size=(len(lat), dimension - 3)) / np.sqrt(dimension - 3)
    vectors = np.hstack([unit_vectors(lat, lon), 0.7 * noise]).astype(np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / lengths, dtype=np.float32)


def add_embeddings(
    connection: Connection, model_id: int, photos: list[PhotoKey], vectors: NDArray[np.float32]
) -> None:
    """Embeddings of `photos`, normalised here."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    copy_embeddings(connection, model_id, photos, (vectors / lengths).astype(np.float32))


def set_rule(database: Database, *, exact_row_ms: float | None = None, **numbers: float) -> None:
    """Change the rule of this database: numbers of `search_rule`, and what exact search costs.

    Among the few photos of a test, exact search would nearly always win.
    """
    with database.connection() as connection:
        row = connection.execute(
            "SELECT pg_get_functiondef('geosearch.search_rule'::regproc)"
        ).fetchone()
        assert row is not None
        rule = str(row[0])
        for name, number in numbers.items():
            rule, changed = re.subn(
                rf"[\d.]+(::double precision)? AS {name}\b", f"{number}\\1 AS {name}", rule
            )
            assert changed == 1, f"the rule has no {name}"
        connection.execute(rule.encode())
        if exact_row_ms is not None:
            connection.execute(
                sql.SQL(
                    """
                    CREATE OR REPLACE FUNCTION geosearch.exact_cost(
                        tuning bigint, OUT fixed_ms float8, OUT row_ms float8
                    )
                    LANGUAGE sql STABLE BEGIN ATOMIC SELECT 0::float8, {}::float8; END
                    """
                ).format(sql.Literal(exact_row_ms))
            )
    forget(database)
