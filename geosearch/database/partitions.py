"""Partitions of `embeddings`: one per model, named `embeddings_m<model id>`."""

from __future__ import annotations

from psycopg import sql

from geosearch.database.connection import Connection
from geosearch.database.tables import SCHEMA


def partition(model_id: int) -> sql.Identifier:
    """The qualified table of one model's embeddings."""
    return sql.Identifier(SCHEMA, f"embeddings_m{model_id}")


def create_partition(connection: Connection, model_id: int, dimension: int) -> None:
    """Create a model's partition where it is missing; it takes only its own dimension."""
    # Embeddings of over 1,000 dimensions would move to the TOAST table, and exact search would
    # fetch each from there; kept in the row they are read in order.
    name = f"embeddings_m{model_id}"
    connection.execute(
        sql.SQL(
            """
            CREATE TABLE IF NOT EXISTS {table} PARTITION OF geosearch.embeddings (
                CONSTRAINT {check} CHECK (vector_dims(embedding) = {dimension})
            ) FOR VALUES IN ({model}) WITH (toast_tuple_target = 8160)
            """
        ).format(
            table=partition(model_id),
            check=sql.Identifier(f"{name}_dimension_check"),
            dimension=sql.Literal(dimension),
            model=sql.Literal(model_id),
        )
    )
    connection.execute(
        sql.SQL("COMMENT ON TABLE {table} IS {text}").format(
            table=partition(model_id),
            text=sql.Literal(f"Embeddings of model {model_id}, {dimension} dimensions."),
        )
    )
