"""Runs the migrations over the connection that `geosearch.database.migrations` hands in."""

from alembic import context

from geosearch.database.schema import SCHEMA

context.configure(connection=context.config.attributes["connection"], version_table_schema=SCHEMA)
with context.begin_transaction():
    context.run_migrations()
