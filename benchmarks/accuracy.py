"""Accuracy on the space-view sample: three methods, three difficulties, one set of references.

python benchmarks/accuracy.py --references 6000 --queries 400 --seed 0
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from arguments import read_arguments
from scratch import scratch_database

from geosearch.client import Geosearch
from geosearch.localization import Parameters
from geosearch.sample.space import SpaceSample, write_space_sample
from geosearch.sample.views import Difficulty

METHODS = {
    "nearest": Parameters(method="nearest", k=1),
    "im2gps": Parameters(method="im2gps", k=100),
    "density": Parameters(method="density", k=100),
}


def main() -> None:
    arguments = read_arguments(__doc__, references=6000, queries=400, seed=0)
    sample = SpaceSample(arguments.references, arguments.queries, arguments.seed)

    with scratch_database() as database, tempfile.TemporaryDirectory() as folder:
        results = measure(Geosearch(database), sample, Path(folder))
    if arguments.json:
        print(json.dumps(results))
        return
    print(f"{sample.references} references, {sample.queries} queries each, {os.cpu_count()} cores")
    print("difficulty  method     25 km   200 km   750 km  2500 km   median")
    for result in results:
        shares = "".join(f"{result['accuracy'][km]:>9.1%}" for km in ("25", "200", "750", "2500"))
        print(
            f"{result['difficulty']:<11} {result['method']:<7} {shares} "
            f"{result['median_km']:>5.0f} km"
        )


def measure(gs: Geosearch, sample: SpaceSample, folder: Path) -> list[dict[str, Any]]:
    """Figures for each difficulty and method; the references are the same for all."""
    results = []
    for difficulty in Difficulty:
        # Only the first sample holds references: difficulty changes nothing but the queries.
        clean = difficulty is Difficulty.CLEAN
        wanted = replace(
            sample, difficulty=difficulty, references=sample.references if clean else 0
        )
        place = folder / difficulty
        write_space_sample(wanted, place)
        if clean:
            gs.ingest(place / "references", collection="space")
            gs.embed()
            gs.index()
        for parameters in METHODS.values():
            report = gs.evaluate(place / "queries.csv", parameters=parameters).to_json()
            results.append({"difficulty": str(difficulty)} | report)
    return results


if __name__ == "__main__":
    main()
