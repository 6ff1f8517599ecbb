"""A model and photos without files, for benchmarks that bring their own embeddings."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from geosearch.database.connection import Connection
from geosearch.database.copying import PhotoKey
from geosearch.database.embedding_tables import create_embedding_table


def add_photos(
    connection: Connection, dimension: int, lat: NDArray[Any], lon: NDArray[Any]
) -> tuple[int, list[PhotoKey]]:
    """A model's id, and photos at these places (n,), in degrees, in this order."""
    collection = connection.execute(
        "INSERT INTO geosearch.collections (name) VALUES ('benchmark') RETURNING id"
    ).fetchone()
    model = connection.execute(
        """
        INSERT INTO geosearch.models (name, architecture, weights_source, weights_sha256,
            preprocessing, pooling, dimension, fingerprint, framework)
        VALUES ('benchmark', 'none', 'none', '', '{}', 'none', %s, 'benchmark', '{}')
        RETURNING id
        """,
        (dimension,),
    ).fetchone()
    assert collection is not None
    assert model is not None
    create_embedding_table(connection, model[0])
    connection.execute(
        """
        INSERT INTO geosearch.photos (collection_id, uri, sha256, size_bytes, width, height,
            format, geom, position_source, author, taken_at)
        SELECT %s, '/benchmark/' || n, sha256(n::text::bytea), 1, 1, 1, 'JPEG',
            ST_SetSRID(ST_Point(lon, lat), 4326), 'manifest',
            'author ' || n %% 100, timestamptz '2010-01-01 00:00Z' + n * interval '1 minute'
        FROM unnest(%s::float8[], %s::float8[]) WITH ORDINALITY AS place (lon, lat, n)
        ORDER BY n
        """,
        (collection[0], lon.tolist(), lat.tolist()),
    )
    photos = connection.execute(
        """
        SELECT id, collection_id, ST_AsEWKB(geom), accuracy_m, taken_at, author, licence
        FROM geosearch.photos ORDER BY id
        """
    )
    return int(model[0]), [PhotoKey(*photo) for photo in photos]
