"""Embeddings put into tables that have indexes: rows a second, and the recall after.

A tenth as many as there are, in blocks that go in turn to a table without an index over embeddings,
to one with the index, and to one with leaves besides. Vectors are those of `retrieval.py`.

With --kept, into a database that `scale.py` or `retrieval.py` kept, which has its index and leaves:

    python benchmarks/inserts.py --rows 100000
    python benchmarks/inserts.py --kept scale_1000000
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from geoclip_vectors import queries
from load import load
from photo_vectors import references
from psycopg import sql
from retrieval import note
from scratch import scratch_database
from scratch_rows import add_collection, add_model, add_photos, stored_photos

from geosearch.database.copying import copy_embeddings
from geosearch.database.embedding_tables import embedding_table
from geosearch.retrieval.indexing import index_model
from geosearch.retrieval.leaves import DEFAULT_FAMILIES, FAMILIES
from geosearch.retrieval.recall import check
from geosearch.settings import CacheSettings

#: Rows of one transaction that is measured.
INSERTED = 500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=20_000, help="before")
    parser.add_argument("--dimension", type=int, default=1280, help="the first so many")
    parser.add_argument("--leaves", default=",".join(DEFAULT_FAMILIES))
    parser.add_argument("--kept", metavar="NAME", help="into this one, of places")
    parser.add_argument("--cache", type=Path, default=CacheSettings().folder() / "benchmarks")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    if arguments.kept:
        into_kept(arguments.kept, arguments.cache)
        return
    leaves = [family for family in FAMILIES if family in arguments.leaves.split(",")]
    before, more = arguments.rows, arguments.rows // 10
    stored = references(before + more, arguments.cache)
    vectors = stored.embedding[:, : arguments.dimension].astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ways: dict[str, list[str] | None] = {"no index": None, "index": [], "index and leaves": leaves}
    with scratch_database() as database:
        with database.connection() as connection:
            first, photos = add_photos(connection, arguments.dimension, stored.lat, stored.lon)
            others = [add_model(connection, arguments.dimension, name) for name in list(ways)[1:]]
        models = dict(zip(ways, (first, *others), strict=True))
        for way, families in ways.items():
            note(f"{way}: {before} rows")
            model = models[way]
            load(database, model, photos[:before], vectors[:before])
            with database.connection() as connection:
                connection.execute(sql.SQL("ANALYZE {}").format(embedding_table(model)))
            if families is not None:
                index_model(database, model, arguments.dimension, leaves=families, force=True)
        health = {way: [check(database, models[way])] for way in list(ways)[1:]}
        seconds = dict.fromkeys(ways, 0.0)
        for start in range(before, before + more, INSERTED):
            part = slice(start, min(start + INSERTED, before + more))
            for way, model in models.items():
                began = time.perf_counter()
                with database.connection() as connection:
                    copy_embeddings(connection, model, photos[part], vectors[part])
                seconds[way] += time.perf_counter() - began
        for way, found in health.items():
            found.append(check(database, models[way]))
    figures = {
        way: {
            "rows_per_s": more / seconds[way],
            "recall": [each.recall for each in health.get(way, ())],
            "recall_of_leaves": [
                part.recall for each in health.get(way, ()) for part in each.leaves
            ],
        }
        for way in ways
    }
    if arguments.json:
        print(json.dumps({"rows": before, "inserted": more, "figures": figures}))
        return
    print(f"{more} rows into {before}, of {arguments.dimension} dimensions")
    for way, figure in figures.items():
        print(
            f"{way:<18} {figure['rows_per_s']:>9.0f} rows/s   recall before, after: "
            f"{_listed(figure['recall'])}   of leaves: {_listed(figure['recall_of_leaves'])}"
        )


def into_kept(name: str, cache: Path) -> None:
    """A tenth more into a database that was kept: rows a second, recall before and after."""
    with scratch_database(name) as database:
        with database.connection() as connection:
            ((model, before),) = connection.execute(
                "SELECT id, (SELECT count(*) FROM geosearch.photos) FROM geosearch.models"
            ).fetchall()
            more = queries(before // 10, cache)
            add_collection(connection, f"more than {before}", more.lat, more.lon)
            photos = stored_photos(connection)[before:]
        recall = [check(database, model)]
        began = time.perf_counter()
        for start in range(0, len(photos), INSERTED):
            part = slice(start, start + INSERTED)
            with database.connection() as connection:
                copy_embeddings(
                    connection, model, photos[part], more.embedding[part].astype(np.float32)
                )
        seconds = time.perf_counter() - began
        recall.append(check(database, model))
    print(
        f"{len(photos)} rows into {before}: {len(photos) / seconds:.0f} rows/s   recall before, "
        f"after: {_listed([each.recall for each in recall])}   of leaves: "
        f"{_listed([part.recall for each in recall for part in each.leaves])}"
    )


def _listed(values: object) -> str:
    assert isinstance(values, list)
    return " ".join(f"{value:.4f}" for value in values) or "-"


if __name__ == "__main__":
    main()
