"""A model and photos without files, for benchmarks that bring their own embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from geosearch.database.connection import Connection
from geosearch.database.copying import PhotoKey
from geosearch.database.embedding_tables import create_embedding_table


def add_photos(
    connection: Connection,
    dimension: int,
    lat: NDArray[Any],
    lon: NDArray[Any],
    authors: Sequence[str] | None = None,
) -> tuple[int, list[PhotoKey]]:
    """A model's id, and photos at these places (n,), in degrees, in this order.

    One a minute, by a hundred authors in turn where none are given.
    """
    add_collection(connection, "benchmark", lat, lon, authors)
    return add_model(connection, dimension), stored_photos(connection)


def add_collection(
    connection: Connection,
    name: str,
    lat: NDArray[Any],
    lon: NDArray[Any],
    authors: Sequence[str] | None = None,
) -> None:
    """Photos as of `add_photos`, in a collection of this name."""
    collection = connection.execute(
        "INSERT INTO geosearch.collections (name) VALUES (%s) RETURNING id", (name,)
    ).fetchone()
    assert collection is not None
    connection.execute(
        """
        INSERT INTO geosearch.photos (collection_id, uri, sha256, size_bytes, width, height,
            format, geom, position_source, author, taken_at)
        SELECT %(collection)s, format('/%%s/%%s', %(name)s::text, n), sha256(n::text::bytea),
            1, 1, 1, 'JPEG', ST_SetSRID(ST_Point(lon, lat), 4326), 'manifest',
            coalesce(author, 'author ' || n %% 100),
            timestamptz '2010-01-01 00:00Z' + n * interval '1 minute'
        FROM unnest(%(lon)s::float8[], %(lat)s::float8[], %(authors)s::text[])
            WITH ORDINALITY AS place (lon, lat, author, n)
        ORDER BY n
        """,
        {
            "collection": collection[0],
            "name": name,
            "lon": lon.tolist(),
            "lat": lat.tolist(),
            "authors": None if authors is None else list(authors),
        },
    )


def add_model(connection: Connection, dimension: int, name: str = "benchmark") -> int:
    """A model that nothing is embedded with yet; its id."""
    model = connection.execute(
        """
        INSERT INTO geosearch.models (name, architecture, weights_source, weights_sha256,
            preprocessing, pooling, dimension, fingerprint, framework)
        VALUES (%(name)s, 'none', 'none', '', '{}', 'none', %(dimension)s, %(name)s, '{}')
        RETURNING id
        """,
        {"name": name, "dimension": dimension},
    ).fetchone()
    assert model is not None
    create_embedding_table(connection, model[0])
    return int(model[0])


def stored_photos(connection: Connection) -> list[PhotoKey]:
    """All that `add_photos` added, in order."""
    photos = connection.execute(
        """
        SELECT id, collection_id, ST_AsEWKB(geom), accuracy_m, taken_at, author, licence
        FROM geosearch.photos ORDER BY id
        """
    )
    return [PhotoKey(*photo) for photo in photos]
