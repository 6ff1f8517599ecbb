"""The Python API: one object for one database."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self, Unpack

from geosearch.calibration import Calibration
from geosearch.database.connection import Database
from geosearch.database.session import open_database
from geosearch.errors import PhotoRejected
from geosearch.evaluation import Evaluation, QuerySet, evaluate, leakage
from geosearch.evaluation.calibrating import calibrate
from geosearch.features import (
    DEFAULT_MODEL,
    Backbone,
    EmbedSummary,
    embed,
    embed_photo,
    load_backbone,
)
from geosearch.features.model_rows import find_model
from geosearch.ingest import IngestSummary, ingest
from geosearch.localization import (
    Failure,
    Localization,
    Parameters,
    Reproduction,
    Request,
    load,
    localize,
    reproduce,
)
from geosearch.retrieval import EVERYTHING, Conditions, Filter, Neighbours
from geosearch.retrieval import where as make_filter
from geosearch.retrieval.duplicates import DUPLICATE_DISTANCE, Exclusions, nearest_others
from geosearch.retrieval.indexing import Indexed, index_model


class Geosearch:
    """An open database and the backbones loaded so far. Make one with `geosearch.connect`.

    Neighbours are filtered by keywords (`geosearch.retrieval.Conditions`), by a filter `where`, or
    by both, which must then both hold.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self._backbones: dict[tuple[str, str], Backbone] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections; a private server keeps running."""
        self.database.close()

    def ingest(self, *sources: str | Path, collection: str, **options: Any) -> IngestSummary:
        """Store the photos of folders and manifests; options as in `geosearch.ingest.ingest`."""
        return ingest(self.database, sources, collection=collection, **options)

    def embed(
        self, model: str = DEFAULT_MODEL, *, device: str = "auto", **options: Any
    ) -> EmbedSummary:
        """Embed all photos that lack an embedding; options as in `geosearch.features.embed`."""
        return embed(self.database, self._backbone(model, device), **options)

    def index(
        self,
        model: str = DEFAULT_MODEL,
        *,
        recall: float = 0.98,
        k: int = 100,
        rebuild: bool = False,
        force: bool = False,
    ) -> Indexed:
        """Index the model where that pays, as `geosearch.retrieval.indexing.index_model`."""
        with self.database.connection() as connection:
            row = find_model(connection, model)
        return index_model(
            self.database, row.id, row.dimension, recall, k, rebuild=rebuild, force=force
        )

    def nearest(
        self,
        photo: str | Path,
        k: int = 20,
        *,
        model: str = DEFAULT_MODEL,
        device: str = "auto",
        exact: bool = False,
        exclude_self: bool = False,
        exclude_duplicates: float | None = None,
        where: Filter = EVERYTHING,
        **conditions: Unpack[Conditions],
    ) -> Neighbours:
        """The `k` reference photos most like `photo`.

        `exclude_self` leaves out those with its bytes, and `exclude_duplicates` those at a smaller
        cosine distance.

        Raises
        ------
        PhotoRejected
            The photo cannot be read.
        """
        backbone = self._backbone(model, device)
        row, query = embed_photo(self.database, backbone, photo)
        return nearest_others(
            self.database,
            row.id,
            query.embedding,
            k,
            _filter(where, conditions),
            Exclusions(exclude_self, exclude_duplicates),
            sha256=query.sha256,
            exact=exact,
        ).neighbours

    def localize(
        self,
        photo: str | Path,
        *,
        model: str = DEFAULT_MODEL,
        parameters: Parameters | Request | None = None,
        exclude_self: bool = False,
        exclude_duplicates: float | None = None,
        device: str = "auto",
        record: bool = True,
        where: Filter = EVERYTHING,
        **conditions: Unpack[Conditions],
    ) -> Localization:
        """Estimate where `photo` was taken, and record the answer unless `record` is false.

        Raises
        ------
        PhotoRejected
            The photo cannot be read.
        """
        (answer,) = self.localize_many(
            [photo],
            model=model,
            parameters=parameters,
            exclude_self=exclude_self,
            exclude_duplicates=exclude_duplicates,
            device=device,
            record=record,
            where=where,
            **conditions,
        )
        if isinstance(answer, Failure):
            raise PhotoRejected(answer.reason, f"{answer.photo}: {answer.message}")
        return answer

    def localize_many(
        self,
        photos: Iterable[str | Path],
        *,
        model: str = DEFAULT_MODEL,
        parameters: Parameters | Request | None = None,
        exclude_self: bool = False,
        exclude_duplicates: float | None = None,
        device: str = "auto",
        record: bool = True,
        where: Filter = EVERYTHING,
        **conditions: Unpack[Conditions],
    ) -> Iterator[Localization | Failure]:
        """Localize photos one after the other; one that cannot be read gives a `Failure`.

        `exclude_self` leaves out references with the query's bytes, and `exclude_duplicates`
        those at a smaller cosine distance than it.
        """
        return localize(
            self.database,
            list(photos),
            model=self._backbone(model, device),
            parameters=parameters,
            where=_filter(where, conditions),
            exclusions=Exclusions(exclude_self, exclude_duplicates),
            record=record,
        )

    def evaluate(
        self,
        queries: str | Path | QuerySet | None,
        *,
        model: str = DEFAULT_MODEL,
        parameters: Parameters | Request | None = None,
        exclude_self: bool = True,
        exclude_duplicates: float | None = DUPLICATE_DISTANCE,
        exclude_author: bool = True,
        device: str = "auto",
        where: Filter = EVERYTHING,
        **conditions: Unpack[Conditions],
    ) -> Evaluation:
        """Accuracy on a manifest of labelled queries (uri, lat, lon, author), or on a query set.

        Without queries, the photos that pass the filter are answered by one another. References
        with a query's bytes, nearer to it than `exclude_duplicates` or by its author are left out;
        without `exclude_self`, near-duplicates are not left out either.
        """
        return evaluate(
            self.database,
            queries,
            model=model if queries is None else self._backbone(model, device),
            parameters=parameters,
            where=_filter(where, conditions),
            exclusions=leakage(exclude_self, exclude_duplicates, exclude_author),
            device=device,
        )

    def calibrate(
        self,
        queries: str | Path | QuerySet | None,
        *,
        model: str = DEFAULT_MODEL,
        device: str = "auto",
        where: Filter = EVERYTHING,
        **options: Any,
    ) -> Calibration:
        """Fit a calibration to labelled queries; `localize` then uses the latest one.

        Options are those of `geosearch.evaluation.calibrating.calibrate`.
        """
        backbone = None if queries is None else self._backbone(model, device)
        return calibrate(self.database, queries, model=backbone or model, where=where, **options)

    def load(self, localization_id: int) -> Localization:
        """An earlier answer."""
        return load(self.database, localization_id)

    def reproduce(self, localization_id: int) -> Reproduction:
        """An earlier answer computed again, and what changed since."""
        return reproduce(self.database, localization_id)

    def _backbone(self, model: str, device: str) -> Backbone:
        key = (model, device)
        if key not in self._backbones:
            self._backbones[key] = load_backbone(model, device=device)
        return self._backbones[key]


def _filter(where: Filter, conditions: Conditions) -> Filter:
    return where & make_filter(**conditions)


def connect(url: str | None = None) -> Geosearch:
    """Open the database at `url`, at `GEOSEARCH_DATABASE_URL`, or the private server.

    Raises
    ------
    DatabaseError
        It cannot be reached, is too old, or lacks the schema.
    """
    return Geosearch(open_database(url))
