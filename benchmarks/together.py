"""Processes that embed together, beside one: photos a second, with a network that only sleeps.

python benchmarks/together.py --photos 600 --sleep 0.02 --processes 1 2 4

So the cores are not the limit, as where photos come over a network: what remains is what sharing
costs. Each process works in one thread and begins when all are ready; the time is from the start of
the first run to the end of the last, as the database notes them. `claim_ms` is the median time of
claiming 64 photos where `--rows` photos are in the database, and so many per cent of them embedded.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scratch import scratch_database
from scratch_rows import add_photos

from geosearch.database.connection import Database
from geosearch.database.copying import copy_embeddings
from geosearch.database.leases import one_of_several
from geosearch.errors import DatabaseError
from geosearch.features import Backbone, Description, embed
from geosearch.features.embedding_claims import Claims
from geosearch.features.preprocessing import Preprocessing
from geosearch.ingest import ingest

if TYPE_CHECKING:
    from multiprocessing.synchronize import Barrier

DIMENSION = 12


class Sleeping:
    """A network that takes so many seconds a photo, and none of the processor."""

    device = "cpu"

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        time.sleep(self.seconds * len(pixels))
        unit = np.zeros((len(pixels), DIMENSION), np.float32)
        unit[:, 0] = 1
        return unit


def backbone(name: str, seconds: float) -> Backbone:
    return Backbone(
        Description(
            name=f"sleeping/{name}",
            architecture="sleeping",
            weights_source="none",
            weights_sha256=name,
            preprocessing=Preprocessing(16, 16, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
            pooling="avg",
            dimension=DIMENSION,
            licence=None,
        ),
        Sleeping(seconds),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=600)
    parser.add_argument("--sleep", type=float, default=0.02, help="seconds a photo")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument(
        "--rows", type=int, nargs="*", default=[], help="photos to time claims among"
    )
    given = parser.parse_args()
    found: dict[str, Any] = {"photos": given.photos, "sleep_s": given.sleep}
    with scratch_database() as database, tempfile.TemporaryDirectory() as folder:
        write_photos(Path(folder), given.photos)
        ingest(database, [Path(folder) / "photos.csv"], collection="photos")
        for processes in given.processes:
            rate, shares = measure(database, processes, given.sleep)
            first = found.setdefault("first", rate)
            figures = {"photos_per_s": round(rate, 1), "times": round(rate / first, 2)}
            found[f"processes_{processes}"] = figures | {"shares": shares}
        found.pop("first")
    for rows in given.rows:
        with scratch_database() as database:
            found[f"claim_ms_{rows}"] = claim_times(database, rows)
    print(json.dumps(found, indent=1))


def write_photos(folder: Path, count: int) -> None:
    lines = ["uri,lat,lon"]
    for number in range(count):
        colour = (number % 256, number // 256 % 256, 99)
        Image.new("RGB", (32, 24), colour).save(folder / f"{number}.png")
        lines.append(f"{number}.png,{1 + number % 80},{1 + number % 170}")
    (folder / "photos.csv").write_text("\n".join(lines))


def measure(database: Database, processes: int, seconds: float) -> tuple[float, list[int]]:
    """Photos a second of all, and how many each embedded."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(processes)
    children = [
        context.Process(target=work, args=(database.url, barrier, f"{processes}", seconds))
        for _ in range(processes)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join()
    with database.connection() as connection:
        rows = connection.execute(
            """
            SELECT (counts ->> 'embedded')::int,
                extract(epoch FROM max(finished_at) OVER () - min(started_at) OVER ())
            FROM geosearch.runs JOIN geosearch.models ON models.id = model_id
            WHERE models.name = %s
            """,
            (f"sleeping/{processes}",),
        ).fetchall()
    shares = [share for share, _ in rows]
    return sum(shares) / float(rows[0][1]), shares


def work(url: str, barrier: Barrier, name: str, seconds: float) -> None:
    with Database(url, pool_size=3) as database:
        barrier.wait()
        embed(database, backbone(name, seconds), batch_size=1, workers=1)


def claim_times(database: Database, rows: int) -> dict[str, float]:
    """Milliseconds to claim 64 photos, by the per cent of all that are embedded."""
    generator = np.random.default_rng(1)
    lat, lon = generator.uniform(-60, 60, rows), generator.uniform(-180, 180, rows)
    with database.connection() as connection:
        model, photos = add_photos(connection, DIMENSION, lat, lon)
    unit = np.eye(1, DIMENSION, dtype=np.float32)
    times, done = {}, 0
    for percent in (0, 50, 90):
        upto = rows * percent // 100
        with database.connection() as connection:
            if upto > done:
                several = unit.repeat(upto - done, 0)
                copy_embeddings(connection, model, photos[done:upto], several)
            done = upto
        with one_of_several(database, "claims", DatabaseError("taken")) as lease:
            claims = Claims(database, model, lease, None, None, retry=False)
            with database.connection() as connection:
                start, _, _ = claims.survey(connection)
            assert start is not None
            walk, each = claims.walk(start, 64), []
            for _ in range(12):
                begun = time.perf_counter()
                next(walk)
                each.append(1000 * (time.perf_counter() - begun))
                claimed = [next(walk) for _ in range(63)]
                assert len(claimed) == 63
                time.sleep(0.6)  # no more at once next time
            times[f"{percent} %"] = round(median(each), 1)
    return times


if __name__ == "__main__":
    main()
