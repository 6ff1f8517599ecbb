"""Filtered neighbour search: geosearch beside pgvector's fixed strategies, FAISS and LanceDB.

GeoCLIP's location embeddings of real photo places, or embeddings of pictures; boxes near the query
and far from it, or, where places are `--shuffled`, anywhere; times and authors. Each query goes to
all systems within one run, in an order of its own. What was built is used again if it is `--kept`,
and goes on where it was stopped. Needs the extra `bench`, and
`pip install --no-deps -c constraints.txt geoclip`.

    python benchmarks/retrieval.py --picture retrieval.png
    python benchmarks/retrieval.py --data photos --shuffled
    python benchmarks/retrieval.py --rows 1000000 --keep million --systems geosearch,pgvector
    python benchmarks/retrieval.py --sizes 10000,100000
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import geoclip_vectors
import numpy as np
import photo_vectors
from geoclip_vectors import Vectors
from numpy.typing import NDArray
from peers import Answer, Faiss, Geosearch, Lance, Peer, Pgvector
from psycopg import sql
from regions import (
    AUTHOR_SHARES,
    Region,
    anywhere,
    author_names,
    everywhere,
    far,
    near,
    of_author,
    period,
)
from scratch import scratch_database
from scratch_rows import add_photos, stored_photos

from geosearch.database.connection import Database
from geosearch.database.copying import copy_embeddings
from geosearch.database.embedding_tables import embedding_table
from geosearch.retrieval.indexes import count_rows, index_name
from geosearch.retrieval.indexing import index_model
from geosearch.retrieval.leaves import DEFAULT_FAMILIES, FAMILIES, wanted_families
from geosearch.retrieval.tuning import load_tuning
from geosearch.settings import CacheSettings

K = 100
SELECTIVITIES = (1.0, 0.3, 0.1, 0.03, 0.01, 0.001, 0.0001, 0.0)
#: Recall that geosearch must show, and what its p50 may be beside the best fixed strategy.
LEAST_RECALL = 0.99
RATIO, SLACK_MS = 1.25, 0.5
#: What its p50 in a part may be beside its own without a filter.
PART_RATIO = 3.0
DATA: dict[str, tuple[Callable[[int, Path], Vectors], Callable[[int, Path], Vectors]]] = {
    "geoclip": (geoclip_vectors.references, geoclip_vectors.queries),
    "photos": (photo_vectors.references, photo_vectors.queries),
}
SYSTEMS = ("geosearch", "pgvector", "faiss", "lancedb")
#: Searches of every system before those that count, for each case.
WARM_UP = 3
#: Cosines that differ by less are equal: the sums of float32 that systems make differ as much.
TIE = 1e-6
#: Rows of one transaction while loading.
CHUNK = 5000


@dataclass(frozen=True)
class Figures:
    """One system in one case; `rows` and `exist` are means, times are in milliseconds."""

    selectivity: float
    placement: str
    system: str
    fixed: bool
    rows: float
    exist: float
    complete: bool
    recall: float
    p50_ms: float
    p95_ms: float
    strategies: str


@dataclass(frozen=True)
class Verdict:
    """geosearch in one case: were its rows, its recall and its time as they must be."""

    selectivity: float
    placement: str
    all_rows: bool
    recall: float
    recall_met: bool
    p50_ms: float
    best_fixed: str
    best_fixed_ms: float | None
    time_met: bool
    of_unfiltered: float
    part_met: bool

    @property
    def met(self) -> bool:
        return self.all_rows and self.recall_met and self.time_met and self.part_met


@dataclass(frozen=True)
class Setup:
    """What is searched, and by what."""

    rows: int
    queries: int
    recall: float
    data: str
    shuffled: bool
    leaves: tuple[str, ...]
    systems: tuple[str, ...]
    keep: str | None
    cache: Path

    def references(self) -> Vectors:
        """Those of the data; shuffled, their places say nothing of what they look like."""
        stored = DATA[self.data][0](self.rows, self.cache)
        if not self.shuffled:
            return stored
        order = np.random.default_rng(5).permutation(len(stored))
        return Vectors(stored.lat[order], stored.lon[order], stored.embedding)

    def asked(self) -> Vectors:
        """The queries."""
        return DATA[self.data][1](self.queries + WARM_UP, self.cache)

    @property
    def placements(self) -> tuple[str, ...]:
        """Kinds of parts."""
        boxes = ("anywhere",) if self.shuffled else ("near", "far")
        return (*boxes, "time", "author")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000, help="e.g. 1000000")
    parser.add_argument("--queries", type=int, default=50, help="per case")
    parser.add_argument("--recall", type=float, default=0.98, help="what geosearch is tuned for")
    parser.add_argument("--data", choices=DATA, default="geoclip", help="what the rows are")
    parser.add_argument("--shuffled", action="store_true", help="give the rows others' places")
    parser.add_argument("--leaves", default=",".join(DEFAULT_FAMILIES), help="or none")
    parser.add_argument("--systems", default=",".join(SYSTEMS))
    parser.add_argument("--keep", metavar="NAME", help="keep what is built under a name")
    parser.add_argument("--sizes", help="numbers of rows to compare instead, e.g. 10000,100000")
    parser.add_argument("--cache", type=Path, default=CacheSettings().folder() / "benchmarks")
    parser.add_argument("--picture", type=Path, help="PNG to write")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    setup = Setup(
        arguments.rows,
        arguments.queries,
        arguments.recall,
        arguments.data,
        arguments.shuffled,
        tuple(family for family in FAMILIES if family in arguments.leaves.split(",")),
        tuple(arguments.systems.split(",")),
        arguments.keep,
        arguments.cache,
    )
    if arguments.sizes:
        sizes = measure_sizes(setup, [int(size) for size in arguments.sizes.split(",")])
        print(json.dumps(sizes) if arguments.json else size_table(sizes))
        return
    figures, built = measure(setup)
    verdicts = judge(figures)
    if arguments.picture:
        from retrieval_picture import draw

        draw([asdict(item) for item in figures], arguments.picture)
    if arguments.json:
        print(
            json.dumps(
                {
                    "setup": asdict(setup),
                    "k": K,
                    "built": asdict(built),
                    "figures": [asdict(item) for item in figures],
                    "verdicts": [asdict(item) | {"met": item.met} for item in verdicts],
                },
                default=str,
            )
        )
        return
    print(
        f"{setup.rows} rows of {setup.data}, of {built.dimension} dimensions"
        f"{', shuffled' if setup.shuffled else ''}, k = {K}, {setup.queries} queries a case, "
        f"{os.cpu_count()} cores\n{built}"
    )
    print(table(figures))
    print(verdict_table(verdicts))


@dataclass(frozen=True)
class Size:
    """What was built: seconds, and bytes of a photo's embedding, its places in indexes."""

    dimension: int
    index_s: float
    leaf_s: float
    leaves: int
    table: float
    index: float
    leaf: float

    def __str__(self) -> str:
        return (
            f"index built in {self.index_s:.0f} s, {self.leaves} leaves in {self.leaf_s:.0f} s; "
            f"bytes a photo: table {self.table:.0f}, index {self.index:.0f} "
            f"({self.index / self.table:.2f} of the table), leaves {self.leaf:.0f} "
            f"({self.leaf / self.table:.2f})"
        )


def measure(setup: Setup) -> tuple[list[Figures], Size]:
    """All systems, all cases."""
    stored, asked = setup.references(), setup.asked()
    with scratch_database(setup.keep) as database, tempfile.TemporaryDirectory() as folder:
        model, first = load(database, stored)
        built = build(database, model, stored, setup)
        systems: list[Peer] = [Geosearch(database, model, first)]
        if "pgvector" in setup.systems:
            systems += [
                Pgvector(database.url, model, first, built.dimension, way)
                for way in ("planner", "gist", "hnsw")
            ]
        for kind in ("flat", "hnsw") if "faiss" in setup.systems else ():
            note(f"FAISS {kind}")
            systems.append(Faiss(stored, kind))
        if "lancedb" in setup.systems:
            note("LanceDB")
            systems.append(Lance(stored, Path(folder)))
        rng = np.random.default_rng(2)
        figures: list[Figures] = []
        for share in SELECTIVITIES:
            for placement in ("none",) if share == 1 else setup.placements:
                size = round(share * setup.rows)
                if (placement == "author" and share not in AUTHOR_SHARES) or (
                    placement == "time" and not size
                ):
                    continue
                note(f"{share:.2%} {placement}")
                regions = [
                    region(stored, placement, lat, lon, share, rng)
                    for lat, lon in zip(asked.lat, asked.lon, strict=True)
                ]
                figures += case(systems, stored, asked, regions, share, placement)
    return figures, built


def region(
    stored: Vectors, placement: str, lat: float, lon: float, share: float, rng: np.random.Generator
) -> Region:
    size = round(share * len(stored))
    match placement:
        case "near":
            return near(stored, lat, lon, size)
        case "far":
            return far(stored, lat, lon, size, rng)
        case "anywhere":
            return anywhere(stored, size, rng)
        case "time":
            return period(stored, size, rng)
        case "author":
            return of_author(stored, share)
    return everywhere(stored)


def case(
    systems: Sequence[Peer],
    stored: Vectors,
    asked: Vectors,
    regions: list[Region],
    share: float,
    placement: str,
) -> list[Figures]:
    """Figures of every system; each query goes to all of them before the next."""
    times: dict[str, list[float]] = {system.name: [] for system in systems}
    answers: dict[str, list[Answer]] = {system.name: [] for system in systems}
    for number, (embedding, where) in enumerate(zip(asked.embedding, regions, strict=True)):
        query = embedding.astype(np.float32)
        # Not in turn: whoever follows a system that has just read the same rows finds them cached.
        for which in np.random.default_rng(number).permutation(len(systems)):
            system = systems[which]
            started = time.perf_counter()
            answer = system.search(query, where, K)
            taken = 1000 * (time.perf_counter() - started)
            if number >= WARM_UP:
                times[system.name].append(taken)
                answers[system.name].append(answer)
    truths = [
        truth(stored, embedding, where.inside)
        for embedding, where in zip(asked.embedding[WARM_UP:], regions[WARM_UP:], strict=True)
    ]
    figures = []
    for system in systems:
        found = answers[system.name]
        used = [answer.strategy for answer in found if answer.strategy]
        figures.append(
            Figures(
                share,
                placement,
                system.name,
                system.fixed,
                float(np.mean([len(answer.rows) for answer in found])),
                float(np.mean([true.count for true in truths])),
                all(len(a.rows) >= true.count for a, true in zip(found, truths, strict=True)),
                mean_recall(found, truths),
                float(np.percentile(times[system.name], 50)),
                float(np.percentile(times[system.name], 95)),
                " ".join(f"{kind} {used.count(kind)}" for kind in sorted(set(used))),
            )
        )
    return figures


@dataclass(frozen=True)
class Truth:
    """By brute force: how many of the K nearest exist, and which references may stand for them.

    More than `count` references are `good` where some tie with the last: any of them will do.
    """

    count: int
    good: NDArray[np.int64]


def truth(stored: Vectors, embedding: NDArray[np.float16], inside: NDArray[np.bool_]) -> Truth:
    rows = np.flatnonzero(inside)
    count = min(K, len(rows))
    if not count:
        return Truth(0, rows)
    query = embedding.astype(np.float32)
    query /= np.linalg.norm(query)
    scores = np.empty(len(rows), dtype=np.float32)
    for start in range(0, len(rows), 65_536):
        block = stored.embedding[rows[start : start + 65_536]].astype(np.float32)
        scores[start : start + len(block)] = block @ query / np.linalg.norm(block, axis=1)
    last = np.partition(scores, -count)[-count]
    return Truth(count, rows[scores >= last - TIE])


def mean_recall(found: list[Answer], truths: list[Truth]) -> float:
    """Of the true neighbours, those found; 1 where there are none."""
    return float(
        np.mean(
            [
                min(1.0, len(np.intersect1d(answer.rows, true.good)) / true.count)
                if true.count
                else 1.0
                for answer, true in zip(found, truths, strict=True)
            ]
        )
    )


def judge(figures: list[Figures]) -> list[Verdict]:
    """geosearch against the fastest fixed strategy that reaches the recall asked for there.

    Where geosearch does not reach it either, its own recall is the measure. And against itself
    without a filter.
    """
    verdicts = []
    (unfiltered,) = [
        item.p50_ms
        for item in figures
        if item.system == Geosearch.name and item.placement == "none"
    ]
    for ours in figures:
        if ours.system != Geosearch.name:
            continue
        needed = min(LEAST_RECALL, ours.recall)
        rivals = [
            item
            for item in figures
            if item.fixed
            and (item.selectivity, item.placement) == (ours.selectivity, ours.placement)
            and item.complete
            and item.recall >= needed
        ]
        best = min(rivals, key=lambda item: item.p50_ms, default=None)
        verdicts.append(
            Verdict(
                ours.selectivity,
                ours.placement,
                ours.complete,
                ours.recall,
                ours.recall >= LEAST_RECALL,
                ours.p50_ms,
                best.system if best else "none",
                best.p50_ms if best else None,
                best is None or ours.p50_ms <= max(RATIO * best.p50_ms, best.p50_ms + SLACK_MS),
                ours.p50_ms / unfiltered,
                ours.p50_ms <= PART_RATIO * unfiltered,
            )
        )
    return verdicts


def measure_sizes(setup: Setup, sizes: list[int]) -> list[dict[str, Any]]:
    """Build time, index size, and unfiltered searches at several numbers of rows.

    All are built before any is searched: times of one quarter of an hour compare.
    """
    asked = setup.asked()
    with ExitStack() as stack:
        built = []
        for rows in sizes:
            stored = replace(setup, rows=rows).references()
            database = stack.enter_context(scratch_database(setup.keep and f"{setup.keep}_{rows}"))
            model, first = load(database, stored)
            index = build(database, model, stored, setup)
            built.append((stored, Geosearch(database, model, first), index))
        result = []
        for stored, system, index in built:
            note(f"searching {len(stored)} rows")
            regions = [everywhere(stored)] * len(asked)
            (ours,) = case([system], stored, asked, regions, 1.0, "none")
            result.append(
                {
                    "rows": len(stored),
                    "build_s": index.index_s,
                    "index_bytes": index.index * len(stored),
                    "leaf_s": index.leaf_s,
                    "leaf_bytes": index.leaf * len(stored),
                    "p50_ms": ours.p50_ms,
                    "p95_ms": ours.p95_ms,
                    "recall": ours.recall,
                }
            )
    return result


def load(database: Database, stored: Vectors) -> tuple[int, int]:
    """Photos and embeddings in the order of `stored`; the model's id and the first photo's.

    What is there of them already stays.
    """
    note(f"loading {len(stored)} rows")
    dimension = stored.embedding.shape[1]
    with database.connection() as connection:
        row = connection.execute("SELECT id FROM geosearch.models").fetchone()
        if row is None:
            authors = author_names(len(stored))
            model, photos = add_photos(connection, dimension, stored.lat, stored.lon, authors)
        else:
            model, photos = int(row[0]), stored_photos(connection)
        done = count_rows(connection, model)
    assert len(photos) == len(stored), "other rows are kept under this name"
    for start in range(done, len(photos), CHUNK):
        chunk = slice(start, start + CHUNK)
        with database.connection() as connection:
            copy_embeddings(
                connection, model, photos[chunk], stored.embedding[chunk].astype(np.float32)
            )
    with database.connection() as connection:
        connection.execute(sql.SQL("ANALYZE {}").format(embedding_table(model)))
        connection.execute("ANALYZE geosearch.photos_open")
    return model, photos[0].photo_id


def build(database: Database, model: int, stored: Vectors, setup: Setup) -> Size:
    """The HNSW index and its leaves, tuned, as far as they are not there."""
    note("building the index")
    rows, dimension = stored.embedding.shape
    phase = ""

    def progress(name: str, done: int, total: int) -> None:
        nonlocal phase
        if name != phase:
            phase = name
            note(f"{name}: {done} of {total}")

    with database.connection() as connection:
        measured = load_tuning(connection, model)
        kept = wanted_families(connection, model) == setup.leaves and measured is not None
    done = None
    if not kept:
        done = index_model(
            database,
            model,
            dimension,
            setup.recall,
            K,
            leaves=setup.leaves,
            force=True,
            progress=progress,
        )
        assert done.built is not None
        assert done.leaves is not None
        note(f"{done.built}\n{done.leaves}\n{done.measured}")
    with database.connection() as connection:
        bytes_ = connection.execute(
            """
            SELECT pg_table_size(c.oid), pg_relation_size(%s::regclass), (
                SELECT coalesce(sum(pg_relation_size(i.indexrelid)), 0) FROM pg_index AS i
                JOIN geosearch.leaves AS l
                    ON i.indexrelid = to_regclass('geosearch.' || geosearch.leaf_name(l))
            ), (SELECT count(*) FROM geosearch.leaves), (SELECT build_s FROM geosearch.indexes)
            FROM pg_class AS c WHERE c.oid = %s::regclass
            """,
            (f"geosearch.{index_name(model)}", f"geosearch.embeddings_m{model}"),
        ).fetchone()
    assert bytes_ is not None
    table_, index, leaf, count, index_s = map(float, bytes_)
    leaf_s = 0.0 if done is None or done.leaves is None else done.leaves.seconds
    return Size(dimension, index_s, leaf_s, int(count), table_ / rows, index / rows, leaf / rows)


def table(figures: list[Figures]) -> str:
    lines = ["share      part      system              rows/exist    recall      p50      p95 ms"]
    last = None
    for item in figures:
        case_ = (item.selectivity, item.placement)
        if case_ != last:
            lines.append("")
        label = f"{item.selectivity:.2%}" if case_ != last else ""
        placement = item.placement if case_ != last else ""
        last = case_
        lines.append(
            f"{label:<10} {placement:<9} {item.system:<17} {item.rows:>6.1f}/{item.exist:<6.1f}"
            f"  {item.recall:>7.4f} {item.p50_ms:>9.2f} {item.p95_ms:>8.2f}  {item.strategies}"
        )
    return "\n".join(lines)


def verdict_table(verdicts: list[Verdict]) -> str:
    lines = [""]
    for item in verdicts:
        beside = (
            "no fixed strategy reaches it"
            if item.best_fixed_ms is None
            else f"{item.best_fixed} {item.best_fixed_ms:.2f} ms"
        )
        lines.append(
            f"{'met   ' if item.met else 'MISSED'} {item.selectivity:>8.2%} {item.placement:<9}"
            f"all rows {'yes' if item.all_rows else 'NO '}"
            f"  recall {item.recall:.4f}{'' if item.recall_met else ' LOW'}"
            f"  p50 {item.p50_ms:.2f} ms{'' if item.time_met else ' SLOW'} beside {beside}, "
            f"{item.of_unfiltered:.2f} of unfiltered{'' if item.part_met else ' SLOW'}"
        )
    return "\n".join(lines)


def size_table(sizes: list[dict[str, Any]]) -> str:
    lines = ["rows          build s    index MB   p50 ms   p95 ms   recall"]
    lines += [
        f"{size['rows']:>9} {size['build_s']:>11.1f} {size['index_bytes'] / 1e6:>11.1f} "
        f"{size['p50_ms']:>8.2f} {size['p95_ms']:>8.2f} {size['recall']:>8.4f}"
        for size in sizes
    ]
    return "\n".join(lines)


def note(text: str) -> None:
    """What goes on, for those who wait."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
