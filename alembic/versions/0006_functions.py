"""The functions of schema geosearch: neighbours, densities and places in SQL alone.

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

from geosearch.database.functions import install, remove

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    install(1)


def downgrade() -> None:
    remove(1)
