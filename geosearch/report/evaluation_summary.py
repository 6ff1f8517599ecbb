"""Everything a report says of one evaluation, computed from its stored answers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geosearch.arguments import check_range
from geosearch.atomic_files import write_table
from geosearch.database.connection import Connection, Database
from geosearch.evaluation.metrics import Areas, Figures, areas, figures
from geosearch.json_record import plain
from geosearch.report.breakdown import (
    Group,
    by_count,
    by_name,
    continents,
    kinds_of_query,
    references_near,
)
from geosearch.report.evaluation_records import Answers, Evaluated, read_answers, read_evaluation
from geosearch.report.reliability import (
    Coverage,
    Doubt,
    Reliability,
    Trust,
    doubts,
    reliability,
    trust_by,
)
from geosearch.words import number_of, threshold

_NO_BORDERS = "By continent: no borders are loaded. Load them: geosearch borders load"
_NO_REFERENCES = "By density of references: the model, or a collection of the filter, is gone."
_NO_POSITIONS = (
    "This evaluation is part of a sweep and has errors and areas only: positions, agreements and "
    "regions are with the answers of evaluation {}."
)
_NO_CALIBRATION = (
    "The answers carry no probabilities: they were made without a calibration "
    "(geosearch calibrate)."
)
_NO_LEVELS = "Coverage of the regions: the answers do not say at which level the truth lies."

_BINS_A_DECADE = 5
_HALF_GLOBE_KM = 20037.5


@dataclass(frozen=True)
class Histogram:
    """Errors by logarithmic bins; `counts[i]` of them lie in `edges_km[i]` to `edges_km[i + 1]`.

    The first bin starts at 0. Queries without an estimate are in none.
    """

    edges_km: NDArray[np.float64]
    counts: NDArray[np.int64]

    def to_json(self) -> list[dict[str, Any]]:
        """As JSON: a list of bins."""
        return [
            {"from_km": float(low), "to_km": float(high), "count": int(count)}
            for low, high, count in zip(
                self.edges_km[:-1], self.edges_km[1:], self.counts, strict=True
            )
        ]


@dataclass(frozen=True)
class Summary:
    """Figures of one evaluation. What cannot be told is empty or None, and `notes` say why.

    `probabilities` maps a distance in km to the reliability of the probability that the error is
    at most that; `agreement` is that of the agreement, as if it were one, for `middle_km`.
    `areas` is None where none were stored. `by_kind` has coverage and reliability of the kinds of
    queries, by what tells them apart. `continent` and `references` (those within `radius_km` of
    the truth) have one entry an answer, or are None.
    """

    evaluation: Evaluated
    answers: Answers
    figures: Figures
    areas: Areas | None
    histogram: Histogram
    coverage: Sequence[Coverage]
    probabilities: Mapping[float, Reliability]
    agreement: Reliability | None
    doubts: Sequence[Doubt]
    continent: Sequence[str] | None
    references: NDArray[np.int64] | None
    radius_km: float
    by_kind: Mapping[str, Sequence[Trust]]
    by_continent: Sequence[Group] | None
    by_density: Sequence[Group] | None
    failed: Mapping[str, int]
    notes: Sequence[str]

    @property
    def within_km(self) -> tuple[float, ...]:
        """The distances of the figures, kilometres."""
        return tuple(self.figures.accuracy.within)

    @property
    def middle_km(self) -> float:
        """The middle one of them."""
        return self.within_km[len(self.within_km) // 2]

    @property
    def ranked_by(self) -> tuple[str, NDArray[np.float64]]:
        """What tells the surer answers (n,) from the others, and its name: the probability of the
        middle distance where there is one, or else the agreement.
        """
        known = tuple(self.probabilities)
        if not known:
            return "agreement", self.answers.agreement
        km = known[len(known) // 2]
        return f"probability within {threshold(km)}", self.answers.probability[km]

    @property
    def unanswered(self) -> int:
        """Queries without an estimate; they count as misses."""
        return int(np.isinf(self.answers.error_km).sum())

    @property
    def headline(self) -> str:
        """What was evaluated: `Evaluation 7: density, k 100, 1,000 queries`."""
        return f"Evaluation {self.evaluation.name}, {_queries(len(self.answers))}"

    @property
    def left_out(self) -> list[str]:
        """Queries that could not be used or answered, in words."""
        said = [
            f"Could not be used, and in no figure: {_queries(count)} ({reason})."
            for reason, count in self.failed.items()
        ]
        if self.unanswered:
            said.append(f"Without neighbours, and counted as misses: {_queries(self.unanswered)}.")
        return said

    def worst(self, most: int) -> NDArray[np.intp]:
        """Rows of the answers with the largest errors, largest first."""
        known = np.flatnonzero(np.isfinite(self.answers.error_km))
        order = np.argsort(-self.answers.error_km[known], kind="stable")
        return known[order[:most]]

    def to_json(self) -> dict[str, Any]:
        """As `geosearch report --json` prints it."""
        evaluation = self.evaluation.to_json()
        asked = ("evaluation_id", "queries", "model", "method", "parameters", "filter", "excluded")
        return {
            **{name: evaluation[name] for name in asked},
            **self.figures.to_json(),
            "areas": plain(self.areas),
            "calibration": self.evaluation.calibration,
            "flagged": plain(self.evaluation.flagged),
            "unanswered": self.unanswered,
            "failed_by_reason": dict(self.failed),
            "histogram": self.histogram.to_json(),
            "coverage": plain(self.coverage),
            "reliability": plain(self.probabilities),
            "agreement_reliability": (
                None
                if self.agreement is None
                else {"km": self.middle_km, **self.agreement.to_json()}
            ),
            "not_confident": plain(self.doubts),
            "by_kind": plain(self.by_kind),
            "by_continent": plain(self.by_continent),
            "by_density": {"radius_km": self.radius_km, "groups": plain(self.by_density)},
            "notes": list(self.notes),
        }


def summarize(
    database: Database,
    key: int,
    *,
    radius_km: float | None = None,
    within_km: tuple[float, ...] | None = None,
) -> Summary:
    """Everything a report says of evaluation `key`, as far as its answers tell.

    `within_km`: distances of the figures; None takes those the evaluation was made with.
    `radius_km`: see `Summary`; None takes the middle one of them.

    Raises
    ------
    NotFoundError
        There is no such evaluation.
    InputError
        It has no answers, or `radius_km` is not positive.
    """
    check_range("radius_km", radius_km, 0, _HALF_GLOBE_KM, above=True)
    with database.connection() as connection:
        evaluation = read_evaluation(connection, key)
        answers = read_answers(connection, evaluation)
        within_km = within_km or evaluation.within_km
        middle_km = within_km[len(within_km) // 2]
        radius_km = middle_km if radius_km is None else radius_km
        continent = continents(connection, answers)
        references = references_near(connection, evaluation, answers, radius_km)
        kinds = kinds_of_query(connection, answers)
        failed = _failed(connection, key)
    error_km = answers.error_km
    overall = Trust.of("all", answers, np.ones(len(answers), bool))
    covered, probabilities = overall.coverage, overall.reliability
    notes = []
    if np.isnan(answers.lat).all() and np.isfinite(error_km).any():
        notes.append(_NO_POSITIONS.format(evaluation.sweep_id))
    else:
        notes += [_NO_LEVELS] * (not covered) + [_NO_CALIBRATION] * (not probabilities)
    notes += [_NO_BORDERS] * (continent is None) + [_NO_REFERENCES] * (references is None)
    return Summary(
        evaluation=evaluation,
        answers=answers,
        figures=figures(error_km, within_km),
        areas=None if np.isnan(answers.area_km2).any() else areas(answers.area_km2, within_km),
        histogram=histogram(error_km, within_km[0]),
        coverage=covered,
        probabilities=probabilities,
        agreement=reliability(answers.agreement, error_km <= middle_km),
        doubts=doubts(answers.confident, error_km, within_km),
        continent=continent,
        references=references,
        radius_km=radius_km,
        by_kind={by: trust_by(each, answers) for by, each in kinds.items()},
        by_continent=None if continent is None else by_name(continent, error_km, within_km),
        by_density=None if references is None else by_count(references, error_km, within_km),
        failed=failed,
        notes=notes,
    )


def histogram(error_km: NDArray[np.float64], smallest_km: float) -> Histogram:
    """Counts of errors, five bins a factor of ten from a tenth of the smallest distance on."""
    first_edge_km = smallest_km / 10
    decades = math.log10(_HALF_GLOBE_KM / first_edge_km)
    steps = np.arange(math.ceil(decades * _BINS_A_DECADE) + 1)
    edges = np.concatenate([[0.0], first_edge_km * 10.0 ** (steps / _BINS_A_DECADE)])
    counts, _ = np.histogram(error_km[np.isfinite(error_km)], edges)
    return Histogram(edges, counts)


def write_csv(path: Path, summary: Summary) -> int:
    """Write one line a query; returns how many. What an answer does not have is empty.

    Raises
    ------
    InputError
        The file cannot be written.
    """
    answers = summary.answers
    columns: dict[str, Sequence[Any] | NDArray[Any]] = {
        "localization_id": answers.localization_id,
        "photo": answers.photo,
        "true_lat": answers.true_lat,
        "true_lon": answers.true_lon,
        "lat": answers.lat,
        "lon": answers.lon,
        "error_km": answers.error_km,
        "area_km2": answers.area_km2,
        "agreement": answers.agreement,
        "truth_level": answers.truth_level,
        "confident": ["" if math.isnan(value) else bool(value) for value in answers.confident],
        **{f"probability_within_{km}_km": given for km, given in answers.probability.items()},
        "continent": summary.continent or [""] * len(answers),
        f"references_within_{summary.radius_km:g}_km": (
            [""] * len(answers) if summary.references is None else summary.references
        ),
    }
    rows = zip(*columns.values(), strict=True)
    write_table(path, [list(columns), *(map(_cell, row) for row in rows)])
    return len(answers)


def _cell(value: Any) -> Any:
    if isinstance(value, float):  # numpy's float64 is one
        return "" if not math.isfinite(value) else repr(float(value))
    return value


def _failed(connection: Connection, key: int) -> dict[str, int]:
    rows = connection.execute(
        """
        SELECT reason, count(*) FROM geosearch.evaluation_failures
        WHERE evaluation_id = %s GROUP BY reason ORDER BY count(*) DESC, reason
        """,
        (key,),
    )
    return dict(rows.fetchall())


def _queries(count: int) -> str:
    return number_of(count, "query", "queries")
