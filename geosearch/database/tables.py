"""The tables and views of schema `geosearch` for whoever queries them with SQLAlchemy.

They are read from the database: what a table is, is said in `sql/` alone.
"""

from __future__ import annotations

import geoalchemy2
import pgvector.sqlalchemy
from sqlalchemy import Engine, MetaData

from geosearch.database.schema import SCHEMA

#: Importing them teaches SQLAlchemy the types that it meets in the tables.
COLUMN_TYPES = (geoalchemy2.Geometry, pgvector.sqlalchemy.HALFVEC, pgvector.sqlalchemy.VECTOR)


def read_tables(engine: Engine) -> MetaData:
    """Tables and views, as `metadata.tables["geosearch.photos"]`, with keys, types and comments.

    `geosearch.database.migrations.sqlalchemy_engine` makes an engine for any URL of PostgreSQL.
    """
    metadata = MetaData(schema=SCHEMA)
    metadata.reflect(engine, views=True)
    return metadata
