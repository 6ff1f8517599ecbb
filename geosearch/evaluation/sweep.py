"""Many parameters on the same neighbours: which are best at which distance."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geosearch.atomic_files import write_table
from geosearch.density.place import IM2GPS_BANDWIDTH_KM
from geosearch.density.weights import parse_weighting
from geosearch.evaluation.evaluating import Evaluation
from geosearch.evaluation.metrics import HELD
from geosearch.json_record import Record
from geosearch.localization.answer import Parameters
from geosearch.words import threshold

#: Keys of an evaluation's JSON that are the same in all of a sweep.
_SHARED = (
    *("sweep_id", "queries", "model", "n", "excluded"),
    *("failed", "failed_by_reason", "missing", "unlabelled"),
)


def grid(
    methods: Sequence[str],
    k: Sequence[int],
    bandwidths_km: Sequence[float | None],
    weightings: Sequence[str],
    *,
    exact: bool = False,
    verify: int = 0,
) -> list[Parameters]:
    """All combinations that can differ; `verify` neighbours are verified for each.

    A bandwidth of None follows the neighbours. `nearest` and `geocell` have neither k nor bandwidth
    nor weighting, `im2gps` no bandwidth, and the density of one neighbour has its mode there
    whatever its bandwidth.

    Raises
    ------
    InputError
        A value is out of range or unknown.
    """
    for weighting in weightings:
        parse_weighting(weighting)
    made: list[Parameters] = []
    for method in methods:
        if method == "geocell":
            made.append(Parameters(method, 0, exact=exact))
            continue
        if method == "nearest":
            made.append(Parameters(method, 1, exact=exact, verify=verify))
            continue
        for size in k:
            alone = method == "density" and size == 1
            for weighting in weightings[:1] if alone else weightings:
                widths = (None,) if method == "im2gps" else bandwidths_km[: 1 if alone else None]
                made += [
                    Parameters(method, size, width, weighting, exact, verify=verify)
                    for width in widths
                ]
    return list(dict.fromkeys(made))


@dataclass(frozen=True)
class Pattern(
    Record, one_is_best="one_neighbour_is_best", widens="wider_kernels_at_coarser_distances"
):
    """Whether one neighbour is best at the finest distance, and wider kernels at coarser ones.

    That is what Vo, Jacobs and Hays (Revisiting IM2GPS, 2017) found. Judged are the thresholds at
    which the evaluations differ at all. `one_is_best`: at the finest of them, `finest_km`, no
    evaluation has more hits than one neighbour. `widens`: towards coarser ones the best kernel
    gets wider, and never narrower.
    """

    finest_km: float
    one_is_best: bool
    widens: bool
    sentence: str


@dataclass(frozen=True)
class Sweep:
    """Evaluations on the same queries and neighbours."""

    evaluations: tuple[Evaluation, ...]

    @property
    def within_km(self) -> tuple[float, ...]:
        """The distances of all their figures, kilometres."""
        return self.evaluations[0].within_km

    @property
    def best(self) -> dict[float, Evaluation]:
        """The best evaluation at each threshold, in km; of equals, the one with the narrowest
        kernel and then the fewest neighbours.
        """
        return {
            km: min(
                self.evaluations,
                key=lambda item: (-item.hits(km), *_width(item)),
            )
            for km in self.within_km
        }

    @property
    def pattern(self) -> Pattern | None:
        """None if there is nothing to judge: no evaluation rests on one neighbour, or on more by
        kernels of a known width, or none differs from the others.
        """
        known = [item for item in self.evaluations if math.isfinite(_width(item)[0])]
        if len(known) < len(self.evaluations):
            return Sweep(tuple(known)).pattern if known else None
        judged = [
            km for km in self.within_km if len({item.hits(km) for item in self.evaluations}) > 1
        ]
        ones = [item for item in self.evaluations if not _width(item)[0]]
        others = [item for item in self.evaluations if _width(item)[0]]
        if not judged or not ones or not others:
            return None
        finest = judged[0]
        one = max(item.hits(finest) for item in ones)
        rival = max(others, key=lambda item: item.hits(finest))
        one_is_best = one >= rival.hits(finest)
        widens = self._widens(judged)
        verdict = {2: "holds", 1: "holds in part", 0: "does not hold"}[one_is_best + widens]
        best = "; ".join(f"{threshold(km)}: {label(self.best[km])}" for km in judged)
        sentence = (
            f"Within {threshold(finest)} one neighbour has {one} hits of {rival.accuracy.n}, the "
            f"best of the others ({label(rival)}) {rival.hits(finest)}: one neighbour is "
            f"{'' if one_is_best else 'not '}best at the finest distance. The best kernel "
            f"{'gets' if widens else 'does not get'} steadily wider with the distance ({best}). "
            f"One neighbour first, wider kernels later: this {verdict} here."
        )
        return Pattern(finest, one_is_best, widens, sentence)

    def _widens(self, thresholds: Sequence[float]) -> bool:
        widths = []
        for km in thresholds:
            most = max(item.hits(km) for item in self.evaluations)
            widths.append({_width(item)[0] for item in self.evaluations if item.hits(km) == most})
        # Of kernels that are equally good, the narrowest that keeps the order.
        at = min(widths[0])
        for found in widths[1:]:
            if max(found) < at:
                return False
            at = min(width for width in found if width >= at)
        return at > min(widths[0])

    def to_json(self) -> dict[str, Any]:
        """The object that `geosearch sweep --json` prints."""
        items = [item.to_json() for item in self.evaluations]
        pattern = self.pattern
        return {
            **{key: items[0][key] for key in _SHARED},
            "evaluations": [
                {key: value for key, value in item.items() if key not in _SHARED} for item in items
            ],
            "best": {str(km): item.id for km, item in self.best.items()},
            "pattern": None if pattern is None else pattern.to_json(),
        }

    def write_csv(self, file: Path) -> None:
        """One row for each evaluation: parameters, shares with their intervals, errors, areas."""
        write_table(file, self._rows())

    def _rows(self) -> Iterator[list[Any]]:
        shares = [f"within_{km}_km{end}" for km in self.within_km for end in ("", "_low", "_high")]
        names = ["method", "k", "bandwidth_km", "weighting"]
        searched = [f"area_{part}_km2" for part in HELD]
        yield ["evaluation_id", *names, "n", *shares, "median_km", "mean_km", *searched]
        for item in self.evaluations:
            figures = item.figures
            cells = [
                value
                for km in self.within_km
                for value in (
                    figures.accuracy.within[km],
                    figures.within[km].low,
                    figures.within[km].high,
                )
            ]
            given = [item.parameters[name] for name in names]
            errors = [figures.accuracy.median_km, figures.accuracy.mean_km]
            areas = [""] * len(HELD) if item.areas is None else item.areas.holding_km2.values()
            yield [item.id, *given, figures.accuracy.n, *cells, *errors, *areas]


def label(evaluation: Evaluation) -> str:
    """Its method and what varies with it, for people."""
    parameters = evaluation.parameters
    if parameters["method"] in ("nearest", "geocell"):
        return str(parameters["method"])
    width = parameters["bandwidth_km"]
    return f"{parameters['method']} k {parameters['k']}" + (
        "" if width is None else f" {threshold(width)}"
    )


def _width(evaluation: Evaluation) -> tuple[float, int]:
    """Width of the kernel in km, 0 for one neighbour, infinite without one for all; then k."""
    parameters = evaluation.parameters
    k = int(parameters["k"])
    if parameters["method"] == "nearest" or k == 1:
        return 0.0, 1
    if parameters["method"] == "im2gps":
        return IM2GPS_BANDWIDTH_KM, k
    return float(parameters["bandwidth_km"] or math.inf), k
