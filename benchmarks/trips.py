"""What time and track add to the picture, of journeys in which most photos have no position.

python benchmarks/trips.py --folder trips

Each trip sample (`geosearch sample trip`) is ingested: photos of a traveller, 70 % of them without
a position, by cameras whose clocks are off by up to 12 hours, 5 % of them with another time than
that; and photos of other people. A calibration is fitted to what has a position, as
`geosearch calibrate --leave-one-out` does, without faults among them: those are for audits. Then
every photo without a position is placed by the picture alone, by the photos before and after alone,
by the track alone and by all together. Prints median errors, the shares within 1, 25 and 200 km,
with 95 % intervals of the differences by a paired bootstrap over sessions, and how often the
regions hold the truth, or the position as a receiver would have recorded it. `timeline` and
`picture and positions` go by photos with positions alone, the others by what the pictures of photos
without positions show, too; of sessions in which no photo has a position the figures are given once
more.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scratch import scratch_database

from geosearch.client import Geosearch
from geosearch.density import level_at
from geosearch.density.best_point import best_point
from geosearch.localization import Failure, Localization
from geosearch.sample.trip import RECEIVER_M, TripSample, write_trip_sample
from geosearch.sample.worlds import Over
from geosearch.sphere import destination, great_circle_km, lat_lon
from geosearch.timeline.timeline_prior import chances_prior, moment_prior
from geosearch.words import format_km

WITHIN_KM = (1.0, 25.0, 200.0)
KINDS = (
    *("picture", "timeline", "track", "picture and positions", "picture and timeline"),
    "all",
)
#: What all together are compared with.
AGAINST = ("picture", "timeline", "track")
#: Of sessions without any position, and by what: the others' pictures are a part of the last.
BARE = ("picture", "picture and positions", "picture and timeline")
LEVELS = (0.5, 0.9)

Values = NDArray[np.float64]
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=500, help="of a traveller")
    parser.add_argument("--references", type=int, default=1000, help="of other people")
    parser.add_argument("--seeds", type=int, nargs="+", default=[101], help="of the samples")
    parser.add_argument("--over", type=Over, nargs="+", choices=list(Over), default=list(Over))
    parser.add_argument("--folder", type=Path, help="keep the samples here, and use those there")
    parser.add_argument("--rows", type=Path, help="write here how each photo was placed, as JSON")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        placed = {
            str(over): [row for seed in given.seeds for row in rows(given, folder, over, seed)]
            for over in given.over
        }
    if given.rows is not None:
        given.rows.write_text(json.dumps(placed), encoding="utf-8")
    result = {over: summary(found) for over, found in placed.items()}
    if given.json:
        print(json.dumps(result))
    else:
        for over, figures in result.items():
            _print(over, figures)


def rows(given: argparse.Namespace, folder: Path, over: Over, seed: int) -> list[Row]:
    """How each photo without a position was placed."""
    sample = TripSample(
        photos=given.photos, references=given.references, over=over, seed=seed, faults=0.0
    )
    made = folder / f"{over}-{seed}-{given.photos}-{given.references}"
    write_trip_sample(sample, made)
    with (made / "truth.csv").open(newline="", encoding="utf-8") as file:
        truth = {str(made / row["file"]): row for row in csv.DictReader(file)}
    asked = [uri for uri, row in truth.items() if row["located"] == "0"]
    tracks = sorted((made / "tracks").iterdir())
    with scratch_database() as database:
        gs = Geosearch(database)
        started = time.perf_counter()
        gs.ingest(made / "mine", collection="mine")
        gs.ingest(made / "references", collection="others")
        gs.embed()
        embedded = time.perf_counter()
        # Photos without a position find what else the traveller took there, so these do too.
        gs.calibrate(
            None,
            seed=seed,
            force=True,
            exclude_duplicates=None,
            exclude_same_author=False,
            track=tracks,
        )
        fitted = time.perf_counter()
        found = list(gs.localize_many(asked, timeline=True, track=tracks, record=False))
        seconds = embedded - started, fitted - embedded, time.perf_counter() - fitted
        said = "embedded in {:.0f} s, fitted in {:.0f}, asked in {:.0f}".format(*seconds)
        print(f"{over} {seed}: {len(asked)} of {given.photos}; {said}", flush=True)
    placed = {row["session"] for row in truth.values() if row["located"] == "1"}
    return [
        _row(answer, truth[answer.photo], seed)
        | {"bare": truth[answer.photo]["session"] not in placed}
        for answer in found
        if not isinstance(answer, Failure)
    ]


def _row(answer: Localization, truth: dict[str, str], seed: int) -> Row:
    place = float(truth["true_lat"]), float(truth["true_lon"])
    calibrated, picture, evidence = answer.calibrated, answer.by_picture, answer.evidence
    assert calibrated is not None
    assert picture is not None
    within = calibrated.fitted.within_km
    errors, levels = dict.fromkeys(KINDS, np.inf), dict.fromkeys(KINDS, np.nan)
    recorded: dict[str, float] = {}
    # Where a receiver would have seen it: known positions, which all is fitted to, are such.
    noise = np.random.default_rng(int.from_bytes(answer.query.sha256[:4]))
    away = abs(noise.normal(0, RECEIVER_M)) / 1000
    lat, lon = destination(*place, noise.uniform(0, 360), away)
    receiver = float(lat), float(lon)

    def note(kind: str, point: tuple[Any, Any], level: float) -> None:
        errors[kind], levels[kind] = float(great_circle_km(*point, *place)), level

    note("picture", calibrated.estimate, calibrated.level_of(*place))
    for kind in ("picture and positions", "picture and timeline", "all"):
        note(kind, calibrated.estimate, levels["picture"])
    if evidence is not None:
        movement = evidence.fusion.movement
        positions = (evidence.timeline and replace(evidence.timeline, session=None)) or None
        alone = {} if positions is None else {"timeline": moment_prior(movement, positions)}
        if evidence.track is not None:
            alone["track"] = chances_prior(movement, evidence.track.chances)
        for kind, prior in alone.items():
            note(kind, lat_lon(best_point(prior, within)), level_at(prior, *place))
        blank = bool(answer.query.low_information)
        without = replace(evidence, track=None)
        by_positions = replace(without, timeline=positions)
        for kind, known in (
            ("picture and positions", by_positions),
            ("picture and timeline", without),
            ("all", evidence),
        ):
            if not known:
                continue
            told = known.fused(picture, within, blank=blank)
            note(kind, lat_lon(told.estimate), told.level_of(*place))
            recorded[kind] = told.level_of(*receiver)
    return {
        "errors": errors,
        "levels": levels,
        "recorded": levels | recorded,
        "session": f"{seed}-{truth['session']}",
        "believed": {} if evidence is None else dict(evidence.believed),
        "hours": evidence.timeline.hours if evidence and evidence.timeline else None,
        "truth": truth,
    }


def summary(rows: list[Row]) -> dict[str, Any]:
    """The figures of a table."""
    levels, recorded = (_by_kind(rows, name, KINDS) for name in ("levels", "recorded"))
    session, bare = _session(rows), [row for row in rows if row["bare"]]
    return {
        **_figures(rows, KINDS, AGAINST),
        "coverage": {
            kind + of: _coverage(found[kind], session)
            for of, found in (("", levels), (", as recorded", recorded))
            for kind in ("picture", "picture and timeline", "all")
            if kind != "picture" or not of
        },
        "bare": {
            **_figures(bare, BARE, BARE[:-1]),
            "coverage": _coverage(_by_kind(bare, "levels", BARE)[BARE[-1]], _session(bare)),
        },
    }


def _figures(rows: list[Row], kinds: Sequence[str], against: Sequence[str]) -> dict[str, Any]:
    """Errors by some kinds of evidence, and what the last of these gains against others."""
    errors, session = _by_kind(rows, "errors", kinds), _session(rows)
    best = errors[kinds[-1]]
    return {
        "n": len(rows),
        "sessions": int(session.max()) + 1,
        "median_km": {kind: float(np.median(each)) for kind, each in errors.items()},
        "within": {
            f"{km:g}": {kind: float(np.mean(each <= km)) for kind, each in errors.items()}
            for km in WITHIN_KM
        },
        "gain": {
            f"{km:g}": {
                kind: _interval((best <= km).astype(float) - (errors[kind] <= km), session)
                for kind in against
            }
            for km in WITHIN_KM
        },
    }


def _by_kind(rows: list[Row], name: str, kinds: Sequence[str]) -> dict[str, Values]:
    return {kind: np.array([row[name][kind] for row in rows]) for kind in kinds}


def _session(rows: list[Row]) -> NDArray[np.intp]:
    """The number of each photo's session."""
    return np.unique([row["session"] for row in rows], return_inverse=True)[1]


def _coverage(level: Values, session: NDArray[np.intp]) -> dict[str, list[float]]:
    return {f"{100 * each:g}": _interval((level <= each).astype(float), session) for each in LEVELS}


def _interval(values: Values, session: NDArray[np.intp]) -> list[float]:
    """The mean, and the middle 95 % of the means of sessions drawn with replacement.

    Photos of one session are found or missed together.
    """
    random = np.random.default_rng(0)
    count = int(session.max()) + 1
    sums, sizes = np.bincount(session, values, count), np.bincount(session, minlength=count)
    drawn = random.integers(0, count, (2000, count))
    means = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    return [float(values.mean()), *np.quantile(means, (0.025, 0.975)).tolist()]


def _print(over: str, figures: dict[str, Any]) -> None:
    sessions = figures["sessions"]
    print(f"\n{over}: {figures['n']} photos without a position, of {sessions} sessions\n")
    print(
        "| | median | " + " | ".join(f"{km:g} km" for km in WITHIN_KM) + " |\n|---|---|---|---|---|"
    )
    _print_rows(figures, KINDS, AGAINST)
    for kind, held in figures["coverage"].items():
        print(f"{kind}: {', '.join(_holding(held))}")
    bare = figures["bare"]
    print(f"\n{bare['n']} of these are of {bare['sessions']} sessions without any position:\n")
    _print_rows(bare, BARE, BARE[:-1])
    print("\n".join(_holding(bare["coverage"])))


def _print_rows(figures: dict[str, Any], kinds: Sequence[str], against: Sequence[str]) -> None:
    for kind in kinds:
        shares = " | ".join(f"{100 * figures['within'][f'{km:g}'][kind]:.1f} %" for km in WITHIN_KM)
        print(f"| {kind} | {format_km(figures['median_km'][kind])} | {shares} |")
    for kind in against:
        gains = [figures["gain"][f"{km:g}"][kind] for km in WITHIN_KM]
        print(f"| {kinds[-1]}, against {kind} | | {' | '.join(map(_points, gains))} |")


def _holding(held: dict[str, list[float]]) -> list[str]:
    return [
        "{} % regions hold {:.0f} % ({:.0f} to {:.0f})".format(level, *(100 * x for x in each))
        for level, each in held.items()
    ]


def _points(gain: list[float]) -> str:
    return "{:+.1f} ({:+.1f} to {:+.1f})".format(*(100 * each for each in gain))


if __name__ == "__main__":
    main()
