"""What geometric verification adds to the nearest neighbour and the density, and what it costs.

python benchmarks/verify.py --photos MANIFEST --folder verify

Three kinds of queries, with and without `--verify`: real photos of a few sites, each asked of all
others; warps of references (perspective, crop, light), whose own reference must come first, among
real photos and space views; and hard space views, of which no reference shows the same picture.
Gains are beside the same without verification, in points, with 95 % intervals by a paired
bootstrap. The manifest's column `site`, if it has one, parts the real photos.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from evidence import gain
from numpy.typing import NDArray
from PIL import Image, ImageEnhance
from scratch import scratch_database

from geosearch.client import Geosearch, LocalizeOptions
from geosearch.defaults import DEFAULT_MODEL
from geosearch.evaluation import evaluate_each
from geosearch.evaluation.queries import QuerySet, manifest_queries, stored_queries
from geosearch.features.model_rows import find_model
from geosearch.localization import Parameters
from geosearch.retrieval import where
from geosearch.retrieval.duplicates import Exclusions
from geosearch.sample.space import SpaceSample, write_space_sample
from geosearch.sample.views import Difficulty
from geosearch.storage import resolve

REFERENCES_SEED, QUERIES_SEED, WARPS_SEED = 0, 2, 5
#: Distances of a hit, km: among photos of a site, of a warp to its own reference, and in space.
PHOTOS_KM, WARPS_KM, SPACE_KM = (0.025, 0.1), (0.001,), (200.0,)
#: Sites of fewer photos are one group.
FEWEST = 25
#: Queries that are timed.
TIMED = 12

#: Corners are moved by up to so much of the sides, so much of each side is kept, and light changes
#: by up to this factor.
WARPS = {"mild": (0.06, 0.85, 1.3), "strong": (0.14, 0.6, 2.0)}

Errors = NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--references", type=int, default=2000, help="space views")
    parser.add_argument("--queries", type=int, default=200, help="real photos asked; half of warps")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--verify", type=int, nargs="+", default=[10, 20])
    parser.add_argument("--photos", type=Path, required=True, help="manifest of real photos")
    parser.add_argument("--folder", type=Path, help="keep made photos, and use those there")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args()
    with scratch_database() as database, tempfile.TemporaryDirectory() as folder:
        gs = Geosearch(database)
        place = given.folder or Path(folder)
        write_space_sample(SpaceSample(given.references, 0, REFERENCES_SEED), place / "references")
        gs.ingest(place / "references" / "references", collection="space")
        gs.ingest(given.photos, collection="photos")
        gs.embed()
        rows = [row for kind in given.kinds for row in KINDS[kind](gs, place, given)]
        cost = _cost(gs, given.photos, given.verify)
    result = {"rows": rows, "cost": cost}
    print(json.dumps(result)) if given.json else _print(result)


def _photos(gs: Geosearch, _: Path, given: argparse.Namespace) -> list[dict[str, Any]]:
    """Each of the real photos asked of the others."""
    manifest = given.photos
    with gs.database.connection() as connection:
        model = find_model(connection, DEFAULT_MODEL)
    asked = stored_queries(gs.database, model, where(collections="photos"))
    asked = asked.sample(given.queries, QUERIES_SEED)
    with manifest.open(newline="") as stream:
        sites = {
            resolve(row["file"], str(manifest)): row.get("site") for row in csv.DictReader(stream)
        }
    of = [sites.get(query.uri) or "all" for query in asked.queries]
    large = {site for site, count in Counter(of).items() if count >= FEWEST}
    groups = np.array([site if site in large else "other sites" for site in of])
    return _asked(gs, asked, groups, "photos", PHOTOS_KM, given.verify, collections="photos")


def _warps(gs: Geosearch, place: Path, given: argparse.Namespace) -> list[dict[str, Any]]:
    """Warps of references, which all others distract from."""
    with gs.database.connection() as connection:
        rows = connection.execute(
            "SELECT p.uri, ST_Y(geom), ST_X(geom), c.name FROM geosearch.photos AS p "
            "JOIN geosearch.collections AS c ON c.id = collection_id ORDER BY p.id"
        ).fetchall()
    made = []
    for name, strength in WARPS.items():
        folder = place / f"warped-{name}"
        folder.mkdir(exist_ok=True)
        rng = np.random.default_rng(WARPS_SEED)
        lines, kinds = ["uri,lat,lon"], []
        for kind in ("space", "photos"):
            own = [row for row in rows if row[3] == kind]
            chosen = rng.choice(len(own), min(given.queries // 4, len(own)), replace=False)
            for index in sorted(chosen):
                uri, lat, lon, _ = own[index]
                file = folder / f"{kind}-{Path(uri).stem}.jpg"
                with Image.open(uri) as picture:
                    warped(picture.convert("RGB"), strength, rng).save(file, quality=90)
                lines.append(f"{file.name},{lat!r},{lon!r}")
                kinds.append(f"warps, {name}: {kind}")
        manifest = folder / "queries.csv"
        manifest.write_text("\n".join(lines) + "\n")
        made += _asked(
            gs,
            manifest_queries(manifest),
            np.array(kinds),
            f"warps, {name}",
            WARPS_KM,
            given.verify,
        )
    return made


def warped(
    picture: Image.Image, strength: tuple[float, float, float], rng: np.random.Generator
) -> Image.Image:
    """The picture in another perspective, a part of it, in other light."""
    moved, kept, light = strength
    sides = np.array(picture.size, float)
    corners = np.array([(0, 0), (1, 0), (1, 1), (0, 1)]) * kept
    corners = corners + rng.uniform(0, 1 - kept, 2) + rng.uniform(-moved, moved, (4, 2)) * kept
    size = np.maximum(1, np.rint(sides * kept)).astype(int)
    equations, values = [], []
    for (x, y), (u, v) in zip(
        np.array([(0, 0), (1, 0), (1, 1), (0, 1)]) * size, corners * sides, strict=True
    ):
        equations += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    matrix = np.linalg.solve(np.array(equations), np.array(values))
    seen = picture.transform(
        (int(size[0]), int(size[1])),
        Image.Transform.PERSPECTIVE,
        tuple(matrix),
        Image.Resampling.BICUBIC,
    )
    factors = light ** rng.uniform(-1, 1, 2)
    return ImageEnhance.Contrast(ImageEnhance.Brightness(seen).enhance(factors[0])).enhance(
        factors[1]
    )


def _space(gs: Geosearch, place: Path, given: argparse.Namespace) -> list[dict[str, Any]]:
    """Hard space views: turned, of other light, cloudy, none of them a reference's own."""
    sample = SpaceSample(0, given.queries // 4, QUERIES_SEED, Difficulty("hard"))
    write_space_sample(sample, place / "hard")
    asked = manifest_queries(place / "hard" / "queries.csv")
    groups = np.full(len(asked), "space views, hard")
    return _asked(gs, asked, groups, groups[0], SPACE_KM, given.verify, collections="space")


def _asked(
    gs: Geosearch,
    asked: QuerySet,
    groups: NDArray[np.str_],
    everything: str,
    limits: tuple[float, ...],
    verify: list[int],
    **passing: Any,
) -> list[dict[str, Any]]:
    """Hits by group, of the nearest neighbour and of the density, with and without."""
    rows = []
    before: dict[str, Errors] = {}
    for count in (0, *verify):
        found = evaluate_each(
            gs.database,
            asked,
            [
                Parameters("density", 100, exact=True, verify=count),
                Parameters("nearest", 1, exact=True, verify=count),
            ],
            model=DEFAULT_MODEL,
            where=where(**passing),
            exclusions=Exclusions(same_bytes=True),
        )
        for evaluation in found:
            method = str(evaluation.parameters["method"])
            errors = np.array(evaluation.errors_km)
            plain = before.setdefault(method, errors)
            for group in dict.fromkeys([*groups.tolist(), everything]):
                own = np.full(len(errors), True) if group == everything else groups == group
                rows += [
                    {
                        "queries": group,
                        "n": int(own.sum()),
                        "method": method,
                        "verify": count,
                        "km": km,
                        "hits": float((errors[own] <= km).mean()),
                        "gain": gain((errors[own] <= km).astype(float) - (plain[own] <= km)),
                    }
                    for km in limits
                ]
    return rows


#: The kinds of queries.
KINDS = {"photos": _photos, "warps": _warps, "space": _space}


def _cost(gs: Geosearch, manifest: Path, verify: list[int]) -> dict[int, float]:
    """CPU seconds of one query, from file to answer, by how many references are verified."""
    files = [query.uri for query in manifest_queries(manifest).queries[::20]][:TIMED]
    spent = {}
    for count in (0, *verify):
        asked = LocalizeOptions(verify=count, calibrate=False, record=False)
        gs.localize(files[0], **asked)
        started = time.process_time()
        for file in files:
            gs.localize(file, **asked)
        spent[count] = (time.process_time() - started) / len(files)
    return spent


def _print(result: dict[str, Any]) -> None:
    for row in sorted(result["rows"], key=lambda row: (row["queries"], row["km"], row["method"])):
        mean, low, high = (100 * each for each in row["gain"])
        within = f"{1000 * row['km']:.0f} m" if row["km"] < 1 else f"{row['km']:.0f} km"
        gained = f"{mean:+6.1f} [{low:+.1f}, {high:+.1f}]" if row["verify"] else ""
        print(
            f"{row['queries']:22} n {row['n']:4}  within {within:6}  {row['method']:8} "
            f"verify {row['verify']:2}: {100 * row['hits']:5.1f} %  {gained}"
        )
    for count, seconds in result["cost"].items():
        print(f"CPU time of a query, verify {count}: {seconds:.2f} s")


if __name__ == "__main__":
    main()
