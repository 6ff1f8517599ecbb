"""What a search costs by how many photos there are: a model, its error, and what follows from it.

Measures builds, bytes, searches and clients at several sizes, fits laws to all but one of them,
says how far they are off at that one, and what they give at ten million photos to a thousand
million (docs/scale.md). Vectors are those of `retrieval.py`, shuffled. With --keep, what was built
is used again, and what was measured before is read with --measured.

    python benchmarks/scale.py --sizes 10000,30000,100000,300000 --held-out 100000
    python benchmarks/scale.py --sizes 10000,100000,300000,1000000 --keep scale -o scale.json
    python benchmarks/scale.py --measured scale.json
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from geoclip_vectors import Vectors
from peers import Geosearch
from regions import anywhere, everywhere
from retrieval import K, Setup, Size, build, case, load, note
from scratch import scratch_database

from geosearch.database.connection import Database
from geosearch.retrieval.recall import tune
from geosearch.settings import CacheSettings

#: Photos in the parts that are searched, where there are three times as many.
MATCHES = (100, 1000, 3000, 10_000, 30_000, 100_000)
CLIENTS = (1, 2, 4)
#: Searches of each client, in seconds.
LASTS_S = 8.0
#: What a law may be off at the size that was held out.
MOST_ERROR = 0.2
#: Sizes and dimensions beyond this machine.
BEYOND = (10**7, 10**8, 10**9)
DIMENSIONS = (512, 768, 256)
#: Of a machine's memory, what indexes may take.
MEMORY_SHARE = 0.75


@dataclass(frozen=True)
class Measured:
    """One size. Bytes are all of them, times of searches in milliseconds, of builds in seconds."""

    rows: int
    dimension: int
    build_s: float
    table_bytes: float
    index_bytes: float
    leaf_bytes: float
    whole_ms: float
    recall: float
    parts: dict[str, tuple[float, float, str]]  # by matches: p50, recall, strategies
    per_s: dict[str, float]  # searches without a filter, by clients


@dataclass(frozen=True)
class Law:
    """One figure by `x`, fitted: `says` gives it, `form` is how it reads."""

    form: str
    says: Callable[[float], float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="10000,30000,100000,300000", help="numbers of rows")
    parser.add_argument("--held-out", type=int, default=0, help="default: the last but one")
    parser.add_argument("--queries", type=int, default=30, help="per case")
    parser.add_argument("--keep", metavar="NAME", help="keep what is built under a name")
    parser.add_argument("--build-only", action="store_true", help="search another time")
    parser.add_argument("--measured", type=Path, help="a file that -o wrote, instead")
    parser.add_argument("-o", "--output", type=Path, help="write what was measured")
    parser.add_argument(
        "--machine",
        default="4,32,0.34",
        help="processors, GB of memory and dollars an hour of those that are rented",
    )
    parser.add_argument("--cache", type=Path, default=CacheSettings().folder() / "benchmarks")
    arguments = parser.parse_args()
    if arguments.measured:
        measured = [Measured(**each) for each in json.loads(arguments.measured.read_text())]
    else:
        sizes = sorted(int(size) for size in arguments.sizes.split(","))
        measured = measure(sizes, arguments)
        if arguments.build_only:
            return
    if arguments.output:
        arguments.output.write_text(json.dumps([asdict(each) for each in measured], indent=1))
    held_out = arguments.held_out or measured[-2].rows
    (asked,) = [each for each in measured if each.rows == held_out]
    laws = fit([each for each in measured if each.rows != held_out])
    print(measured_table(measured))
    print(error_table(laws, asked))
    print(beyond_table(laws, *map(float, arguments.machine.split(","))))


def measure(sizes: Sequence[int], arguments: argparse.Namespace) -> list[Measured]:
    """All sizes; all are built before any is searched, so that their times compare."""
    with ExitStack() as stack:
        built = []
        for rows in sizes:
            setup = Setup(
                rows=rows,
                queries=arguments.queries,
                recall=0.98,
                data="geoclip",
                shuffled=True,
                leaves=("place",),
                systems=(),
                keep=arguments.keep,
                cache=arguments.cache,
            )
            name = arguments.keep and f"{arguments.keep}_{rows}"
            database = stack.enter_context(scratch_database(name))
            stored = setup.references()
            model, first = load(database, stored)
            size = build(database, model, stored, setup)
            built.append((stored, Geosearch(database, model, first), size, database, model))
        if arguments.build_only:
            return []
        measured = []
        for stored, system, size, database, model in built:
            note(f"measuring {len(stored)} rows")
            warm(database, model)
            tune(database, model)  # its plans rest on the times of this hour
            measured.append(search(stored, system, size, setup.asked()))
        return measured


def warm(database: Database, model: int) -> None:
    """Read the embeddings and their indexes, as if they had been searched for long."""
    with database.connection() as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS pg_prewarm SCHEMA public")
        connection.execute(
            """
            SELECT public.pg_prewarm(%(table)s::regclass), (
                SELECT sum(public.pg_prewarm(i.indexrelid)) FROM pg_index AS i
                WHERE i.indrelid = %(table)s::regclass
            ), public.pg_prewarm('geosearch.photos_open'),
                public.pg_prewarm('geosearch.photos_open_pkey')
            """,
            {"table": f"geosearch.embeddings_m{model}"},
        )


def search(stored: Vectors, system: Geosearch, size: Size, asked: Vectors) -> Measured:
    """One size that is built: searches of all, of parts, and of several clients."""
    rows = len(stored)
    note(f"searching {rows} rows")
    rng = np.random.default_rng(2)
    (whole,) = case([system], stored, asked, [everywhere(stored)] * len(asked), 1.0, "none")
    parts = {}
    for matches in MATCHES:
        if 3 * matches > rows:
            continue
        regions = [anywhere(stored, matches, rng) for _ in range(len(asked))]
        (part,) = case([system], stored, asked, regions, matches / rows, "anywhere")
        parts[str(matches)] = (part.p50_ms, part.recall, part.strategies)
    return Measured(
        rows,
        size.dimension,
        size.index_s,
        size.table * rows,
        size.index * rows,
        size.leaf * rows,
        whole.p50_ms,
        whole.recall,
        parts,
        {str(clients): per_s(stored, system, asked, clients) for clients in CLIENTS},
    )


def per_s(stored: Vectors, system: Geosearch, asked: Vectors, clients: int) -> float:
    """Searches of all, a second, by so many clients at once."""
    region, end = everywhere(stored), time.perf_counter() + LASTS_S

    def ask(client: int) -> int:
        done = 0
        while time.perf_counter() < end:
            embedding = asked.embedding[(client + done) % len(asked)]
            system.search(embedding.astype(np.float32), region, K)
            done += 1
        return done

    with ThreadPoolExecutor(clients) as threads:
        return sum(threads.map(ask, range(clients))) / LASTS_S


def fit(measured: Sequence[Measured]) -> dict[str, Law]:
    """The laws, by name, fitted to what was measured."""
    rows = [each.rows for each in measured]
    exact, leaves = (
        [
            (float(matches), ms)
            for each in measured
            for matches, (ms, _, how) in each.parts.items()
            if ("exact" in how) == is_exact
        ]
        for is_exact in (True, False)
    )
    compared, found = straight(*zip(*exact, strict=True)), logarithmic(*zip(*leaves, strict=True))
    least = min(matches for matches, _ in leaves)
    return {
        "build_s": power(rows, [each.build_s for each in measured]),
        "table_bytes": proportional(rows, [each.table_bytes for each in measured]),
        "index_bytes": proportional(rows, [each.index_bytes for each in measured]),
        "whole_ms": logarithmic(rows, [each.whole_ms for each in measured]),
        "part_ms": Law(
            f"{compared.form}, from {least:g} the least of it and {found.form}",
            lambda matches: (
                min(compared.says(matches), found.says(matches))
                if matches >= least
                else compared.says(matches)
            ),
        ),
    }


def proportional(x: Sequence[float], y: Sequence[float]) -> Law:
    """y = a x; relative errors count."""
    a = float(np.exp(np.mean(np.log(y) - np.log(x))))
    return Law(f"{a:.4g} n", lambda at: a * at)


def power(x: Sequence[float], y: Sequence[float]) -> Law:
    """y = a x^b; relative errors count."""
    b, log_a = np.polyfit(np.log(x), np.log(y), 1)
    a = float(np.exp(log_a))
    return Law(f"{a:.3g} n^{b:.3f}", lambda at: float(a * at**b))


def straight(x: Sequence[float], y: Sequence[float]) -> Law:
    """y = a + b x; relative errors count."""
    b, a = np.polyfit(x, y, 1, w=1 / np.array(y))
    return Law(f"{a:.2f} + {b:.3g} n", lambda at: float(a + b * at))


def logarithmic(x: Sequence[float], y: Sequence[float]) -> Law:
    """y = a + b ln x, never falling; relative errors count."""
    b, a = np.polyfit(np.log(x), y, 1, w=1 / np.array(y))
    if b < 0:
        a, b = float(np.mean(y)), 0.0
    return Law(f"{a:.2f} + {b:.3f} ln n", lambda at: float(a + b * np.log(at)))


def measured_table(measured: Sequence[Measured]) -> str:
    lines = ["rows        build s   index MB   leaves MB    p50 ms   recall   a second, by clients"]
    for each in measured:
        clients = "  ".join(f"{count}: {rate:.0f}" for count, rate in each.per_s.items())
        lines.append(
            f"{each.rows:<9} {each.build_s:>9.0f} {each.index_bytes / 1e6:>10.0f} "
            f"{each.leaf_bytes / 1e6:>11.0f} {each.whole_ms:>9.2f} {each.recall:>8.4f}   {clients}"
        )
    lines.append("\nparts: rows, matches, p50 ms, of all, recall")
    lines += [
        f"{each.rows:<9} {matches:>7} {ms:>8.2f} {ms / each.whole_ms:>6.2f} {recall:>8.4f}  {how}"
        for each in measured
        for matches, (ms, recall, how) in each.parts.items()
    ]
    return "\n".join(lines)


def error_table(laws: dict[str, Law], asked: Measured) -> str:
    """How far each law is off at a size to which it was not fitted."""
    lines = [f"\n{'law':<12} {'predicted':>12} {'measured':>12}   off   of {asked.rows} rows"]
    checks: list[tuple[str, str, float, float]] = [
        (name, name, asked.rows, getattr(asked, name)) for name in laws if name != "part_ms"
    ]
    checks += [
        (f"{matches} match", "part_ms", float(matches), ms)
        for matches, (ms, _, _) in asked.parts.items()
    ]
    for label, name, at, true in checks:
        said = laws[name].says(at)
        off = said / true - 1
        verdict = "met" if abs(off) <= MOST_ERROR else "MISSED"
        lines.append(f"{label:<12} {said:>12.4g} {true:>12.4g} {off:>+6.1%}  {verdict}")
    return "\n".join([*lines, "", *(f"{name}: {law.form}" for name, law in laws.items())])


def beyond_table(laws: dict[str, Law], processors: float, memory_gb: float, dollars: float) -> str:
    """What the laws give beyond what was measured, on machines whose memory holds the index.

    Another dimension changes the bytes of an embedding, and times at most in proportion. All
    machines take part in each search without a filter, each with its share of the rows.
    """
    lines = [
        f"\nmachines of {processors:g} processors, {memory_gb:g} GB, {dollars:g} dollars an hour",
        "rows    dimensions   table GB   index GB   machines   build h   p50 ms   a second   "
        "$ a month   $ a million",
    ]
    for rows in BEYOND:
        for dimension in DIMENSIONS:
            other = 2 * (dimension - DIMENSIONS[0]) * rows
            table, index = (
                laws[name].says(rows) + other for name in ("table_bytes", "index_bytes")
            )
            machines = int(np.ceil(index / (MEMORY_SHARE * memory_gb * 1e9)))
            own = rows / machines
            times = max(dimension / DIMENSIONS[0], 1.0)
            ms = times * laws["whole_ms"].says(own)
            rate = processors * 1000 / ms
            hour = machines * dollars
            lines.append(
                f"10^{round(np.log10(rows))}    {dimension:>10} {table / 1e9:>10.0f} "
                f"{index / 1e9:>10.0f} {machines:>10} "
                f"{times * laws['build_s'].says(own) / 3600:>9.1f} {ms:>8.1f} {rate:>10.0f} "
                f"{hour * 730:>11.0f} {hour / 3600 / rate * 1e6:>13.2f}"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
