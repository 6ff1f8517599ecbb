"""What several views of a photo and whitening add to the nearest neighbour, and what they cost.

python benchmarks/evidence.py --folder views

Space views: references of one seed, queries of another, of each difficulty. With --photos FILE, a
manifest of real photos with a collection of their own is asked too, each photo of all others. Gains
are beside the model with one view, in points, with 95 % intervals by a paired bootstrap.

Each photo is decoded and goes through the network once, in nine views; the models of fewer take the
first of these, as `geosearch embed` does.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scratch import scratch_database

from geosearch.client import Geosearch
from geosearch.database.copying import PhotoKey, copy_embeddings
from geosearch.defaults import DEFAULT_MODEL
from geosearch.evaluation import evaluate_each
from geosearch.evaluation.queries import stored_queries
from geosearch.features import embed_files, load_backbone
from geosearch.features.backbones import resolve, with_views
from geosearch.features.model_rows import Model, find_model, list_models, register_model
from geosearch.features.preprocessing import VIEWS
from geosearch.features.unit_vectors import normalised
from geosearch.features.whitening_fit import whiten
from geosearch.images import open_image
from geosearch.localization import Parameters
from geosearch.parallel import ordered_map, processors
from geosearch.retrieval import where
from geosearch.retrieval.duplicates import Exclusions
from geosearch.sample.space import SpaceSample, write_space_sample
from geosearch.sample.views import Difficulty

REFERENCES_SEED, QUERIES_SEED = 0, 2
#: Distances of a hit on space views and among real photos of a few sites, km.
SPACE_KM, PHOTOS_KM = (200.0, 750.0), (0.025, 0.1)
#: Photos whose embedding is timed.
TIMED = 24


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--references", type=int, default=2000)
    parser.add_argument("--queries", type=int, default=400, help="of each difficulty")
    parser.add_argument(
        "--difficulties", type=Difficulty, nargs="+", default=list(Difficulty), metavar="D"
    )
    parser.add_argument("--dim", type=int, default=256, help="of whitened embeddings")
    parser.add_argument("--photos", type=Path, help="manifest of real photos")
    parser.add_argument(
        "--folder", type=Path, help="keep photos and embeddings, and use those there"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args()
    with scratch_database() as database, tempfile.TemporaryDirectory() as folder:
        gs = Geosearch(database)
        place = given.folder or Path(folder)
        names = _ingest(gs, place, given)
        _embed(gs, place)
        rows = [row for name in names for row in measure(gs, name, given.dim)]
        cost = _cost(place / "references" / "references")
    result = {"rows": rows, "cost": cost}
    print(json.dumps(result)) if given.json else _print(result)


def _ingest(gs: Geosearch, place: Path, given: argparse.Namespace) -> list[str]:
    """The photos, a collection for each set; the names of the sets of queries."""
    write_space_sample(SpaceSample(given.references, 0, REFERENCES_SEED), place / "references")
    gs.ingest(place / "references" / "references", collection="references")
    names = []
    for difficulty in given.difficulties:
        sample = SpaceSample(0, given.queries, QUERIES_SEED, difficulty)
        write_space_sample(sample, place / difficulty)
        gs.ingest(place / difficulty / "queries.csv", collection=difficulty)
        names.append(str(difficulty))
    if given.photos is not None:
        gs.ingest(given.photos, collection="photos")
        names.append("photos")
    return names


def _embed(gs: Geosearch, place: Path) -> None:
    """Embeddings of all photos by the models of `VIEWS`."""
    cache = place / "embeddings"
    cache.mkdir(exist_ok=True)
    backbone = load_backbone(with_views(DEFAULT_MODEL, VIEWS[-1]), device="cpu")
    with gs.database.connection() as connection:
        rows = connection.execute(
            "SELECT p.id, collection_id, ST_AsEWKB(geom), uri, c.name FROM geosearch.photos AS p "
            "JOIN geosearch.collections AS c ON c.id = collection_id ORDER BY p.id"
        ).fetchall()

    def views(row: tuple[Any, ...]) -> NDArray[np.float32]:
        file = cache / f"{row[4]}-{Path(row[3]).stem}.npy"
        if not file.exists():
            pixels = backbone.preprocess(open_image(Path(row[3]).read_bytes()))
            np.save(file, backbone.network(pixels))
        stored: NDArray[np.float32] = np.load(file)
        return stored

    every = np.stack(list(ordered_map(views, rows, processors())))
    keys = [PhotoKey(row[0], row[1], row[2], None, None, None, None) for row in rows]
    for count in VIEWS:
        with gs.database.connection() as connection:
            model = register_model(
                connection, resolve(with_views(DEFAULT_MODEL, count)).description
            )
            copy_embeddings(connection, model.id, keys, normalised(every[:, :count].mean(axis=1)))


def measure(gs: Geosearch, name: str, dim: int) -> list[dict[str, Any]]:
    """Hits of each model on one set of queries, beside those of one view."""
    real = name == "photos"
    references, limits = ("photos", PHOTOS_KM) if real else ("references", SPACE_KM)
    found = []
    before = None
    for count in VIEWS:
        spec = resolve(with_views(DEFAULT_MODEL, count)).description.name
        fitted = _whitened(gs, spec, references, min(dim, 128) if real else dim, count)
        for model in (spec, fitted.name):
            errors = _errors(gs, model, name, references)
            hits = np.array([errors <= limit for limit in limits])
            before = hits if before is None else before
            row = {
                "queries": name,
                "n": len(errors),
                "views": count,
                "whitened": None if model == spec else f"d{fitted.dimension}",
                "hits": {
                    limit: [float(own.mean()), *gain(own.astype(float) - base)]
                    for limit, own, base in zip(limits, hits, before, strict=True)
                },
            }
            found.append(row)
    return found


def _whitened(gs: Geosearch, spec: str, references: str, dim: int, count: int) -> Model:
    """The whitened model of one, fitted to these references where that is still to be done."""
    name = f"whitened:{references}-{count}"
    with gs.database.connection() as connection:
        known = [model for model in list_models(connection) if model.name == name]
    if known:
        return known[0]
    made = whiten(gs.database, spec, collections=[references], name=name, dim=dim, force=True)
    low, high = (f"{100 * each:+.1f}" for each in made.gain[1:])
    print(
        f"{made.model}: power {made.power:g}, held-out references {100 * made.gain[0]:+.1f} "
        f"[{low}, {high}]",
        file=sys.stderr,
        flush=True,
    )
    return _whitened(gs, spec, references, dim, count)


def _errors(gs: Geosearch, model: str, name: str, references: str) -> NDArray[np.float64]:
    """Errors of the nearest neighbour, km; of real photos, that of another photo."""
    with gs.database.connection() as connection:
        row = find_model(connection, model)
    asked = stored_queries(gs.database, row, where(collections=name))
    (found,) = evaluate_each(
        gs.database,
        asked,
        [Parameters("nearest", 1, exact=True)],
        model=model,
        where=where(collections=references),
        # Distances of near-duplicates differ from model to model: the same are to be left out.
        exclusions=Exclusions(same_bytes=True),
    )
    return np.array(found.errors_km)


def gain(differences: NDArray[np.float64]) -> tuple[float, float, float]:
    """The mean and its 95 % interval, drawing queries again and again."""
    rng = np.random.default_rng(0)
    drawn = differences[rng.integers(0, len(differences), (4000, len(differences)))].mean(axis=1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return float(differences.mean()), float(low), float(high)


def _cost(folder: Path) -> dict[int, float]:
    """CPU time from file to embedding by the views taken, as a multiple of that of one view."""
    files = [str(path) for path in sorted(folder.glob("*.jpg"))[:TIMED]]
    best = {}
    for count in VIEWS:
        backbone = load_backbone(with_views(DEFAULT_MODEL, count), device="cpu")
        list(embed_files(backbone, files[:2]))
        times = []
        for _ in range(3):
            started = time.process_time()
            list(embed_files(backbone, files))
            times.append(time.process_time() - started)
        best[count] = min(times)
    return {count: spent / best[1] for count, spent in best.items()}


def _print(result: dict[str, Any]) -> None:
    for row in result["rows"]:
        cells = [
            f"{limit * 1000:.0f} m" if limit < 1 else f"{limit:.0f} km" for limit in row["hits"]
        ]
        figures = [
            f"{cell}: {100 * hits:5.1f} %  {100 * gain:+5.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
            for cell, (hits, gain, low, high) in zip(cells, row["hits"].values(), strict=True)
        ]
        label = f"{row['views']} views" + (f", {row['whitened']}" if row["whitened"] else "")
        print(f"{row['queries']:8} n {row['n']:4}  {label:14}  {'   '.join(figures)}")
    print(
        "CPU time of one photo, by views: "
        + ", ".join(f"{count}: {times:.1f} times" for count, times in result["cost"].items())
    )


if __name__ == "__main__":
    main()
