"""Ingest: files to committed rows, beside Pillow's bare decoding of the same files, and once more.

Each measurement has a process of its own, whose highest resident memory is reported, and the same
number of threads. First many small photos: the rate, the memory as the number grows, and a rerun on
unchanged files, as a share of the first run. Then photos of 12 megapixels, where decoding
at 1/8 scale is what takes the time: ingest and decoding alternate, and the ratio of the medians
is what counts; that of their processor times, without the server's, where other programs are at
work. Takes 4 GB of disk meanwhile.

    python benchmarks/ingest.py --photos 5000 20000 --large 48
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import os
import random
import resource
import statistics
import struct
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from PIL import ExifTags, Image
from scratch import scratch_database

from geosearch.database.connection import Database
from geosearch.ingest import ingest
from geosearch.parallel import processors

ROUNDS = 3
#: Age of the files, seconds: a file changed just now is read again.
AGE = 3600


class Measured(NamedTuple):
    """What a process took."""

    seconds: float
    processor: float
    megabytes: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, nargs="+", default=[5000, 20_000])
    parser.add_argument("--large", type=int, default=48, help="photos of 12 megapixels")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as made, scratch_database() as database:
        result: dict[str, Any] = {
            "small": [small(database, Path(made, str(n)), n) for n in arguments.photos],
            "large": large(database, Path(made, "large"), arguments.large),
        }
    if arguments.json:
        print(json.dumps(result))
        return
    print(f"{os.cpu_count()} cores, {processors() + 1} threads")
    print(f"{'photos':>8} {'ingest/s':>9} {'decode/s':>9} {'rerun':>7} {'MB':>5} {'MB rerun':>8}")
    for each in result["small"]:
        print(
            f"{each['photos']:>8,} {each['photos_per_s']:>9,.0f} {each['decoded_per_s']:>9,.0f} "
            f"{each['rerun']:>7.3f} {each['megabytes']:>5.0f} {each['megabytes_rerun']:>8.0f}"
        )
    found = result["large"]
    print(
        f"{found['photos']} of 12 megapixels: ingest {found['photos_per_s']:.1f}/s, "
        f"decode {found['decoded_per_s']:.1f}/s, ratio {found['ratio']:.2f}, "
        f"by processor time {found['processor_ratio']:.2f}"
    )


def small(database: Database, folder: Path, photos: int) -> dict[str, float]:
    """Rates and memory for so many photos of 640 x 480 pixels."""
    write_photos(folder, photos, (640, 480))
    bare = measured(partial(decode_all, folder))
    first = measured(partial(ingest_all, database.url, folder, folder.name))
    again = measured(partial(ingest_all, database.url, folder, folder.name))
    return {
        "photos": photos,
        "photos_per_s": photos / first.seconds,
        "decoded_per_s": photos / bare.seconds,
        "rerun": again.seconds / first.seconds,
        "megabytes": first.megabytes,
        "megabytes_rerun": again.megabytes,
    }


def large(database: Database, folder: Path, photos: int) -> dict[str, float]:
    """Rates for photos of 12 megapixels."""
    write_photos(folder, photos, (4000, 3000))
    bare, ours = [], []
    for turn in range(ROUNDS):
        bare.append(measured(partial(decode_all, folder)))
        ours.append(measured(partial(ingest_all, database.url, folder, f"large {turn}")))
    decoded, stored = (statistics.median(each.seconds for each in all_) for all_ in (bare, ours))
    processor = [statistics.median(each.processor for each in all_) for all_ in (bare, ours)]
    return {
        "photos": photos,
        "photos_per_s": photos / stored,
        "decoded_per_s": photos / decoded,
        "ratio": decoded / stored,
        "processor_ratio": processor[0] / processor[1],
    }


def measured(work: Callable[[], tuple[float, float]]) -> Measured:
    """The seconds that `work` says it took, in a process of its own, and its highest memory."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_in_process, (work,))


def _in_process(work: Callable[[], tuple[float, float]]) -> Measured:
    return Measured(*work(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def ingest_all(url: str, folder: Path, collection: str) -> tuple[float, float]:
    """Seconds of an ingest of a folder, and of processors."""
    with Database(url) as database:
        with database.connection() as connection:  # what a second command need not wait for
            connection.execute("SELECT 1")
        started, spent = time.perf_counter(), time.process_time()
        summary = ingest(database, [folder], collection=collection)
    assert summary.added + summary.duplicates == summary.seen
    return time.perf_counter() - started, time.process_time() - spent


def decode_all(folder: Path) -> tuple[float, float]:
    """Seconds, and those of processors, of decoding the files at 1/8 scale, as many at once."""
    files = sorted(folder.iterdir())
    started, spent = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(processors() + 1) as pool:
        for _ in pool.map(_decode, files):
            pass
    return time.perf_counter() - started, time.process_time() - spent


def _decode(file: Path) -> None:
    with Image.open(io.BytesIO(file.read_bytes())) as image:
        image.draft("RGB", (image.width // 8, image.height // 8))
        image.load()


def write_photos(folder: Path, photos: int, size: tuple[int, int]) -> None:
    """Geotagged JPEG files of one picture, each at a place of its own."""
    folder.mkdir()
    numbers = random.Random(0)
    # Noise of four pixels makes files as large as cameras do: 4 MB of 12 megapixels.
    grain = (size[0] // 4, size[1] // 4)
    picture = Image.frombytes("RGB", grain, numbers.randbytes(3 * grain[0] * grain[1])).resize(size)
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=85)
    data, then = out.getvalue(), time.time() - AGE
    for number in range(photos):
        exif = _exif(numbers.uniform(0, 89), numbers.uniform(0, 179))
        file = folder / f"{number:06}.jpg"
        file.write_bytes(data[:2] + exif + data[2:])
        os.utime(file, (then, then))


def _exif(lat: float, lon: float) -> bytes:
    exif, tag = Image.Exif(), ExifTags.GPS
    exif.get_ifd(ExifTags.IFD.GPSInfo).update(
        {
            **{tag.GPSLatitudeRef: "N", tag.GPSLatitude: (lat, 0.0, 0.0)},
            **{tag.GPSLongitudeRef: "E", tag.GPSLongitude: (lon, 0.0, 0.0)},
        }
    )
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2024:06:01 12:00:00"
    exif[ExifTags.Base.Make] = "geosearch"
    content: Any = exif.tobytes()
    return b"\xff\xe1" + struct.pack(">H", len(content) + 2) + bytes(content)


if __name__ == "__main__":
    main()
