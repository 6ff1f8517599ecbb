"""Where the answers are good: figures by continent, and by how many references are near."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psycopg import sql

from geosearch.database.connection import Connection
from geosearch.database.embedding_tables import visible_embeddings
from geosearch.errors import NotFoundError
from geosearch.evaluation.metrics import Figures, figures
from geosearch.report.evaluation_records import Answers, Evaluated
from geosearch.retrieval import Filter
from geosearch.words import format_km

#: References near a truth are counted up to this many: counting millions would tell nothing more.
MOST_COUNTED = 1000
_DENSITY_GROUPS = 4

#: An author of so many queries is a kind of query.
FEWEST = 20

AT_SEA = "at sea"


@dataclass(frozen=True)
class Group:
    """The figures of the queries that have something in common."""

    name: str
    figures: Figures

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {"name": self.name, **self.figures.to_json()}


# Coasts are drawn coarsely: a truth up to 1° off a country's area counts as in it.
_CONTINENTS = """
SELECT l.id, coalesce(nearest.continent, 'unknown')
FROM geosearch.localizations AS l
CROSS JOIN LATERAL (
    SELECT b.continent FROM geosearch.borders AS b
    WHERE b.kind = 'country' AND ST_DWithin(b.geom, l.truth, 1.0)
    ORDER BY ST_Distance(b.geom, l.truth), b.id LIMIT 1
) AS nearest
WHERE l.id = ANY(%s)
"""

# The counted rows come through the index on (geom::geography), and no more than a cap of them.
_REFERENCES = """
SELECT l.id, near.n
FROM geosearch.localizations AS l
CROSS JOIN LATERAL (
    SELECT coalesce(array_agg(p.id), '{{}}') AS ids
    FROM geosearch.photos AS p WHERE p.sha256 = l.photo_sha256
) AS own
CROSS JOIN LATERAL (
    SELECT count(*) AS n FROM (
        SELECT 1 FROM {table} AS embeddings
        WHERE ST_DWithin(geom::geography, l.truth::geography, %(metres)s, false)
            AND ({condition}) IS TRUE
            AND photo_id <> ALL (own.ids)
        LIMIT %(cap)s
    ) AS found
) AS near
WHERE l.id = ANY(%(ids)s)
"""


def continents(connection: Connection, answers: Answers) -> list[str] | None:
    """The continent of every truth, `AT_SEA` off all land; None if no borders are loaded."""
    if connection.execute("SELECT 1 FROM geosearch.borders LIMIT 1").fetchone() is None:
        return None
    rows = connection.execute(_CONTINENTS, (answers.localization_id.tolist(),)).fetchall()
    found: dict[int, str] = dict(rows)
    return [found.get(int(key), AT_SEA) for key in answers.localization_id]


_SOURCES = """
SELECT l.id, min(c.name), min(p.author)
FROM geosearch.localizations AS l
JOIN geosearch.photos AS p ON p.sha256 = l.photo_sha256
JOIN geosearch.collections AS c ON c.id = p.collection_id
WHERE l.id = ANY(%s)
GROUP BY l.id
"""


def kinds_of_query(connection: Connection, answers: Answers) -> dict[str, list[str | None]]:
    """What tells kinds of queries apart: the kind (n,) of each answer, None without, by that.

    The collection that the query is of, where it is stored, and its author, if by `FEWEST` queries
    or more; the spacing of its neighbours, where the calibration told kinds by it; whether the
    calibration fits. Left out is what all share.
    """
    rows = connection.execute(_SOURCES, (answers.localization_id.tolist(),)).fetchall()
    collection, author = ({key: row[at] for key, *row in rows} for at in (0, 1))
    prolific = {name for name, count in Counter(author.values()).items() if count >= FEWEST}
    above_km = answers.kind_above_km
    found: dict[str, list[str | None]] = {
        "collection": [collection.get(int(key)) for key in answers.localization_id],
        "author": [
            name if (name := author.get(int(key))) in prolific else None
            for key in answers.localization_id
        ],
        "spacing": [None if math.isnan(km) else f"above {format_km(km)}" for km in above_km],
        "calibration_fits": list(answers.calibration_fits),
    }
    return {by: kinds for by, kinds in found.items() if len({*kinds} - {None}) > 1}


def references_near(
    connection: Connection,
    evaluation: Evaluated,
    answers: Answers,
    radius_km: float,
) -> NDArray[np.int64] | None:
    """References within `radius_km` of each truth (n,), at most `MOST_COUNTED`.

    Counted as the database is now: those with an embedding that pass the evaluation's filter,
    without the query itself. None if the model or something in the filter is gone.
    """
    if evaluation.model_id is None:
        return None
    try:
        condition, values = Filter.from_json(evaluation.filter).compile(connection)
    except NotFoundError:
        return None
    rows = connection.execute(
        sql.SQL(_REFERENCES).format(
            table=visible_embeddings(connection, evaluation.model_id), condition=condition
        ),
        values
        | {
            "metres": 1000.0 * radius_km,
            "cap": MOST_COUNTED,
            "ids": answers.localization_id.tolist(),
        },
    ).fetchall()
    found: dict[int, int] = dict(rows)
    return np.array([found[int(key)] for key in answers.localization_id], dtype=np.int64)


def by_name(
    names: Sequence[str], error_km: NDArray[np.float64], within_km: Sequence[float]
) -> list[Group]:
    """Figures of each name's queries, the most frequent name first."""
    labels, counts = np.unique(np.array(names), return_counts=True)
    order = np.lexsort((labels, -counts))
    return [
        Group(str(labels[number]), figures(error_km[np.array(names) == labels[number]], within_km))
        for number in order
    ]


def by_count(
    counts: NDArray[np.int64], error_km: NDArray[np.float64], within_km: Sequence[float]
) -> list[Group]:
    """Figures of four groups of about equal size, from few references near to many.

    Equal counts stay together, so there may be fewer groups.
    """
    cuts = np.unique(np.quantile(counts, np.arange(1, _DENSITY_GROUPS) / _DENSITY_GROUPS))
    # A group ends at its cut: values up to and including it.
    place = np.searchsorted(cuts, counts, side="left")
    groups = []
    for number in np.unique(place):
        inside = place == number
        groups.append(Group(_range(counts[inside]), figures(error_km[inside], within_km)))
    return groups


def _range(counts: NDArray[np.int64]) -> str:
    low, high = int(counts.min()), int(counts.max())
    if high >= MOST_COUNTED:
        return f"{low:,} or more"
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
