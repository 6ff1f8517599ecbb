"""Random bad input in every way in: what is not refused in words, hangs, or takes memory.

Images, manifests, filters, arguments of SQL functions as a reader, model specs and checkpoints.
Each kind has a process of its own and a share of the time, or so many files of each format. A case
may be answered, or refused by an error that says why; any other exception is a traceback for
somebody, a case of over 30 s a hang.
Leaves what failed in a folder, and ends with 1 if anything did, or if a process took over 2 GB.

    python benchmarks/fuzz.py
    python benchmarks/fuzz.py --seconds 60 --kinds images manifests --seed 7
    python benchmarks/fuzz.py --files 20000 --kinds images manifests
"""

from __future__ import annotations

import argparse
import io
import json
import math
import multiprocessing
import os
import random
import resource
import struct
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from PIL import Image
from psycopg.conninfo import make_conninfo
from scratch import scratch_database

from geosearch import images
from geosearch.database.connection import Database
from geosearch.errors import GeosearchError
from geosearch.features.backbones import load_backbone
from geosearch.ingest.examine import examine
from geosearch.ingest.manifests import Reading
from geosearch.ingest.records import Candidate
from geosearch.ingest.sources import candidates
from geosearch.retrieval import nearest
from geosearch.retrieval.filters import Filter, where

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests import photo_files  # noqa: E402 - the folder is found by the line above
from tests.test_attacks_sql import WORDS, answer, calls, functions  # noqa: E402

HANG_S = 30
MOST_BYTES = 2 * 1024**3


@dataclass(frozen=True)
class Ground:
    """Where a process works: a folder of its own, and the database as a reader."""

    folder: Path
    url: str


class Case(random.Random):
    """The numbers of a case, and its own: formats take turns by it."""

    def __init__(self, seed: str, number: int) -> None:
        super().__init__(seed)
        self.number = number


#: Tries one case, made by the generator; may raise GeosearchError.
Attempt = Callable[[Case], object]


@dataclass
class Found:
    """What became of the cases of one kind; `bytes` is the resident memory at its highest."""

    cases: int = 0
    refused: int = 0
    bytes: int = 0
    failures: list[str] = field(default_factory=list)
    hangs: int = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, help="at most; 540 without --files")
    parser.add_argument("--files", type=int, help="so many of each format")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path("fuzz-failures"))
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    limit = arguments.seconds or (540 if arguments.files is None else math.inf)
    seconds = limit / len(arguments.kinds)
    counts = dict.fromkeys(arguments.kinds, sys.maxsize)
    if arguments.files is not None:
        formats = {"images": len(photos()), "manifests": MANIFEST_SEEDS}
        if not counts.keys() <= formats.keys():
            parser.error("--files is for --kinds images manifests")
        counts = {kind: arguments.files * formats[kind] for kind in counts}
    with scratch_database() as database, reader_of(database) as url:
        found = {
            kind: fuzz(kind, url, arguments.seed, seconds, most) for kind, most in counts.items()
        }
    for kind, each in found.items():
        for number, failure in enumerate(each.failures):
            arguments.keep.mkdir(exist_ok=True)
            (arguments.keep / f"{kind}-{number}.txt").write_text(failure, errors="replace")
    if arguments.json:
        print(json.dumps({kind: vars(each) for kind, each in found.items()}))
    else:
        print(f"{'kind':<12} {'cases':>8} {'refused':>8} {'tracebacks':>10} {'hangs':>6} {'MB':>6}")
        for kind, each in found.items():
            print(
                f"{kind:<12} {each.cases:>8,} {each.refused:>8,} {len(each.failures):>10} "
                f"{each.hangs:>6} {each.bytes / 1e6:>6.0f}"
            )
    bad = [each for each in found.values() if each.failures or each.hangs]
    if bad or any(each.bytes > MOST_BYTES for each in found.values()):
        sys.exit(f"FAILS; what failed is in {arguments.keep}/")


@contextmanager
def reader_of(database: Database) -> Iterator[str]:
    """The URL of a login that may only read the sample data of docs/sql.md."""
    login = "geosearch_fuzz_reader"
    with database.connection() as connection:
        connection.execute((ROOT / "sql" / "sample.sql").read_bytes())
        connection.execute("SELECT geosearch.create_roles(), geosearch.grant_rights()")
        connection.execute(f"CREATE ROLE {login} LOGIN IN ROLE geosearch_reader".encode())
    try:
        yield make_conninfo(database.url, user=login)
    finally:
        with database.connection() as connection:
            connection.execute(f"DROP ROLE {login}".encode())


def fuzz(kind: str, url: str, seed: int, seconds: float, most: int) -> Found:
    """Try cases of a kind until the time is over, or so many; a process that dies is replaced."""
    found, end, start = Found(), time.monotonic() + seconds, 0
    context = multiprocessing.get_context("spawn")
    while time.monotonic() < end and start < most:
        ours, theirs = context.Pipe()
        with tempfile.TemporaryDirectory(prefix="geosearch-fuzz-") as folder:
            process = context.Process(
                target=work, args=(kind, url, Path(folder), seed, start, theirs), daemon=True
            )
            process.start()
            theirs.close()
            start = watch(ours, found, start, end, most)
            process.kill()
            process.join()
    return found


def watch(worker: Connection, found: Found, start: int, end: float, most: int) -> int:
    """Take in what a worker says until the end; returns the case that the next begins with."""
    case = start - 1  # before the first: the worker is still loading
    while (left := end - time.monotonic()) > 0 and case + 1 < most:
        if not worker.poll(min(left, HANG_S)):
            if time.monotonic() < end and case >= start:
                found.hangs += 1
                found.failures.append(f"case {case} took over {HANG_S} s")
                return case + 1
            continue
        try:
            case, refused, failure, taken = worker.recv()
        except EOFError:
            if not found.cases:
                sys.exit("a process died before its first case")
            found.failures.append(f"the process died at case {case + 1}")
            return case + 2
        found.bytes = max(found.bytes, taken)
        found.cases += 1
        found.refused += refused
        if failure:
            found.failures.append(failure)
    return case + 1


def work(kind: str, url: str, folder: Path, seed: int, start: int, parent: Connection) -> None:
    """One process: case after case, each by a generator of its own, so that it can be repeated."""
    os.chdir(folder)
    os.environ["GEOSEARCH_CACHE_DIR"] = str(folder / "cache")
    attempt = KINDS[kind](Ground(folder, url))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what users are told while they wait
    case = start
    while True:
        refused, failure = False, None
        try:
            attempt(Case(f"{seed} {kind} {case}", case))
        except GeosearchError:
            refused = True
        except BaseException:
            failure = f"seed {seed}, case {case} of {kind}\n{traceback.format_exc()}"
        taken = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        parent.send((case, refused, failure, taken))
        case += 1


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Bytes with some flipped, replaced by extremes, cut out, doubled, or the end cut off."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        if not changed:
            break
        at = rng.randrange(len(changed))
        size = rng.choice((1, 2, 4, 64))
        match rng.randrange(7):
            case 0:
                changed[at] ^= 1 << rng.randrange(8)
            case 1:
                changed[at : at + size] = rng.randbytes(size)
            case 2:
                extreme = rng.choice((0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF))
                changed[at : at + 4] = struct.pack(rng.choice("<>") + "I", extreme)
            case 3:
                del changed[at : at + size]
            case 4:
                changed[at:at] = changed[at : at + size]
            case 5:
                del changed[at:]
            case 6:  # what is at home in text
                changed[at : at + 1] = rng.choice(
                    (b'"', b"\n", b"\r", b"\t", b",", b";", b"\0", b"{", b"[", b"NaN", b"1e999")
                )
    return bytes(changed)


def photos() -> list[bytes]:
    """A small photo of each format that can be written here, with EXIF, IPTC and XMP."""
    packet = photo_files.xmp('exif:GPSLatitude="47,22.2N" exif:GPSLongitude="8,32.4E"')
    Image.init()
    images.register_heif()
    tags: dict[str, Any] = {
        "image_tags": {315: "Ada", 0x9C9B: "Title".encode("utf-16-le")},
        "photo_tags": {36867: "2020:05:04 18:39:11", 36881: "+02:00", 0x9286: b"UNICODE\0A\0"},
    }
    made: dict[str, bytes] = {
        name: photo_files.photo(
            photo_files.gps(47.37, 8.54), format=name, size=(64, 48), xmp=packet, **tags
        )
        for name in ("JPEG", "MPO", "PNG", "TIFF", "WEBP", "AVIF", "HEIF")
        if name in Image.SAVE
    }
    made["JPEG with IPTC"] = photo_files.iptc(made["JPEG"], {80: "Ada", 55: "20200504", 90: "Z"})
    deep = np.arange(64 * 48, dtype=np.uint16).reshape(48, 64) * 21
    for values, name in ((deep, "PNG"), (deep, "TIFF"), (deep / np.float32(65535), "TIFF")):
        out = io.BytesIO()
        Image.fromarray(values).save(out, name)
        made[f"{name} of {values.dtype}"] = out.getvalue()
    return list(made.values())


def image_cases(ground: Ground) -> Attempt:
    """Photos as ingest and embedding read them."""
    seeds, file = photos(), ground.folder / "photo.jpg"

    def attempt(rng: Case) -> None:
        data = mutated(seeds[rng.number % len(seeds)], rng)
        file.write_bytes(data)
        examine(Candidate(str(file)))  # a rejection is an answer
        images.decode(images.open_image(data), at_least=224)

    return attempt


MANIFESTS = {
    "csv": b'uri,lat,lon,author,taken_at,accuracy_m\na.jpg,47.3,8.5,"J, S",2020-01-01,5\n'
    b'b.jpg,-33,151,,2020-01-01T10:00:00+02:00,\n"c ""d"".jpg",0.5,1.5,x,,1e3\n',
    "tsv": b"uri\tlat\tlon\na.jpg\t1\t2\nb.jpg\t3\t4\n",
    "json": b'[{"SourceFile":"a.jpg","GPSLatitude":"33 deg 51\' 36\\" S","GPSLongitude":"151.2E",'
    b'"DateTimeOriginal":"2021:06:15 14:30:00","OffsetTimeOriginal":"+02:00"}]',
    "jsonl": b'{"uri":"a.jpg","lat":1,"lon":2}\n{"uri":"b.jpg","lat":"3","lon":4.5}\n',
    "geojson": b'{"type":"FeatureCollection","features":[{"type":"Feature","properties":'
    b'{"uri":"a.jpg","taken_at":"2020"},"geometry":{"type":"Point","coordinates":[8,47]}}]}',
}


#: These, two of Parquet, and one that must be told its columns.
MANIFEST_SEEDS = len(MANIFESTS) + 3


def manifest_cases(ground: Ground) -> Attempt:
    """Manifests of each kind, read to the end."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = ground.folder
    table = pa.table({"uri": ["a.jpg", "b.jpg"], "lat": [1.0, 2.0], "lon": [3.0, 4.0]})
    pq.write_table(table, folder / "seed.parquet")
    seeds = [*MANIFESTS.items(), ("parquet", (folder / "seed.parquet").read_bytes())]
    about = {"primary_column": "p", "columns": {"p": {"encoding": "WKB"}}}
    point = struct.pack("<BIdd", 1, 1, 8.5, 47.3)
    points = pa.table({"uri": ["a.jpg"], "p": [point], "date": [1_600_000_000.0], "id": [7.0]})
    points = points.replace_schema_metadata({"geo": json.dumps(about)})
    pq.write_table(points, folder / "seed.parquet")
    seeds.append(("parquet", (folder / "seed.parquet").read_bytes()))
    seeds.append(
        ("csv", b'sep=;\r"file";"x";"y";"w";"h";"gps_latitude";"gps_longitude"\ra;1;2;3;4;5;6')
    )
    readings = [
        *[Reading()] * 8,
        Reading(columns={"lat": "y", "lon": "x"}),
        Reading(encoding="utf-16"),
    ]

    assert len(seeds) == MANIFEST_SEEDS

    def attempt(rng: Case) -> None:
        kind, data = seeds[rng.number % len(seeds)]
        file = folder / f"photos.{kind}"
        file.write_bytes(mutated(data, rng))
        for _ in islice(candidates(str(file), rng.choice(readings)), 10_000):
            pass

    return attempt


#: Something that a condition might be given, usable or not.
VALUES: tuple[Any, ...] = (
    *WORDS, 0, -1, 1e308, float("nan"), float("inf"), True, [], {}, [None], [[1]], {"within": 1},
    [0, 0, 1, 1], [170, -10, -170, 10], [47, 8, 100], "0,0,1,1", "47,8,100", [1, 2, float("nan")],
    "2020-01-01", "2020-13-45", "0001-01-01T00:00:00+14:00", "9999-12-31", "towns", ["towns"],
    "Japan", "JP", "POLYGON((0 0,1 0,1 1,0 0))", "POLYGON((0 0,1 1,0 1,1 0,0 0))", "POINT(1 1)",
    "POLYGON EMPTY", {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]},
    {"type": "Polygon", "coordinates": [[[0, 0], [1e308, 0], [1, None], [0, 0]]]},
    {"type": "Polygon"}, "ab" * 32, np.zeros(4), b"\xff",
)  # fmt: skip
CONDITIONS = (
    "bbox", "near", "within", "country", "after", "before", "collection", "author", "licence",
    "accuracy_m", "exclude_author", "exclude_sha256", "unheard_of",
)  # fmt: skip


def filter_cases(ground: Ground) -> Attempt:
    """Filters by keywords and as JSON; those that can be made are searched with, as a reader."""
    database = Database(ground.url)
    with database.connection() as connection:
        row = connection.execute("SELECT id FROM geosearch.models").fetchone()
    assert row is not None
    query = np.ones(8, np.float32)

    def some(rng: random.Random, depth: int) -> Any:
        if depth and rng.random() < 0.4:
            part: Any = some(rng, depth - 1)
            operator = rng.choice(("and", "or", "not"))
            return {operator: part if rng.random() < 0.5 else [part, some(rng, depth - 1)]}
        return {rng.choice(CONDITIONS): rng.choice(VALUES) for _ in range(rng.randrange(4))}

    def attempt(rng: random.Random) -> None:
        if rng.random() < 0.5:
            given = where(**{rng.choice(CONDITIONS): rng.choice(VALUES) for _ in range(2)})
        else:
            given = Filter.from_json(some(rng, 3))
        nearest(database, row[0], query, 5, given)

    return attempt


def sql_cases(ground: Ground) -> Attempt:
    """Functions of the schema with hostile arguments, as a reader."""
    connection = psycopg.connect(ground.url, autocommit=True)
    connection.execute(f"SET statement_timeout = '{HANG_S - 10}s'".encode())
    known = functions(connection)

    def attempt(rng: random.Random) -> None:
        name, variadic, aggregate, types, names = rng.choice(known)
        given = rng.choice(list(calls(types, names, rng.randrange(2**32))))
        wrong = answer(connection, name, variadic, aggregate, types, given)
        assert wrong is None, f"{name}({given!r:.1000}): {wrong}"

    return attempt


SPECS = (
    "packaged/efficientnet-lite0", "torchvision/resnet18", "torchvision/resnet18@DEFAULT+gem",
    "torchvision/vgg16@IMAGENET1K_V1+max", "file:model.pt", "file:", "packaged/", "torchvision/",
)  # fmt: skip


def spec_cases(_: Ground) -> Attempt:
    """Specs of models that are hardly ones; what is one is not loaded a second time."""
    loaded: set[str] = set()

    def attempt(rng: random.Random) -> None:
        spec = mutated(rng.choice(SPECS).encode(), rng).decode("utf-8", "surrogateescape")
        if spec.strip() not in loaded and spec.strip() not in SPECS:
            load_backbone(spec, device="cpu", at_once=False)
            loaded.add(spec.strip())

    return attempt


def checkpoint_cases(ground: Ground) -> Attempt:
    """Checkpoints of both formats, the network built and asked for an embedding."""
    import torch
    from torchvision.models import squeezenet1_1

    from geosearch.features.checkpoint import save_checkpoint
    from geosearch.features.preprocessing import Preprocessing

    torch.set_num_threads(1)
    small = Preprocessing(resize=32, crop=32, mean=(124, 116, 104), std=(58, 57, 57))
    name, seeds = "torchvision/squeezenet1_1", {}
    for kind in ("pt", "safetensors"):
        file = ground.folder / f"seed.{kind}"
        weights = squeezenet1_1(weights=None).state_dict()
        save_checkpoint(file, weights, architecture=name, preprocessing=small)
        seeds[kind] = file.read_bytes()

    def attempt(rng: random.Random) -> None:
        kind = rng.choice(list(seeds))
        file, data = ground.folder / f"model.{kind}", seeds[kind]
        # Of megabytes of weights, most bytes say nothing: change the first and the last of them.
        head, tail = data[:2000], data[-2000:]
        if rng.random() < 0.5:
            head = mutated(head, rng)
        else:
            tail = mutated(tail, rng)
        file.write_bytes(head + data[2000:-2000] + tail)
        load_backbone(f"file:{file}", device="cpu").embed(np.zeros((1, 32, 32, 3), np.uint8))

    return attempt


KINDS: dict[str, Callable[[Ground], Attempt]] = {
    "images": image_cases,
    "manifests": manifest_cases,
    "filters": filter_cases,
    "sql": sql_cases,
    "specs": spec_cases,
    "checkpoints": checkpoint_cases,
}

if __name__ == "__main__":
    main()
