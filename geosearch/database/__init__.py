"""PostgreSQL with PostGIS and pgvector: connections, tables, migrations, the private server."""
