"""What an audit finds of faults that were seeded into journeys, and what it doubts besides.

python benchmarks/audit.py --photos 600

Each sample is made by `geosearch sample trip` without missing positions: photos of a traveller by
three cameras, two of whose clocks are off, a share of them with a wrong position or a wrong hour,
and photos of other people. Prints, for each reason, how many were seeded, found, and named right,
and how many photos without a fault were doubted.
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

from scratch import scratch_database

from geosearch.client import Geosearch
from geosearch.sample.position_faults import Fault
from geosearch.sample.trip import TripSample, write_trip_sample
from geosearch.sample.worlds import Over
from geosearch.sphere import great_circle_km

Pairs = Counter[tuple[str, str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=600, help="of a traveller")
    parser.add_argument("--references", type=int, default=1000, help="of other people")
    parser.add_argument("--faults", type=float, default=0.1, help="share of the photos")
    parser.add_argument("--seeds", type=int, nargs="+", default=[31], help="of the samples")
    parser.add_argument("--over", type=Over, nargs="+", choices=list(Over), default=list(Over))
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args()
    pairs: Pairs = Counter()
    mended: list[bool] = []
    with tempfile.TemporaryDirectory() as folder:
        for over in given.over:
            for seed in given.seeds:
                measure(given, Path(folder), over, seed, pairs, mended)
    rows = {str(fault): row(pairs, str(fault)) for fault in Fault}
    seeded, found, named = (sum(each[name] for each in rows.values()) for name in rows["swapped"])
    right = sum(count for (fault, _), count in pairs.items() if not fault)
    false = sum(count for (fault, reason), count in pairs.items() if not fault and reason)
    figures = {
        "reasons": rows,
        "recall": found / seeded,
        "named_right": named / found,
        "false_alarms": false / right,
        "mended": sum(mended) / len(mended),
        "right_photos": right,
        "false": {reason: n for (fault, reason), n in pairs.items() if not fault and reason},
    }
    if given.json:
        print(json.dumps(figures))
        return
    print(f"{'fault':<14}{'seeded':>8}{'found':>8}{'named':>8}")
    for name, each in rows.items():
        print(f"{name:<14}" + "".join(f"{value:>8}" for value in each.values()))
    print(
        f"found {figures['recall']:.3f} of {seeded}, of these named right "
        f"{figures['named_right']:.3f}; doubted {false} of {right} right ones "
        f"({figures['false_alarms']:.4f}): {figures['false']}; of wrong positions found, "
        f"{figures['mended']:.3f} mended to a fifth of the error or less"
    )


def measure(
    given: argparse.Namespace,
    folder: Path,
    over: Over,
    seed: int,
    pairs: Pairs,
    mended: list[bool],
) -> None:
    """Audit one sample, and count what was seeded beside what was said."""
    sample = TripSample(
        photos=given.photos,
        references=given.references,
        over=over,
        seed=seed,
        missing=0.0,
        wrong_clocks=0.0,
        faults=given.faults,
    )
    made = folder / f"{over}-{seed}"
    write_trip_sample(sample, made)
    with (made / "truth.csv").open(newline="", encoding="utf-8") as file:
        truth = {str(made / row["file"]): row for row in csv.DictReader(file)}
    with scratch_database() as database:
        gs = Geosearch(database)
        gs.ingest(made / "mine", collection="mine")
        gs.ingest(made / "references", collection="others")
        gs.embed()
        started = time.perf_counter()
        doubts = {doubt.photo: doubt for doubt in gs.audit(collection="mine")}
        seconds = time.perf_counter() - started
    print(f"{over} {seed}: {len(truth)} photos judged in {seconds:.0f} s", flush=True)
    for photo, row_ in truth.items():
        doubt = doubts.get(photo)
        pairs[row_["fault"], doubt.reason if doubt else ""] += 1
        if doubt and row_["fault"] not in ("", "clock") and doubt.mend_lat is not None:
            assert doubt.mend_lon is not None
            place = float(row_["true_lat"]), float(row_["true_lon"])
            was = great_circle_km(*place, doubt.stated_lat, doubt.stated_lon)
            mended.append(bool(great_circle_km(*place, doubt.mend_lat, doubt.mend_lon) <= was / 5))


def row(pairs: Pairs, fault: str) -> dict[str, Any]:
    """Counts of one kind of fault."""
    found = {reason: count for (kind, reason), count in pairs.items() if kind == fault}
    return {
        "seeded": sum(found.values()),
        "found": sum(count for reason, count in found.items() if reason),
        "named": found.get(fault, 0),
    }


if __name__ == "__main__":
    main()
