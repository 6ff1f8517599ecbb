"""Partitions of `embeddings`: one per model, named `embeddings_m<model id>`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from psycopg import sql

from geosearch.database.connection import Connection
from geosearch.database.schema import SCHEMA


def embedding_table(model_id: int) -> sql.Identifier:
    """The qualified table of one model's embeddings."""
    return sql.Identifier(SCHEMA, f"embeddings_m{model_id}")


def create_embedding_table(connection: Connection, model_id: int) -> None:
    """Create a model's partition where it is missing; it takes only the model's dimension."""
    connection.execute("SELECT geosearch.create_embedding_table(%s)", (model_id,))


def stored_embedding(
    connection: Connection, model_id: int, sha256: bytes
) -> NDArray[np.float32] | None:
    """The embedding (D,) of a photo with these bytes, in half precision; None if there is none."""
    row = connection.execute(
        """
        SELECT embeddings.embedding
        FROM geosearch.photos
            JOIN geosearch.embeddings ON embeddings.photo_id = photos.id
        WHERE photos.sha256 = %s AND embeddings.model_id = %s
        LIMIT 1
        """,
        (sha256, model_id),
    ).fetchone()
    return None if row is None else np.asarray(row[0].to_numpy(), np.float32)
