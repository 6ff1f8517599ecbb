"""The Python API: one object for one database."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import date, datetime
from os import PathLike
from typing import Any, Literal, LiteralString, Unpack, overload

from psycopg.sql import SQL, Composed

from geosearch.arguments import Paths, check_choice, checked_keywords, paths, whole
from geosearch.audit.audit_rows import Doubt, list_doubts
from geosearch.audit.photo_copies import Duplicate, find_duplicates, list_duplicates
from geosearch.calibration import Calibration
from geosearch.database.connection import Closing, Database
from geosearch.database.session import open_database
from geosearch.defaults import (
    APART_M,
    APART_S,
    DEFAULT_MODEL,
    DUPLICATE_DISTANCE,
    LEAST_PROBABILITY,
)
from geosearch.deletion.deleted import Deleted
from geosearch.deletion.photo_deletion import delete_collection, delete_photos
from geosearch.deletion.photo_moves import Moved, correct_positions, move_photos
from geosearch.deletion.record_deletion import (
    delete_answers,
    delete_calibration,
    delete_evaluations,
    delete_model,
    delete_partition,
)
from geosearch.deletion.renaming import rename_collection, rename_model, rename_partition
from geosearch.deletion.run_undo import Undone, undo_run
from geosearch.errors import InputError
from geosearch.evaluation import Evaluation, QuerySet, evaluate, leakage
from geosearch.evaluation.calibrating import (
    CalibrateOptions,
    Checked,
    calibrate,
    check_calibration,
)
from geosearch.features import (
    Backbone,
    EmbedSummary,
    embed,
    load_backbone,
)
from geosearch.features.embedded_ingest import ingest_and_embed
from geosearch.features.embedding_export import Exported, export_embeddings
from geosearch.features.embedding_import import Imported, ImportOptions, import_embeddings
from geosearch.features.embedding_run import EmbedOptions
from geosearch.features.given_queries import (
    GivenQueries,
    GivenQuery,
    embed_one,
    one_or_stored,
)
from geosearch.features.model_rows import find_model
from geosearch.features.place_gallery import BUILTIN, Gallery, make_gallery
from geosearch.features.whitening import Whitened, WhitenOptions, find_backbone
from geosearch.ingest import IngestSummary, ingest
from geosearch.ingest.ingest_run import IngestOptions
from geosearch.layers.selection import Selection
from geosearch.localization import (
    Failure,
    Localization,
    Parameters,
    Reproduction,
    Request,
    load,
    localize,
    localize_stored,
    reproduce,
)
from geosearch.localization.localizing import with_here
from geosearch.localization.request import Asking
from geosearch.localization.reviews import (
    Accepted,
    Decision,
    Review,
    TakenBack,
    accept_probable,
    decide,
    undo,
    undo_since,
)
from geosearch.localization.several_models import Models, specs
from geosearch.notebook.answer_stream import Answers
from geosearch.notebook.answer_view import AnswerView
from geosearch.notebook.database_query import read_rows
from geosearch.notebook.frames import Records
from geosearch.progress_bar import progress_bar
from geosearch.retrieval import Conditions, Neighbours
from geosearch.retrieval.duplicates import Exclusions, nearest_others
from geosearch.retrieval.filters import GivenFilter, narrowed
from geosearch.retrieval.indexing import Indexed, index_model
from geosearch.retrieval.photo_list import StoredPhoto, list_photos, read_thumbnail
from geosearch.waiting import Progress
from geosearch.write_back.write_back_run import WrittenBack, write_back

#: What becomes of a photo that cannot be read: it stops the work, or is a `Failure` among answers.
OnError = Literal["raise", "row"]


class Geosearch(Closing):
    """An open database and the backbones loaded so far. Make one with `geosearch.connect`.

    Neighbours are filtered by keywords (`geosearch.retrieval.Conditions`), by a filter `where`, or
    by both, which must then both hold.
    """

    def __init__(self, database: Database, *, progress: bool | None = None) -> None:
        self.database = database
        self._progress = progress
        self._view = AnswerView(database)
        self._backbones: dict[tuple[str, str], Backbone] = {}
        self._given: dict[str, Backbone] = {}

    def close(self) -> None:
        """Close all connections; a private server keeps running.

        Examples
        --------
        >>> other = geosearch.connect()
        >>> other.close()
        """
        self.database.close()

    @checked_keywords
    def ingest(
        self,
        *sources: Paths,
        collection: str,
        embed: bool | str | Backbone = False,
        device: str = "auto",
        **options: Unpack[IngestOptions],
    ) -> IngestSummary:
        """Store the photos of folders and manifests; options as in `geosearch.ingest.ingest`.

        `embed` names a model, or is True for the default: the photos are embedded with it as they
        are read (`geosearch.features.embedded_ingest`, whose `EmbeddedIngest` is the answer then).

        Examples
        --------
        >>> gs.ingest("sample/references", collection="views").added  # they are there
        0
        """
        every = [each for source in sources for each in paths("sources", source)]
        with self._told("reading", "photos") as told:
            options.setdefault("progress", told)
            if embed is False:
                return ingest(self.database, every, collection=collection, **options)
            model = self._backbone(DEFAULT_MODEL if embed is True else embed, device)
            return ingest_and_embed(
                self.database, every, collection=collection, model=model, **options
            )

    @checked_keywords
    def embed(
        self,
        model: str | Backbone = DEFAULT_MODEL,
        *,
        device: str = "auto",
        **options: Unpack[EmbedOptions],
    ) -> EmbedSummary:
        """Embed all photos that lack an embedding; options as in `geosearch.features.embed`.

        Examples
        --------
        >>> gs.embed().pending
        0
        """
        with self._told("embedding", "photos") as told:
            options.setdefault("progress", told)
            return embed(self.database, self._backbone(model, device), **options)

    @checked_keywords
    def import_embeddings(
        self, files: Paths, *, model: str, collection: str, **options: Unpack[ImportOptions]
    ) -> Imported:
        """Bring in embeddings made elsewhere: `geosearch.features.embedding_import`.

        Examples
        --------
        >>> model = "packaged/efficientnet-lite0"
        >>> gs.export_embeddings("views.npy", model=model, collection="views")
        Exported(file='...views.npy', keys=..., rows=60, dimension=1280)
        >>> given = {"model": "external:mine", "collection": "views", "match": "row"}
        >>> gs.import_embeddings("views.npy", **given).embedded
        60
        """
        with self._told("importing", "embeddings") as told:
            options.setdefault("progress", told)
            return import_embeddings(
                self.database, files, model=model, collection=collection, **options
            )

    def export_embeddings(
        self, output: str | PathLike[str], *, model: str | Backbone, collection: str | None = None
    ) -> Exported:
        """Write embeddings to a file: `geosearch.features.embedding_export`.

        Examples
        --------
        >>> gs.export_embeddings("all.parquet", model="packaged/efficientnet-lite0").dimension
        1280
        """
        return export_embeddings(self.database, output, model=model, collection=collection)

    def gallery(
        self,
        kind: str = "geoclip",
        *,
        points: str | PathLike[str] = BUILTIN,
        collection: str = "places",
    ) -> Gallery:
        """Store places to be found where no photos are: `geosearch.features.place_gallery`.

        Examples
        --------
        >>> gs.gallery("geoclip")  # doctest: +SKIP
        Gallery(...)
        """
        with self._told("embedding", "places") as told:
            return make_gallery(
                self.database, kind, points=points, collection=collection, progress=told
            )

    @checked_keywords
    def whiten(
        self, model: str | Backbone = DEFAULT_MODEL, **options: Unpack[WhitenOptions]
    ) -> Whitened:
        """Make a whitened model; options as in `geosearch.features.whitening_fit.whiten`.

        Examples
        --------
        >>> gs.whiten(dim=16, force=True).dimension
        16
        """
        from geosearch.features.whitening_fit import whiten  # loads SciPy

        with self._told("whitening", "embeddings") as told:
            options.setdefault("progress", told)
            return whiten(self.database, self._known(model), **options)

    @checked_keywords
    def index(
        self,
        model: str | Backbone = DEFAULT_MODEL,
        *,
        recall: float = 0.98,
        k: int = 100,
        rebuild: bool = False,
        force: bool = False,
    ) -> Indexed:
        """Index the model where that pays, as `geosearch.retrieval.indexing.index_model`.

        Examples
        --------
        >>> gs.index().needed  # so few photos are compared one by one
        False
        """
        with self.database.connection() as connection:
            row = find_model(connection, model)
        return index_model(
            self.database, row.id, row.dimension, recall, k, rebuild=rebuild, force=force
        )

    @checked_keywords
    def nearest(
        self,
        photo: GivenQuery | None = None,
        k: int = 20,
        *,
        model: str | Backbone = DEFAULT_MODEL,
        photo_id: int | None = None,
        text: str | None = None,
        device: str = "auto",
        exact: bool = False,
        exclude_self: bool = False,
        exclude_duplicates: float | bool | None = None,
        where: GivenFilter = None,
        **conditions: Unpack[Conditions],
    ) -> Neighbours:
        """The `k` reference photos most like `photo`, the stored photo of this id, or a `text`.

        It is given in any way of `geosearch.features.given_queries`. `exclude_self` leaves out
        those with its bytes, as is always done for a stored one, and `exclude_duplicates` those at
        a smaller cosine distance. Of a text, `here` of what is found says whether that is in this
        collection at all, by the latest calibration of words.

        Raises
        ------
        PhotoRejected
            The photo cannot be read.
        NotFoundError
            There is no stored photo of this id.

        Examples
        --------
        >>> gs.nearest(photo, 5, country="RU")
        Neighbours(5, nearest '...jpg' at ..., exact)
        """
        asked = one_or_stored(photo, photo_id, text)
        row, query = embed_one(self.database, self._backbone(model, device), asked)
        passing = narrowed(where, conditions)
        left_out = Exclusions(exclude_self or photo_id is not None, exclude_duplicates)
        found = nearest_others(
            *(self.database, row.id, query, whole("k", k), passing, left_out), exact=exact
        )
        if text is not None:
            found = with_here(self.database, row, query, found, None, passing, left_out)
        return found.neighbours

    @checked_keywords
    def localize(
        self,
        photo: GivenQuery | None = None,
        *,
        photo_id: int | None = None,
        text: str | None = None,
        **options: Unpack[LocalizeOptions],
    ) -> Localization:
        """Estimate where `photo`, or the stored photo of this id, or what a `text` says was taken.

        It is given in any way of `geosearch.features.given_queries`: a path, a picture, a vector.
        Options are those of `LocalizeOptions`.

        Raises
        ------
        PhotoRejected
            The photo cannot be read.
        NotFoundError
            There is no stored photo of this id.

        Examples
        --------
        >>> gs.localize(photo, k=50, near=(46.8, 8.2, 20000), collection="views")
        Localization(..., '...000001.jpg', ... 50 neighbours...)
        >>> len(gs.localize(photo_id=1).neighbours)
        59
        """
        asked = one_or_stored(photo, photo_id, text)
        if isinstance(asked, int):
            (answer,) = self.localize_stored([asked], on_error="raise", **options)
        else:
            (answer,) = self.localize_many(asked, on_error="raise", **options)
        return answer

    @overload
    def localize_many(
        self,
        photos: GivenQueries,
        *,
        on_error: Literal["raise"],
        **options: Unpack[LocalizeOptions],
    ) -> Answers[Localization]: ...

    @overload
    def localize_many(
        self,
        photos: GivenQueries,
        *,
        on_error: Literal["row"] = "row",
        **options: Unpack[LocalizeOptions],
    ) -> Answers[Localization | Failure]: ...

    @checked_keywords
    def localize_many(
        self,
        photos: GivenQueries,
        *,
        on_error: OnError = "row",
        **options: Unpack[LocalizeOptions],
    ) -> Answers[Any]:
        """Localize photos one after the other, each as its answer is asked for.

        They are given in any way of `geosearch.features.given_queries`, folders and manifests too.
        One that cannot be read gives a `Failure`, or, with `on_error="raise"`, raises
        `PhotoRejected`. Options are those of `LocalizeOptions`.

        Examples
        --------
        >>> gs.localize_many(photos, exclude_self=True).to_frame()["photo"].size
        2
        """
        asked = _asked(options, exclude_self=False)
        asked["model"] = self._each(asked["model"], asked.pop("device"))
        return self._answers(
            on_error, lambda told: localize(self.database, photos, progress=told, **asked)
        )

    @overload
    def localize_stored(
        self,
        photo_ids: Sequence[int] | None = None,
        *,
        of: str | Sequence[str] = (),
        on_error: Literal["raise"],
        **options: Unpack[LocalizeOptions],
    ) -> Answers[Localization]: ...

    @overload
    def localize_stored(
        self,
        photo_ids: Sequence[int] | None = None,
        *,
        of: str | Sequence[str] = (),
        on_error: Literal["row"] = "row",
        **options: Unpack[LocalizeOptions],
    ) -> Answers[Localization | Failure]: ...

    @checked_keywords
    def localize_stored(
        self,
        photo_ids: Sequence[int] | None = None,
        *,
        of: str | Sequence[str] = (),
        on_error: OnError = "row",
        **options: Unpack[LocalizeOptions],
    ) -> Answers[Any]:
        """Localize photos of the database: those of these ids, or else all without a position.

        Of the latter those in the collections `of`, by default in all that the filter lets through,
        and new ones alone: `geosearch.localization.localizing.localize_stored`. All else is as in
        `localize_many`, but that `exclude_self` is true unless it is given.

        Examples
        --------
        >>> [answer.id is None for answer in gs.localize_stored([1, 2], k=10, record=False)]
        [True, True]
        """
        asked = _asked(options, exclude_self=True)
        asked["of"] = [of] if isinstance(of, str) else of
        return self._answers(
            on_error,
            lambda told: localize_stored(self.database, photo_ids, progress=told, **asked),
        )

    def _answers(
        self,
        on_error: OnError,
        localized: Callable[[Progress | None], Iterator[Localization | Failure]],
    ) -> Answers[Any]:
        check_choice("on_error", on_error, ("raise", "row"))

        def given() -> Iterator[Localization | Failure]:
            with self._told("localizing", "photos") as told:
                for each in localized(told):
                    if isinstance(each, Localization):
                        yield replace(each, view=self._view)
                    elif on_error == "raise":
                        raise each.error
                    else:
                        yield each

        return Answers(given())

    def _told(self, task: str, unit: str) -> AbstractContextManager[Progress | None]:
        return progress_bar(task, unit, shown=self._progress)

    @checked_keywords
    def evaluate(
        self,
        queries: str | PathLike[str] | QuerySet | None,
        *,
        model: Models = DEFAULT_MODEL,
        parameters: Parameters | Request | None = None,
        exclude_self: bool = True,
        exclude_duplicates: float | bool | None = DUPLICATE_DISTANCE,
        exclude_same_author: bool = True,
        within_km: tuple[float, ...] | None = None,
        device: str = "auto",
        where: GivenFilter = None,
        **asking: Unpack[Asking],
    ) -> Evaluation:
        """Accuracy on a manifest of labelled queries (uri, lat, lon, author), or on a query set.

        Without queries, the photos that pass the filter are answered by one another. References
        with a query's bytes, nearer to it than `exclude_duplicates` or by its author are left out;
        without `exclude_self`, near-duplicates are not left out either. `within_km` are the
        distances of the figures, by default those that fit the photos searched. Other keywords
        are as in `localize_many`.
        """
        request, passing = Request.of(asking, parameters, where)
        models = model if queries is None else self._each(model, device)
        with self._told("evaluating", "queries") as told:
            evaluation = evaluate(
                self.database,
                queries,
                model=models,
                parameters=request,
                where=passing,
                exclusions=leakage(exclude_self, exclude_duplicates, exclude_same_author),
                within_km=within_km,
                device=device,
                progress=told,
            )
        if evaluation.remark and evaluation.unanswered == evaluation.accuracy.n:
            warnings.warn(evaluation.remark, stacklevel=3)
        return evaluation

    @checked_keywords
    def calibrate(
        self,
        queries: str | PathLike[str] | QuerySet | None,
        *,
        model: Models = DEFAULT_MODEL,
        exclude_self: bool = True,
        exclude_duplicates: float | bool | None = DUPLICATE_DISTANCE,
        exclude_same_author: bool = True,
        device: str = "auto",
        where: GivenFilter = None,
        **options: Unpack[CalibrateOptions],
    ) -> Calibration:
        """Fit a calibration to labelled queries; `localize` then uses the latest one.

        What is left out is as in `evaluate`; options are those of
        `geosearch.evaluation.calibrating.calibrate`.
        """
        models = model if queries is None else self._each(model, device)
        with self._told("calibrating", "queries") as told:
            options.setdefault("progress", told)
            return calibrate(
                self.database,
                queries,
                model=models,
                where=narrowed(where, {}),
                exclusions=leakage(exclude_self, exclude_duplicates, exclude_same_author),
                device=device,
                **options,
            )

    @checked_keywords
    def check_calibration(
        self,
        calibration: int,
        queries: str | PathLike[str] | QuerySet | None,
        *,
        exclude_self: bool = True,
        exclude_duplicates: float | bool | None = DUPLICATE_DISTANCE,
        exclude_same_author: bool = True,
        exact: bool = False,
        sample: int | None = None,
        seed: int = 0,
        device: str = "auto",
        where: GivenFilter = None,
    ) -> Checked:
        """Measure a calibration, named by its id, again: on fresh queries and references as now.

        What is left out is as in `evaluate`; without a filter it is the calibration's own.

        Examples
        --------
        >>> gs.check_calibration(calibration.id, None, where={"collection": "views"}, sample=25).n
        25
        """
        with self._told("checking", "queries") as told:
            return check_calibration(
                self.database,
                calibration,
                queries,
                where=None if where is None else narrowed(where, {}),
                exclusions=leakage(exclude_self, exclude_duplicates, exclude_same_author),
                exact=exact,
                sample=sample,
                seed=seed,
                device=device,
                progress=told,
            )

    @checked_keywords
    def audit(
        self,
        *,
        model: str | Backbone = DEFAULT_MODEL,
        parameters: Parameters | Request | None = None,
        least_probability: float = LEAST_PROBABILITY,
        again: bool = False,
        where: GivenFilter = None,
        **conditions: Unpack[Conditions],
    ) -> Records[Doubt]:
        """Photos that were hardly taken where or when they say: `geosearch.audit.audit_run`.

        Examples
        --------
        >>> gs.audit(near=(0, 0, 3000))
        <... rows of id, photo_id, photo, collection, reason, ...>
        """
        from geosearch.audit.audit_run import audit

        passing = narrowed(where, conditions)
        with self._told("judging", "photos") as told:
            audit(
                self.database,
                model=model,
                where=passing,
                parameters=parameters,
                least_probability=least_probability,
                again=again,
                progress=told,
            )
        with self.database.connection() as connection:
            return Records.of(Doubt, list_doubts(connection, passing))

    @checked_keywords
    def duplicates(
        self,
        *,
        model: str | Backbone = DEFAULT_MODEL,
        duplicate_distance: float = DUPLICATE_DISTANCE,
        apart_m: float = APART_M,
        apart_s: float = APART_S,
        alike: bool = False,
        where: GivenFilter = None,
        **conditions: Unpack[Conditions],
    ) -> Records[Duplicate]:
        """Photos that are there twice and differ in place, time or licence, recorded anew.

        Options are as in `geosearch.audit.photo_copies`.

        Examples
        --------
        >>> gs.duplicates(duplicate_distance=0.01)
        <... rows of id, photo_id, photo, collection, lat, ...>
        """
        passing = narrowed(where, conditions)
        with self._told("comparing", "photos") as told:
            find_duplicates(
                self.database,
                model=model,
                where=passing,
                duplicate_distance=duplicate_distance,
                progress=told,
            )
        with self.database.connection() as connection:
            found = list_duplicates(
                connection, passing, apart_m=apart_m, apart_s=apart_s, alike=alike
            )
        return Records.of(Duplicate, found)

    def load(self, localization_id: int) -> Localization:
        """An earlier answer.

        Examples
        --------
        >>> gs.load(1).photo
        '...000001.jpg'
        """
        found = load(self.database, whole("localization_id", localization_id))
        return replace(found, view=self._view)

    def reproduce(self, localization_id: int) -> Reproduction:
        """An earlier answer computed again, and what changed since.

        Examples
        --------
        >>> gs.reproduce(1).same
        True
        """
        return reproduce(self.database, whole("localization_id", localization_id))

    @checked_keywords
    def review(
        self,
        localization_id: int,
        decision: Decision,
        to: Sequence[float] | str | None = None,
        remark: str | None = None,
        *,
        to_accuracy_m: float | None = None,
        as_reference: bool = False,
        overwrite: bool = False,
    ) -> Review:
        """Decide on an answer: `geosearch.localization.reviews.decide`.

        Examples
        --------
        >>> (answer,) = gs.localize_stored([61], on_error="raise")
        >>> gs.review(answer.id, "move", (46.948, 7.447), to_accuracy_m=20).lat
        46.948
        >>> gs.undo_review(answer.id) > 0
        True
        """
        with self.database.connection() as connection:
            return decide(
                *(connection, whole("localization_id", localization_id), decision, to, remark),
                to_accuracy_m=to_accuracy_m,
                as_reference=as_reference,
                overwrite=overwrite,
            )

    def undo_review(self, localization_id: int) -> int:
        """Take back what one decided last on an answer: `geosearch.localization.reviews.undo`.

        Examples
        --------
        >>> (answer,) = gs.localize_stored([62], on_error="raise")
        >>> gs.review(answer.id, "accept").decision
        'accept'
        >>> gs.undo_review(answer.id) > 0
        True
        """
        with self.database.connection() as connection:
            return undo(connection, whole("localization_id", localization_id))

    @checked_keywords
    def undo_reviews(
        self,
        *,
        since: datetime | date | str,
        until: datetime | date | str | None = None,
        dry_run: bool = False,
    ) -> TakenBack:
        """Take back all one decided then: `geosearch.localization.reviews.undo_since`.

        Examples
        --------
        >>> gs.undo_reviews(since="2026-01-31", dry_run=True)
        TakenBack(reviews=..., dry_run=True...)
        """
        with self.database.connection() as connection:
            return undo_since(connection, since, until, dry_run=dry_run)

    @checked_keywords
    def accept_probable(
        self,
        *,
        min_probability: float,
        at_most_km: float,
        collection: str | Sequence[str] = (),
        as_reference: bool = False,
        remark: str | None = None,
        dry_run: bool = False,
    ) -> Accepted:
        """Accept all answers so probable: `geosearch.localization.reviews.accept_probable`.

        Examples
        --------
        >>> gs.accept_probable(min_probability=0.95, at_most_km=5, collection="mine", dry_run=True)
        Accepted(answers=..., dry_run=True...)
        """
        return accept_probable(
            self.database,
            min_probability=min_probability,
            at_most_km=at_most_km,
            collections=[collection] if isinstance(collection, str) else collection,
            as_reference=as_reference,
            remark=remark,
            dry_run=dry_run,
        )

    @checked_keywords
    def delete_photos(
        self,
        *,
        ids: Sequence[int] = (),
        where: GivenFilter = None,
        dry_run: bool = False,
        **conditions: Unpack[Conditions],
    ) -> Deleted:
        """Delete photos by filter or id: `geosearch.deletion.photo_deletion`.

        Examples
        --------
        >>> gs.delete_photos(author="nobody", dry_run=True).goes["photos"]
        0
        """
        passing = narrowed(where, conditions)
        return delete_photos(self.database, passing, ids=ids, dry_run=dry_run)

    @checked_keywords
    def correct_positions(
        self,
        lat: float,
        lon: float,
        *,
        to_accuracy_m: float | None = None,
        ids: Sequence[int] = (),
        where: GivenFilter = None,
        dry_run: bool = False,
        **conditions: Unpack[Conditions],
    ) -> Moved:
        """Give photos another position: `geosearch.deletion.photo_moves`.

        Examples
        --------
        >>> gs.correct_positions(46.948, 7.447, to_accuracy_m=20, ids=[1], dry_run=True).photos
        1
        """
        passing = narrowed(where, conditions)
        return correct_positions(
            self.database,
            passing,
            ids=ids,
            to=(lat, lon),
            to_accuracy_m=to_accuracy_m,
            dry_run=dry_run,
        )

    @checked_keywords
    def move_photos(
        self,
        to_collection: str,
        *,
        ids: Sequence[int] = (),
        where: GivenFilter = None,
        dry_run: bool = False,
        **conditions: Unpack[Conditions],
    ) -> Moved:
        """Move photos into another collection: `geosearch.deletion.photo_moves`.

        Examples
        --------
        >>> gs.move_photos("mine", near=(-90, 0, 4000), dry_run=True).dry_run
        True
        """
        passing = narrowed(where, conditions)
        return move_photos(self.database, passing, ids=ids, to=to_collection, dry_run=dry_run)

    @checked_keywords
    def photos(
        self,
        where: GivenFilter = None,
        *,
        unlocated: bool = False,
        ids: Sequence[int] = (),
        limit: int | None = None,
        **conditions: Unpack[Conditions],
    ) -> Records[StoredPhoto]:
        """The photos of a filter, or all: `geosearch.retrieval.photo_list.list_photos`.

        Examples
        --------
        >>> gs.photos(collection="views", country="CN", limit=5)
        <... rows of id, collection, uri, lat, lon, ...>
        """
        passing = narrowed(where, conditions)
        with self.database.connection() as connection:
            found = list_photos(connection, passing, ids, limit, unlocated=unlocated)
        return Records.of(StoredPhoto, found)

    def sql(
        self, query: LiteralString | SQL | Composed, /, **values: object
    ) -> Records[dict[str, Any]]:
        """The rows of a statement in SQL, in which `%(name)s` stands for the value of `name`.

        Values are never a part of the statement, whatever they hold. Geometries come, and may be
        given, as shapes of Shapely. What the statement changes is committed; it may do what this
        login may.

        Raises
        ------
        InputError
            The statement is wrong, lacks a value, or is several; or columns share a name.
        DatabaseError
            The database refuses it.

        Examples
        --------
        >>> gs.sql("SELECT count(*) AS n FROM geosearch.photos WHERE id <= %(most)s", most=5)[0]
        {'n': 5}
        """
        return read_rows(self.database, query, values)

    @checked_keywords
    def write_back(
        self,
        *,
        ids: Sequence[int] = (),
        where: GivenFilter = None,
        embed: bool = False,
        csv: str | PathLike[str] | None = None,
        immich: str | None = None,
        estimates: bool = False,
        min_probability: float | None = None,
        at_most_km: float = 1,
        overwrite: bool = False,
        dry_run: bool = False,
        **conditions: Unpack[Conditions],
    ) -> WrittenBack:
        """Write positions to where the photos are: `geosearch.write_back.write_back_run`.

        Examples
        --------
        >>> gs.write_back(collection="mine", dry_run=True).written
        0
        """
        return write_back(
            self.database,
            narrowed(where, conditions),
            ids=ids,
            embed=embed,
            csv=csv,
            immich=immich,
            estimates=estimates,
            min_probability=min_probability,
            at_most_km=at_most_km,
            overwrite=overwrite,
            dry_run=dry_run,
        )

    def thumbnail(self, photo_id: int) -> bytes:
        """The thumbnail of a photo, as WebP: `geosearch.retrieval.photo_list.read_thumbnail`.

        Examples
        --------
        >>> gs.thumbnail(1)[:4]
        b'RIFF'
        """
        with self.database.connection() as connection:
            return read_thumbnail(connection, whole("photo_id", photo_id))

    @checked_keywords
    def undo_run(self, run: int, *, dry_run: bool = False) -> Undone:
        """Take back what an ingest or a correction did: `geosearch.deletion.run_undo`.

        Examples
        --------
        >>> gs.undo_run(1, dry_run=True).goes["photos"]
        60
        """
        return undo_run(self.database, run, dry_run=dry_run)

    @checked_keywords
    def delete_collection(self, name: str, *, dry_run: bool = False) -> Deleted:
        """Delete a collection with its photos, embeddings and coverage.

        Examples
        --------
        >>> gs.delete_collection("views", dry_run=True).goes["photos"]
        60
        """
        return delete_collection(self.database, name, dry_run=dry_run)

    @checked_keywords
    def delete_model(self, model: str, *, dry_run: bool = False) -> Deleted:
        """Delete a model with its embeddings, index and classifiers.

        Examples
        --------
        >>> gs.delete_model("packaged/efficientnet-lite0", dry_run=True).dry_run
        True
        """
        return delete_model(self.database, model, dry_run=dry_run)

    @checked_keywords
    def delete_answers(self, *ids: int, dry_run: bool = False) -> Deleted:
        """Delete recorded answers with all they rest on.

        Examples
        --------
        >>> gs.delete_answers(1, dry_run=True).goes["answers"]
        1
        """
        chosen = Selection(tuple(whole("ids", key) for key in ids))
        return delete_answers(self.database, chosen, dry_run=dry_run)

    @checked_keywords
    def delete_evaluations(self, *ids: int, dry_run: bool = False) -> Deleted:
        """Delete evaluations with their answers.

        Examples
        --------
        >>> gs.delete_evaluations(1, dry_run=True).goes["evaluations"]
        1
        """
        keys = [whole("ids", key) for key in ids]
        return delete_evaluations(self.database, keys, dry_run=dry_run)

    @checked_keywords
    def delete_calibration(self, calibration_id: int, *, dry_run: bool = False) -> Deleted:
        """Delete a calibration; answers that used it keep what it had fitted.

        Examples
        --------
        >>> gs.delete_calibration(calibration.id, dry_run=True).dry_run
        True
        """
        key = whole("calibration_id", calibration_id)
        return delete_calibration(self.database, key, dry_run=dry_run)

    @checked_keywords
    def delete_partition(self, name: str, *, dry_run: bool = False) -> Deleted:
        """Delete a partition with its cells and the classifiers over it.

        Examples
        --------
        >>> gs.delete_partition("countries")
        Traceback (most recent call last):
        geosearch.errors.NotFoundError: ...
        """
        return delete_partition(self.database, name, dry_run=dry_run)

    def rename_collection(self, old: str, new: str) -> None:
        """Give a collection another name, in stored filters too.

        Examples
        --------
        >>> gs.rename_collection("views", "earth")
        >>> gs.rename_collection("earth", "views")
        """
        rename_collection(self.database, old, new)

    def rename_model(self, old: str, new: str) -> None:
        """Give a model another name; it is embedded with by the same spec.

        Examples
        --------
        >>> gs.rename_model("packaged/efficientnet-lite0", "lite0")
        >>> gs.rename_model("lite0", "packaged/efficientnet-lite0")
        """
        rename_model(self.database, old, new)

    def rename_partition(self, old: str, new: str) -> None:
        """Give a partition another name, in stored answers too.

        Examples
        --------
        >>> gs.rename_partition("countries", "nations")
        Traceback (most recent call last):
        geosearch.errors.NotFoundError: ...
        """
        rename_partition(self.database, old, new)

    def _backbone(self, model: str | Backbone, device: str) -> Backbone:
        """The backbone of a spec, loaded once."""
        known = self._known(model)
        if isinstance(known, Backbone):
            return known
        key = (known, device)
        if key not in self._backbones:
            self._backbones[key] = find_backbone(
                self.database, known, device=device, load=self._load
            )
        return self._backbones[key]

    def _known(self, model: str | Backbone) -> str | Backbone:
        """A backbone that is given, which is known by its name from then, or a spec."""
        if isinstance(model, Backbone):
            self._given[model.description.name] = model
            return model
        if not isinstance(model, str):
            raise InputError("`model`: one model is wanted here", "Give its name as text.")
        return self._given.get(model, model)

    def _load(self, spec: str, *, device: str, at_once: bool) -> Backbone:
        given = self._given.get(spec)
        return given or load_backbone(spec, device=device, at_once=at_once)

    def _each(self, model: Models, device: str) -> list[Backbone]:
        return [self._backbone(each, device) for each in specs(model)]


class LocalizeOptions(Asking, total=False):
    """Options of `Geosearch.localize`, `localize_many` and `localize_stored`.

    What to answer by is said by the fields of a `Request` as keywords (`k`, `method`,
    `bandwidth_km`, …), and which photos may be neighbours by those of `Conditions`.

    Attributes
    ----------
    model
        A model, or several that answer together: a spec as of `geosearch embed`, or a backbone.
    parameters
        A `Request` or `Parameters`, in place of the keywords.
    exclude_self
        Leave out references with the query's bytes.
    exclude_duplicates
        Leave out references at a smaller cosine distance than this (True: 0.02).
    device
        Where the network runs: `auto`, `cpu`, `cuda`.
    record
        Store every answer.
    track
        Files that say where the photographer was, and when.
    clock_offset
        Seconds that the camera's clock is ahead of the track's.
    where
        A filter, which holds besides the keywords.
    """

    model: Models
    parameters: Parameters | Request | None
    exclude_self: bool
    exclude_duplicates: float | bool | None
    device: str
    record: bool
    track: Paths | None
    clock_offset: float | None
    where: GivenFilter


def _asked(options: LocalizeOptions, *, exclude_self: bool) -> dict[str, Any]:
    """The keywords of `geosearch.localization.localize` that options come to."""
    given: dict[str, Any] = {"model": DEFAULT_MODEL, "device": "auto", **options}
    leaving = given.pop("exclude_self", exclude_self), given.pop("exclude_duplicates", None)
    chosen = given.pop("parameters", None), given.pop("where", None)
    names = ("model", "device", "record", "track", "clock_offset")
    own = {name: given.pop(name) for name in names if name in given}
    request, passing = Request.of(given, *chosen)
    return own | {"parameters": request, "where": passing, "exclusions": Exclusions(*leaving)}


def connect(
    url: str | None = None, *, progress: bool | None = None, partial: bool | None = None
) -> Geosearch:
    """Open the database at `url`, at `GEOSEARCH_DATABASE_URL`, or the private server.

    `progress` says whether what takes long draws a bar: True in notebooks and on terminals, None in
    notebooks alone. `partial`: do without shards that cannot be reached (docs/shards.md).

    Raises
    ------
    DatabaseError
        It cannot be reached, is too old, or lacks the schema.
    """
    return Geosearch(open_database(url, partial=partial), progress=progress)
