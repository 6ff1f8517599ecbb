"""Densities of answers as cells, for GIS.

Revision ID: 0011
Revises: 0010
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from geoalchemy2 import Geometry

from geosearch.database.functions import run_file

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "localization_cells",
        sa.Column(
            "id", sa.BigInteger(), sa.Identity(always=False), nullable=False, comment="Primary key."
        ),
        sa.Column("localization_id", sa.BigInteger(), nullable=False, comment="The answer."),
        sa.Column(
            "level",
            sa.Double(),
            nullable=False,
            comment="Share of the density in this and all denser cells.",
        ),
        sa.Column(
            "share", sa.Double(), nullable=False, comment="Share of the density in the cell."
        ),
        sa.Column("area_km2", sa.Double(), nullable=False, comment="Area, square kilometres."),
        sa.Column(
            "geom",
            Geometry("MULTIPOLYGON", 4326, spatial_index=False),
            nullable=False,
            comment="The cell.",
        ),
        sa.CheckConstraint(
            "share > 0 AND area_km2 > 0", name=op.f("localization_cells_positive_check")
        ),
        sa.ForeignKeyConstraint(
            ["localization_id"],
            ["geosearch.localizations.id"],
            name=op.f("localization_cells_localization_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("localization_cells_pkey")),
        sa.UniqueConstraint(
            "localization_id", "level", name=op.f("localization_cells_localization_id_level_key")
        ),
        schema="geosearch",
        comment="Densities of answers as cells, made by geosearch layers density.",
    )
    op.create_index(
        "localization_cells_geom_idx",
        "localization_cells",
        ["geom"],
        schema="geosearch",
        postgresql_using="gist",
    )
    run_file("sql/density/v1/view.sql")
    op.execute(
        "SELECT geosearch.protect_part('localization_cells', 'localization_id', 'localizations')"
    )
    op.execute("SELECT geosearch.grant_rights()")


def downgrade() -> None:
    op.execute("DROP VIEW geosearch.gis_density")
    op.drop_table("localization_cells", schema="geosearch")
