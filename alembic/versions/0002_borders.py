"""Borders of countries and regions.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from geoalchemy2 import Geometry
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "borders",
        sa.Column(
            "id", sa.BigInteger(), sa.Identity(always=False), nullable=False, comment="Primary key."
        ),
        sa.Column(
            "kind",
            sa.Text(),
            nullable=False,
            comment="country, or region: a group or part of some.",
        ),
        sa.Column("name", sa.Text(), nullable=False, comment="English name."),
        sa.Column(
            "aliases",
            postgresql.ARRAY(sa.Text()),
            nullable=False,
            comment="Other names it is found by.",
        ),
        sa.Column(
            "iso_a2",
            sa.Text(),
            comment="ISO 3166-1 alpha-2 code, as far as the source has one.",
        ),
        sa.Column(
            "iso_a3",
            sa.Text(),
            comment="ISO 3166-1 alpha-3 code, as far as the source has one.",
        ),
        sa.Column("continent", sa.Text(), comment="Continent, as the source divides them."),
        sa.Column(
            "subregion", sa.Text(), comment="Part of the continent, as the source divides them."
        ),
        sa.Column(
            "geom",
            Geometry("MULTIPOLYGON", 4326, spatial_index=False),
            nullable=False,
            comment="Its area.",
        ),
        sa.Column("source", sa.Text(), nullable=False, comment="File it was loaded from."),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.func.now(),
            nullable=False,
            comment="When the row was written.",
        ),
        sa.CheckConstraint("kind IN ('country', 'region')", name=op.f("borders_kind_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("borders_pkey")),
        schema="geosearch",
        comment="Borders of countries and regions, for filters by name.",
    )
    op.create_index(
        "borders_geom_idx", "borders", ["geom"], schema="geosearch", postgresql_using="gist"
    )


def downgrade() -> None:
    op.drop_table("borders", schema="geosearch")
