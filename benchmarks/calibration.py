"""Calibration on the space-view sample: accuracy, coverage, and a continent that is missing.

python benchmarks/calibration.py --references 6000 --labelled 2000 --queries 1000

For each difficulty a calibration is fitted to labelled queries, of which half are held out, and
tried on fresh queries of another seed. One calibration for each, because each stands for a camera
of its own: a calibration holds for queries like those it was fitted to.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from scratch import scratch_database
from shapely import Polygon

from geosearch.calibration import Calibration
from geosearch.client import Geosearch
from geosearch.defaults import DEFAULT_MODEL
from geosearch.evaluation import LEAKAGE, QuerySet, evaluate_each
from geosearch.evaluation.calibrating import calibrate
from geosearch.evaluation.metrics import wilson
from geosearch.evaluation.queries import stored_queries
from geosearch.features.model_rows import find_model
from geosearch.localization import Parameters, Request
from geosearch.retrieval import Filter, where
from geosearch.sample.space import SpaceSample, write_space_sample
from geosearch.sample.views import Difficulty
from geosearch.thresholds import WORLD_KM

#: Seeds of the references, of the queries fitted to and of the fresh ones.
REFERENCES_SEED, LABELLED_SEED, FRESH_SEED = 0, 1, 2

#: Rough outlines, longitude and latitude: each holds its continent's land and no other's.
CONTINENTS = {
    "Africa": Polygon(
        [
            *((-26, -36), (52, -36), (52, 12), (43.3, 12.5), (32.5, 30), (34, 31.5)),
            *((11, 37.6), (-5.5, 35.9), (-26, 34)),
        ]
    ),
    "South America": Polygon(
        [(-82, -57), (-34, -57), (-34, 13), (-77, 13), (-77.3, 7.5), (-82, 7)]
    ),
    "Australia": Polygon(
        [(112, -45), (154.5, -45), (154.5, -11), (142.5, -9.8), (129, -10.5), (112, -20)]
    ),
}

#: Rates of false alarms at which the share of caught queries is printed.
FALSE_ALARMS = (0.05, 0.1, 0.2, 0.3, 0.5)

METHODS = ("density", "im2gps", "nearest")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--references", type=int, default=6000)
    parser.add_argument("--labelled", type=int, default=2000)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--folder", type=Path, help="keep the photos here, and use those there")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args()
    with scratch_database() as database, tempfile.TemporaryDirectory() as folder:
        gs = Geosearch(database)
        _load(gs, given.folder or Path(folder), given.references, given.labelled, given.queries)
        results = [measure(gs, difficulty) for difficulty in Difficulty]
    if given.json:
        print(json.dumps(results))
    else:
        _print(results)


def _load(gs: Geosearch, folder: Path, references: int, labelled: int, queries: int) -> None:
    """Cut, ingest and embed all photos: references, and a collection for each set of queries."""
    place = folder / "references"
    write_space_sample(SpaceSample(references, 0, REFERENCES_SEED), place)
    gs.ingest(place / "references", collection="space")
    for difficulty in Difficulty:
        for name, count, seed in (
            ("labelled", labelled, LABELLED_SEED),
            ("fresh", queries, FRESH_SEED),
        ):
            place = folder / f"{name}-{difficulty}"
            write_space_sample(SpaceSample(0, count, seed, difficulty), place)
            gs.ingest(place / "queries.csv", collection=f"{name}-{difficulty}")
    gs.embed()


def measure(gs: Geosearch, difficulty: Difficulty) -> dict[str, Any]:
    """Figures of one difficulty."""
    space = where(collections="space")
    with gs.database.connection() as connection:
        model = find_model(connection, DEFAULT_MODEL)
    labelled, fresh = (
        stored_queries(gs.database, model, where(collections=f"{name}-{difficulty}"))
        for name in ("labelled", "fresh")
    )
    made = calibrate(gs.database, labelled, where=space)
    found = evaluate_each(
        gs.database,
        fresh,
        [
            Request(calibration=made.id, exact=True),
            Parameters("im2gps", exact=True),
            Parameters("nearest", 1, exact=True),
        ],
        where=space,
        exclusions=LEAKAGE,
    )
    hits = {
        name: [one.hits(km) for km in WORLD_KM] for name, one in zip(METHODS, found, strict=True)
    }
    levels = _stored(gs, found[0].id, "truth_level")
    return {
        "difficulty": str(difficulty),
        "n": len(fresh),
        "calibration": _summary(made),
        "hits": hits,
        "coverage": {level: int(np.sum(levels <= level / 100)) for level in (50, 90)},
        "brier": {km: _brier(gs, found[0].id, km) for km in WORLD_KM},
        "absent": {name: _absent(gs, made, fresh, space, name) for name in CONTINENTS},
    }


def _absent(
    gs: Geosearch, made: Calibration, fresh: QuerySet, space: Filter, continent: str
) -> dict[str, Any]:
    """Queries of a continent whose references are hidden, and of the others, and who is doubted."""
    outline = CONTINENTS[continent]
    (found,) = evaluate_each(
        gs.database,
        fresh,
        [Request(calibration=made.id, exact=True)],
        where=space & ~where(within=outline),
    )
    lat, lon = np.array([query.truth for query in fresh.queries]).T
    gone = shapely.contains_xy(outline, lon, lat)
    doubted = _stored(gs, found.id, "confident") == 0
    presence = _presence(gs, found.id)
    limits = np.quantile(presence[~gone], FALSE_ALARMS)
    return {
        "trade_off": {
            rate: int((presence[gone] < limit).sum())
            for rate, limit in zip(FALSE_ALARMS, limits, strict=True)
        },
        "absent": int(gone.sum()),
        "caught": int((gone & doubted).sum()),
        "present": int((~gone).sum()),
        "false_alarms": int((~gone & doubted).sum()),
    }


def _stored(gs: Geosearch, evaluation_id: int, column: str) -> np.ndarray:
    """A column of an evaluation's answers, in order, as numbers."""
    with gs.database.connection() as connection:
        rows = connection.execute(
            "SELECT truth_level, confident::int FROM geosearch.localizations "
            "WHERE evaluation_id = %s ORDER BY id",
            (evaluation_id,),
        ).fetchall()
    return np.array(rows, dtype=float)[:, ("truth_level", "confident").index(column)]


def _presence(gs: Geosearch, evaluation_id: int) -> np.ndarray:
    """The presence of an evaluation's answers, in order."""
    with gs.database.connection() as connection:
        rows = connection.execute(
            "SELECT id FROM geosearch.localizations WHERE evaluation_id = %s ORDER BY id",
            (evaluation_id,),
        ).fetchall()
    return np.array([gs.load(key).presence for (key,) in rows], dtype=float)


def _brier(gs: Geosearch, evaluation_id: int, km: float) -> float:
    """Mean squared difference of the probability of so small an error, and whether it was."""
    with gs.database.connection() as connection:
        row = connection.execute(
            "SELECT avg(((probability_within_km ->> %s)::float8 - (error_km <= %s)::int) ^ 2) "
            "FROM geosearch.localizations WHERE evaluation_id = %s",
            (str(km), km, evaluation_id),
        ).fetchone()
    assert row is not None
    return float(row[0])


def _summary(made: Calibration) -> dict[str, Any]:
    fitted = made.fitted
    return {
        "k": fitted.k,
        "bandwidth": fitted.bandwidth,
        "weighting": fitted.weighting,
        "sharpness": fitted.sharpness,
        "n_fit": made.n_fit,
        "n_check": made.n_check,
        "log_likelihood": made.figures["log_likelihood"],
        "log_likelihood_before": made.figures["before"]["log_likelihood"],
    }


def _print(results: list[dict[str, Any]]) -> None:
    for result in results:
        n, made = result["n"], result["calibration"]
        print(
            f"\n{result['difficulty']}: {n} fresh queries; fitted to {made['n_fit']}: "
            f"k {made['k']}, {made['weighting']}, bandwidth {made['bandwidth']:g} spacings, "
            f"sharpness {made['sharpness']:g}"
        )
        print(
            f"log-likelihood of {made['n_check']} held-out truths: "
            f"{made['log_likelihood_before']:.3f} by the defaults, "
            f"{made['log_likelihood']:.3f} calibrated"
        )
        print("within        " + "".join(f"{km:>18,} km" for km in WORLD_KM))
        for method in METHODS:
            cells = (_share(hits, n) for hits in result["hits"][method])
            print(f"{method:<14}" + "".join(f"{cell:>21}" for cell in cells))
        print("Brier score   " + "".join(f"{result['brier'][km]:>21.4f}" for km in WORLD_KM))
        for level, hits in result["coverage"].items():
            print(f"{level} % region holds the truth: {_share(hits, n)}")
        for continent, counts in result["absent"].items():
            print(
                f"without {continent}: caught {_share(counts['caught'], counts['absent'])} of "
                f"{counts['absent']}, false alarms "
                f"{_share(counts['false_alarms'], counts['present'])} of {counts['present']}"
            )
            caught = (
                f"{hits / counts['absent']:.0%} at {rate:.0%}"
                for rate, hits in counts["trade_off"].items()
            )
            print(f"    other thresholds, caught at false alarms: {', '.join(caught)}")


def _share(hits: int, n: int) -> str:
    ends = wilson(hits, n)
    return f"{hits / n:.1%} ({100 * ends.low:.1f}-{100 * ends.high:.1f})"


if __name__ == "__main__":
    main()
