"""Few connections are enough: no command waits for one that it holds itself."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from geosearch.database.connection import Database
from geosearch.sample.space import SpaceSample, write_space_sample
from tests.command_line import CommandLine


@pytest.mark.system
@pytest.mark.parametrize("size", [1, 2])
def test_the_main_commands_do_with_this_many_connections(
    size: int,
    database: Database,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GEOSEARCH_POOL_SIZE", str(size))
    write_space_sample(SpaceSample(40, 3, seed=5), tmp_path)
    queries = sorted((tmp_path / "queries").glob("*.jpg"))
    own = ("--leave-one-out", "--include-author")
    command = CommandLine(database.url, capsys)
    for line in (
        ("ingest", tmp_path / "references", "--collection", "space"),
        ("embed", "--workers", 2, "--batch-size", 4),
        ("index", "--force", "--k", 5),
        ("index", "check"),
        ("nearest", queries[0], "--k", 3),
        ("explain", queries[0], "--collection", "space"),
        ("localize", *queries),
        ("show", 1),
        ("reproduce", 1),
        ("partition", "coarse", "--max", 20, "--min", 1),
        ("partitions", "fit", "coarse", "--epochs", 2),
        ("localize", queries[0], "--method", "geocell"),
        ("evaluate", *own, "--k", 5),
        ("sweep", *own, "--k", "3,5"),
        ("calibrate", *own, "--k", 5),
        ("report", 1, "-o", tmp_path / "report.html"),
        ("compare", 1, 2, "-o", tmp_path / "comparison.html"),
        ("export", "photos", "-o", tmp_path / "photos.geojson"),
        ("export", "estimates", "-o", tmp_path / "all.geojson", "--map", tmp_path / "all.png"),
        ("layers", "density", "--last", 2),
        ("export", "qgis", "-o", tmp_path / "all.qgz"),
        ("borders", "load"),
        ("collections", "list"),
        ("db", "upgrade"),
    ):
        ran = command(*line)
        assert ran.code == 0, f"{line}: {ran.err}"


def test_a_second_connection_is_refused_to_a_thread_that_holds_one(database: Database) -> None:
    with database.connection(), pytest.raises(RuntimeError, match="holds a connection"):
        database.searcher().__enter__()
    with database.searcher(), pytest.raises(RuntimeError, match="holds a connection"):
        database.connection().__enter__()
    with database.connection(), ThreadPoolExecutor(1) as another:
        assert another.submit(_ask, database).result() == (1,)


def _ask(database: Database) -> object:
    with database.searcher() as connection:
        return connection.execute("SELECT 1").fetchone()


def test_a_run_that_embeds_leaves_no_snapshot_behind(database: Database) -> None:
    """Its lock is held for hours, and must not keep VACUUM from dead rows."""
    with database.own_connection() as lock:
        lock.execute("SELECT pg_advisory_xact_lock(1)")
        with database.connection() as connection:
            pid = lock.info.backend_pid
            held = connection.execute(
                "SELECT state, backend_xmin FROM pg_stat_activity WHERE pid = %s", (pid,)
            ).fetchone()
        assert held == ("idle in transaction", None)
