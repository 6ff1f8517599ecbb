"""The schema: migrations are reversible, drift-free, documented, and guard the data."""

from __future__ import annotations

import psycopg

from geosearch.database import migrations
from geosearch.database.connection import Database
from geosearch.database.partitions import create_partition


def test_autogenerate_sees_no_drift(database: Database) -> None:
    with database.connection() as connection:
        create_partition(connection, _model(connection, 4), 4)
    assert migrations.drift(database.url) == []


def test_every_revision_downgrades_and_upgrades_again(empty_url: str) -> None:
    script = migrations.ScriptDirectory.from_config(migrations._config())
    revisions = [item.revision for item in script.walk_revisions()]
    migrations.upgrade(empty_url)
    for revision in revisions:
        migrations.downgrade(empty_url, "-1")
        with psycopg.connect(empty_url) as connection:
            assert migrations.current_revision(connection) != revision
    with psycopg.connect(empty_url) as connection:
        left = connection.execute(
            "SELECT count(*) FROM pg_tables WHERE schemaname = 'geosearch' "
            "AND tablename <> 'alembic_version'"
        ).fetchone()
    assert left == (0,)
    migrations.upgrade(empty_url)
    assert migrations.drift(empty_url) == []


def _model(connection: psycopg.Connection[tuple[object, ...]], dimension: int) -> int:
    row = connection.execute(
        """
        INSERT INTO geosearch.models (name, architecture, weights_source, weights_sha256,
            preprocessing, pooling, dimension, fingerprint, framework)
        VALUES ('test', 'test', 'test', '00', '{}', 'avg', %s, gen_random_uuid()::text, '{}')
        RETURNING id
        """,
        (dimension,),
    ).fetchone()
    assert row is not None
    return int(str(row[0]))
