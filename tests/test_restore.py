"""Dump and restore: other servers, other logins, what goes wrong, and files from strangers."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from geosearch.database import migrations, schema
from geosearch.database.backup import dump, restore
from geosearch.database.collection_rows import ensure_collection, set_private, share
from geosearch.database.connection import Database
from geosearch.database.schema_check import check_schema_objects
from geosearch.database.server import PrivateServer
from geosearch.errors import DatabaseError, InputError
from geosearch.features.model_rows import model_by_id
from geosearch.localization import Request, load, reproduce
from geosearch.localization.answer_rows import save
from geosearch.localization.localizing import answer_query, chosen_parameters
from geosearch.query import Query
from geosearch.retrieval import EVERYTHING, leaves, nearest
from geosearch.retrieval.facts import forget
from geosearch.retrieval.indexing import index_model
from geosearch.retrieval.leaves import find_leaves
from geosearch.retrieval.recall import check
from tests.command_line import CommandLine
from tests.conftest import create_database, drop_database, running_server
from tests.rows import add_embeddings, add_model, add_photos, looks, places
from tests.test_schema import columns_of, fill, rows_of

pytestmark = pytest.mark.system

DIMENSION, REFERENCES, SECRET = 16, 150, 10


@dataclass
class Source:
    """A database with rows in every table, its dump, and a user who sees its private collection."""

    database: Database
    model: int
    answer: int
    user: str
    file: Path

    @property
    def rows(self) -> dict[str, list[str]]:
        return rows_but_measurements(self.database.url)


@pytest.fixture(scope="module")
def source(
    server_url: str, template_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Source]:
    url = create_database(server_url, template_database)
    user = f"user {uuid4().hex[:8]}"
    fill(url, schema.head_revision())
    name = sql.Identifier(user)
    with psycopg.connect(url, autocommit=True) as admin:
        # Beyond the numbers that the rows there have.
        admin.execute(
            "SELECT setval(format('geosearch.%I', sequencename)::regclass, 10) FROM pg_sequences "
            "WHERE schemaname = 'geosearch' AND last_value IS NULL"
        )
        # A place that goes before a known one, a later one that does not, an answer that is gone.
        admin.execute(
            "INSERT INTO geosearch.all_photos (collection_id, shelf, uri, sha256, size_bytes,"
            " width, height, format, geom, position_source)"
            " SELECT 2, 2, '/4.jpg', sha256, 9, 4, 3, 'PNG',"
            " 'SRID=4326;POINT(5 6)', 'exif' FROM geosearch.all_photos WHERE id = 3"
        )
        admin.execute(
            "SELECT geosearch.review(1, 'move', 'SRID=4326;POINT(7 8)', overwrite => true)"
        )
        admin.execute("DELETE FROM geosearch.shards")  # a name alone: its server is not there
        admin.execute("SET ROLE geosearch_owner; SELECT geosearch.review(1, 'accept'); RESET ROLE")
        admin.execute("UPDATE geosearch.all_reviews SET localization_id = NULL WHERE id = 1")
        admin.execute("DELETE FROM geosearch.indexes")
        admin.execute("DELETE FROM geosearch.places WHERE id % 1000 > 0")
        admin.execute(sql.SQL("CREATE ROLE {} LOGIN").format(name))
        admin.execute(sql.SQL("GRANT geosearch_reader TO {}").format(name))
        admin.execute(sql.SQL("GRANT SELECT (title) ON geosearch.all_photos TO {}").format(name))
    with Database(url) as database:
        rng = np.random.default_rng(3)
        lat, lon = places(rng, REFERENCES + SECRET)
        vectors = looks(rng, lat, lon, DIMENSION)
        with database.connection() as connection:
            model = add_model(connection, DIMENSION)
            photos = add_photos(connection, lat[SECRET:], lon[SECRET:], collection="open")
            add_embeddings(connection, model, photos, vectors[SECRET:])
            ensure_collection(connection, "secret")
            set_private(connection, "secret", True)
            hidden = add_photos(connection, lat[:SECRET], lon[:SECRET], collection="secret")
            add_embeddings(connection, model, hidden, vectors[:SECRET])
            share(connection, "secret", user)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(leaves, "LEAF_ROWS", REFERENCES // 4)
            index_model(database, model, DIMENSION, 0.9, 10, force=True)
        prefer_index(database)
        answer = record(database, model, vectors[SECRET + 7])
        file = tmp_path_factory.mktemp("dump") / "photos.geosearch"
        dump(database, file)
        yield Source(database, model, answer, user, file)
    drop_database(url)
    with psycopg.connect(server_url, autocommit=True) as admin:
        admin.execute(sql.SQL("DROP ROLE {}").format(name))


def prefer_index(database: Database) -> None:
    """As if there were so many photos that exact search is slow."""
    with database.connection() as connection:
        connection.execute("UPDATE geosearch.tunings SET exact_row_ms = 1")
    forget(database)


def record(database: Database, model: int, vector: Any) -> int:
    with database.connection() as connection:
        row = model_by_id(connection, model)
        assert row is not None
        chosen = chosen_parameters(connection, row, EVERYTHING, Request("density", k=20))
    given = answer_query(database, row, Query("/q.jpg", bytes(32), vector), chosen, EVERYTHING)
    assert given.neighbours.plan.strategy == "ann"
    with database.connection() as connection:
        (key,) = save(connection, [given])
    return key


def rows_but_measurements(url: str) -> dict[str, list[str]]:
    """All rows that a dump keeps, but what is measured anew where an index is built again."""
    measured = {"indexes", "tunings", "recall_points", "recall_checks"}
    columns = {
        name: found
        for name, found in columns_of(url).items()
        if name
        not in measured
        | {"leases", "all_claims", "shelf_changes", "embedding_marks", "shards", "tokens"}
    }
    found = rows_of(url, columns)
    assert all(found.values())
    return found


@pytest.fixture(scope="module")
def other() -> Iterator[PrivateServer]:
    """A second server, whose roles concern nobody else."""
    with running_server() as server:
        yield server


@pytest.fixture(scope="module")
def restored(source: Source, other: PrivateServer) -> Iterator[str]:
    """URL of a database there that had the schema, as a private server has, and now the dump."""
    url = create_database(other.url)
    migrations.upgrade(url)
    ran = subprocess.run(
        [sys.executable, "-m", "geosearch", "db", "restore", source.file],
        env=os.environ | {"GEOSEARCH_DATABASE_URL": url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert f"index: embeddings_m{source.model}_hnsw" in ran.stdout
    with Database(url) as database, database.connection() as connection:
        grown = find_leaves(connection, source.model)
    assert len(grown) >= 4
    for leaf in grown:
        assert leaf.valid
        assert f"index: {leaf.name}" in ran.stdout
    assert "searches work" in ran.stdout
    assert "administrator" not in ran.stdout
    yield url
    drop_database(url)


@pytest.fixture(scope="module")
def kept(other: PrivateServer) -> Iterator[str]:
    """URL of a database there that has something to lose, and loses nothing."""
    url = create_database(other.url)
    migrations.upgrade(url)
    with psycopg.connect(url) as connection:
        connection.execute("INSERT INTO geosearch.all_collections (name) VALUES ('mine')")
        connection.execute("DELETE FROM geosearch.places")
    before = rows_of(url, columns_of(url))
    yield url
    assert rows_of(url, columns_of(url)) == before
    assert check_schema_objects(url).faults == ()
    drop_database(url)


def shared(url: str) -> list[tuple[Any, ...]]:
    """With whom each collection is shared."""
    with psycopg.connect(url) as connection:
        return connection.execute(
            "SELECT name, geosearch.shared_with(id) FROM geosearch.all_collections ORDER BY id"
        ).fetchall()


def seen_by(url: str, user: str) -> int:
    """Photos of the private collection that a user sees."""
    with psycopg.connect(make_conninfo(url, user=user)) as connection:
        row = connection.execute(
            "SELECT count(*) FROM geosearch.photos JOIN geosearch.collections AS c "
            "ON c.id = collection_id WHERE c.name = 'secret'"
        ).fetchone()
    assert row is not None
    return int(row[0])


def test_all_rows_rights_and_users_survive_on_another_server(source: Source, restored: str) -> None:
    assert rows_but_measurements(restored) == source.rows
    assert check_schema_objects(restored).faults == ()
    assert seen_by(restored, source.user) == SECRET
    # With a user, and with one of our own roles.
    assert shared(restored) == shared(source.database.url)
    assert ("clients", ["geosearch_analyst"]) in shared(restored)
    with psycopg.connect(make_conninfo(restored, user=source.user)) as connection:
        connection.execute("SELECT title FROM geosearch.all_photos LIMIT 1")


def test_numbers_go_on_where_they_were(source: Source, restored: str) -> None:
    ask = "SELECT last_value, is_called FROM geosearch.photos_id_seq"
    with psycopg.connect(restored) as there, source.database.connection() as here:
        assert there.execute(ask).fetchone() == here.execute(ask).fetchone()


def test_answers_are_reproduced_and_the_recall_is_known(source: Source, restored: str) -> None:
    with Database(restored) as database:
        prefer_index(database)
        assert check(database, source.model).holds
        plan = nearest(database, source.model, np.ones(DIMENSION, np.float32), 10).plan
        assert plan.strategy == "ann"
        assert plan.expected_recall is not None
        again = reproduce(database, source.answer)
        assert (again.same, again.shift_km) == (True, 0.0)
        here = load(source.database, source.answer)
        assert load(database, source.answer).to_json() == here.to_json()


def test_a_login_that_owns_its_database_alone_restores_it(
    source: Source, other: PrivateServer
) -> None:
    lent = create_database(other.url)
    name = psycopg.conninfo.conninfo_to_dict(lent)["dbname"]
    with psycopg.connect(lent, autocommit=True) as admin:
        admin.execute("CREATE ROLE tenant LOGIN")
        admin.execute(f"ALTER DATABASE {name} OWNER TO tenant".encode())
        admin.execute("CREATE SCHEMA extensions")
        admin.execute("GRANT USAGE ON SCHEMA extensions TO tenant")
        for extension in ("postgis", "vector"):
            admin.execute(f"CREATE EXTENSION {extension} SCHEMA extensions".encode())
    url = make_conninfo(lent, user="tenant")
    done = restore(url, source.file)
    quoted = f'"{source.user}"'
    assert f'GRANT "geosearch_reader" TO {quoted}' in done.for_administrator
    assert rows_but_measurements(url) == source.rows
    with Database(url) as database:
        assert len(nearest(database, source.model, np.ones(DIMENSION, np.float32), 5)) == 5
        with database.connection() as connection:
            photo = connection.execute("SELECT max(id) FROM geosearch.photos_open").fetchone()
            row = connection.execute(
                "SELECT count(*) FROM geosearch.nearest_to_photo(%s, 'test/model', 5)", photo
            ).fetchone()
            connection.execute("SELECT geosearch.use_index(50)")
        assert row == (5,)
    with psycopg.connect(lent, autocommit=True) as admin:
        for statement in done.for_administrator:
            admin.execute(statement.encode())
    assert seen_by(lent, source.user) == SECRET
    drop_database(lent)
    with psycopg.connect(other.url, autocommit=True) as admin:
        admin.execute("DROP ROLE tenant")


def test_what_is_there_is_overwritten_when_asked_and_read_until_then(
    source: Source, other: PrivateServer, capsys: pytest.CaptureFixture[str]
) -> None:
    url = create_database(other.url)
    first = CommandLine(url, capsys)("db", "restore", source.file, "--no-roles", "--json")
    assert first.json()["rows"]["all_photos"] == REFERENCES + SECRET + 4
    with psycopg.connect(url) as connection:
        connection.execute("INSERT INTO geosearch.all_collections (name) VALUES ('mine')")
    seen: list[Any] = []

    def look(done: int, total: int | None) -> None:
        if not seen:
            with psycopg.connect(url) as reader:
                seen.extend(reader.execute("SELECT name FROM geosearch.collections"))

    done = restore(url, source.file, replace=True, roles=False, progress=look)
    assert ("mine",) in seen
    assert done.granted == ()
    assert rows_but_measurements(url) == source.rows
    drop_database(url)


def test_nothing_is_overwritten_unasked(source: Source, kept: str) -> None:
    with pytest.raises(DatabaseError, match="1 in all_collections") as refused:
        restore(kept, source.file)
    assert "geosearch db dump" in str(refused.value.remedy)


def test_what_others_built_on_it_is_not_dropped(source: Source, kept: str) -> None:
    with psycopg.connect(kept) as connection:
        connection.execute("CREATE VIEW public.mine AS SELECT id FROM geosearch.photos")
    with pytest.raises(DatabaseError, match=r"rests on its schema .*: public\.mine"):
        restore(kept, source.file, replace=True)
    with psycopg.connect(kept) as connection:
        connection.execute("DROP VIEW public.mine")


Contents = dict[str, Any]


def unknown_table(contents: Contents) -> None:
    contents["tables"]["pg_authid"] = contents["tables"].pop("models")


def unknown_column(contents: Contents) -> None:
    contents["tables"]["models"]["columns"][0] = "id\") FROM PROGRAM 'touch /tmp/x' --"


def another_role(contents: Contents) -> None:
    contents["members"].append(["pg_execute_server_program", "someone"])


def another_right(contents: Contents) -> None:
    contents["grants"][0]["right"] = "SELECT ON pg_authid TO PUBLIC; --"


def fewer_rows(contents: Contents) -> None:
    contents["tables"]["all_photos"]["rows"] -= 1


def newer(contents: Contents) -> None:
    contents["revision"] = "9999"


def another_format(contents: Contents) -> None:
    contents["geosearch"] = 2


def endless(contents: Contents) -> None:
    contents["tables"]["places"]["rows"] = 1e999  # JSON reads it as infinity


def endless_sequence(contents: Contents) -> None:
    contents["sequences"] = {name: [10**30, True] for name in contents["sequences"]}


def endless_model(contents: Contents) -> None:
    contents["embedded_models"] = [10**25]


def nobody(contents: Contents) -> None:
    contents["users"] = {"": True}


def no_list(contents: Contents) -> None:
    contents["members"] = 7


def altered(source: Path, target: Path, change: Callable[[Contents], None]) -> Path:
    """A copy of a dump that says something else of what it contains."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "geosearch.json":
                contents = json.loads(data)
                change(contents)
                data = json.dumps(contents).encode()
            new.writestr(
                name.replace("models", "pg_authid")
                if change is unknown_table and name == "rows/models"
                else name,
                data,
            )
    return target


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (unknown_table, "a table pg_authid"),
        (unknown_column, "a column models.id"),
        (another_role, "gives the role pg_execute_server_program"),
        (another_right, "it grants 'SELECT ON pg_authid"),
        (fewer_rows, "all_photos has .* rows, and should have"),
        (newer, "no way to the revision 9999"),
        (another_format, "its format is 2"),
        (no_list, "is no dump of geosearch"),
        (endless, "is no dump of geosearch"),
        (endless_sequence, "is no number of a row"),
        (endless_model, "is no number of a row"),
        (nobody, "is no name of a user"),
    ],
)
def test_a_file_that_says_what_no_dump_says_changes_nothing(
    change: Callable[[Contents], None], said: str, source: Source, kept: str, tmp_path: Path
) -> None:
    file = altered(source.file, tmp_path / "altered", change)
    with pytest.raises((InputError, DatabaseError), match=said):
        restore(kept, file, replace=True)


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1 :]


def text(data: bytes) -> bytes:
    return b"DROP TABLE geosearch.models"


def encrypted(data: bytes) -> bytes:
    """The flag in each entry of the zip's directory."""
    return re.sub(rb"(PK\x01\x02....)(.)", lambda m: m[1] + bytes([m[2][0] | 1]), data, flags=re.S)


@pytest.mark.parametrize("damage", [cut, flipped, text, encrypted])
def test_a_damaged_file_leaves_what_was_there(
    damage: Callable[[bytes], bytes], source: Source, kept: str, tmp_path: Path
) -> None:
    file = tmp_path / "damaged"
    file.write_bytes(damage(source.file.read_bytes()))
    with pytest.raises(InputError, match=r"no dump of geosearch|cannot be"):
        restore(kept, file, replace=True)


def test_sql_of_pg_dump_is_never_run(source: Source, kept: str, tmp_path: Path) -> None:
    file = tmp_path / "made-by-pg_dump"
    program = shutil.which("pg_dump")
    assert program is not None
    url = source.database.url
    subprocess.run([program, "-Fc", "-s", "-n", "public", "-f", file, url], check=True)
    with pytest.raises(InputError, match="made by pg_dump"):
        restore(kept, file)


@pytest.mark.parametrize("name", ["/dev/zero", "/proc/self/mem", "missing"])
def test_only_a_regular_file_is_opened(name: str, kept: str) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        restore(kept, Path(name))


def test_a_dump_is_for_its_owner_alone_and_of_geosearch_alone(
    source: Source, tmp_path: Path
) -> None:
    file = tmp_path / "dump"
    with source.database.connection() as connection:
        connection.execute("CREATE TABLE geosearch.notes (id int)")
    try:
        assert dump(source.database, file).left_out == ("notes",)
    finally:
        with source.database.connection() as connection:
            connection.execute("DROP TABLE geosearch.notes")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_dump_that_fails_leaves_the_one_before(source: Source, tmp_path: Path) -> None:
    file = tmp_path / "dump"
    file.write_bytes(b"before")
    with (
        Database(make_conninfo(source.database.url, user=source.user)) as reader,
        pytest.raises(DatabaseError, match="refused: permission denied"),
    ):
        dump(reader, file)
    assert file.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [file]


def test_from_the_command_line(
    source: Source, kept: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "photos.geosearch"
    dumped = CommandLine(source.database.url, capsys)("db", "dump", file, "--json")
    assert dumped.code == 0, dumped.err
    assert dumped.json()["rows"]["all_photos"] == REFERENCES + SECRET + 4
    refused = CommandLine(kept, capsys)("db", "restore", file)
    assert (refused.code, "--replace" in refused.err) == (5, True)
