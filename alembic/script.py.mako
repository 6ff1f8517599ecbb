"""${message}

Revision ID: ${up_revision}
Revises: ${down_revision | comma,n}
"""

from __future__ import annotations

from geosearch.database.migrations import run_files

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_files(revision, "upgrade")


def downgrade() -> None:
    run_files(revision, "downgrade")
