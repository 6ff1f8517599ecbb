"""Systems that answer the same filtered neighbour queries over the same vectors.

Those in PostgreSQL give the same columns as geosearch, uris included: they are other plans for one
question. FAISS and LanceDB give ids only. All search with one thread, except that PostgreSQL may
give a sequential scan its parallel workers, geosearch's included.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, LiteralString, Protocol

import numpy as np
import psycopg
from geoclip_vectors import Vectors
from numpy.typing import NDArray
from pgvector import HalfVector
from pgvector.psycopg import register_vector
from psycopg import sql
from regions import Region, author_names

from geosearch.database.connection import Database
from geosearch.database.embedding_tables import embedding_table
from geosearch.retrieval import EVERYTHING, Filter, nearest
from geosearch.retrieval.filters import BoundingBox, ByAuthors, TakenAfter, TakenBefore
from geosearch.retrieval.indexes import EF_CONSTRUCTION, M

#: Candidates of every fixed HNSW search.
EF_SEARCH = 200
MAX_SCAN_TUPLES = 20_000

#: Photos were taken one a minute from then on.
START = datetime(2010, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Answer:
    """Row numbers of the references found, nearest first, and how they were found."""

    rows: NDArray[np.int64]
    strategy: str = ""


class Peer(Protocol):
    """One system. `fixed` marks the pgvector strategies that geosearch's plan is judged by."""

    name: str
    fixed: bool

    def search(self, query: NDArray[np.float32], region: Region, k: int) -> Answer:
        """The k nearest in the region, or of all."""


class Geosearch:
    """`nearest`, in automatic mode."""

    name, fixed = "geosearch", False

    def __init__(self, database: Database, model_id: int, first_id: int) -> None:
        self._database, self._model_id, self._first_id = database, model_id, first_id

    def search(self, query: NDArray[np.float32], region: Region, k: int) -> Answer:
        """See `Peer`."""
        found = nearest(self._database, self._model_id, query, k, _filter(region))
        plan = found.plan
        tried = "ann>" if plan.reason.startswith("the index gave") else ""
        return Answer(found.photo_id - self._first_id, f"{tried}{plan.strategy}")


def _filter(region: Region) -> Filter:
    if region.box is not None:
        return BoundingBox(*region.box)
    if region.minutes is not None:
        first, end = (START + timedelta(minutes=minute) for minute in region.minutes)
        return TakenAfter(first) & TakenBefore(end)
    return EVERYTHING if region.author is None else ByAuthors(region.author)


_STATEMENT = """
SELECT n.photo_id, p.uri, ST_Y(n.geom), ST_X(n.geom), n.distance
FROM (
    SELECT photo_id, geom, embedding <=> %(query)s AS distance
    FROM {table}
    {where}
    ORDER BY {order}
    LIMIT %(k)s
) AS n
JOIN geosearch.photos AS p ON p.id = n.photo_id
ORDER BY n.distance
"""
_WHERE: dict[str, LiteralString] = {
    "none": "",
    "box": "WHERE geom && ST_MakeEnvelope(%(west)s, %(south)s, %(east)s, %(north)s, 4326)",
    "minutes": "WHERE taken_at >= %(first)s AND taken_at < %(end)s",
    "author": "WHERE author = %(author)s",
}


class Pgvector:
    """One way to have PostgreSQL answer. Prepared, but planned anew for every box.

    `strategy` is `planner` (nothing but `ef_search` set), `gist` (all rows of the box by the
    spatial index, sorted; without a box, of the table) or `hnsw` (iterative scan).
    """

    fixed = True

    def __init__(
        self, url: str, model_id: int, first_id: int, dimension: int, strategy: str
    ) -> None:
        self.name = f"pgvector {strategy}"
        self._first_id = first_id
        # Not the index's expression: the HNSW index cannot be used.
        order = (
            "(embedding <=> %(query)s) + 0"
            if strategy == "gist"
            else f"embedding::halfvec({dimension}) <=> %(query)s"
        )
        self._statements = {
            kind: sql.SQL(_STATEMENT).format(
                table=embedding_table(model_id), where=sql.SQL(where), order=sql.SQL(order)
            )
            for kind, where in _WHERE.items()
        }
        self._connections = {
            filtered: _connect(url, _settings(strategy, filtered)) for filtered in (False, True)
        }

    def search(self, query: NDArray[np.float32], region: Region, k: int) -> Answer:
        """See `Peer`."""
        values: dict[str, Any] = {"query": HalfVector(query), "k": k}
        kind = "none"
        if region.box is not None:
            kind = "box"
            values |= dict(zip(("west", "south", "east", "north"), region.box, strict=True))
        elif region.minutes is not None:
            kind = "minutes"
            first, end = (START + timedelta(minutes=minute) for minute in region.minutes)
            values |= {"first": first, "end": end}
        elif region.author is not None:
            kind, values["author"] = "author", region.author
        connection = self._connections[region.filtered]
        rows = connection.execute(self._statements[kind], values).fetchall()
        return Answer(np.array([row[0] for row in rows], dtype=np.int64) - self._first_id)


def _settings(strategy: str, filtered: bool) -> dict[str, str]:
    settings = {"plan_cache_mode": "force_custom_plan", "hnsw.ef_search": str(EF_SEARCH)}
    if strategy == "hnsw":
        settings |= {
            "hnsw.iterative_scan": "relaxed_order",
            "hnsw.max_scan_tuples": str(MAX_SCAN_TUPLES),
            "enable_seqscan": "off",
            "enable_bitmapscan": "off",
            "enable_sort": "off",
        }
    if strategy == "gist" and filtered:
        settings["enable_seqscan"] = "off"
    return settings


def _connect(url: str, settings: dict[str, str]) -> psycopg.Connection[tuple[Any, ...]]:
    connection = psycopg.connect(url, autocommit=True, prepare_threshold=0)
    register_vector(connection)
    for name, value in settings.items():
        connection.execute("SELECT set_config(%s, %s, false)", (name, value))
    return connection


class Faiss:
    """FAISS in memory, float32: `flat` behind a mask, or `hnsw` with an ID selector.

    The mask is computed from the columns for every query.
    """

    fixed = False

    def __init__(self, references: Vectors, kind: str) -> None:
        import faiss

        faiss.omp_set_num_threads(1)
        self.name = f"FAISS {kind}"
        self._faiss, self._kind, self._references = faiss, kind, references
        self._authors = np.array(author_names(len(references)))
        self._minutes = np.arange(1, len(references) + 1)
        dimension = references.embedding.shape[1]
        if kind == "hnsw":
            self._index = faiss.IndexHNSWFlat(dimension, M, faiss.METRIC_INNER_PRODUCT)
            self._index.hnsw.efConstruction = EF_CONSTRUCTION
        else:
            self._index = faiss.IndexFlatIP(dimension)
        self._index.add(references.embedding.astype(np.float32))

    def search(self, query: NDArray[np.float32], region: Region, k: int) -> Answer:
        """See `Peer`."""
        chosen: dict[str, Any] = {}
        if region.filtered:
            mask = np.packbits(self._mask(region), bitorder="little")
            chosen["sel"] = self._faiss.IDSelectorBitmap(mask)
        if self._kind == "hnsw":
            parameters = self._faiss.SearchParametersHNSW(efSearch=EF_SEARCH, **chosen)
        else:
            parameters = self._faiss.SearchParameters(**chosen)
        _, found = self._index.search(query[None], k, params=parameters)
        return Answer(found[0][found[0] >= 0].astype(np.int64))

    def _mask(self, region: Region) -> NDArray[np.bool_]:
        if region.minutes is not None:
            first, end = region.minutes
            return np.asarray((self._minutes >= first) & (self._minutes < end))
        if region.author is not None:
            return np.asarray(self._authors == region.author)
        assert region.box is not None
        return _mask(self._references, region.box)


class Lance:
    """LanceDB on disk: one HNSW graph (IVF_HNSW_FLAT of one partition), regions as a prefilter.

    Latitude, longitude, time and author have BTREE indexes.
    """

    name, fixed = "LanceDB", False

    def __init__(self, references: Vectors, folder: Path) -> None:
        os.environ.setdefault("LANCE_CPU_THREADS", "1")
        import lancedb
        import pyarrow as pa

        values = pa.array(references.embedding.astype(np.float32).ravel())
        self._table = lancedb.connect(folder).create_table(
            "embeddings",
            pa.table(
                {
                    "id": pa.array(np.arange(len(references))),
                    "lat": pa.array(references.lat),
                    "lon": pa.array(references.lon),
                    "minute": pa.array(np.arange(1, len(references) + 1)),
                    "author": pa.array(author_names(len(references))),
                    "vector": pa.FixedSizeListArray.from_arrays(
                        values, references.embedding.shape[1]
                    ),
                }
            ),
        )
        self._table.create_index(
            metric="cosine",
            index_type="IVF_HNSW_FLAT",
            num_partitions=1,
            m=M,
            ef_construction=EF_CONSTRUCTION,
        )
        for column in ("lat", "lon", "minute", "author"):
            self._table.create_scalar_index(column, index_type="BTREE")

    def search(self, query: NDArray[np.float32], region: Region, k: int) -> Answer:
        """See `Peer`."""
        search = self._table.search(query).distance_type("cosine").ef(EF_SEARCH).nprobes(1)
        where = None
        if region.box is not None:
            west, south, east, north = region.box
            where = f"lon >= {west!r} AND lon <= {east!r} AND lat >= {south!r} AND lat <= {north!r}"
        elif region.minutes is not None:
            first, end = region.minutes
            where = f"minute >= {first} AND minute < {end}"
        elif region.author is not None:
            where = f"author = '{region.author}'"
        if where is not None:
            search = search.where(where, prefilter=True)
        found = search.select(["id", "_distance"]).limit(k).to_arrow()
        return Answer(found["id"].to_numpy().astype(np.int64))


def _mask(references: Vectors, box: tuple[float, float, float, float]) -> NDArray[np.bool_]:
    west, south, east, north = box
    return np.asarray(
        (references.lon >= west)
        & (references.lon <= east)
        & (references.lat >= south)
        & (references.lat <= north)
    )
