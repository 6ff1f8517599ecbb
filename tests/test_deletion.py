"""Deleting: counted first, whole or not at all, and afterwards as if it had never been there."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.types.json import Jsonb

from geosearch.client import Geosearch
from geosearch.database.collection_rows import list_collections, set_private, share
from geosearch.database.connection import Database
from geosearch.database.coverage import refresh_coverage
from geosearch.database.role_grants import ROLES, grant_role
from geosearch.deletion.deleted import Deleted
from geosearch.deletion.photo_deletion import delete_collection, delete_photos
from geosearch.deletion.record_deletion import (
    delete_answers,
    delete_calibration,
    delete_evaluations,
    delete_model,
)
from geosearch.deletion.renaming import rename_collection, rename_model, rename_partition
from geosearch.errors import DatabaseError, InputError, NotFoundError
from geosearch.features.model_rows import find_model
from geosearch.geocells import find_partition, make_partition
from geosearch.ingest import ingest
from geosearch.layers.selection import Selection
from geosearch.localization import Parameters, load, reproduce
from geosearch.localization.answer_rows import save
from geosearch.localization.localizing import answer_query
from geosearch.query import Query
from geosearch.retrieval import nearest, recall
from geosearch.retrieval.filters import EVERYTHING, Filter, where
from geosearch.retrieval.indexes import build_index, find_index
from geosearch.retrieval.recall import tune
from geosearch.retrieval.tuning import load_tuning, search_setting
from tests.answers import make_answer
from tests.command_line import CommandLine
from tests.conftest import create_database, drop_database
from tests.evaluations import add_evaluation
from tests.photo_files import photos_at
from tests.rows import add_embeddings, add_model, add_photos, fetch, places

DIMENSION = 8
NAMES = ("red", "green", "blue")


def vector_of(uri: str) -> NDArray[np.float32]:
    """The embedding of a photo, decided by its name alone."""
    seed = int.from_bytes(hashlib.sha256(uri.encode()).digest()[:4], "big")
    return np.random.default_rng(seed).normal(size=DIMENSION).astype(np.float32)


def fill(
    database: Database,
    collections: Mapping[str, Sequence[int]],
    models: Sequence[int],
    private: Sequence[str] = (),
) -> None:
    """Collections of photos, each told by its number, embedded with every model."""
    with database.connection() as connection:
        for name, numbers in collections.items():
            if not numbers:
                continue
            made = add_photos(
                connection,
                [(7 * n) % 120 - 60 for n in numbers],
                [(31 * n) % 300 - 150 for n in numbers],
                collection=name,
                authors=[f"author {n % 3}" for n in numbers],
                prefix=f"{name}{'-'.join(map(str, numbers))}",
            )
            for key, number in zip(made, numbers, strict=True):
                connection.execute(
                    "UPDATE geosearch.all_photos SET uri = %s, sha256 = sha256(%s) WHERE id = %s",
                    (f"/{name}/{number}", f"/{name}/{number}".encode(), key.photo_id),
                )
            vectors = np.stack([vector_of(f"/{name}/{n}") for n in numbers])
            for model in models:
                add_embeddings(connection, model, made, vectors)
            if name in private:
                set_private(connection, name, private=True)
        refresh_coverage(connection)


STATE = (
    "SELECT c.name, p.uri, p.author, ST_AsText(p.geom) FROM geosearch.photos AS p "
    "JOIN geosearch.collections AS c ON c.id = p.collection_id ORDER BY 1, 2",
    "SELECT m.name, p.uri, e.embedding::text FROM geosearch.embeddings AS e "
    "JOIN geosearch.photos AS p ON p.id = e.photo_id "
    "JOIN geosearch.models AS m ON m.id = e.model_id ORDER BY 1, 2",
    "SELECT c.name, v.cell, v.photos FROM geosearch.coverage AS v "
    "JOIN geosearch.collections AS c ON c.id = v.collection_id ORDER BY 1, 2",
    "SELECT count(*) FROM pg_class WHERE relnamespace = 'geosearch'::regnamespace",
)


def state(database: Database, models: Sequence[int]) -> list[Any]:
    """All that a database says of its photos, whatever their ids."""
    found: list[Any] = [fetch(database, statement) for statement in STATE]
    for model in models:
        for number in range(3):
            answer = nearest(database, model, vector_of(f"query {number}"), 10)
            found.append(list(zip(answer.uri, answer.distance, strict=True)))
    return found


@pytest.fixture(scope="module")
def twins(server_url: str, template_database: str) -> Iterator[tuple[Database, Database]]:
    urls = [create_database(server_url, template_database) for _ in range(2)]
    with Database(urls[0]) as first, Database(urls[1]) as second:
        yield first, second
    for url in urls:
        drop_database(url)


def empty(database: Database) -> None:
    for collection in [row[0] for row in fetch(database, "SELECT name FROM geosearch.collections")]:
        delete_collection(database, collection)
    for (model,) in fetch(database, "SELECT id FROM geosearch.models"):
        delete_model(database, str(model))


@settings(max_examples=8)
@given(data=st.data())
def test_after_any_deletions_all_is_as_if_the_deleted_had_never_been_there(
    twins: tuple[Database, Database], data: st.DataObject
) -> None:
    first, second = twins
    for database in twins:
        empty(database)
    private = data.draw(st.sets(st.sampled_from(NAMES), max_size=2))
    left: dict[str, list[int]] = {name: list(range(12)) for name in NAMES}
    with first.connection() as connection:
        models = {name: add_model(connection, DIMENSION, name) for name in ("one", "two")}
    fill(first, left, list(models.values()), sorted(private))
    for kind in data.draw(st.lists(st.sampled_from("cfipm"), min_size=1, max_size=4)):
        name = data.draw(st.sampled_from(NAMES))
        if kind == "c" and name in left:
            assert delete_collection(first, name).goes["photos"] == len(left.pop(name))
        elif kind == "f":
            author = data.draw(st.integers(0, 2))
            gone = delete_photos(first, where(author=f"author {author}"))
            before = sum(map(len, left.values()))
            left = {key: [n for n in ns if n % 3 != author] for key, ns in left.items()}
            assert gone.goes["photos"] == before - sum(map(len, left.values()))
        elif kind == "i" and left.get(name):
            number = data.draw(st.sampled_from(left[name]))
            ((key,),) = fetch(
                first, "SELECT id FROM geosearch.photos WHERE uri = %s", f"/{name}/{number}"
            )
            delete_photos(first, ids=[key])
            left[name].remove(number)
        elif kind == "p" and name in left:  # a place: half of the world
            delete_photos(first, where(collection=name, bbox=(-180, 0, 180, 90)))
            left[name] = [n for n in left[name] if (7 * n) % 120 - 60 < 0]
        elif kind == "m" and len(models) > 1:
            delete_model(first, "two")
            del models["two"]
    with second.connection() as connection:
        others = {name: add_model(connection, DIMENSION, name) for name in models}
    fill(second, left, list(others.values()), [name for name in private if left.get(name)])
    with second.connection() as connection:
        for name in left:  # emptied collections stay
            connection.execute("SELECT geosearch.add_collection(%s)", (name,))
            if name in private:
                set_private(connection, name, private=True)
    assert state(first, list(models.values())) == state(second, list(others.values()))


# ---- counts, dry runs, questions ----------------------------------------------------------------


@pytest.fixture
def filled(database: Database) -> Database:
    """Two collections of one model, and an answer that rests on the first."""
    with database.connection() as connection:
        model = add_model(connection, DIMENSION, "model")
    fill(database, {"red": range(20), "green": range(10)}, [model])
    with database.connection() as connection:
        answer = replace(make_answer([1, 2], [3, 4]), model_id=model, where=where(collection="red"))
        save(connection, [answer])
    return database


ALL: dict[str, Callable[..., Deleted]] = {
    "collection": lambda database, **how: delete_collection(database, "red", **how),
    "photos": lambda database, **how: delete_photos(database, where(collection="red"), **how),
    "model": lambda database, **how: delete_model(database, "model", **how),
    "answers": lambda database, **how: delete_answers(database, Selection(last=1), **how),
}


@pytest.mark.parametrize("kind", ALL)
def test_a_dry_run_counts_what_then_goes(filled: Database, kind: str) -> None:
    tables = {
        "photos": "photos",
        "embeddings": "embeddings",
        "answers": "localizations",
        "coverage_cells": "coverage",
        "neighbours": "localization_neighbours",
        "regions": "localization_regions",
    }

    def rows() -> dict[str, int]:
        return {
            name: fetch(filled, f"SELECT count(*) FROM geosearch.{table}".encode())[0][0]  # type: ignore[arg-type]  # noqa: S608
            for name, table in tables.items()
        }

    before = rows()
    counted = ALL[kind](filled, dry_run=True)
    assert rows() == before
    assert counted.dry_run
    done = ALL[kind](filled)
    assert (done.goes, done.stays, done.dry_run) == (counted.goes, counted.stays, False)
    after = rows()
    for name in tables.keys() & done.goes.keys():
        assert before[name] - after[name] == done.goes[name]
    if kind != "answers":
        assert done.stays["answers"] == 1
        assert after["answers"] == before["answers"]


def test_the_command_asks_and_without_a_terminal_refuses(
    filled: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    command = CommandLine(filled.url, capsys)
    refused = command("collections", "delete", "red")
    assert refused.code == 2
    assert "photos 20, embeddings 20" in refused.err
    assert "--yes" in refused.err
    counted = command("collections", "delete", "red", "--dry-run", "--json").json()
    assert (counted["dry_run"], counted["goes"]["photos"]) == (True, 20)
    with (
        patch("geosearch.cli.deleting.sys.stdin.isatty", return_value=True),
        patch("typer.confirm", side_effect=KeyboardInterrupt) as asked,
    ):
        command("collections", "delete", "red")
    assert asked.call_count == 1
    assert {item["collection"] for item in command("photos", "list", "--json").json()} == {
        "red",
        "green",
    }
    done = command("collections", "delete", "red", "--yes", "--json").json()
    assert done["goes"] == counted["goes"]
    assert command("collections", "delete", "red", "--yes").code == 4
    listed = command("photos", "list", "--limit", 3, "--author", "author 0", "--json").json()
    assert [item["uri"] for item in listed] == ["/green/0", "/green/3", "/green/6"]
    keys = [word for item in listed for word in ("--id", item["id"])]
    assert command("photos", "delete", *keys, "--yes", "--json").json()["goes"]["photos"] == 3
    assert command("photos", "delete", "--yes").code == 2
    assert command("photos", "delete", "--id", 10**9, "--yes").code == 4
    told = command("models", "delete", "model", "--dry-run").out
    assert "embeddings 7; what rests on it stays: answers 1" in " ".join(told.split())
    assert command("models", "rename", "model", "mine", "--json").code == 0
    assert command("models", "delete", "mine", "--yes", "--json").code == 0
    assert command("answers", "delete", "--yes").code == 2
    assert command("answers", "delete", "--all", "--yes", "--json").json()["goes"]["answers"] == 1


def test_nothing_said_deletes_nothing(filled: Database) -> None:
    with pytest.raises(InputError, match="nothing says which photos"):
        delete_photos(filled)
    with pytest.raises(InputError, match="is for searches"):
        delete_photos(filled, where(include_estimated=True))
    with pytest.raises(InputError, match="which answers"):
        delete_answers(filled, Selection())
    with pytest.raises(NotFoundError, match="there is no photo 999"):
        delete_photos(filled, ids=[1, 999])
    assert len(fetch(filled, "SELECT FROM geosearch.photos")) == 30


# ---- whole or not at all ------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from geosearch.database.connection import Database
from geosearch.deletion import photo_deletion
photo_deletion._PAGE = 5
def progress(done, total):
    if done >= 10:
        os.kill(os.getpid(), signal.SIGKILL)
with Database(sys.argv[1]) as database:
    photo_deletion.delete_collection(database, "red", progress=progress)
"""


def test_a_killed_deletion_has_deleted_nothing(filled: Database) -> None:
    before = [fetch(filled, statement) for statement in STATE]
    ran = subprocess.run([sys.executable, "-c", KILLED, filled.url], check=False)
    assert ran.returncode == -signal.SIGKILL
    # The server notices when it next writes to, or reads from, the one who is gone.
    assert [fetch(filled, statement) for statement in STATE] == before
    assert delete_collection(filled, "red").goes["photos"] == 20


def test_progress_is_told_page_by_page(filled: Database) -> None:
    told: list[tuple[int, int | None]] = []
    with patch("geosearch.deletion.photo_deletion._PAGE", 8):
        delete_collection(filled, "red", progress=lambda *said: told.append(said))
    assert told == [(8, 20), (16, 20), (20, 20)]


# ---- what rests on it ---------------------------------------------------------------------------


def ask(database: Database, model: int, filter: Filter = EVERYTHING) -> int:
    """The id of an answer by the nearest photos."""
    with database.connection() as connection:
        row = find_model(connection, str(model))
    query = Query("/q.jpg", hashlib.sha256(b"q").digest(), vector_of("query"))
    answer = answer_query(database, row, query, Parameters(k=5), filter)
    with database.connection() as connection:
        return save(connection, [answer])[0]


def test_answers_stay_as_they_are_and_say_what_is_missing(filled: Database) -> None:
    ((model,),) = fetch(filled, "SELECT id FROM geosearch.models")
    key = ask(filled, model)
    before = load(filled, key)
    gone = int(before.neighbours.photo_id[0])
    deleted = delete_photos(filled, ids=[gone])
    assert deleted.stays == {"answers": 1}
    assert load(filled, key).to_json() == before.to_json()
    again = reproduce(filled, key)
    assert not again.same
    uri = before.neighbours.uri[0]
    assert f"photo {gone} ({uri}), then neighbour 1, was deleted" in again.changes
    for rank, state, statement in (
        (
            1,
            "known position",
            "UPDATE geosearch.all_photos SET estimate = geom, geom = NULL,"
            " position_source = 'estimated' WHERE id = %s",
        ),
        (2, "embedding", "DELETE FROM geosearch.all_embeddings WHERE photo_id = %s"),
    ):
        other, uri = int(before.neighbours.photo_id[rank]), before.neighbours.uri[rank]
        with filled.connection() as connection:
            connection.execute(statement, (other,))
        said = f"photo {other} ({uri}), then neighbour {rank + 1}, has no {state} any more"
        assert said in reproduce(filled, key).changes


def test_a_model_deleted_and_embedded_again_reproduces(filled: Database) -> None:
    ((model, fingerprint),) = fetch(filled, "SELECT id, fingerprint FROM geosearch.models")
    key = ask(filled, model)
    filled_by = "SELECT photo_id FROM geosearch.embeddings ORDER BY 1"
    embedded = fetch(filled, filled_by)
    deleted = delete_model(filled, "model")
    assert (deleted.goes["embeddings"], deleted.stays["answers"]) == (30, 2)
    assert fetch(filled, "SELECT to_regclass(%s)::text", f"geosearch.embeddings_m{model}") == [
        (None,)
    ]
    assert "were removed" in reproduce(filled, key).changes[0]
    with filled.connection() as connection:
        again = add_model(connection, DIMENSION, "model")
        connection.execute(
            "UPDATE geosearch.models SET fingerprint = %s WHERE id = %s", (fingerprint, again)
        )
        connection.execute(
            "UPDATE geosearch.localizations SET model = jsonb_set(model, '{fingerprint}', "
            "to_jsonb(%s::text)) WHERE id = %s",
            (fingerprint, key),
        )
        for (photo_id,) in embedded:
            row = connection.execute(
                "SELECT uri FROM geosearch.photos WHERE id = %s", (photo_id,)
            ).fetchone()
            assert row is not None
            vector = vector_of(row[0])
            connection.execute(
                "INSERT INTO geosearch.all_embeddings (photo_id, model_id, collection_id, geom,"
                " author, embedding) SELECT id, %s, collection_id, geom, author, %s::halfvec "
                "FROM geosearch.all_photos WHERE id = %s",
                (again, str((vector / np.linalg.norm(vector)).tolist()), photo_id),
            )
    assert again != model
    found = reproduce(filled, key)
    assert found.same, found.changes


def test_a_sweep_goes_with_its_first_and_alone_without(filled: Database) -> None:
    first = add_evaluation(filled)
    others = [add_evaluation(filled, sweep_id=first) for _ in range(2)]
    with filled.connection() as connection:
        save(connection, [make_answer(1, 2)], first)
    assert delete_evaluations(filled, others[:1]).goes == {
        "evaluations": 1,
        "answers": 0,
        "failures": 0,
    }
    assert delete_evaluations(filled, [first]).goes == {
        "evaluations": 2,
        "answers": 1,
        "failures": 0,
    }
    assert fetch(filled, "SELECT FROM geosearch.evaluations") == []
    with pytest.raises(NotFoundError, match=f"no evaluation {first}"):
        delete_evaluations(filled, [first])
    with pytest.raises(NotFoundError, match="no calibration 1"):
        delete_calibration(filled, 1)


def test_a_renamed_collection_is_renamed_in_filters(filled: Database) -> None:
    ((model,),) = fetch(filled, "SELECT id FROM geosearch.models")
    key = ask(filled, model, where(collection=["red", "green"]) & ~where(collection="green"))
    make_partition(filled, "halves", max_photos=5, where=where(collection="red"))
    with pytest.raises(InputError, match="there is a collection 'green' already"):
        rename_collection(filled, "red", "green")
    rename_collection(filled, "red", "crimson")
    rename_partition(filled, "halves", "parts")
    assert reproduce(filled, key).same
    assert load(filled, key).where.to_json() == {
        "and": [{"collections": ["crimson", "green"]}, {"not": {"collections": ["green"]}}]
    }
    with filled.connection() as connection:
        assert find_partition(connection, "parts").name == "parts"
        assert {item.name for item in list_collections(connection)} == {"crimson", "green"}
        found = connection.execute("SELECT filter FROM geosearch.partitions").fetchone()
    assert found == ({"collections": ["crimson"]},)
    for wrong in ("", " ", "7", "\0"):
        with pytest.raises(InputError, match="a model cannot have the name"):
            rename_model(filled, "model", wrong)
    rename_model(filled, "model", "better")
    with pytest.raises(NotFoundError, match="the model 'model'"):
        rename_model(filled, "model", "x")


def test_what_answers_and_calibrations_keep_of_a_filter_is_renamed_too(filled: Database) -> None:
    """What a calibration was fitted for, each model's own filter, and what time was asked by."""
    named = Jsonb({"kept": [1.5, {"where": {"collections": ["green", "red"]}}]})
    with filled.connection() as connection:
        connection.execute(
            "UPDATE geosearch.all_localizations SET evidence = %(n)s, calibration = %(n)s",
            {"n": named},
        )
        connection.execute(
            "INSERT INTO geosearch.all_localization_models (localization_id, number, model, "
            "parameters, filter, plan, query_embedding, modes) "
            "SELECT id, 1, '{}', '{}', %s, '{}', '[1]', '[]' FROM geosearch.all_localizations",
            (named,),
        )
        connection.execute(
            "INSERT INTO geosearch.all_calibrations (model, filter, method, parameters, figures, "
            "queries, options, n_fit, n_check, failed, software) "
            "VALUES ('', '{}', 'density', %s, '{}', '', '{}', 1, 1, 0, '{}')",
            (named,),
        )
    rename_collection(filled, "red", "crim\\son")
    found = fetch(
        filled,
        "SELECT evidence, l.calibration, m.filter, c.parameters FROM geosearch.localizations AS l, "
        "geosearch.localization_models AS m, geosearch.calibrations AS c",
    )
    renamed = {"kept": [1.5, {"where": {"collections": ["green", "crim\\son"]}}]}
    assert found == [(renamed,) * 4]
    rename_collection(filled, "crim\\son", "red")
    assert fetch(filled, "SELECT evidence FROM geosearch.localizations") == [(named.obj,)]


# ---- indexes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.005, 0.4])
def test_an_index_finds_after_deletions_what_is_quoted(database: Database, share: float) -> None:
    count = 1000
    rng = np.random.default_rng(5)
    with database.connection() as connection:
        model = add_model(connection, DIMENSION)
        photos = add_photos(connection, *places(rng, count), collection="many")
        vectors = rng.normal(size=(count, DIMENSION)).astype(np.float32)
        add_embeddings(connection, model, photos, vectors)
    build_index(database, model, DIMENSION)
    with patch.object(recall, "CURVE_SAMPLE", 20):
        tune(database, model, 0.95, 20)
        with database.connection() as connection:
            before = find_index(connection, model)
        ids = [photo.photo_id for photo in photos[: int(share * count)]]
        assert not delete_photos(database, ids=ids).index_left
    with database.connection() as connection:
        after = find_index(connection, model)
        row = connection.execute(
            "SELECT rows_of, (SELECT id FROM geosearch.tunings WHERE index_definition = %s) "
            "FROM geosearch.rows_of(%s)",
            (after and after.definition, f"embeddings_m{model}"),
        ).fetchone()
        assert row is not None
        # The planner counts what is left, and the measurement is of the index there is.
        assert row[0] == count - len(ids)
        assert row[1] is not None
        tuning = load_tuning(connection, model)
        assert tuning is not None
        assert search_setting(connection, tuning, 20) is not None
    assert before is not None
    assert after is not None
    assert (before.file_number == after.file_number) == (share < 0.01)
    found = [
        (
            set(nearest(database, model, query, 20).photo_id.tolist()),
            set(nearest(database, model, query, 20, exact=True).photo_id.tolist()),
        )
        for query in rng.normal(size=(30, DIMENSION)).astype(np.float32)
    ]
    assert not set(ids) & set().union(*(one for one, _ in found))
    assert np.mean([len(one & other) / 20 for one, other in found]) >= 0.95


# ---- private collections ------------------------------------------------------------------------


def test_a_private_collection_goes_with_its_shelf(filled: Database) -> None:
    relations = "SELECT relname FROM pg_class WHERE relname ~ '_c[0-9]+' ORDER BY 1"
    with filled.connection() as connection:
        set_private(connection, "red", private=True)
    assert len(fetch(filled, relations)) > 4
    told = delete_collection(filled, "red")
    assert (told.goes["photos"], told.index_left) == (20, False)
    assert fetch(filled, relations) == []
    assert [row[0] for row in fetch(filled, STATE[0])] == ["green"] * 10
    with filled.connection() as connection:
        assert [item.name for item in list_collections(connection)] == ["green"]


# ---- who may ------------------------------------------------------------------------------------


@pytest.fixture
def logins(filled: Database) -> Iterator[dict[str, Database]]:
    """The database of `filled`, whose red photos are private, as a login of each role sees it."""
    names = {role: f"geosearch_test_{role}_{uuid4().hex[:10]}" for role in ROLES}
    with filled.connection() as connection:
        for role, login in names.items():
            connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(login)))
            grant_role(connection, role, login)
        set_private(connection, "red", private=True)
    made = {role: Database(make_conninfo(filled.url, user=login)) for role, login in names.items()}
    yield made
    for opened in made.values():
        opened.close()
    with filled.connection() as connection:
        for login in names.values():
            name = sql.Identifier(login)
            connection.execute(sql.SQL("DROP OWNED BY {}").format(name))
            connection.execute(sql.SQL("DROP ROLE {}").format(name))


def test_an_ingester_deletes_public_photos_and_only_these(
    filled: Database, logins: dict[str, Database]
) -> None:
    ingester = logins["ingester"]
    counted = delete_photos(ingester, where(author="author 1"), dry_run=True)
    assert counted.goes["photos"] == 3  # of the ten green ones; of the red nothing is told
    assert counted.stays == {"answers": 0}
    assert delete_photos(ingester, where(author="author 1")).goes == counted.goes
    assert [len(fetch(filled, statement)) for statement in STATE[:2]] == [27, 27]
    coverage = fetch(filled, STATE[2])
    with filled.connection() as connection:
        refresh_coverage(connection)
    assert fetch(filled, STATE[2]) == coverage
    ((red, green),) = fetch(
        filled,
        "SELECT (SELECT id FROM geosearch.photos WHERE uri = '/red/3'),"
        " (SELECT id FROM geosearch.photos WHERE uri = '/green/3')",
    )
    with pytest.raises(NotFoundError, match=f"there is no photo {red}"):
        delete_photos(ingester, ids=[green, red])
    with filled.connection() as connection:
        share(connection, "red", str(conninfo_to_dict(ingester.url)["user"]))
    with pytest.raises(DatabaseError, match="photos of a private collection"):
        delete_photos(ingester, ids=[green, red])
    assert delete_photos(ingester, where(author="author 0"), dry_run=True).goes["photos"] == 4
    with pytest.raises(DatabaseError, match="may not change or delete collections"):
        delete_collection(ingester, "green")
    assert len(fetch(filled, STATE[0])) == 27


def test_an_analyst_deletes_answers_and_evaluations_of_her_own(
    filled: Database, logins: dict[str, Database]
) -> None:
    analyst = logins["analyst"]
    with analyst.connection() as connection:
        own = save(connection, [make_answer(1, 2), make_answer(3, 4)])
    others = ask(filled, 1, where(collection="green"))
    with filled.connection() as connection:
        connection.execute(
            "UPDATE geosearch.all_localizations SET collection_ids = '{}' WHERE id = %s", (others,)
        )
    with pytest.raises(DatabaseError, match=f"answer {others} was recorded by"):
        delete_answers(analyst, Selection((own[0], others)))
    with pytest.raises(DatabaseError, match=f"answer {others} was recorded by"):
        delete_answers(analyst, Selection(), everything=True)
    assert delete_answers(analyst, Selection((own[0],))).goes["answers"] == 1
    key = add_evaluation(analyst)
    assert delete_evaluations(analyst, [key]).goes["evaluations"] == 1
    left = [row[0] for row in fetch(filled, "SELECT id FROM geosearch.localizations ORDER BY 1")]
    assert left == [1, own[1], others]
    with pytest.raises(DatabaseError, match="may not change or delete photos"):
        delete_photos(analyst, where(author="author 1"))


def test_whoever_cannot_build_an_index_again_leaves_no_recall_that_is_not_true(
    filled: Database, logins: dict[str, Database]
) -> None:
    build_index(filled, 1, DIMENSION)
    with patch.object(recall, "CURVE_SAMPLE", 5):
        tune(filled, 1, 0.95, 3)
    assert delete_photos(logins["ingester"], where(author="author 1")).index_left
    with filled.connection() as connection:
        assert load_tuning(connection, 1) is None


def test_an_owner_that_owns_no_tables_deletes_all_and_says_that_indexes_are_left(
    filled: Database, logins: dict[str, Database]
) -> None:
    owner = logins["owner"]
    build_index(filled, 1, DIMENSION)
    assert not delete_collection(owner, "red").index_left  # its photos are in none
    with owner.connection() as connection:
        make_private = connection.execute("SELECT geosearch.shelves()").fetchone()
    assert make_private == ([],)
    assert delete_photos(owner, where(author="author 1")).index_left
    rename_collection(owner, "green", "emerald")
    assert delete_collection(owner, "emerald").goes["photos"] == 7
    assert delete_model(owner, "model").goes["indexes"] == 1
    assert [fetch(filled, statement) for statement in STATE[:3]] == [[], [], []]


# ---- runs ---------------------------------------------------------------------------------------


def test_what_a_run_added_is_taken_back(database: Database, tmp_path: Path) -> None:
    photos_at(tmp_path, [(1, 2), (2, 2), (3, 2), (4, 2)])
    first = ingest(database, [tmp_path / "0.jpg", tmp_path / "1.jpg"], collection="mine")
    second = ingest(database, [tmp_path], collection="mine")
    gs = Geosearch(database)
    assert second.run_id is not None
    assert gs.undo_run(second.run_id, dry_run=True).goes["photos"] == 2
    assert gs.undo_run(second.run_id).goes["photos"] == 2
    left = fetch(database, "SELECT run_id FROM geosearch.photos")
    assert left == [(first.run_id,)] * 2
