"""Behind a real PgBouncer in transaction mode, where each transaction may reach another backend."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from geosearch.database import migrations
from geosearch.database.connection import Database, pooled
from geosearch.database.session import check_schema
from geosearch.features import embed
from geosearch.ingest import ingest
from geosearch.retrieval import EVERYTHING, Filter, nearest, recall
from geosearch.retrieval.filters import BoundingBox, ByAuthors
from geosearch.retrieval.indexes import build_index, find_index
from geosearch.retrieval.indexing import index_model
from geosearch.retrieval.recall import tune
from geosearch.retrieval.tuning import TIE
from tests.conftest import create_database, drop_database, free_port, server_folder
from tests.rows import add_embeddings, add_model, add_photos, set_rule
from tests.test_embed import backbone, stored, write_photos

PROGRAM = shutil.which("pgbouncer", path=f"{os.defpath}:/usr/sbin:/usr/local/sbin")
pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(PROGRAM is None, reason="PgBouncer is not installed"),
]

#: Backends of a pool. Transactions take them in turn.
BACKENDS = 3
COUNT, DIMENSION = 3000, 16

CONFIGURATION = """
[databases]
* = host={host} port={server_port} user={user}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = {backends}
min_pool_size = {backends}
server_round_robin = 1
logfile = {folder}/pgbouncer.log
"""


@contextmanager
def pgbouncer(server_url: str, mode: str) -> Iterator[int]:
    """A PgBouncer in front of the tests' server; its port on 127.0.0.1."""
    server = conninfo_to_dict(server_url)
    port = free_port()
    with server_folder() as folder:
        configuration = folder / "pgbouncer.ini"
        configuration.write_text(
            CONFIGURATION.format(
                host=server["host"],
                server_port=server.get("port", 5432),
                user=server["user"],
                port=port,
                mode=mode,
                backends=BACKENDS,
                folder=folder,
            )
        )
        # Like PostgreSQL it does not run as root; as that server's user it may enter its socket.
        user = _server_user(str(server["host"]))
        os.chown(folder, user, -1)
        assert PROGRAM is not None
        process = subprocess.Popen(
            [PROGRAM, "--quiet", configuration],
            user=user if os.geteuid() == 0 else None,
            extra_groups=[] if os.geteuid() == 0 else None,
            stderr=subprocess.DEVNULL,
        )
        try:
            _wait_for(port, process)
            yield port
        finally:
            process.terminate()
            process.wait()


def _server_user(host: str) -> int:
    return Path(host).stat().st_uid if host.startswith("/") else pwd.getpwnam("postgres").pw_uid


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while True:
        assert process.poll() is None, "PgBouncer ended"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        else:
            return


@pytest.fixture(scope="module")
def port(server_url: str) -> Iterator[int]:
    """The port of a PgBouncer in transaction mode."""
    with pgbouncer(server_url, "transaction") as port:
        yield port


def through(url: str, port: int) -> str:
    """The URL of the same database by way of the pooler."""
    return f"postgresql://anyone@127.0.0.1:{port}{urlsplit(url).path}"


@pytest.fixture
def behind(database: Database, port: int) -> Iterator[Database]:
    """The test's own database by way of the pooler."""
    with Database(through(database.url, port)) as opened:
        yield opened


@pytest.fixture(scope="module")
def model(module_database: Database) -> int:
    """A tuned model, whose searches mostly go by the index."""
    rng = np.random.default_rng(5)
    with module_database.connection() as connection:
        made = add_model(connection, DIMENSION)
        photos = add_photos(
            connection,
            rng.uniform(-80, 80, COUNT),
            rng.uniform(-180, 180, COUNT),
            authors=[f"author {number % 10}" for number in range(COUNT)],
        )
        vectors = rng.normal(size=(COUNT, DIMENSION)).astype(np.float32)
        add_embeddings(connection, made, photos, vectors)
        connection.execute("ANALYZE geosearch.embeddings")
    build_index(module_database, made, DIMENSION)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recall, "CURVE_SAMPLE", 60)
        patch.setattr(recall, "SWEEP_SAMPLE", 3)
        tune(module_database, made, 0.97, 50)
    set_rule(module_database, few_least=1, few_most=100, exact_row_ms=1)
    return made


FILTERS: list[Filter] = [EVERYTHING, ~ByAuthors("author 1"), BoundingBox(-20, -20, 0, 0)]


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_searches_have_the_recall_they_quote(
    module_database: Database, server_url: str, model: int, mode: str
) -> None:
    rng = np.random.default_rng(8)
    with (
        pgbouncer(server_url, mode) as port,
        Database(through(module_database.url, port)) as opened,
    ):
        for where in FILTERS:
            found_share, quoted = [], []
            for query in rng.normal(size=(40, DIMENSION)).astype(np.float32):
                found = nearest(opened, model, query, 50, where)
                same = nearest(module_database, model, query, 50, where)
                truth = nearest(module_database, model, query, 50, where, exact=True)
                assert found.plan == same.plan
                assert found.photo_id.tolist() == same.photo_id.tolist()
                found_share.append(np.mean(found.distance <= truth.distance[-1] + TIE))
                quoted.append(found.plan.expected_recall)
            assert np.mean(found_share) >= np.mean(np.array(quoted, dtype=float)) - 0.02


SETTINGS = (
    "hnsw.ef_search",
    "hnsw.iterative_scan",
    "enable_seqscan",
    "enable_bitmapscan",
    "enable_sort",
    "plan_cache_mode",
    "search_path",
    "maintenance_work_mem",
    "max_parallel_maintenance_workers",
)


def settings(url: str) -> set[tuple[object, ...]]:
    """What other programs find set at the pool's backends."""
    with psycopg.connect(url, autocommit=True, prepare_threshold=None) as other:
        # The vector loads pgvector, which has settings of its own.
        asked = "SELECT '[1]'::vector, " + ", ".join(
            f"current_setting('{each}')" for each in SETTINGS
        )
        return {(other.execute(asked.encode()).fetchone() or ())[1:] for _ in range(4 * BACKENDS)}


def settings_of_the_server(url: str) -> set[tuple[object, ...]]:
    """The same, where nobody has set anything."""
    with psycopg.connect(url) as untouched:
        untouched.execute("SELECT '[1]'::vector")
        shown = [untouched.execute(f"SHOW {name}".encode()).fetchone() for name in SETTINGS]
    return {tuple(row[0] for row in shown if row)}


def test_nothing_that_a_search_sets_reaches_other_programs(
    module_database: Database, port: int, model: int
) -> None:
    url = through(module_database.url, port)
    query = np.ones(DIMENSION, dtype=np.float32)
    with Database(url) as opened:
        for where in FILTERS * BACKENDS:
            nearest(opened, model, query, 50, where)
    assert settings(url) == settings_of_the_server(module_database.url)


def test_many_at_once_get_their_own_answers(
    module_database: Database, port: int, model: int
) -> None:
    queries = np.random.default_rng(9).normal(size=(60, DIMENSION)).astype(np.float32)
    expected = [nearest(module_database, model, query, 20).photo_id.tolist() for query in queries]
    with (
        Database(through(module_database.url, port)) as opened,
        ThreadPoolExecutor(6) as threads,
    ):
        found = threads.map(lambda query: nearest(opened, model, query, 20), queries)
        assert [each.photo_id.tolist() for each in found] == expected


def test_a_pooler_is_noticed(module_database: Database, server_url: str, port: int) -> None:
    with psycopg.connect(module_database.url) as connection:
        assert not pooled(connection)
    with psycopg.connect(through(module_database.url, port)) as connection:
        assert pooled(connection)
    with (
        pgbouncer(server_url, "session") as other,
        psycopg.connect(through(module_database.url, other)) as connection,
    ):
        assert pooled(connection)


def test_the_schema_is_made_and_photos_come_in_through_a_pooler(
    server_url: str, port: int, tmp_path: Path
) -> None:
    direct = create_database(server_url)
    try:
        url = through(direct, port)
        migrations.upgrade(url)
        migrations.upgrade(url)
        with Database(url) as opened:
            check_schema(opened)
            paths = write_photos(tmp_path, 12)
            assert ingest(opened, [tmp_path], collection="towns").added == 12
            done = embed(opened, backbone(), batch_size=3)
            assert (done.embedded, done.pending) == (12, 12)
            assert set(stored(opened)) == {path.name for path in paths}
            indexed = index_model(opened, done.model_id, 12, 0.9, 5, force=True)
            assert indexed.built is not None
            assert indexed.built.rows == 12
            with opened.connection() as connection:
                assert find_index(connection, done.model_id) is not None
    finally:
        drop_database(direct)


def test_runs_of_one_model_share_it_behind_a_pooler_and_beside_it(
    behind: Database, database: Database, tmp_path: Path
) -> None:
    paths = write_photos(tmp_path, 40)
    ingest(behind, [tmp_path], collection="towns")

    def run(opened: Database) -> int:
        slow = backbone(before=lambda: time.sleep(0.03))
        return embed(opened, slow, batch_size=1, workers=1).embedded

    with ThreadPoolExecutor(2) as threads:
        shares = list(threads.map(run, (behind, database)))
    assert min(shares) > 0
    assert sum(shares) == len(paths)
    assert set(stored(database)) == {path.name for path in paths}
    # Nothing is left of the leases, whichever backends they were taken at.
    with database.connection() as connection:
        assert connection.execute("SELECT FROM geosearch.leases").fetchall() == []


def test_nothing_that_a_build_sets_reaches_other_programs(database: Database, port: int) -> None:
    url = through(database.url, port)
    with Database(url) as opened:
        with opened.connection() as connection:
            model = add_model(connection, 4)
            photos = add_photos(connection, [1.0, 2.0], [3.0, 4.0])
            add_embeddings(connection, model, photos, np.eye(4, dtype=np.float32)[:2])
        assert build_index(opened, model, 4).built
        assert build_index(opened, model, 4, rebuild=True).built
    assert settings(url) == settings_of_the_server(database.url)
