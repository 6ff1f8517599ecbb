"""First schema: collections, photos, models, embeddings, answers and their provenance.

Revision ID: 0001
Revises: none
"""

from __future__ import annotations

import pgvector.sqlalchemy
import sqlalchemy as sa
from alembic import op
from geoalchemy2 import Geometry
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


# Embeddings carry copies of the photo's filter columns; this keeps them true. A photo that loses
# its position loses its embeddings: without one it can never be a neighbour.
SYNC_FUNCTION = """
CREATE FUNCTION geosearch.sync_embeddings() RETURNS trigger
LANGUAGE plpgsql SET search_path = geosearch, public AS $$
BEGIN
    IF NEW.geom IS NULL THEN
        DELETE FROM geosearch.embeddings WHERE photo_id = NEW.id;
    ELSE
        UPDATE geosearch.embeddings
        SET collection_id = NEW.collection_id, geom = NEW.geom, accuracy_m = NEW.accuracy_m,
            taken_at = NEW.taken_at, author = NEW.author, licence = NEW.licence
        WHERE photo_id = NEW.id;
    END IF;
    RETURN NULL;
END
$$
"""
SYNC_TRIGGER = """
CREATE TRIGGER sync_embeddings
AFTER UPDATE OF collection_id, geom, accuracy_m, taken_at, author, licence
ON geosearch.photos FOR EACH ROW
WHEN (OLD.* IS DISTINCT FROM NEW.*)
EXECUTE FUNCTION geosearch.sync_embeddings()
"""


def upgrade() -> None:
    op.create_table(
        "collections",
        sa.Column(
            "id", sa.BigInteger(), sa.Identity(always=False), nullable=False, comment="Primary key."
        ),
        sa.Column("name", sa.Text(), nullable=False, comment="Name used on the command line."),
        sa.Column(
            "description",
            sa.Text(),
            nullable=True,
            comment="What the photos are and where they come from.",
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the row was written.",
        ),
        sa.CheckConstraint("name <> ''", name=op.f("collections_name_not_empty_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("collections_pkey")),
        sa.UniqueConstraint("name", name=op.f("collections_name_key")),
        schema="geosearch",
        comment="Named sets of photos.",
    )
    op.create_table(
        "models",
        sa.Column(
            "id", sa.BigInteger(), sa.Identity(always=False), nullable=False, comment="Primary key."
        ),
        sa.Column(
            "name",
            sa.Text(),
            nullable=False,
            comment="Model spec, e.g. packaged/efficientnet-lite0.",
        ),
        sa.Column("architecture", sa.Text(), nullable=False, comment="Network architecture."),
        sa.Column(
            "weights_source", sa.Text(), nullable=False, comment="Where the weights came from."
        ),
        sa.Column(
            "weights_sha256", sa.Text(), nullable=False, comment="sha256 of the weights, hex."
        ),
        sa.Column(
            "preprocessing",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="Resize, crop, scaling of the input.",
        ),
        sa.Column("pooling", sa.Text(), nullable=False, comment="Pooling of the feature map."),
        sa.Column("dimension", sa.Integer(), nullable=False, comment="Length of an embedding."),
        sa.Column(
            "fingerprint",
            sa.Text(),
            nullable=False,
            comment="sha256 over all that shapes embeddings.",
        ),
        sa.Column(
            "framework",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="Library versions at registration.",
        ),
        sa.Column("licence", sa.Text(), nullable=True, comment="Licence of the weights."),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the row was written.",
        ),
        sa.CheckConstraint("dimension BETWEEN 1 AND 16000", name=op.f("models_dimension_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("models_pkey")),
        sa.UniqueConstraint("fingerprint", name=op.f("models_fingerprint_key")),
        schema="geosearch",
        comment="Backbones with their exact weights and preprocessing; one row each.",
    )
    op.create_index(op.f("models_name_idx"), "models", ["name"], unique=False, schema="geosearch")
    op.create_table(
        "evaluations",
        sa.Column(
            "id", sa.BigInteger(), sa.Identity(always=False), nullable=False, comment="Primary key."
        ),
        sa.Column("queries", sa.Text(), nullable=False, comment="Manifest of the queries."),
        sa.Column("model_id", sa.BigInteger(), nullable=True, comment="The model."),
        sa.Column(
            "model", sa.Text(), nullable=False, comment="Model spec, kept if the model goes."
        ),
        sa.Column("method", sa.Text(), nullable=False, comment="nearest, im2gps or density."),
        sa.Column(
            "parameters",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="k, bandwidth and the like.",
        ),
        sa.Column(
            "filter",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="Filter on the references.",
        ),
        sa.Column("n", sa.Integer(), comment="Queries read; NULL until finished."),
        sa.Column(
            "failed",
            sa.Integer(),
            comment="Queries that could not be used; NULL until finished.",
        ),
        sa.Column(
            "unanswered",
            sa.Integer(),
            comment="Queries without neighbours; NULL until finished.",
        ),
        sa.Column(
            "accuracy",
            postgresql.JSONB(astext_type=sa.Text()),
            comment="Share of n within 1, 25, 200, 750, 2500 km.",
        ),
        sa.Column("median_km", sa.Double(), nullable=True, comment="Median error, kilometres."),
        sa.Column("mean_km", sa.Double(), nullable=True, comment="Mean error, kilometres."),
        sa.Column(
            "software",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="Versions of geosearch and libraries.",
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the row was written.",
        ),
        sa.ForeignKeyConstraint(
            ["model_id"],
            ["geosearch.models.id"],
            name=op.f("evaluations_model_id_fkey"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("evaluations_pkey")),
        schema="geosearch",
        comment="Evaluations on labelled queries.",
    )
    op.create_index(
        op.f("evaluations_model_id_idx"),
        "evaluations",
        ["model_id"],
        unique=False,
        schema="geosearch",
    )
    op.create_table(
        "indexes",
        sa.Column(
            "id", sa.BigInteger(), sa.Identity(always=False), nullable=False, comment="Primary key."
        ),
        sa.Column("model_id", sa.BigInteger(), nullable=False, comment="The model."),
        sa.Column("name", sa.Text(), nullable=False, comment="Name of the HNSW index."),
        sa.Column("m", sa.Integer(), nullable=False, comment="HNSW m."),
        sa.Column("ef_construction", sa.Integer(), nullable=False, comment="HNSW ef_construction."),
        sa.Column(
            "rows", sa.BigInteger(), nullable=False, comment="Embeddings indexed at the build."
        ),
        sa.Column("serial", sa.Boolean(), nullable=False, comment="True if built by one process."),
        sa.Column("build_s", sa.Double(), nullable=False, comment="Build time, seconds."),
        sa.Column("pgvector", sa.Text(), nullable=False, comment="pgvector version that built it."),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the row was written.",
        ),
        sa.ForeignKeyConstraint(
            ["model_id"],
            ["geosearch.models.id"],
            name=op.f("indexes_model_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("indexes_pkey")),
        sa.UniqueConstraint("model_id", name=op.f("indexes_model_id_key")),
        schema="geosearch",
        comment="HNSW indexes: how and when each was built.",
    )
    op.create_table(
        "runs",
        sa.Column(
            "id", sa.BigInteger(), sa.Identity(always=False), nullable=False, comment="Primary key."
        ),
        sa.Column("kind", sa.Text(), nullable=False, comment="ingest or embed."),
        sa.Column(
            "collection_id",
            sa.BigInteger(),
            nullable=True,
            comment="Collection worked on; NULL means all.",
        ),
        sa.Column("model_id", sa.BigInteger(), nullable=True, comment="Model, for embed."),
        sa.Column(
            "sources",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="Folders and manifests given.",
        ),
        sa.Column(
            "options",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="Options of the command.",
        ),
        sa.Column(
            "software",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="Versions of geosearch and libraries.",
        ),
        sa.Column(
            "started_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="Start of the run.",
        ),
        sa.Column(
            "finished_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="End; NULL while running or killed.",
        ),
        sa.Column(
            "counts",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="Summary of the finished run.",
        ),
        sa.CheckConstraint("kind IN ('ingest', 'embed')", name=op.f("runs_kind_check")),
        sa.ForeignKeyConstraint(
            ["collection_id"],
            ["geosearch.collections.id"],
            name=op.f("runs_collection_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["model_id"],
            ["geosearch.models.id"],
            name=op.f("runs_model_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("runs_pkey")),
        schema="geosearch",
        comment="Runs of ingest and embed: what was asked, with what software, what came of it.",
    )
    op.create_index(
        op.f("runs_collection_id_idx"), "runs", ["collection_id"], unique=False, schema="geosearch"
    )
    op.create_index(
        op.f("runs_model_id_idx"), "runs", ["model_id"], unique=False, schema="geosearch"
    )
    op.create_table(
        "evaluation_failures",
        sa.Column(
            "id", sa.BigInteger(), sa.Identity(always=False), nullable=False, comment="Primary key."
        ),
        sa.Column("evaluation_id", sa.BigInteger(), nullable=False, comment="The evaluation."),
        sa.Column("uri", sa.Text(), nullable=False, comment="The query photo."),
        sa.Column("reason", sa.Text(), nullable=False, comment="Reason code."),
        sa.Column("message", sa.Text(), nullable=False, comment="What exactly was wrong."),
        sa.ForeignKeyConstraint(
            ["evaluation_id"],
            ["geosearch.evaluations.id"],
            name=op.f("evaluation_failures_evaluation_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("evaluation_failures_pkey")),
        schema="geosearch",
        comment="Queries of an evaluation that could not be answered: counted, never dropped.",
    )
    op.create_index(
        op.f("evaluation_failures_evaluation_id_idx"),
        "evaluation_failures",
        ["evaluation_id"],
        unique=False,
        schema="geosearch",
    )
    op.create_table(
        "localizations",
        sa.Column(
            "id", sa.BigInteger(), sa.Identity(always=False), nullable=False, comment="Primary key."
        ),
        sa.Column("photo_uri", sa.Text(), nullable=False, comment="The query photo."),
        sa.Column(
            "photo_sha256", sa.LargeBinary(), nullable=False, comment="sha256 of the query's bytes."
        ),
        sa.Column("model_id", sa.BigInteger(), nullable=True, comment="The model."),
        sa.Column(
            "model",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="Name and fingerprint, kept if it goes.",
        ),
        sa.Column("method", sa.Text(), nullable=False, comment="nearest, im2gps or density."),
        sa.Column(
            "parameters",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="k, bandwidth and the like.",
        ),
        sa.Column(
            "filter",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="Filter on the references.",
        ),
        sa.Column(
            "plan",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="How the neighbours were retrieved.",
        ),
        sa.Column(
            "software",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="Versions of geosearch and libraries.",
        ),
        sa.Column(
            "query_embedding",
            pgvector.sqlalchemy.vector.VECTOR(),
            nullable=False,
            comment="Embedding of the query.",
        ),
        sa.Column(
            "estimate",
            Geometry(
                geometry_type="POINT",
                srid=4326,
                dimension=2,
                spatial_index=False,
                from_text="ST_GeomFromEWKT",
                name="geometry",
            ),
            nullable=True,
            comment="Estimated position; NULL without neighbours.",
        ),
        sa.Column(
            "score",
            sa.Double(),
            nullable=True,
            comment="Share of the neighbours' weight near the estimate, 0 to 1.",
        ),
        sa.Column(
            "radius_50_km",
            sa.Double(),
            nullable=True,
            comment="Radius round the estimate with half the density.",
        ),
        sa.Column(
            "radius_90_km",
            sa.Double(),
            nullable=True,
            comment="Radius round the estimate with 90 % of it.",
        ),
        sa.Column(
            "modes",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="Modes of the density, best first.",
        ),
        sa.Column(
            "elapsed_ms",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="Time per step, milliseconds.",
        ),
        sa.Column(
            "truth",
            Geometry(
                geometry_type="POINT",
                srid=4326,
                dimension=2,
                spatial_index=False,
                from_text="ST_GeomFromEWKT",
                name="geometry",
            ),
            nullable=True,
            comment="True position, where known.",
        ),
        sa.Column(
            "error_km",
            sa.Double(),
            nullable=True,
            comment="Great-circle distance to the truth, kilometres.",
        ),
        sa.Column(
            "evaluation_id",
            sa.BigInteger(),
            nullable=True,
            comment="Evaluation it belongs to, if any.",
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the row was written.",
        ),
        sa.CheckConstraint(
            "method IN ('nearest', 'im2gps', 'density')", name=op.f("localizations_method_check")
        ),
        sa.CheckConstraint(
            "ST_Y(estimate) BETWEEN -90 AND 90 AND ST_X(estimate) BETWEEN -180 AND 180",
            name=op.f("localizations_estimate_on_earth_check"),
        ),
        sa.CheckConstraint(
            "ST_Y(truth) BETWEEN -90 AND 90 AND ST_X(truth) BETWEEN -180 AND 180",
            name=op.f("localizations_truth_on_earth_check"),
        ),
        sa.CheckConstraint(
            "octet_length(photo_sha256) = 32", name=op.f("localizations_sha256_length_check")
        ),
        sa.ForeignKeyConstraint(
            ["evaluation_id"],
            ["geosearch.evaluations.id"],
            name=op.f("localizations_evaluation_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["model_id"],
            ["geosearch.models.id"],
            name=op.f("localizations_model_id_fkey"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("localizations_pkey")),
        schema="geosearch",
        comment="Answers: a query photo, everything the answer rests on, and the estimate.",
    )
    op.create_index(
        op.f("localizations_created_at_idx"),
        "localizations",
        ["created_at"],
        unique=False,
        schema="geosearch",
    )
    op.create_index(
        "localizations_estimate_idx",
        "localizations",
        ["estimate"],
        unique=False,
        schema="geosearch",
        postgresql_using="gist",
    )
    op.create_index(
        op.f("localizations_evaluation_id_idx"),
        "localizations",
        ["evaluation_id"],
        unique=False,
        schema="geosearch",
    )
    op.create_index(
        op.f("localizations_model_id_idx"),
        "localizations",
        ["model_id"],
        unique=False,
        schema="geosearch",
    )
    op.create_table(
        "photos",
        sa.Column(
            "id", sa.BigInteger(), sa.Identity(always=False), nullable=False, comment="Primary key."
        ),
        sa.Column(
            "collection_id",
            sa.BigInteger(),
            nullable=False,
            comment="Collection the photo belongs to.",
        ),
        sa.Column("uri", sa.Text(), nullable=False, comment="Absolute path or URL of the photo."),
        sa.Column(
            "sha256", sa.LargeBinary(), nullable=False, comment="sha256 of the file's bytes."
        ),
        sa.Column(
            "size_bytes", sa.BigInteger(), nullable=False, comment="Size of the file in bytes."
        ),
        sa.Column("width", sa.Integer(), nullable=False, comment="Width in pixels, as stored."),
        sa.Column("height", sa.Integer(), nullable=False, comment="Height in pixels, as stored."),
        sa.Column("format", sa.Text(), nullable=False, comment="Image format, e.g. JPEG."),
        sa.Column(
            "geom",
            Geometry(
                geometry_type="POINT",
                srid=4326,
                dimension=2,
                spatial_index=False,
                from_text="ST_GeomFromEWKT",
                name="geometry",
            ),
            nullable=True,
            comment="Position (WGS 84); NULL if unlocated.",
        ),
        sa.Column(
            "position_source",
            sa.Text(),
            nullable=True,
            comment="exif, xmp or manifest; NULL if unlocated.",
        ),
        sa.Column(
            "accuracy_m", sa.REAL(), nullable=True, comment="Accuracy of the position, metres."
        ),
        sa.Column(
            "taken_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When taken (UTC if no zone is known).",
        ),
        sa.Column("author", sa.Text(), nullable=True, comment="Photographer or account."),
        sa.Column("licence", sa.Text(), nullable=True, comment="Licence of the photo."),
        sa.Column("title", sa.Text(), nullable=True, comment="Title or caption."),
        sa.Column(
            "source_id",
            sa.Text(),
            nullable=True,
            comment="Identifier at the source, e.g. a Flickr id.",
        ),
        sa.Column(
            "exif",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="EXIF tags by name.",
        ),
        sa.Column(
            "run_id", sa.BigInteger(), nullable=True, comment="Ingest run that added the photo."
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the row was written.",
        ),
        sa.CheckConstraint(
            "position_source IN ('exif', 'xmp', 'manifest')",
            name=op.f("photos_position_source_check"),
        ),
        sa.CheckConstraint(
            "(geom IS NULL) = (position_source IS NULL)",
            name=op.f("photos_position_has_source_check"),
        ),
        sa.CheckConstraint(
            "ST_Y(geom) BETWEEN -90 AND 90 AND ST_X(geom) BETWEEN -180 AND 180",
            name=op.f("photos_geom_on_earth_check"),
        ),
        sa.CheckConstraint("accuracy_m >= 0", name=op.f("photos_accuracy_check")),
        sa.CheckConstraint("octet_length(sha256) = 32", name=op.f("photos_sha256_length_check")),
        sa.CheckConstraint(
            "size_bytes > 0 AND width > 0 AND height > 0", name=op.f("photos_size_check")
        ),
        sa.ForeignKeyConstraint(
            ["collection_id"],
            ["geosearch.collections.id"],
            name=op.f("photos_collection_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["run_id"], ["geosearch.runs.id"], name=op.f("photos_run_id_fkey"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("photos_pkey")),
        sa.UniqueConstraint(
            "collection_id", "sha256", name=op.f("photos_collection_id_sha256_key")
        ),
        schema="geosearch",
        comment="Reference photos with their positions.",
    )
    op.create_index(
        op.f("photos_author_idx"), "photos", ["author"], unique=False, schema="geosearch"
    )
    op.create_index(
        op.f("photos_collection_id_uri_idx"),
        "photos",
        ["collection_id", "uri"],
        unique=False,
        schema="geosearch",
    )
    op.create_index(
        "photos_geography_idx",
        "photos",
        [sa.literal_column("(geom::geography)")],
        unique=False,
        schema="geosearch",
        postgresql_using="gist",
    )
    op.create_index(
        "photos_geom_idx",
        "photos",
        ["geom"],
        unique=False,
        schema="geosearch",
        postgresql_using="gist",
    )
    op.create_index(
        op.f("photos_run_id_idx"), "photos", ["run_id"], unique=False, schema="geosearch"
    )
    op.create_index(
        op.f("photos_sha256_idx"), "photos", ["sha256"], unique=False, schema="geosearch"
    )
    op.create_index(
        op.f("photos_taken_at_idx"), "photos", ["taken_at"], unique=False, schema="geosearch"
    )
    op.create_table(
        "embeddings",
        sa.Column("photo_id", sa.BigInteger(), nullable=False, comment="The photo."),
        sa.Column(
            "model_id", sa.BigInteger(), nullable=False, comment="The model; the partition key."
        ),
        sa.Column(
            "collection_id", sa.BigInteger(), nullable=False, comment="Copy of the photo's column."
        ),
        sa.Column(
            "geom",
            Geometry(
                geometry_type="POINT",
                srid=4326,
                dimension=2,
                spatial_index=False,
                from_text="ST_GeomFromEWKT",
                name="geometry",
                nullable=False,
            ),
            nullable=False,
            comment="Copy of the photo's column.",
        ),
        sa.Column("accuracy_m", sa.REAL(), nullable=True, comment="Copy of the photo's column."),
        sa.Column(
            "taken_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="Copy of the photo's column.",
        ),
        sa.Column("author", sa.Text(), nullable=True, comment="Copy of the photo's column."),
        sa.Column("licence", sa.Text(), nullable=True, comment="Copy of the photo's column."),
        sa.Column(
            "embedding",
            pgvector.sqlalchemy.halfvec.HALFVEC(),
            nullable=False,
            comment="L2-normalised embedding, float16.",
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the row was written.",
        ),
        sa.ForeignKeyConstraint(
            ["model_id"],
            ["geosearch.models.id"],
            name=op.f("embeddings_model_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["photo_id"],
            ["geosearch.photos.id"],
            name=op.f("embeddings_photo_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("model_id", "photo_id", name=op.f("embeddings_pkey")),
        schema="geosearch",
        postgresql_partition_by="LIST (model_id)",
        comment="Embeddings, one partition per model, with copies of the columns filters need so that a filtered neighbour query needs no join.",
    )
    op.create_index(
        op.f("embeddings_author_idx"), "embeddings", ["author"], unique=False, schema="geosearch"
    )
    op.create_index(
        op.f("embeddings_collection_id_idx"),
        "embeddings",
        ["collection_id"],
        unique=False,
        schema="geosearch",
    )
    op.create_index(
        "embeddings_geography_idx",
        "embeddings",
        [sa.literal_column("(geom::geography)")],
        unique=False,
        schema="geosearch",
        postgresql_using="gist",
    )
    op.create_index(
        "embeddings_geom_idx",
        "embeddings",
        ["geom"],
        unique=False,
        schema="geosearch",
        postgresql_using="gist",
    )
    op.create_index(
        op.f("embeddings_photo_id_idx"),
        "embeddings",
        ["photo_id"],
        unique=False,
        schema="geosearch",
    )
    op.create_index(
        op.f("embeddings_taken_at_idx"),
        "embeddings",
        ["taken_at"],
        unique=False,
        schema="geosearch",
    )
    op.create_table(
        "localization_neighbours",
        sa.Column(
            "id", sa.BigInteger(), sa.Identity(always=False), nullable=False, comment="Primary key."
        ),
        sa.Column("localization_id", sa.BigInteger(), nullable=False, comment="The answer."),
        sa.Column("rank", sa.Integer(), nullable=False, comment="1 is the nearest."),
        sa.Column(
            "photo_id", sa.BigInteger(), nullable=False, comment="The photo; it may be gone since."
        ),
        sa.Column("uri", sa.Text(), nullable=False, comment="The photo's uri at the time."),
        sa.Column(
            "geom",
            Geometry(
                geometry_type="POINT",
                srid=4326,
                dimension=2,
                spatial_index=False,
                from_text="ST_GeomFromEWKT",
                name="geometry",
                nullable=False,
            ),
            nullable=False,
            comment="The photo's position at the time.",
        ),
        sa.Column("distance", sa.Double(), nullable=False, comment="Cosine distance to the query."),
        sa.Column(
            "weight", sa.Double(), nullable=False, comment="Weight in the estimate; all sum to 1."
        ),
        sa.CheckConstraint("rank >= 1", name=op.f("localization_neighbours_rank_check")),
        sa.ForeignKeyConstraint(
            ["localization_id"],
            ["geosearch.localizations.id"],
            name=op.f("localization_neighbours_localization_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("localization_neighbours_pkey")),
        sa.UniqueConstraint(
            "localization_id", "rank", name=op.f("localization_neighbours_localization_id_rank_key")
        ),
        schema="geosearch",
        comment="The neighbours an answer rests on.",
    )
    op.create_index(
        "localization_neighbours_geom_idx",
        "localization_neighbours",
        ["geom"],
        unique=False,
        schema="geosearch",
        postgresql_using="gist",
    )
    op.create_table(
        "localization_regions",
        sa.Column(
            "id", sa.BigInteger(), sa.Identity(always=False), nullable=False, comment="Primary key."
        ),
        sa.Column("localization_id", sa.BigInteger(), nullable=False, comment="The answer."),
        sa.Column(
            "level", sa.REAL(), nullable=False, comment="Share of the density inside, 0 to 1."
        ),
        sa.Column(
            "geom",
            Geometry(
                geometry_type="MULTIPOLYGON",
                srid=4326,
                dimension=2,
                spatial_index=False,
                from_text="ST_GeomFromEWKT",
                name="geometry",
                nullable=False,
            ),
            nullable=False,
            comment="Highest-density region.",
        ),
        sa.Column("area_km2", sa.Double(), nullable=False, comment="Area, square kilometres."),
        sa.CheckConstraint(
            "level > 0 AND level < 1", name=op.f("localization_regions_level_check")
        ),
        sa.ForeignKeyConstraint(
            ["localization_id"],
            ["geosearch.localizations.id"],
            name=op.f("localization_regions_localization_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("localization_regions_pkey")),
        sa.UniqueConstraint(
            "localization_id", "level", name=op.f("localization_regions_localization_id_level_key")
        ),
        schema="geosearch",
        comment="Highest-density regions of answers.",
    )
    op.create_index(
        "localization_regions_geom_idx",
        "localization_regions",
        ["geom"],
        unique=False,
        schema="geosearch",
        postgresql_using="gist",
    )
    op.create_table(
        "rejects",
        sa.Column(
            "id", sa.BigInteger(), sa.Identity(always=False), nullable=False, comment="Primary key."
        ),
        sa.Column(
            "collection_id",
            sa.BigInteger(),
            nullable=False,
            comment="Collection the photo was meant for.",
        ),
        sa.Column(
            "uri", sa.Text(), nullable=False, comment="The photo (or manifest row: file#row)."
        ),
        sa.Column(
            "stage", sa.Text(), nullable=False, comment="read, decode, position, manifest or embed."
        ),
        sa.Column("reason", sa.Text(), nullable=False, comment="Reason code, e.g. zero_zero."),
        sa.Column("message", sa.Text(), nullable=False, comment="What exactly was wrong."),
        sa.Column(
            "photo_id",
            sa.BigInteger(),
            nullable=True,
            comment="The stored photo, for stage embed and for photos kept unlocated.",
        ),
        sa.Column("model_id", sa.BigInteger(), nullable=True, comment="Model, for embed."),
        sa.Column("run_id", sa.BigInteger(), nullable=True, comment="Latest run that saw it."),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the row was written.",
        ),
        sa.CheckConstraint(
            "stage IN ('read', 'decode', 'position', 'manifest', 'embed')",
            name=op.f("rejects_stage_check"),
        ),
        sa.ForeignKeyConstraint(
            ["collection_id"],
            ["geosearch.collections.id"],
            name=op.f("rejects_collection_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["model_id"],
            ["geosearch.models.id"],
            name=op.f("rejects_model_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["photo_id"],
            ["geosearch.photos.id"],
            name=op.f("rejects_photo_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["run_id"], ["geosearch.runs.id"], name=op.f("rejects_run_id_fkey"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("rejects_pkey")),
        sa.UniqueConstraint(
            "collection_id",
            "uri",
            "model_id",
            name=op.f("rejects_collection_id_uri_model_id_key"),
            postgresql_nulls_not_distinct=True,
        ),
        schema="geosearch",
        comment="Photos that could not be used, and why: one row per photo and model.",
    )
    op.create_index(
        op.f("rejects_model_id_idx"), "rejects", ["model_id"], unique=False, schema="geosearch"
    )
    op.create_index(
        op.f("rejects_photo_id_idx"), "rejects", ["photo_id"], unique=False, schema="geosearch"
    )
    op.create_index(
        op.f("rejects_run_id_idx"), "rejects", ["run_id"], unique=False, schema="geosearch"
    )
    op.execute(SYNC_FUNCTION)
    op.execute(SYNC_TRIGGER)


def downgrade() -> None:
    op.execute("DROP TRIGGER sync_embeddings ON geosearch.photos")
    op.execute("DROP FUNCTION geosearch.sync_embeddings()")
    op.drop_index(op.f("rejects_run_id_idx"), table_name="rejects", schema="geosearch")
    op.drop_index(op.f("rejects_photo_id_idx"), table_name="rejects", schema="geosearch")
    op.drop_index(op.f("rejects_model_id_idx"), table_name="rejects", schema="geosearch")
    op.drop_table("rejects", schema="geosearch")
    op.drop_index(
        "localization_regions_geom_idx",
        table_name="localization_regions",
        schema="geosearch",
    )
    op.drop_table("localization_regions", schema="geosearch")
    op.drop_index(
        "localization_neighbours_geom_idx",
        table_name="localization_neighbours",
        schema="geosearch",
    )
    op.drop_table("localization_neighbours", schema="geosearch")
    op.drop_index(op.f("embeddings_taken_at_idx"), table_name="embeddings", schema="geosearch")
    op.drop_index(op.f("embeddings_photo_id_idx"), table_name="embeddings", schema="geosearch")
    op.drop_index(
        "embeddings_geom_idx",
        table_name="embeddings",
        schema="geosearch",
    )
    op.drop_index(
        "embeddings_geography_idx",
        table_name="embeddings",
        schema="geosearch",
        postgresql_using="gist",
    )
    op.drop_index(op.f("embeddings_collection_id_idx"), table_name="embeddings", schema="geosearch")
    op.drop_index(op.f("embeddings_author_idx"), table_name="embeddings", schema="geosearch")
    op.drop_table("embeddings", schema="geosearch")
    op.drop_index(op.f("photos_taken_at_idx"), table_name="photos", schema="geosearch")
    op.drop_index(op.f("photos_sha256_idx"), table_name="photos", schema="geosearch")
    op.drop_index(op.f("photos_run_id_idx"), table_name="photos", schema="geosearch")
    op.drop_index(
        "photos_geom_idx",
        table_name="photos",
        schema="geosearch",
    )
    op.drop_index(
        "photos_geography_idx", table_name="photos", schema="geosearch", postgresql_using="gist"
    )
    op.drop_index(op.f("photos_collection_id_uri_idx"), table_name="photos", schema="geosearch")
    op.drop_index(op.f("photos_author_idx"), table_name="photos", schema="geosearch")
    op.drop_table("photos", schema="geosearch")
    op.drop_index(
        op.f("localizations_model_id_idx"), table_name="localizations", schema="geosearch"
    )
    op.drop_index(
        op.f("localizations_evaluation_id_idx"), table_name="localizations", schema="geosearch"
    )
    op.drop_index(
        "localizations_estimate_idx",
        table_name="localizations",
        schema="geosearch",
    )
    op.drop_index(
        op.f("localizations_created_at_idx"), table_name="localizations", schema="geosearch"
    )
    op.drop_table("localizations", schema="geosearch")
    op.drop_index(
        op.f("evaluation_failures_evaluation_id_idx"),
        table_name="evaluation_failures",
        schema="geosearch",
    )
    op.drop_table("evaluation_failures", schema="geosearch")
    op.drop_index(op.f("runs_model_id_idx"), table_name="runs", schema="geosearch")
    op.drop_index(op.f("runs_collection_id_idx"), table_name="runs", schema="geosearch")
    op.drop_table("runs", schema="geosearch")
    op.drop_table("indexes", schema="geosearch")
    op.drop_index(op.f("evaluations_model_id_idx"), table_name="evaluations", schema="geosearch")
    op.drop_table("evaluations", schema="geosearch")
    op.drop_index(op.f("models_name_idx"), table_name="models", schema="geosearch")
    op.drop_table("models", schema="geosearch")
    op.drop_table("collections", schema="geosearch")
