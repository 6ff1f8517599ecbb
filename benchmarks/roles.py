"""What rights cost: the same questions as a reader and as the owner, as private collections grow.

A reader searches the public photos; the owner searches the private ones too, which are compared one
by one. `box` is a search in a box of 1 % of the photos, `search` one without a filter, `tile` a
vector tile and `layer` the points of a map in that box. All in turns, in one run; medians.

    python benchmarks/roles.py
    python benchmarks/roles.py --rows 100000 --private 0 1000 10000 100000 --move 100000
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo
from scratch import scratch_database
from scratch_rows import add_photos

from geosearch.database.collection_rows import ensure_collection, set_private
from geosearch.database.connection import Connection, Database
from geosearch.database.copying import PhotoKey, copy_embeddings
from geosearch.database.role_grants import grant_role
from geosearch.retrieval import nearest
from geosearch.retrieval.filters import where
from geosearch.retrieval.indexes import build_index
from geosearch.retrieval.recall import tune

#: Longitudes and latitudes of a box with 1 % of photos that are spread evenly over a map.
BOX = (0.0, 0.0, 36.0, 18.0)
K = 100
#: What a reader's search in the box may take, in times of the owner's.
MOST = 1.5
LOGINS = {"reader": "geosearch_benchmark_reader", "owner": "geosearch_benchmark_owner"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=20_000, help="public photos")
    parser.add_argument("--dimension", type=int, default=512)
    parser.add_argument("--private", type=int, nargs="+", default=[0, 1_000, 10_000])
    parser.add_argument("--move", type=int, default=10_000, help="photos to make private at once")
    parser.add_argument("--rounds", type=int, default=40)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    worst = 0.0
    print(f"{'private':>9} {'what':<7} {'reader ms':>10} {'owner ms':>10} {'ratio':>6}")
    with scratch_database() as database, logins(database):
        model = fill(database, rng, arguments.rows, arguments.dimension)
        there = 0
        for size in arguments.private:
            if size > there:
                add_private(database, rng, model, arguments.dimension, size - there)
                there = size
            for what, (reader, owner) in measure(
                database, model, rng, arguments.dimension, arguments.rounds
            ).items():
                print(f"{size:>9,} {what:<7} {reader:>10.2f} {owner:>10.2f} {reader / owner:>6.2f}")
                worst = max(worst, reader / owner) if what == "box" else worst
    if arguments.move:
        away, back = time_moves(rng, arguments.dimension, arguments.move)
        print(f"{arguments.move:,} photos moved away in {away:.1f} s, back in {back:.1f} s")
    verdict = "holds" if worst <= MOST else "FAILS"
    print(f"reader's box at most {MOST} x the owner's: {worst:.2f}, {verdict}")


@contextmanager
def logins(database: Database) -> Any:
    """Two logins, dropped at the end."""
    with database.connection() as connection:
        for role, login in LOGINS.items():
            connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(login)))
            grant_role(connection, role, login)
    try:
        yield
    finally:
        with database.connection() as connection:
            for login in LOGINS.values():
                connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(login)))


def fill(database: Database, rng: np.random.Generator, rows: int, dimension: int) -> int:
    """Public photos, indexed and tuned; the model's id."""
    with database.connection() as connection:
        model, photos = add_photos(
            connection, dimension, rng.uniform(-90, 90, rows), rng.uniform(-180, 180, rows)
        )
        embed(connection, model, photos, rng, dimension)
        connection.execute("SELECT geosearch.refresh_coverage()")
    build_index(database, model, dimension)
    tune(database, model, 0.95, K)
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
    return model


def embed(
    connection: Connection,
    model: int,
    photos: list[PhotoKey],
    rng: np.random.Generator,
    dimension: int,
) -> None:
    for start in range(0, len(photos), 5000):
        part = photos[start : start + 5000]
        vectors = rng.normal(size=(len(part), dimension)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        copy_embeddings(connection, model, part, vectors)


def add_private(
    database: Database, rng: np.random.Generator, model: int, dimension: int, rows: int
) -> None:
    """Photos of a collection that was made private before."""
    name = f"private {rows}"
    with database.connection() as connection:
        key = ensure_collection(connection, name)
        set_private(connection, name, private=True)
        add(connection, rng, model, dimension, key, rows)
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")


def add(
    connection: Connection,
    rng: np.random.Generator,
    model: int,
    dimension: int,
    collection: int,
    rows: int,
) -> None:
    """Photos anywhere, with their embeddings."""
    connection.execute(
        """
        INSERT INTO geosearch.all_photos (collection_id, shelf, uri, sha256, size_bytes, width,
            height, format, geom, position_source)
        SELECT c.id, c.shelf, '/more/' || n, sha256(('p' || n)::bytea), 1, 1, 1, 'JPEG',
            ST_SetSRID(ST_Point(random() * 360 - 180, random() * 180 - 90), 4326), 'manifest'
        FROM geosearch.all_collections AS c, generate_series(1, %s) AS n WHERE c.id = %s
        """,
        (rows, collection),
    )
    photos = connection.execute(
        """
        SELECT id, collection_id, ST_AsEWKB(geom), accuracy_m, taken_at, author, licence, shelf
        FROM geosearch.all_photos WHERE collection_id = %s ORDER BY id
        """,
        (collection,),
    )
    embed(connection, model, [PhotoKey(*photo) for photo in photos], rng, dimension)


def time_moves(rng: np.random.Generator, dimension: int, rows: int) -> tuple[float, float]:
    """Seconds to make a collection private, and public again, without indexes of embeddings."""
    with scratch_database() as database:
        with database.connection() as connection:
            model, _ = add_photos(connection, dimension, np.zeros(1), np.zeros(1))
            key = ensure_collection(connection, "moving")
            add(connection, rng, model, dimension, key, rows)
        taken = []
        for private in (True, False):
            start = time.perf_counter()
            with database.connection() as connection:
                set_private(connection, "moving", private)
            taken.append(time.perf_counter() - start)
    return taken[0], taken[1]


def measure(
    database: Database, model: int, rng: np.random.Generator, dimension: int, rounds: int
) -> dict[str, tuple[float, float]]:
    """What was asked → median milliseconds as reader and as owner."""
    times: dict[tuple[str, str], list[float]] = {}
    opened = {
        role: Database(make_conninfo(database.url, user=login)) for role, login in LOGINS.items()
    }
    box = where(bbox=BOX)
    layer = (
        b"SELECT id, geom FROM geosearch.gis_photos "
        b"WHERE geom && ST_MakeEnvelope(%s, %s, %s, %s, 4326)"
    )
    try:
        for number in range(rounds + 3):
            query = rng.normal(size=dimension).astype(np.float32)
            asked: dict[str, Callable[[Database], Any]] = {
                "box": partial(nearest, model_id=model, query=query, k=K, where=box),
                "search": partial(nearest, model_id=model, query=query, k=K),
                "tile": partial(run, statement=b"SELECT geosearch.mvt(4, 8, 7)"),
                "layer": partial(run, statement=layer, values=BOX),
            }
            for role, own in opened.items():
                for what, ask in asked.items():
                    start = time.perf_counter()
                    ask(own)
                    if number >= 3:
                        taken = 1000 * (time.perf_counter() - start)
                        times.setdefault((what, role), []).append(taken)
    finally:
        for own in opened.values():
            own.close()
    return {
        what: (statistics.median(times[what, "reader"]), statistics.median(times[what, "owner"]))
        for what in ("box", "search", "tile", "layer")
    }


def run(database: Database, statement: bytes, values: tuple[float, ...] = ()) -> None:
    with database.connection() as connection:
        connection.execute(statement, values).fetchall()


if __name__ == "__main__":
    main()
