"""Layers for GIS and servers of maps: views with an id and a geometry, and vector tiles of them.

Revision ID: 0007
Revises: 0006
"""

from __future__ import annotations

from geosearch.database.functions import run_file

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_FOLDER = "sql/layers/v1"


def upgrade() -> None:
    run_file(f"{_FOLDER}/views.sql")
    run_file(f"{_FOLDER}/tiles.sql")


def downgrade() -> None:
    run_file(f"{_FOLDER}/drop.sql")
