"""Estimates without calibration at every scale: the default, one neighbour, 200 km, im2gps.

python benchmarks/scales.py --photos PHOTOS_OPEN --cache FOLDER

Space views of the whole Earth, and of a window of it whose places are drawn together to a city; the
photos of `--photos` (a folder with photos.csv: file, lat, lon, site), each answered by the others
without near-duplicates, all of them and those of its sites alone; and Earth and sites in one
collection. Everything is embedded once, into `--cache`, and searched exactly, without a database.

Prints the share of the queries within each distance, and how many points more it is than that of
one neighbour, with 95 % intervals by the paired bootstrap.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from geosearch.defaults import DUPLICATE_DISTANCE
from geosearch.density import locate_many
from geosearch.evaluation.metrics import bootstrap
from geosearch.features import embed_files, load_backbone
from geosearch.query import Query
from geosearch.sample.space import SpaceSample, write_space_sample
from geosearch.sample.views import Difficulty, Role
from geosearch.sample.window import Window
from geosearch.sphere import Array, great_circle_km
from geosearch.thresholds import WORLD_KM
from geosearch.words import points, threshold

WINDOW, SHRUNK = Window.of("-20,-35,52,20"), 1000
SITES_KM = (0.01, 0.025, 0.05, 0.1, 0.25)
#: Name, method and bandwidth of what is compared; None follows the neighbours.
RUNS = (
    ("nearest", "nearest", 1.0),
    ("density", "density", None),
    ("density, 200 km", "density", 200.0),
    ("im2gps", "im2gps", None),
)
K = 100


class Photos(NamedTuple):
    """Unit embeddings (n, d) and places in degrees (n, 2)."""

    embedding: Array
    place: Array


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, help="a folder with photos.csv")
    parser.add_argument("--cache", type=Path, required=True, help="keep pictures and embeddings")
    parser.add_argument("--references", type=int, default=6000)
    parser.add_argument("--queries", type=int, default=600)
    given = parser.parse_args()
    earth = _views(given.cache, SpaceSample(given.references, 0, 0), Role.REFERENCE)
    for difficulty in Difficulty:
        asked = _views(given.cache, SpaceSample(0, given.queries, 2, difficulty), Role.QUERY)
        _compare(f"Earth, {difficulty}", asked, earth, WORLD_KM)
    city = SpaceSample(given.references // 6, 0, 0, window=WINDOW, shrink=SHRUNK)
    streets = _views(given.cache, city, Role.REFERENCE)
    for difficulty in Difficulty:
        sample = SpaceSample(0, given.queries, 2, difficulty, WINDOW, SHRUNK)
        _compare(
            f"city, {difficulty}",
            _views(given.cache, sample, Role.QUERY),
            streets,
            [km / SHRUNK for km in WORLD_KM],
        )
    if given.photos is not None:
        photos, of_site = _photos(given.cache, given.photos)
        both = Photos(*(np.concatenate(pair) for pair in zip(photos, earth, strict=True)))
        sites = Photos(photos.embedding[of_site], photos.place[of_site])
        _compare("photos", photos, photos, WORLD_KM)
        _compare("sites among photos", sites, photos, SITES_KM)
        _compare("sites among photos and Earth", sites, both, SITES_KM)


def _compare(name: str, asked: Photos, references: Photos, within_km: Sequence[float]) -> None:
    lats, lons, distances = [], [], []
    for embedding in asked.embedding:
        distance = 1 - references.embedding @ embedding
        distance[distance < DUPLICATE_DISTANCE] = np.inf  # and the photo itself
        nearest = np.argsort(distance, kind="stable")[:K]
        lats.append(references.place[nearest, 0])
        lons.append(references.place[nearest, 1])
        distances.append(distance[nearest])
    print(f"\n{name}: {len(asked.place)} queries, {len(references.place)} references")
    print(f"{'':<17}" + "".join(f"{threshold(km):>24}" for km in within_km))
    first: Array | None = None
    for run, method, bandwidth_km in RUNS:
        places = locate_many(
            lats, lons, distances, methods=[method], bandwidth_km=bandwidth_km, levels=()
        )[method]
        estimate = np.array([(place.lat, place.lon) for place in places])
        error_km = great_circle_km(*estimate.T, *asked.place.T)
        hits = (error_km[:, None] <= np.array(within_km)).astype(float)
        first = hits if first is None else first
        cells = "".join(f"{cell:>24}" for cell in _cells(hits, first))
        print(f"{run:<17}{cells}")


def _cells(hits: Array, first: Array) -> Iterator[str]:
    for share, gain in zip(hits.mean(axis=0), (hits - first).T, strict=True):
        ends = bootstrap(gain, lambda drawn: drawn.mean(axis=1))
        between = f"[{points(ends.low)}, {points(ends.high)}]"
        yield f"{100 * share:.1f} {points(gain.mean())} {between}"


def _views(cache: Path, sample: SpaceSample, role: Role) -> Photos:
    """Views of one role, with their places."""
    count = sample.references if role is Role.REFERENCE else sample.queries
    name = f"{role}-{sample.difficulty}-{sample.seed}-{count}-{sample.window.west:g}"
    write_space_sample(sample, cache / name)
    files = sorted((cache / name).glob("*/*.jpg"))
    views = [sample.view(role, index) for index in range(count)]
    return Photos(
        _embedded(cache / f"{name}.npy", files), np.array([sample.position(v) for v in views])
    )


def _photos(cache: Path, folder: Path) -> tuple[Photos, NDArray[np.bool_]]:
    """All photos of a folder, and which are of a site with a dozen or more."""
    with (folder / "photos.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    site = np.array([row["site"] for row in rows])
    names, counts = np.unique(site, return_counts=True)
    place = np.array([(float(row["lat"]), float(row["lon"])) for row in rows])
    files = [folder / row["file"] for row in rows]
    embedding = _embedded(cache / "photos.npy", files)
    return Photos(embedding, place), np.isin(site, names[counts >= 12])


def _embedded(kept: Path, files: Sequence[Path]) -> Array:
    if not kept.exists():
        found = list(embed_files(load_backbone("packaged/efficientnet-lite0"), map(str, files)))
        np.save(kept, [item.embedding for item in found if isinstance(item, Query)])
    embedding = np.load(kept).astype(np.float64)
    assert len(embedding) == len(files)
    return np.asarray(embedding / np.linalg.norm(embedding, axis=1, keepdims=True))


if __name__ == "__main__":
    main()
