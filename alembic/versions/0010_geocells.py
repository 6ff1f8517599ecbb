"""Partitions of the world into geocells, classifiers over them, and what uses them.

Revision ID: 0010
Revises: 0009
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from geoalchemy2 import Geometry
from sqlalchemy.dialects import postgresql

from geosearch.database.functions import run_file

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

#: Table, column, check → values before, values after.
_KINDS = {
    ("runs", "kind", "runs_kind_check"): (
        ("ingest", "embed"),
        ("ingest", "embed", "train"),
    ),
    ("localizations", "method", "localizations_method_check"): (
        ("nearest", "im2gps", "density"),
        ("nearest", "im2gps", "density", "geocell"),
    ),
}

#: Table, column → type, may be NULL, comment before, comment after.
_COMMENTS: dict[tuple[str, str], tuple[sa.types.TypeEngine, bool, str, str]] = {
    ("runs", "kind"): (sa.Text(), False, "ingest or embed.", "ingest, embed or train."),
    ("runs", "model_id"): (
        sa.BigInteger(),
        True,
        "Model, for embed.",
        "Model, for embed and train.",
    ),
    ("localizations", "method"): (
        sa.Text(),
        False,
        "nearest, im2gps or density.",
        "nearest, im2gps, density or geocell.",
    ),
    ("evaluations", "method"): (
        sa.Text(),
        False,
        "nearest, im2gps or density.",
        "nearest, im2gps, density or geocell.",
    ),
}
_RUNS = "Runs of ingest and embed: what was asked, with what software, what came of it."
_RUNS_NOW = "Runs of ingest, embed and train: what was asked, with what software, what came of it."


def upgrade() -> None:
    _create_partitions()
    _create_geocells()
    _create_classifiers()
    run_file("sql/geocells/v1/views.sql")
    for (table, column, check), (_, values) in _KINDS.items():
        _check(table, column, check, values)
    for (table, column), (kind, nullable, before, after) in _COMMENTS.items():
        _comment(table, column, kind, nullable, before, after)
    op.create_table_comment("runs", _RUNS_NOW, existing_comment=_RUNS, schema="geosearch")
    op.execute(
        "SELECT geosearch.protect_recorded('partitions'), "
        "geosearch.protect_part('geocells', 'partition_id', 'partitions'), "
        "geosearch.protect_part('classifiers', 'partition_id', 'partitions')"
    )
    op.execute("SELECT geosearch.grant_rights()")


def downgrade() -> None:
    run_file("sql/geocells/v1/drop.sql")
    op.execute("DROP TRIGGER forget_collection_partitions ON geosearch.collections")
    for name in ("classifiers", "geocells", "partitions"):
        op.drop_table(name, schema="geosearch")
    # What the schema before has no word for.
    op.execute("DELETE FROM geosearch.runs WHERE kind = 'train'")
    op.execute("DELETE FROM geosearch.localizations WHERE method = 'geocell'")
    op.execute("DELETE FROM geosearch.evaluations WHERE method = 'geocell'")
    for (table, column, check), (values, _) in _KINDS.items():
        _check(table, column, check, values)
    for (table, column), (kind, nullable, before, after) in _COMMENTS.items():
        _comment(table, column, kind, nullable, after, before)
    op.create_table_comment("runs", _RUNS, existing_comment=_RUNS_NOW, schema="geosearch")


def _check(table: str, column: str, name: str, values: tuple[str, ...]) -> None:
    op.drop_constraint(op.f(name), table, schema="geosearch")
    listed = ", ".join(f"'{value}'" for value in values)
    op.create_check_constraint(op.f(name), table, f"{column} IN ({listed})", schema="geosearch")


def _comment(
    table: str, column: str, kind: sa.types.TypeEngine, nullable: bool, before: str, after: str
) -> None:
    op.alter_column(
        table,
        column,
        comment=after,
        existing_type=kind,
        existing_nullable=nullable,
        existing_comment=before,
        schema="geosearch",
    )


def _id() -> sa.Column:
    return sa.Column(
        "id", sa.BigInteger(), sa.Identity(always=False), nullable=False, comment="Primary key."
    )


def _created_at() -> sa.Column:
    return sa.Column(
        "created_at",
        sa.DateTime(timezone=True),
        server_default=sa.text("now()"),
        nullable=False,
        comment="When the row was written.",
    )


def _create_partitions() -> None:
    op.create_table(
        "partitions",
        _id(),
        sa.Column("name", sa.Text(), nullable=False, comment="Name used on the command line."),
        sa.Column("kind", sa.Text(), nullable=False, comment="quadtree or clusters."),
        sa.Column(
            "parameters",
            postgresql.JSONB(),
            nullable=False,
            comment="Photos per cell and the like.",
        ),
        sa.Column(
            "filter",
            postgresql.JSONB(),
            nullable=False,
            comment="Filter on the photos it was made of.",
        ),
        sa.Column(
            "definition",
            postgresql.JSONB(),
            nullable=False,
            comment="Rules that give each point to a cell.",
        ),
        sa.Column("photos", sa.BigInteger(), nullable=False, comment="Photos it was made of."),
        sa.Column(
            "software",
            postgresql.JSONB(),
            nullable=False,
            comment="Versions of geosearch and libraries.",
        ),
        _created_at(),
        sa.Column(
            "collection_ids",
            postgresql.ARRAY(sa.BigInteger()),
            nullable=False,
            server_default=sa.text("geosearch.visible_collections()"),
            comment="Collections that whoever recorded it could see: only those who see them "
            "all see the row.",
        ),
        sa.Column(
            "recorded_by",
            sa.Text(),
            nullable=False,
            server_default=sa.text("CURRENT_USER"),
            comment="Role that recorded it, and may change it.",
        ),
        sa.CheckConstraint("name <> ''", name=op.f("partitions_name_not_empty_check")),
        sa.CheckConstraint("kind IN ('quadtree', 'clusters')", name=op.f("partitions_kind_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("partitions_pkey")),
        sa.UniqueConstraint("name", name=op.f("partitions_name_key")),
        schema="geosearch",
        comment="Partitions of the world into geocells.",
    )


def _create_geocells() -> None:
    op.create_table(
        "geocells",
        _id(),
        sa.Column("partition_id", sa.BigInteger(), nullable=False, comment="The partition."),
        sa.Column("number", sa.Integer(), nullable=False, comment="Number of the cell, from 0."),
        sa.Column(
            "photos",
            sa.BigInteger(),
            nullable=False,
            comment="Photos in it, of those it was made of.",
        ),
        sa.Column(
            "spread_km",
            sa.Double(),
            nullable=False,
            comment="Their spread round the medoid, km.",
        ),
        sa.Column("area_km2", sa.Double(), nullable=False, comment="Area, square kilometres."),
        sa.Column(
            "medoid",
            Geometry("POINT", 4326, spatial_index=False),
            nullable=False,
            comment="The photo nearest to their geometric median.",
        ),
        sa.Column(
            "geom",
            Geometry("MULTIPOLYGON", 4326, spatial_index=False),
            nullable=False,
            comment="The cell.",
        ),
        sa.CheckConstraint("number >= 0", name=op.f("geocells_number_check")),
        sa.CheckConstraint(
            "photos > 0 AND spread_km > 0 AND area_km2 > 0", name=op.f("geocells_size_check")
        ),
        sa.CheckConstraint(
            "ST_Y(medoid) BETWEEN -90 AND 90 AND ST_X(medoid) BETWEEN -180 AND 180",
            name=op.f("geocells_medoid_on_earth_check"),
        ),
        sa.ForeignKeyConstraint(
            ["partition_id"],
            ["geosearch.partitions.id"],
            name=op.f("geocells_partition_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("geocells_pkey")),
        sa.UniqueConstraint(
            "partition_id", "number", name=op.f("geocells_partition_id_number_key")
        ),
        schema="geosearch",
        comment="Cells of partitions; those of one cover the world without overlap.",
    )
    op.create_index(
        "geocells_geom_idx", "geocells", ["geom"], schema="geosearch", postgresql_using="gist"
    )


def _create_classifiers() -> None:
    op.create_table(
        "classifiers",
        _id(),
        sa.Column(
            "model_id",
            sa.BigInteger(),
            nullable=False,
            comment="Model whose embeddings are classified.",
        ),
        sa.Column(
            "partition_id",
            sa.BigInteger(),
            nullable=False,
            comment="Partition whose cells are the classes.",
        ),
        sa.Column(
            "weights", sa.LargeBinary(), nullable=False, comment="float32, cells by dimension."
        ),
        sa.Column("bias", sa.LargeBinary(), nullable=False, comment="float32, one a cell."),
        sa.Column("provenance", postgresql.JSONB(), nullable=False, comment="How it was trained."),
        _created_at(),
        sa.ForeignKeyConstraint(
            ["model_id"],
            ["geosearch.models.id"],
            name=op.f("classifiers_model_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["partition_id"],
            ["geosearch.partitions.id"],
            name=op.f("classifiers_partition_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("classifiers_pkey")),
        sa.UniqueConstraint(
            "model_id", "partition_id", name=op.f("classifiers_model_id_partition_id_key")
        ),
        schema="geosearch",
        comment="Linear classifiers of embeddings over the cells of partitions.",
    )
    op.create_index(
        op.f("classifiers_partition_id_idx"), "classifiers", ["partition_id"], schema="geosearch"
    )
