"""Roles and row-level security.

Revision ID: 0009
Revises: 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from geosearch.database.functions import run_file

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_FOLDER = "sql/roles/v1"
_RECORDED = ("runs", "localizations", "evaluations", "calibrations")


def upgrade() -> None:
    op.add_column(
        "collections",
        sa.Column(
            "private",
            sa.Boolean(),
            nullable=False,
            server_default=sa.false(),
            comment="True: only for geosearch_owner and the roles it is shared with.",
        ),
        schema="geosearch",
    )
    op.create_table(
        "collection_shares",
        sa.Column(
            "id", sa.BigInteger(), sa.Identity(always=False), nullable=False, comment="Primary key."
        ),
        sa.Column("collection_id", sa.BigInteger(), nullable=False, comment="The collection."),
        sa.Column(
            "role", sa.Text(), nullable=False, comment="Role of the server that may see its photos."
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the row was written.",
        ),
        sa.ForeignKeyConstraint(
            ["collection_id"],
            ["geosearch.collections.id"],
            name=op.f("collection_shares_collection_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("collection_shares_pkey")),
        sa.UniqueConstraint(
            "collection_id", "role", name=op.f("collection_shares_collection_id_role_key")
        ),
        schema="geosearch",
        comment="Who may see private collections.",
    )
    run_file(f"{_FOLDER}/visibility.sql")
    # What was recorded before may rest on any collection there is.
    for table in _RECORDED:
        op.add_column(
            table,
            sa.Column(
                "collection_ids",
                postgresql.ARRAY(sa.BigInteger()),
                nullable=False,
                server_default=sa.text("geosearch.visible_collections()"),
                comment="Collections that whoever recorded it could see: only those who see them "
                "all see the row.",
            ),
            schema="geosearch",
        )
        op.add_column(
            table,
            sa.Column(
                "recorded_by",
                sa.Text(),
                nullable=False,
                server_default=sa.text("CURRENT_USER"),
                comment="Role that recorded it, and may change it.",
            ),
            schema="geosearch",
        )
    for name in ("policies", "statistics", "rights"):
        run_file(f"{_FOLDER}/{name}.sql")


def downgrade() -> None:
    run_file(f"{_FOLDER}/drop.sql")
    for table in _RECORDED:
        op.drop_column(table, "recorded_by", schema="geosearch")
        op.drop_column(table, "collection_ids", schema="geosearch")
    op.execute("DROP FUNCTION geosearch.visible_collections")
    op.drop_table("collection_shares", schema="geosearch")
    op.drop_column("collections", "private", schema="geosearch")
    op.execute("DROP FUNCTION geosearch.has_role")
