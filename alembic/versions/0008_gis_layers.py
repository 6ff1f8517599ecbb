"""More layers for GIS: coverage, lines, errors, borders, comments; a place for QGIS projects.

Revision ID: 0008
Revises: 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from geoalchemy2 import Geometry
from sqlalchemy.dialects import postgresql

from geosearch.database.functions import run_file

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_BEFORE = "sql/layers/v1"
_FOLDER = "sql/layers/v2"


def upgrade() -> None:
    op.create_table(
        "coverage",
        sa.Column(
            "id", sa.BigInteger(), sa.Identity(always=False), nullable=False, comment="Primary key."
        ),
        sa.Column(
            "collection_id",
            sa.BigInteger(),
            nullable=False,
            comment="Collection whose photos are counted.",
        ),
        sa.Column(
            "cell_km", sa.Integer(), nullable=False, comment="Side of the grid's cells, kilometres."
        ),
        sa.Column(
            "cell",
            sa.Integer(),
            nullable=False,
            comment="Number of the cell, among those of all grids.",
        ),
        sa.Column("photos", sa.BigInteger(), nullable=False, comment="Photos in the cell."),
        sa.Column(
            "geom",
            Geometry("MULTIPOLYGON", 4326, spatial_index=False),
            nullable=False,
            comment="The cell.",
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the row was written.",
        ),
        sa.CheckConstraint("photos > 0", name=op.f("coverage_photos_check")),
        sa.ForeignKeyConstraint(
            ["collection_id"],
            ["geosearch.collections.id"],
            name=op.f("coverage_collection_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("coverage_pkey")),
        sa.UniqueConstraint("collection_id", "cell", name=op.f("coverage_collection_id_cell_key")),
        schema="geosearch",
        comment="Photos in cells of equal area, counted by geosearch.refresh_coverage.",
    )
    op.create_index(
        "coverage_geom_idx", "coverage", ["geom"], schema="geosearch", postgresql_using="gist"
    )
    op.create_table(
        "qgis_projects",
        sa.Column("name", sa.Text(), nullable=False, comment="Name to open the project by."),
        sa.Column("metadata", postgresql.JSONB(), comment="When and by whom it was last saved."),
        sa.Column("content", sa.LargeBinary(), comment="The project, a .qgz file."),
        sa.PrimaryKeyConstraint("name", name=op.f("qgis_projects_pkey")),
        schema="geosearch",
        comment="Projects of QGIS: Project > Open From > PostgreSQL.",
    )
    run_file(f"{_BEFORE}/drop.sql")
    for name in ("lines", "coverage", "views", "tiles"):
        run_file(f"{_FOLDER}/{name}.sql")


def downgrade() -> None:
    run_file(f"{_FOLDER}/drop.sql")
    for name in ("views", "tiles"):
        run_file(f"{_BEFORE}/{name}.sql")
    op.drop_table("qgis_projects", schema="geosearch")
    op.drop_table("coverage", schema="geosearch")
