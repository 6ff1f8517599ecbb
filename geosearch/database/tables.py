"""The tables of schema `geosearch` as SQLAlchemy metadata, as they are now.

Migrations create them from `sql/`; autogenerate compares what came of it with these. Partitions of
`embeddings` are made at run time, one per model (`geosearch.database.embedding_tables`).
"""

from __future__ import annotations

from typing import Any

from geoalchemy2 import Geometry
from pgvector.sqlalchemy import HALFVEC, VECTOR
from sqlalchemy import (
    REAL,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    false,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

SCHEMA = "geosearch"

metadata = MetaData(
    schema=SCHEMA,
    naming_convention={
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s_check",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        "pk": "%(table_name)s_pkey",
    },
)


def _id() -> Column[int]:
    return Column("id", BigInteger, Identity(), primary_key=True, comment="Primary key.")


def _created_at() -> Column[Any]:
    return Column(
        "created_at",
        DateTime(timezone=True),
        nullable=False,
        server_default=func.now(),
        comment="When the row was written.",
    )


def _point(name: str, *, nullable: bool, comment: str) -> Column[Any]:
    # spatial_index=False: its implicit index fights autogenerate; indexes are declared below.
    return Column(
        name, Geometry("POINT", 4326, spatial_index=False), nullable=nullable, comment=comment
    )


def _collection_ids() -> Column[Any]:
    return Column(
        "collection_ids",
        ARRAY(BigInteger),
        nullable=False,
        server_default=text("geosearch.visible_collections()"),
        comment="Collections that whoever recorded it could see: only those who see them all see "
        "the row.",
    )


def _recorded_by() -> Column[Any]:
    return Column(
        "recorded_by",
        Text,
        nullable=False,
        server_default=text("CURRENT_USER"),
        comment="Role that recorded it, and may change it.",
    )


def _on_earth(column: str) -> CheckConstraint:
    return CheckConstraint(
        f"ST_Y({column}) BETWEEN -90 AND 90 AND ST_X({column}) BETWEEN -180 AND 180",
        name=f"{column}_on_earth",
    )


collections = Table(
    "collections",
    metadata,
    _id(),
    Column("name", Text, nullable=False, unique=True, comment="Name used on the command line."),
    Column("description", Text, comment="What the photos are and where they come from."),
    _created_at(),
    Column(
        "private",
        Boolean,
        nullable=False,
        server_default=false(),
        comment="True: only for geosearch_owner and the roles it is shared with.",
    ),
    CheckConstraint("name <> ''", name="name_not_empty"),
    comment="Named sets of photos.",
)

collection_shares = Table(
    "collection_shares",
    metadata,
    _id(),
    Column(
        "collection_id",
        ForeignKey(collections.c.id, ondelete="CASCADE"),
        nullable=False,
        comment="The collection.",
    ),
    Column("role", Text, nullable=False, comment="Role of the server that may see its photos."),
    _created_at(),
    UniqueConstraint("collection_id", "role"),
    comment="Who may see private collections.",
)

models = Table(
    "models",
    metadata,
    _id(),
    Column("name", Text, nullable=False, comment="Model spec, e.g. packaged/efficientnet-lite0."),
    Column("architecture", Text, nullable=False, comment="Network architecture."),
    Column("weights_source", Text, nullable=False, comment="Where the weights came from."),
    Column("weights_sha256", Text, nullable=False, comment="sha256 of the weights, hex."),
    Column("preprocessing", JSONB, nullable=False, comment="Resize, crop, scaling of the input."),
    Column("pooling", Text, nullable=False, comment="Pooling of the feature map."),
    Column("dimension", Integer, nullable=False, comment="Length of an embedding."),
    Column("fingerprint", Text, nullable=False, comment="sha256 over all that shapes embeddings."),
    Column("framework", JSONB, nullable=False, comment="Library versions at registration."),
    Column("licence", Text, comment="Licence of the weights."),
    _created_at(),
    UniqueConstraint("fingerprint"),
    CheckConstraint("dimension BETWEEN 1 AND 16000", name="dimension"),
    Index(None, "name"),
    comment="Backbones with their exact weights and preprocessing; one row each.",
)

runs = Table(
    "runs",
    metadata,
    _id(),
    Column("kind", Text, nullable=False, comment="ingest, embed or train."),
    Column(
        "collection_id",
        ForeignKey(collections.c.id, ondelete="CASCADE"),
        comment="Collection worked on; NULL means all.",
    ),
    Column(
        "model_id",
        ForeignKey(models.c.id, ondelete="CASCADE"),
        comment="Model, for embed and train.",
    ),
    Column("sources", JSONB, nullable=False, comment="Folders and manifests given."),
    Column("options", JSONB, nullable=False, comment="Options of the command."),
    Column("software", JSONB, nullable=False, comment="Versions of geosearch and libraries."),
    Column(
        "started_at",
        DateTime(timezone=True),
        nullable=False,
        server_default=func.now(),
        comment="Start of the run.",
    ),
    Column("finished_at", DateTime(timezone=True), comment="End; NULL while running or killed."),
    Column("counts", JSONB, comment="Summary of the finished run."),
    _collection_ids(),
    _recorded_by(),
    CheckConstraint("kind IN ('ingest', 'embed', 'train')", name="kind"),
    Index(None, "collection_id"),
    Index(None, "model_id"),
    comment="Runs of ingest, embed and train: what was asked, with what software, what came of it.",
)

photos = Table(
    "photos",
    metadata,
    _id(),
    Column(
        "collection_id",
        ForeignKey(collections.c.id, ondelete="CASCADE"),
        nullable=False,
        comment="Collection the photo belongs to.",
    ),
    Column("uri", Text, nullable=False, comment="Absolute path or URL of the photo."),
    Column("sha256", LargeBinary, nullable=False, comment="sha256 of the file's bytes."),
    Column("size_bytes", BigInteger, nullable=False, comment="Size of the file in bytes."),
    Column("width", Integer, nullable=False, comment="Width in pixels, as stored."),
    Column("height", Integer, nullable=False, comment="Height in pixels, as stored."),
    Column("format", Text, nullable=False, comment="Image format, e.g. JPEG."),
    _point("geom", nullable=True, comment="Position (WGS 84); NULL if unlocated."),
    Column("position_source", Text, comment="exif, xmp or manifest; NULL if unlocated."),
    Column("accuracy_m", REAL, comment="Accuracy of the position, metres."),
    Column("taken_at", DateTime(timezone=True), comment="When taken (UTC if no zone is known)."),
    Column("author", Text, comment="Photographer or account."),
    Column("licence", Text, comment="Licence of the photo."),
    Column("title", Text, comment="Title or caption."),
    Column("source_id", Text, comment="Identifier at the source, e.g. a Flickr id."),
    Column("exif", JSONB, comment="EXIF tags by name."),
    Column(
        "run_id",
        ForeignKey(runs.c.id, ondelete="SET NULL"),
        comment="Ingest run that added the photo.",
    ),
    _created_at(),
    UniqueConstraint("collection_id", "sha256"),
    CheckConstraint("octet_length(sha256) = 32", name="sha256_length"),
    CheckConstraint("size_bytes > 0 AND width > 0 AND height > 0", name="size"),
    CheckConstraint("accuracy_m >= 0", name="accuracy"),
    CheckConstraint("position_source IN ('exif', 'xmp', 'manifest')", name="position_source"),
    CheckConstraint("(geom IS NULL) = (position_source IS NULL)", name="position_has_source"),
    _on_earth("geom"),
    Index("photos_geom_idx", "geom", postgresql_using="gist"),
    Index("photos_geography_idx", text("(geom::geography)"), postgresql_using="gist"),
    Index(None, "collection_id", "uri"),
    Index(None, "sha256"),
    Index(None, "author"),
    Index(None, "taken_at"),
    Index(None, "run_id"),
    comment="Reference photos with their positions.",
)

rejects = Table(
    "rejects",
    metadata,
    _id(),
    Column(
        "collection_id",
        ForeignKey(collections.c.id, ondelete="CASCADE"),
        nullable=False,
        comment="Collection the photo was meant for.",
    ),
    Column("uri", Text, nullable=False, comment="The photo (or manifest row: file#row)."),
    Column("stage", Text, nullable=False, comment="read, decode, position, manifest or embed."),
    Column("reason", Text, nullable=False, comment="Reason code, e.g. zero_zero."),
    Column("message", Text, nullable=False, comment="What exactly was wrong."),
    Column(
        "photo_id",
        ForeignKey(photos.c.id, ondelete="CASCADE"),
        comment="The stored photo, for stage embed and for photos kept unlocated.",
    ),
    Column("model_id", ForeignKey(models.c.id, ondelete="CASCADE"), comment="Model, for embed."),
    Column("run_id", ForeignKey(runs.c.id, ondelete="SET NULL"), comment="Latest run that saw it."),
    _created_at(),
    UniqueConstraint("collection_id", "uri", "model_id", postgresql_nulls_not_distinct=True),
    CheckConstraint("stage IN ('read', 'decode', 'position', 'manifest', 'embed')", name="stage"),
    Index(None, "photo_id"),
    Index(None, "model_id"),
    Index(None, "run_id"),
    comment="Photos that could not be used, and why: one row per photo and model.",
)

embeddings = Table(
    "embeddings",
    metadata,
    Column(
        "photo_id",
        ForeignKey(photos.c.id, ondelete="CASCADE"),
        nullable=False,
        comment="The photo.",
    ),
    Column(
        "model_id",
        ForeignKey(models.c.id, ondelete="CASCADE"),
        nullable=False,
        comment="The model; the partition key.",
    ),
    Column("collection_id", BigInteger, nullable=False, comment="Copy of the photo's column."),
    _point("geom", nullable=False, comment="Copy of the photo's column."),
    Column("accuracy_m", REAL, comment="Copy of the photo's column."),
    Column("taken_at", DateTime(timezone=True), comment="Copy of the photo's column."),
    Column("author", Text, comment="Copy of the photo's column."),
    Column("licence", Text, comment="Copy of the photo's column."),
    Column("embedding", HALFVEC(), nullable=False, comment="L2-normalised embedding, float16."),
    _created_at(),
    PrimaryKeyConstraint("model_id", "photo_id"),
    Index(None, "photo_id"),
    Index(None, "collection_id"),
    Index("embeddings_geom_idx", "geom", postgresql_using="gist"),
    Index("embeddings_geography_idx", text("(geom::geography)"), postgresql_using="gist"),
    Index(None, "author"),
    Index(None, "taken_at"),
    postgresql_partition_by="LIST (model_id)",
    comment="Embeddings, one partition per model, with copies of the columns filters need "
    "so that a filtered neighbour query needs no join.",
)

evaluations = Table(
    "evaluations",
    metadata,
    _id(),
    Column("queries", Text, nullable=False, comment="Manifest of the queries."),
    Column("model_id", ForeignKey(models.c.id, ondelete="SET NULL"), comment="The model."),
    Column("model", Text, nullable=False, comment="Model spec, kept if the model goes."),
    Column("method", Text, nullable=False, comment="nearest, im2gps, density or geocell."),
    Column("parameters", JSONB, nullable=False, comment="k, bandwidth and the like."),
    Column("filter", JSONB, nullable=False, comment="Filter on the references."),
    Column("n", Integer, comment="Queries read; NULL until finished."),
    Column("failed", Integer, comment="Queries that could not be used; NULL until finished."),
    Column("unanswered", Integer, comment="Queries without neighbours; NULL until finished."),
    Column("accuracy", JSONB, comment="Share of n within 1, 25, 200, 750, 2500 km."),
    Column("median_km", Double, comment="Median error, kilometres."),
    Column("mean_km", Double, comment="Mean error, kilometres."),
    Column("software", JSONB, nullable=False, comment="Versions of geosearch and libraries."),
    _created_at(),
    Column(
        "sweep_id",
        ForeignKey("geosearch.evaluations.id", ondelete="CASCADE"),
        comment="First evaluation on the same neighbours, which has the answers; NULL if alone.",
    ),
    Column(
        "errors_km",
        ARRAY(Double),
        comment="Error per query, kilometres, in the order of the answers; infinite without.",
    ),
    Column("excluded", JSONB, comment="References left out, all queries together, by reason."),
    _collection_ids(),
    _recorded_by(),
    Index(None, "model_id"),
    Index(None, "sweep_id"),
    comment="Evaluations on labelled queries.",
)

calibrations = Table(
    "calibrations",
    metadata,
    _id(),
    Column("model_id", ForeignKey(models.c.id, ondelete="SET NULL"), comment="The model."),
    Column("model", Text, nullable=False, comment="Model spec, kept if the model goes."),
    Column("filter", JSONB, nullable=False, comment="Filter on the references it was fitted with."),
    Column("method", Text, nullable=False, comment="Method it was fitted for."),
    Column("parameters", JSONB, nullable=False, comment="What was fitted."),
    Column("figures", JSONB, nullable=False, comment="Figures on the queries held out, by name."),
    Column("queries", Text, nullable=False, comment="Manifest of the labelled queries."),
    Column("options", JSONB, nullable=False, comment="Options of the command."),
    Column("n_fit", Integer, nullable=False, comment="Queries it was fitted on."),
    Column("n_check", Integer, nullable=False, comment="Queries held out for the figures."),
    Column("failed", Integer, nullable=False, comment="Queries that could not be used."),
    Column("software", JSONB, nullable=False, comment="Versions of geosearch and libraries."),
    _created_at(),
    _collection_ids(),
    _recorded_by(),
    CheckConstraint("n_fit > 0 AND n_check > 0", name="n"),
    Index(None, "model_id"),
    comment="Calibrations: from evidence to bandwidth, regions and probabilities, by model.",
)

localizations = Table(
    "localizations",
    metadata,
    _id(),
    Column("photo_uri", Text, nullable=False, comment="The query photo."),
    Column("photo_sha256", LargeBinary, nullable=False, comment="sha256 of the query's bytes."),
    Column("model_id", ForeignKey(models.c.id, ondelete="SET NULL"), comment="The model."),
    Column("model", JSONB, nullable=False, comment="Name and fingerprint, kept if it goes."),
    Column("method", Text, nullable=False, comment="nearest, im2gps, density or geocell."),
    Column("parameters", JSONB, nullable=False, comment="k, bandwidth and the like."),
    Column("filter", JSONB, nullable=False, comment="Filter on the references."),
    Column("plan", JSONB, nullable=False, comment="How the neighbours were retrieved."),
    Column("software", JSONB, nullable=False, comment="Versions of geosearch and libraries."),
    Column("query_embedding", VECTOR(), nullable=False, comment="Embedding of the query."),
    _point("estimate", nullable=True, comment="Estimated position; NULL without neighbours."),
    Column("place", Text, comment="The estimate in words, as geosearch.place_name gave them."),
    Column("score", Double, comment="Share of the neighbours' weight near the estimate, 0 to 1."),
    Column("radius_50_km", Double, comment="Radius round the estimate with half the density."),
    Column("radius_90_km", Double, comment="Radius round the estimate with 90 % of it."),
    Column("modes", JSONB, nullable=False, comment="Modes of the density, best first."),
    Column("elapsed_ms", JSONB, nullable=False, comment="Time per step, milliseconds."),
    _point("truth", nullable=True, comment="True position, where known."),
    Column("error_km", Double, comment="Great-circle distance to the truth, kilometres."),
    Column(
        "evaluation_id",
        ForeignKey(evaluations.c.id, ondelete="CASCADE"),
        comment="Evaluation it belongs to, if any.",
    ),
    Column(
        "calibration_id",
        ForeignKey(calibrations.c.id, ondelete="SET NULL"),
        comment="Calibration that was applied, if any.",
    ),
    Column("calibration", JSONB, comment="What it had fitted, kept if it goes."),
    Column(
        "confident",
        Boolean,
        comment="False: not in this collection. NULL without calibration.",
    ),
    Column(
        "probability_within_km",
        JSONB,
        comment="Probability of an error of at most so many kilometres.",
    ),
    Column(
        "truth_level",
        Double,
        comment="Level of the smallest region that holds the truth; NULL without truth.",
    ),
    Column("excluded", JSONB, comment="References left out of the search, by reason."),
    _created_at(),
    _collection_ids(),
    _recorded_by(),
    CheckConstraint("octet_length(photo_sha256) = 32", name="sha256_length"),
    CheckConstraint("method IN ('nearest', 'im2gps', 'density', 'geocell')", name="method"),
    CheckConstraint("truth_level BETWEEN 0 AND 1", name="truth_level"),
    _on_earth("estimate"),
    _on_earth("truth"),
    Index("localizations_estimate_idx", "estimate", postgresql_using="gist"),
    Index(None, "model_id"),
    Index(None, "evaluation_id"),
    Index(None, "calibration_id"),
    Index(None, "created_at"),
    comment="Answers: a query photo, everything the answer rests on, and the estimate.",
)

localization_neighbours = Table(
    "localization_neighbours",
    metadata,
    _id(),
    Column(
        "localization_id",
        ForeignKey(localizations.c.id, ondelete="CASCADE"),
        nullable=False,
        comment="The answer.",
    ),
    Column("rank", Integer, nullable=False, comment="1 is the nearest."),
    Column("photo_id", BigInteger, nullable=False, comment="The photo; it may be gone since."),
    Column("uri", Text, nullable=False, comment="The photo's uri at the time."),
    _point("geom", nullable=False, comment="The photo's position at the time."),
    Column("distance", Double, nullable=False, comment="Cosine distance to the query."),
    Column("weight", Double, nullable=False, comment="Weight in the estimate; all sum to 1."),
    UniqueConstraint("localization_id", "rank"),
    CheckConstraint("rank >= 1", name="rank"),
    Index("localization_neighbours_geom_idx", "geom", postgresql_using="gist"),
    comment="The neighbours an answer rests on.",
)

localization_regions = Table(
    "localization_regions",
    metadata,
    _id(),
    Column(
        "localization_id",
        ForeignKey(localizations.c.id, ondelete="CASCADE"),
        nullable=False,
        comment="The answer.",
    ),
    Column("level", REAL, nullable=False, comment="Share of the density inside, 0 to 1."),
    Column(
        "geom",
        Geometry("MULTIPOLYGON", 4326, spatial_index=False),
        nullable=False,
        comment="Highest-density region.",
    ),
    Column("area_km2", Double, nullable=False, comment="Area, square kilometres."),
    UniqueConstraint("localization_id", "level"),
    CheckConstraint("level > 0 AND level < 1", name="level"),
    Index("localization_regions_geom_idx", "geom", postgresql_using="gist"),
    comment="Highest-density regions of answers.",
)

localization_cells = Table(
    "localization_cells",
    metadata,
    _id(),
    Column(
        "localization_id",
        ForeignKey(localizations.c.id, ondelete="CASCADE"),
        nullable=False,
        comment="The answer.",
    ),
    Column(
        "level",
        Double,
        nullable=False,
        comment="Share of the density in this and all denser cells.",
    ),
    Column("share", Double, nullable=False, comment="Share of the density in the cell."),
    Column("area_km2", Double, nullable=False, comment="Area, square kilometres."),
    Column(
        "geom",
        Geometry("MULTIPOLYGON", 4326, spatial_index=False),
        nullable=False,
        comment="The cell.",
    ),
    UniqueConstraint("localization_id", "level"),
    CheckConstraint("share > 0 AND area_km2 > 0", name="positive"),
    Index("localization_cells_geom_idx", "geom", postgresql_using="gist"),
    comment="Densities of answers as cells, made by geosearch layers density.",
)

evaluation_failures = Table(
    "evaluation_failures",
    metadata,
    _id(),
    Column(
        "evaluation_id",
        ForeignKey(evaluations.c.id, ondelete="CASCADE"),
        nullable=False,
        comment="The evaluation.",
    ),
    Column("uri", Text, nullable=False, comment="The query photo."),
    Column("reason", Text, nullable=False, comment="Reason code."),
    Column("message", Text, nullable=False, comment="What exactly was wrong."),
    Index(None, "evaluation_id"),
    comment="Queries of an evaluation that could not be answered: counted, never dropped.",
)

indexes = Table(
    "indexes",
    metadata,
    _id(),
    Column(
        "model_id",
        ForeignKey(models.c.id, ondelete="CASCADE"),
        nullable=False,
        unique=True,
        comment="The model.",
    ),
    Column("name", Text, nullable=False, comment="Name of the HNSW index."),
    Column("m", Integer, nullable=False, comment="HNSW m."),
    Column("ef_construction", Integer, nullable=False, comment="HNSW ef_construction."),
    Column("rows", BigInteger, nullable=False, comment="Embeddings indexed at the build."),
    Column("serial", Boolean, nullable=False, comment="True if built by one process."),
    Column("build_s", Double, nullable=False, comment="Build time, seconds."),
    Column("pgvector", Text, nullable=False, comment="pgvector version that built it."),
    _created_at(),
    comment="HNSW indexes: how and when each was built.",
)

borders = Table(
    "borders",
    metadata,
    _id(),
    Column("kind", Text, nullable=False, comment="country, or region: a group or part of some."),
    Column("name", Text, nullable=False, comment="English name."),
    Column("aliases", ARRAY(Text), nullable=False, comment="Other names it is found by."),
    Column("iso_a2", Text, comment="ISO 3166-1 alpha-2 code, as far as the source has one."),
    Column("iso_a3", Text, comment="ISO 3166-1 alpha-3 code, as far as the source has one."),
    Column("continent", Text, comment="Continent, as the source divides them."),
    Column("subregion", Text, comment="Part of the continent, as the source divides them."),
    Column(
        "geom",
        Geometry("MULTIPOLYGON", 4326, spatial_index=False),
        nullable=False,
        comment="Its area.",
    ),
    Column("source", Text, nullable=False, comment="File it was loaded from."),
    _created_at(),
    CheckConstraint("kind IN ('country', 'region')", name="kind"),
    Index("borders_geom_idx", "geom", postgresql_using="gist"),
    comment="Borders of countries and regions, for filters by name.",
)

places = Table(
    "places",
    metadata,
    _id(),
    Column("name", Text, nullable=False, comment="Name."),
    Column("admin1", Text, comment="First-level division of the country it is in."),
    Column("country", Text, nullable=False, comment="Country, in English."),
    Column("iso_a2", Text, nullable=False, comment="ISO 3166-1 alpha-2 code of the country."),
    Column("population", BigInteger, nullable=False, comment="People; 0 where unknown."),
    _point("geom", nullable=False, comment="Position (WGS 84)."),
    *(
        Index(name, text("(geom::geography)"), postgresql_using="gist", postgresql_where=where)
        for name, where in (
            ("places_geography_idx", None),
            ("places_cities_idx", text("population >= 100000")),
            ("places_large_cities_idx", text("population >= 1000000")),
        )
    ),
    comment="Cities, towns and villages (GeoNames, CC BY 4.0), for geosearch.place_name.",
)

coverage = Table(
    "coverage",
    metadata,
    _id(),
    Column(
        "collection_id",
        ForeignKey(collections.c.id, ondelete="CASCADE"),
        nullable=False,
        comment="Collection whose photos are counted.",
    ),
    Column("cell_km", Integer, nullable=False, comment="Side of the grid's cells, kilometres."),
    Column(
        "cell", Integer, nullable=False, comment="Number of the cell, among those of all grids."
    ),
    Column("photos", BigInteger, nullable=False, comment="Photos in the cell."),
    Column(
        "geom",
        Geometry("MULTIPOLYGON", 4326, spatial_index=False),
        nullable=False,
        comment="The cell.",
    ),
    _created_at(),
    UniqueConstraint("collection_id", "cell"),
    CheckConstraint("photos > 0", name="photos"),
    Index("coverage_geom_idx", "geom", postgresql_using="gist"),
    comment="Photos in cells of equal area, counted by geosearch.refresh_coverage.",
)

#: As QGIS makes it where it stores projects, to the order of the columns.
qgis_projects = Table(
    "qgis_projects",
    metadata,
    Column("name", Text, primary_key=True, comment="Name to open the project by."),
    Column("metadata", JSONB, comment="When and by whom it was last saved."),
    Column("content", LargeBinary, comment="The project, a .qgz file."),
    comment="Projects of QGIS: Project > Open From > PostgreSQL.",
)

tunings = Table(
    "tunings",
    metadata,
    _id(),
    Column(
        "model_id",
        ForeignKey(models.c.id, ondelete="CASCADE"),
        nullable=False,
        unique=True,
        comment="The model.",
    ),
    Column("target", Double, nullable=False, comment="Recall aimed at, 0 to 1."),
    Column("k", Integer, nullable=False, comment="Neighbours the recall was checked for."),
    Column("sample", Integer, nullable=False, comment="Stored embeddings used as queries."),
    Column("rows", BigInteger, nullable=False, comment="Embeddings at the time."),
    Column("index_file", BigInteger, nullable=False, comment="File number of the index measured."),
    Column("exact_fixed_ms", Double, nullable=False, comment="Exact search of nothing, ms."),
    Column("exact_row_ms", Double, nullable=False, comment="Exact search, ms per photo."),
    _created_at(),
    CheckConstraint("target > 0 AND target <= 1", name="target"),
    comment="Measurements of a model's index: the costs its plans rest on.",
)

recall_points = Table(
    "recall_points",
    metadata,
    _id(),
    Column(
        "tuning_id",
        ForeignKey(tunings.c.id, ondelete="CASCADE"),
        nullable=False,
        comment="The measurement.",
    ),
    Column("ef_search", Integer, nullable=False, comment="Setting hnsw.ef_search."),
    Column("rank", Integer, nullable=False, comment="Of so many nearest photos ..."),
    Column("recall", Double, nullable=False, comment="... the share the index found."),
    Column("ms", Double, nullable=False, comment="Median time at this setting, ms."),
    UniqueConstraint("tuning_id", "ef_search", "rank"),
    CheckConstraint("recall BETWEEN 0 AND 1", name="recall"),
    comment="The recall curve of an index.",
)

recall_checks = Table(
    "recall_checks",
    metadata,
    _id(),
    Column(
        "model_id",
        ForeignKey(models.c.id, ondelete="CASCADE"),
        nullable=False,
        comment="The model.",
    ),
    Column("placement", Text, nullable=False, comment="Filter: none, near or far from the query."),
    Column("selectivity", Double, nullable=False, comment="Share of photos the filter passes."),
    Column("k", Integer, nullable=False, comment="Neighbours asked for."),
    Column("queries", Integer, nullable=False, comment="Queries measured."),
    Column("by_index", Integer, nullable=False, comment="Queries the index answered."),
    Column("complete", Boolean, nullable=False, comment="True if no query came back short."),
    Column("recall", Double, nullable=False, comment="Mean recall against exact search."),
    Column("ms", Double, nullable=False, comment="Median time, ms."),
    _created_at(),
    Index(None, "model_id"),
    comment="Recall of the plans geosearch chose, over a sweep of filters.",
)

partitions = Table(
    "partitions",
    metadata,
    _id(),
    Column("name", Text, nullable=False, comment="Name used on the command line."),
    Column("kind", Text, nullable=False, comment="quadtree or clusters."),
    Column("parameters", JSONB, nullable=False, comment="Photos per cell and the like."),
    Column("filter", JSONB, nullable=False, comment="Filter on the photos it was made of."),
    Column("definition", JSONB, nullable=False, comment="Rules that give each point to a cell."),
    Column("photos", BigInteger, nullable=False, comment="Photos it was made of."),
    Column("software", JSONB, nullable=False, comment="Versions of geosearch and libraries."),
    _created_at(),
    _collection_ids(),
    _recorded_by(),
    UniqueConstraint("name"),
    CheckConstraint("name <> ''", name="name_not_empty"),
    CheckConstraint("kind IN ('quadtree', 'clusters')", name="kind"),
    comment="Partitions of the world into geocells.",
)

geocells = Table(
    "geocells",
    metadata,
    _id(),
    Column(
        "partition_id",
        ForeignKey(partitions.c.id, ondelete="CASCADE"),
        nullable=False,
        comment="The partition.",
    ),
    Column("number", Integer, nullable=False, comment="Number of the cell, from 0."),
    Column("photos", BigInteger, nullable=False, comment="Photos in it, of those it was made of."),
    Column("spread_km", Double, nullable=False, comment="Their spread round the medoid, km."),
    Column("area_km2", Double, nullable=False, comment="Area, square kilometres."),
    _point("medoid", nullable=False, comment="The photo nearest to their geometric median."),
    Column(
        "geom",
        Geometry("MULTIPOLYGON", 4326, spatial_index=False),
        nullable=False,
        comment="The cell.",
    ),
    UniqueConstraint("partition_id", "number"),
    CheckConstraint("number >= 0", name="number"),
    CheckConstraint("photos > 0 AND spread_km > 0 AND area_km2 > 0", name="size"),
    _on_earth("medoid"),
    Index("geocells_geom_idx", "geom", postgresql_using="gist"),
    comment="Cells of partitions; those of one cover the world without overlap.",
)

classifiers = Table(
    "classifiers",
    metadata,
    _id(),
    Column(
        "model_id",
        ForeignKey(models.c.id, ondelete="CASCADE"),
        nullable=False,
        comment="Model whose embeddings are classified.",
    ),
    Column(
        "partition_id",
        ForeignKey(partitions.c.id, ondelete="CASCADE"),
        nullable=False,
        comment="Partition whose cells are the classes.",
    ),
    Column("weights", LargeBinary, nullable=False, comment="float32, cells by dimension."),
    Column("bias", LargeBinary, nullable=False, comment="float32, one a cell."),
    Column("provenance", JSONB, nullable=False, comment="How it was trained."),
    _created_at(),
    UniqueConstraint("model_id", "partition_id"),
    Index(None, "partition_id"),
    comment="Linear classifiers of embeddings over the cells of partitions.",
)
