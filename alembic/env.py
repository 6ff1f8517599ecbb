"""Runs the migrations over the connection that `geosearch.database.migrations` hands in."""

from alembic import context

from geosearch.database.migrations import configure_arguments

connection = context.config.attributes["connection"]
context.configure(connection=connection, **configure_arguments())
with context.begin_transaction():
    context.run_migrations()
