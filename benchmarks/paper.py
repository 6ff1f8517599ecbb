"""The comparison of "Revisiting IM2GPS in the Deep Learning Era", in miniature.

python benchmarks/paper.py --plot paper.png
python benchmarks/paper.py --references 600 --queries 60 --seeds 1 --epochs 1 --versions 1
python benchmarks/paper.py --references 20000 --epochs 10 --device cuda

What should a network be trained for, if its features are to find the place of a photo among
others? One backbone is trained for one loss after the other, by `geosearch.training`, on as many
photos as often; its features then find the places of fresh queries among the photos trained on.
The later stages are trained; what the earlier ones make of each photo, and of `--versions`
augmented versions, is computed once for all. Every seed draws another training and other queries.

Settings were chosen on queries of seed 101, which the tests never see.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from paper_table import Row, compare, print_comparisons, print_table
from scratch import scratch_database

from geosearch.client import Geosearch
from geosearch.database.connection import Database
from geosearch.defaults import DEFAULT_MODEL
from geosearch.density import locate_many
from geosearch.features import load_backbone
from geosearch.features.backbones import find_device, resolve
from geosearch.geocells import Geocells, load_classifiers, make_partition
from geosearch.retrieval import where
from geosearch.sample.space import SpaceSample, write_space_sample
from geosearch.sample.views import Difficulty
from geosearch.sphere import Array, great_circle_km
from geosearch.training import Augmentation, Training
from geosearch.training.loading import Loader, Pixels
from geosearch.training.network import Network
from geosearch.training.photos import Photos, read_photos
from geosearch.training.training_run import train
from geosearch.versions import software_versions

REFERENCES, QUERIES = "references", "queries"
REFERENCES_SEED, FIRST_TEST_SEED = 0, 1001

#: Photos in a cell, at most, of partitions from coarse to fine.
PARTITIONS = {"coarse": 200, "middle": 50, "fine": 15}

#: Neighbours that vote, and the share of the probability to whose cells a search is restricted.
K, SHARE = 100, 0.9

AUGMENTATION = Augmentation(crop=(0.5, 2.0), stretch=1.1, rotation=90.0, colour=0.3)

Embeddings = NDArray[np.float32]


@dataclass(frozen=True)
class Features:
    """How a network comes to its features; without a loss, off the shelf."""

    name: str
    loss: str | None = None
    partitions: tuple[str, ...] = ()
    learning_rate: float = 1e-3
    options: Mapping[str, float] = field(default_factory=dict)


COMPETITORS = (
    Features("off the shelf"),
    Features("one partition", "classification", ("middle",)),
    Features("several partitions", "classification", tuple(PARTITIONS)),
    Features("contrastive", "contrastive", learning_rate=3e-4),
    Features("triplet", "triplet"),
    Features("distance-logistic", "distance-logistic"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--references", type=int, default=6000)
    parser.add_argument("--queries", type=int, default=400, help="per difficulty and seed")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each kind")
    parser.add_argument("--epochs", type=int, default=5, help="times each photo is trained on")
    parser.add_argument("--versions", type=int, default=3, help="augmented versions of a photo")
    parser.add_argument("--freeze", type=int, default=18, help="stages that are not trained")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--test-seed", type=int, default=FIRST_TEST_SEED, help="of the queries")
    parser.add_argument("--folder", type=Path, help="keep photos and features here for other runs")
    parser.add_argument("--plot", type=Path, help="draw the accuracies into this PNG")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, scratch_database() as database:
        folder = given.folder or Path(scratch)
        os.environ["GEOSEARCH_CACHE_DIR"] = str(folder / "cache")
        started = time.monotonic()
        comparison = Comparison(database, folder, given)
        rows = comparison.run()
    minutes = (time.monotonic() - started) / 60
    result = {
        "settings": {name: value for name, value in vars(given).items() if name not in _FILES},
        "training": {one.name: asdict(one) for one in COMPETITORS},
        "augmentation": AUGMENTATION.to_json(),
        "partitions": comparison.cells,
        "software": software_versions(),
        "training_seconds": comparison.seconds,
        "difference_from_embed": comparison.difference,
        "minutes": minutes,
        "rows": [row.to_json() for row in rows],
        "comparisons": [one.to_json() for one in compare(rows)],
    }
    if given.plot:
        from paper_picture import draw

        draw(rows, given.plot)
    if given.json:
        print(json.dumps(result))
        return
    cells = ", ".join(f"{name} {count}" for name, count in comparison.cells.items())
    print(
        f"{given.references} references, {given.seeds} seeds of {given.queries} queries each; "
        f"{DEFAULT_MODEL}, {given.freeze} stages frozen; {given.epochs} epochs of "
        f"{given.versions} versions; cells: {cells}"
    )
    print_table(rows)
    print_comparisons(rows)
    print(f"\nseconds a training takes: {_means(comparison.seconds)}")
    print(f"cosine distance from what `geosearch embed` gives: {comparison.difference:.1e}")
    print(f"{minutes:.0f} minutes on {os.cpu_count()} cores, {comparison.device}")


_FILES = ("folder", "plot", "json")


def _means(seconds: Mapping[str, Sequence[float]]) -> str:
    return ", ".join(f"{name} {np.mean(each):.0f}" for name, each in seconds.items())


class Comparison:
    """Trains and measures; `seconds` of trainings, and how far features are from `embed`'s."""

    def __init__(self, database: Database, folder: Path, given: argparse.Namespace) -> None:
        self.database, self.folder, self.given = database, folder.resolve(), given
        self.device = find_device(given.device)
        self.cells: dict[str, int] = {}
        self.seconds: dict[str, list[float]] = {}
        self.difference = 0.0
        self._started = time.monotonic()

    def run(self) -> list[Row]:
        """All rows of the table."""
        self._load()
        self._base = Network(resolve(DEFAULT_MODEL), self.given.freeze, self.device)
        self._loaders = {name: self._loader(name) for name in (REFERENCES, QUERIES)}
        rows: dict[tuple[str, str, str], Row] = {}
        for seed in range(self.given.seeds):
            for features in COMPETITORS:
                self._say(f"seed {seed}: {features.name}")
                for difficulty, errors in self._measure(features, seed).items():
                    for method, each in errors.items():
                        key = (features.name, method, difficulty)
                        rows.setdefault(key, Row(*key)).errors_km.append(each)
        self._say("done")
        return list(rows.values())

    def _load(self) -> None:
        """Cut and ingest the photos, and divide the world by the references."""
        gs, given = Geosearch(self.database), self.given
        self._say("cutting photos")
        write_space_sample(SpaceSample(given.references, 0, REFERENCES_SEED), self._references)
        gs.ingest(self._references / "references", collection=REFERENCES)
        for seed in range(given.seeds):
            for difficulty in Difficulty:
                place = self._queries(difficulty, seed)
                sample = SpaceSample(0, given.queries, given.test_seed + seed, difficulty)
                write_space_sample(sample, place)
                gs.ingest(place / "queries.csv", collection=QUERIES)
        for name, most in PARTITIONS.items():
            made = make_partition(
                self.database,
                name,
                max_photos=most,
                min_photos=most // 4,
                where=where(collections=REFERENCES),
            )
            self.cells[name] = len(made)

    @property
    def _references(self) -> Path:
        return self.folder / f"references-{self.given.references}"

    def _queries(self, difficulty: str, seed: int) -> Path:
        given = self.given
        return self.folder / f"queries-{difficulty}-{given.test_seed + seed}-{given.queries}"

    def _training(self, features: Features, seed: int) -> Training:
        given = self.given
        return Training(
            collection=REFERENCES,
            backbone=DEFAULT_MODEL,
            loss=features.loss or "classification",
            partitions=features.partitions,
            loss_options=features.options,
            epochs=given.epochs,
            batch_size=given.batch,
            learning_rate=features.learning_rate,
            head_learning_rate=10 * features.learning_rate,
            freeze=given.freeze,
            cache_frozen=given.versions if given.freeze else 0,
            augmentation=AUGMENTATION,
            validation=0.0,
            seed=seed,
        )

    def _loader(self, collection: str) -> tuple[Photos, Loader]:
        """The photos of a collection, and what the untrained stages make of them."""
        with self.database.connection() as connection:
            photos = read_photos(connection, collection)
        return photos, Loader(photos, self._base, self._training(COMPETITORS[0], 0))

    def _measure(self, features: Features, seed: int) -> dict[str, dict[str, Array]]:
        """Errors (n,) in kilometres by difficulty and method."""
        source, geocells = resolve(DEFAULT_MODEL), None
        if features.loss is not None:
            file = self.folder / f"{features.name.replace(' ', '-')}-{seed}.safetensors"
            begun = time.monotonic()
            made = train(
                self.database,
                file,
                self._training(features, seed),
                device=self.device,
                restart=True,
            )
            assert made is not None
            self.seconds.setdefault(features.name, []).append(time.monotonic() - begun)
            source = resolve(f"file:{file}")
            if features.partitions:
                with self.database.connection() as connection:
                    geocells = Geocells.of(load_classifiers(connection, made.model_id))
        network = Network(source, self.given.freeze, self.device)
        photos, references = self._embedded(network, REFERENCES, self._references)
        queries = {
            each: self._embedded(network, QUERIES, self._queries(each, seed)) for each in Difficulty
        }
        if features.loss is not None and not self.difference:
            self.difference = self._compared(f"file:{file}", *queries[Difficulty.HARD])
        return {
            str(difficulty): _errors(*asked, photos, references, geocells)
            for difficulty, asked in queries.items()
        }

    def _embedded(
        self, network: Network, collection: str, place: Path
    ) -> tuple[Photos, Embeddings]:
        """The photos of a collection in a folder, and their embeddings (n, D)."""
        photos, loader = self._loaders[collection]
        rows = np.flatnonzero([f"{place}/" in uri for uri in photos.uris])
        parts = []
        for loaded in loader.load(np.array_split(rows, max(1, len(rows) // 64)), None):
            with torch.inference_mode():
                parts.append(network.embed(loaded.values).cpu().numpy())
        if loader.failures:
            raise SystemExit(f"{len(loader.failures)} photos of {collection} cannot be read")
        return _chosen(photos, rows), np.concatenate(parts)

    def _compared(self, spec: str, photos: Photos, embeddings: Embeddings) -> float:
        """The largest cosine distance of some embeddings from those of `geosearch embed`."""
        backbone = load_backbone(spec, device=self.device)
        pixels = Pixels(photos, backbone.description, AUGMENTATION)
        some = [
            made for row in range(min(16, len(photos))) if (made := pixels(row, None)) is not None
        ]
        given = backbone.embed(np.stack(some))
        distance = 1 - np.sum(given * embeddings[: len(given)], axis=1)
        if not distance.max() < 1e-2:
            raise SystemExit(f"{spec}: its features are not those of geosearch embed: {distance}")
        return float(distance.max())

    def _say(self, what: str) -> None:
        print(f"{time.monotonic() - self._started:6.0f} s  {what}", file=sys.stderr, flush=True)


def _chosen(photos: Photos, rows: NDArray[np.int64]) -> Photos:
    uris, sha256, authors = (
        [each[row] for row in rows] for each in (photos.uris, photos.sha256, photos.authors)
    )
    return Photos(uris, sha256, photos.lat[rows], photos.lon[rows], authors)


def _errors(
    truth: Photos,
    queries: Embeddings,
    photos: Photos,
    references: Embeddings,
    geocells: Geocells | None,
) -> dict[str, Array]:
    """Errors (n,) of every method that the features have."""
    similarity = queries @ references.T

    def errors(places: Sequence[Any]) -> Array:
        lat, lon = [place.lat for place in places], [place.lon for place in places]
        return great_circle_km(truth.lat, truth.lon, lat, lon)

    found = _by_neighbours(similarity, photos, ("nearest", "im2gps", "density"), errors)
    if geocells is None:
        return found
    likely = [geocells.likely(query) for query in queries]
    found["geocell"] = errors([one.place((), regions=False) for one in likely])
    cell = geocells.cells.locate(photos.lat, photos.lon)
    for row, one in zip(similarity, likely, strict=True):
        row[~np.isin(cell, one.likeliest(SHARE))] = -np.inf
    restricted = _by_neighbours(similarity, photos, ("nearest", "density"), errors)
    return found | {f"{method} in cells": each for method, each in restricted.items()}


def _by_neighbours(
    similarity: Embeddings,
    photos: Photos,
    methods: Sequence[str],
    errors: Callable[[Sequence[Any]], Array],
) -> dict[str, Array]:
    """Errors (n,) of methods on the exact nearest of similarities (n, m); -inf: not allowed."""
    order = np.argsort(-similarity, axis=1, kind="stable")[:, :K]
    near = [row[np.isfinite(one[row])] for row, one in zip(order, similarity, strict=True)]
    places = locate_many(
        [photos.lat[row] for row in near],
        [photos.lon[row] for row in near],
        [1 - one[row] for row, one in zip(near, similarity, strict=True)],
        methods=methods,
        levels=(),
    )
    return {method: errors(found) for method, found in places.items()}


if __name__ == "__main__":
    main()
