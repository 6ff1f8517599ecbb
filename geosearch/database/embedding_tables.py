"""Partitions of `embeddings`: one per model, named `embeddings_m<model id>`."""

from __future__ import annotations

from psycopg import sql

from geosearch.database.connection import Connection
from geosearch.database.tables import SCHEMA


def embedding_table(model_id: int) -> sql.Identifier:
    """The qualified table of one model's embeddings."""
    return sql.Identifier(SCHEMA, f"embeddings_m{model_id}")


def create_embedding_table(connection: Connection, model_id: int) -> None:
    """Create a model's partition where it is missing; it takes only the model's dimension."""
    connection.execute("SELECT geosearch.create_embedding_table(%s)", (model_id,))
