"""Fitting whitened models to embeddings that are stored already; no photo is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, LiteralString

import numpy as np
from numpy.typing import NDArray
from psycopg import sql
from scipy.linalg import eigh
from scipy.spatial import KDTree

from geosearch.arguments import check_range
from geosearch.arguments import number as as_number
from geosearch.database.collection_rows import find_collection
from geosearch.database.connection import Database
from geosearch.database.embedding_tables import visible_embeddings
from geosearch.defaults import DEFAULT_MODEL
from geosearch.errors import InputError, ModelError
from geosearch.features.backbones import Backbone, load_backbone
from geosearch.features.embedding_run import embed_pending
from geosearch.features.external_model import ExternalBackbone
from geosearch.features.model_rows import require_model
from geosearch.features.whitening import (
    PREFIX,
    Whitened,
    WhitenedBackbone,
    Whitening,
    store_whitening,
)
from geosearch.sphere import EARTH_RADIUS_KM, Array, chord_km, great_circle_km, unit_vectors
from geosearch.waiting import Progress

#: Powers that `auto` chooses among.
POWERS = (0.0, 0.125, 0.25, 0.375, 0.5)
#: What is lost on held-out references may be this share of hits at most, at the lower end of the
#: 95 % interval; nothing on average.
MARGIN = 0.02
#: The choice is made on so many references at most, of which so many are asked for.
SAMPLE, QUERIES = 20_000, 2_000
#: Places are divided among so many parts: each is asked of a transform fitted to the others.
PARTS = 4
#: Distances of a hit, and the size of a place, by the median distance of a reference to the next.
HITS, PLACE = (1.0, 2.0, 4.0, 8.0), 8.0
_PAGE = 4096
#: Smaller eigenvalues are noise of half precision.
_LEAST = 1e-6


def whiten(
    database: Database,
    model: str | Backbone = DEFAULT_MODEL,
    *,
    collections: Sequence[str] = (),
    name: str | None = None,
    dim: int = 256,
    power: float | str = "auto",
    seed: int = 0,
    force: bool = False,
    device: str = "auto",
    progress: Progress | None = None,
) -> Whitened:
    """Fit a whitening to a model's stored embeddings, and embed by it all photos it embedded.

    It is stored as the model `whitened:NAME` if it is not worse than `model` on held-out
    references: in parts by place, each asked of a transform fitted to the other places, of all
    references but those at its very position. `force` stores it in any case.

    Parameters
    ----------
    collections
        Names of those it is fitted to; none: all. One that is private stands alone.
    name
        Default: the name of `model`.
    dim
        Length of the whitened embeddings.
    power
        0 to 1, or `auto`: the one of `POWERS` that finds the most held-out references.
    progress
        Called with (photos done, photos to do), for the fit and then for embedding.

    Raises
    ------
    NotFoundError
        Nothing is embedded with the model, or there is no such collection.
    InputError
        Too few references, worse than the model, a name that is taken, numbers out of range.
    """
    if isinstance(model, WhitenedBackbone | ExternalBackbone):
        raise ModelError(
            f"{model.description.name} is made of no photos, and cannot be whitened",
            "Give the model that embeds them.",
        )
    base = (
        model if isinstance(model, Backbone) else load_backbone(model, device=device, at_once=False)
    )
    check_range("dim", dim, 2, base.description.dimension)
    powers = POWERS if power == "auto" else (as_number("power", power),)
    check_range("power", powers[0], 0, 1)
    check_range("seed", seed, 0)
    spec = PREFIX + (name or base.description.name).removeprefix(PREFIX)
    with database.connection() as connection:
        known = require_model(connection, base.description)
        ids = [find_collection(connection, each) for each in collections] or None
    references = _References(database, known.id, ids)
    sample = _Sample.drawn(references, seed, progress)
    if len(references) < 2 * dim:
        raise InputError(
            f"{len(references):,} references are too few to fit {dim} dimensions to",
            f"Take `dim` {len(references) // 2} or less, or more references.",
        )
    base_hits, hits = sample.hits(dim, powers)
    best = max(powers, key=lambda each: float(hits[each].mean()))
    gain = sample.interval(hits[best] - base_hits, seed)
    figures: dict[str, Any] = {
        "held_out": len(base_hits),
        "places": len(np.unique(sample.place[sample.asked])),
        "hit_km": [float(sample.spacing_km * each) for each in HITS],
        "base_hits": float(base_hits.mean()),
        "hits": {str(each): float(found.mean()) for each, found in hits.items()},
        "gain": gain,
    }
    if not force and (gain[0] < 0 or gain[1] < -MARGIN):
        low, high = (f"{100 * each:+.1f}" for each in gain[1:])
        raise InputError(
            f"whitened, held-out references are found {100 * gain[0]:+.1f} [{low}, {high}] points "
            f"as often: that may be worse than {base.description.name}",
            "Take a smaller `dim` or `power`, or more references; `force` stores it all the same.",
        )
    given = {"dim": dim, "power": power, "seed": seed, "force": force}
    with database.connection() as connection:
        made = store_whitening(
            connection,
            spec,
            base,
            known,
            sample.moments.fit(dim, best),
            {
                "filter": {"collections": list(collections)} if collections else {},
                "options": given,
                "photos": len(references),
                "figures": figures,
            },
        )
    return Whitened(
        made.description.name,
        base.description.name,
        dim,
        best,
        len(references),
        len(base_hits),
        figures["places"],
        tuple(figures["hit_km"]),
        figures["base_hits"],
        float(hits[best].mean()),
        gain,
        embed_pending(database, made, progress=progress).embedded,
    )


class _Moments:
    """Of embeddings: how many, their sum and that of their outer products."""

    def __init__(self, dimension: int) -> None:
        self.n, self.sum = 0, np.zeros(dimension)
        self.products = np.zeros((dimension, dimension))

    def add(self, embeddings: NDArray[np.float32]) -> None:
        self.n += len(embeddings)
        self.sum += embeddings.sum(axis=0, dtype=np.float64)
        self.products += embeddings.T @ embeddings

    def without(self, other: _Moments) -> _Moments:
        rest = _Moments(len(self.sum))
        rest.n, rest.sum = self.n - other.n, self.sum - other.sum
        rest.products = self.products - other.products
        return rest

    def fit(self, dim: int, power: float) -> Whitening:
        """The whitening by the `dim` axes of the largest variance."""
        mean = self.sum / self.n
        covariance = self.products / self.n - np.outer(mean, mean)
        values, vectors = eigh(covariance, subset_by_index=(len(mean) - dim, len(mean) - 1))
        values, vectors = values[::-1], vectors[:, ::-1]
        # Either sign of an axis is right; always the same one, so that fits are repeatable.
        vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(dim)])
        return Whitening(
            mean.astype(np.float32),
            np.ascontiguousarray(vectors.T, np.float32),
            np.maximum(values, _LEAST * values[0]),
            power,
        )


class _References:
    """A model's stored references of some collections, by photo, a page at a time."""

    def __init__(self, database: Database, model_id: int, collections: list[int] | None) -> None:
        self._database, self._model_id, self._collections = database, model_id, collections
        self._count = int(self._rows("count(*)", "")[0][0])

    def __len__(self) -> int:
        return self._count

    def pages(self) -> Iterator[tuple[NDArray[np.float32], Array, Array]]:
        """Embeddings (n, D), latitudes and longitudes (n), in degrees."""
        after = 0
        while True:
            rows = self._rows(
                "photo_id, ST_Y(geom), ST_X(geom), embedding",
                "AND photo_id > %(after)s ORDER BY photo_id LIMIT %(page)s",
                after=after,
                page=_PAGE,
            )
            if not rows:
                return
            after = rows[-1][0]
            embeddings = np.stack([row[3].to_numpy() for row in rows]).astype(np.float32)
            lat, lon = np.array([row[1:3] for row in rows], float).T
            yield embeddings, lat, lon

    def _rows(self, columns: LiteralString, more: LiteralString, **values: Any) -> list[Any]:
        with self._database.connection() as connection:
            statement = sql.SQL(
                "SELECT {columns} FROM {table} AS e WHERE "
                "(%(collections)s::bigint[] IS NULL OR collection_id = ANY(%(collections)s)) {more}"
            ).format(
                columns=sql.SQL(columns),
                table=visible_embeddings(connection, self._model_id),
                more=sql.SQL(more),
            )
            values |= {"collections": self._collections}
            return connection.execute(statement, values, binary=True).fetchall()


class _Sample:
    """References on which a whitening is tried: the numbers of those `asked`, the `place` of each.

    `moments` are those of all references, sampled or not.
    """

    def __init__(
        self, moments: _Moments, embeddings: NDArray[np.float32], lat: Array, lon: Array, seed: int
    ) -> None:
        self.moments, self.embeddings, self.lat, self.lon = moments, embeddings, lat, lon
        rng = np.random.default_rng(seed)
        self.asked = np.sort(rng.permutation(len(embeddings))[:QUERIES])
        spots, self.spot = np.unique(unit_vectors(lat, lon), axis=0, return_inverse=True)
        self.spacing_km = _spacing_km(spots)
        cells = np.floor(spots * EARTH_RADIUS_KM / (PLACE * self.spacing_km))
        self.place = np.unique(cells, axis=0, return_inverse=True)[1].ravel()[self.spot]
        self.part = rng.integers(0, PARTS, self.place.max() + 1)[self.place]

    @classmethod
    def drawn(cls, references: _References, seed: int, progress: Progress | None) -> _Sample:
        """Of all references in one pass. Raises InputError where there are none."""
        rng = np.random.default_rng(seed)
        share = SAMPLE / max(len(references), 1)
        moments: _Moments | None = None
        kept = []
        for embeddings, lat, lon in references.pages():
            moments = moments or _Moments(embeddings.shape[1])
            moments.add(embeddings)
            chosen = rng.random(len(embeddings)) < share
            kept.append((embeddings[chosen], lat[chosen], lon[chosen]))
            if progress is not None:
                progress(moments.n, len(references))
        if moments is None:
            raise InputError("no reference of these collections is embedded", "Name others.")
        embeddings, lat, lon = (np.concatenate(parts) for parts in zip(*kept, strict=True))
        return cls(moments, embeddings, lat, lon, seed)

    def hits(self, dim: int, powers: Sequence[float]) -> tuple[Array, dict[float, Array]]:
        """Of each reference asked, its share of hits by the model itself and by each power."""
        whole = _Moments(self.embeddings.shape[1])
        whole.add(self.embeddings)
        found = {power: np.zeros(len(self.asked)) for power in powers}
        for part in np.unique(self.part[self.asked]):
            held_out = _Moments(self.embeddings.shape[1])
            held_out.add(self.embeddings[self.part == part])
            fitted = whole.without(held_out).fit(dim, 0)
            mine = self.part[self.asked] == part
            for power in powers:
                whitened = replace(fitted, power=power).apply(self.embeddings)
                found[power][mine] = self._found(whitened, self.asked[mine])
        return self._found(self.embeddings, self.asked), found

    def _found(self, embeddings: NDArray[np.float32], asked: NDArray[np.intp]) -> Array:
        """The share of `HITS` within which the nearest neighbour of each lies."""
        nearest = np.empty_like(asked)
        for first in range(0, len(asked), _PAGE):
            some = asked[first : first + _PAGE]
            alike = embeddings[some] @ embeddings.T
            alike[self.spot[some][:, None] == self.spot] = -np.inf
            nearest[first : first + _PAGE] = alike.argmax(axis=1)
        error_km = great_circle_km(
            self.lat[asked], self.lon[asked], self.lat[nearest], self.lon[nearest]
        )
        hits: Array = (error_km[:, None] <= self.spacing_km * np.array(HITS)).mean(axis=1)
        return hits

    def interval(self, gain: Array, seed: int) -> tuple[float, float, float]:
        """The mean gain and its 95 % interval, drawing places again and again."""
        place = np.unique(self.place[self.asked], return_inverse=True)[1]
        sums, counts = np.bincount(place, gain), np.bincount(place)
        draws = np.random.default_rng(seed).integers(0, len(sums), (1000, len(sums)))
        means = sums[draws].sum(axis=1) / counts[draws].sum(axis=1)
        low, high = np.quantile(means, (0.025, 0.975))
        return float(gain.mean()), float(low), float(high)


def _spacing_km(spots: Array) -> float:
    """The median distance from a spot, one of unit vectors, to the next."""
    if len(spots) < 2:
        raise InputError("all references are at one spot", "Whiten collections of more places.")
    chords = KDTree(spots).query(spots, k=2)[0][:, 1]
    return float(np.median(chord_km(chords)))
