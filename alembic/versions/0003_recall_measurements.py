"""Recall measurements: the curve of an index, costs of search, checks over filters.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "recall_checks",
        sa.Column(
            "id", sa.BigInteger(), sa.Identity(always=False), nullable=False, comment="Primary key."
        ),
        sa.Column("model_id", sa.BigInteger(), nullable=False, comment="The model."),
        sa.Column(
            "placement",
            sa.Text(),
            nullable=False,
            comment="Filter: none, near or far from the query.",
        ),
        sa.Column(
            "selectivity", sa.Double(), nullable=False, comment="Share of photos the filter passes."
        ),
        sa.Column("k", sa.Integer(), nullable=False, comment="Neighbours asked for."),
        sa.Column("queries", sa.Integer(), nullable=False, comment="Queries measured."),
        sa.Column("by_index", sa.Integer(), nullable=False, comment="Queries the index answered."),
        sa.Column(
            "complete", sa.Boolean(), nullable=False, comment="True if no query came back short."
        ),
        sa.Column(
            "recall", sa.Double(), nullable=False, comment="Mean recall against exact search."
        ),
        sa.Column("ms", sa.Double(), nullable=False, comment="Median time, ms."),
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
            name=op.f("recall_checks_model_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("recall_checks_pkey")),
        schema="geosearch",
        comment="Recall of the plans geosearch chose, over a sweep of filters.",
    )
    op.create_index(
        op.f("recall_checks_model_id_idx"),
        "recall_checks",
        ["model_id"],
        unique=False,
        schema="geosearch",
    )
    op.create_table(
        "tunings",
        sa.Column(
            "id", sa.BigInteger(), sa.Identity(always=False), nullable=False, comment="Primary key."
        ),
        sa.Column("model_id", sa.BigInteger(), nullable=False, comment="The model."),
        sa.Column("target", sa.Double(), nullable=False, comment="Recall aimed at, 0 to 1."),
        sa.Column(
            "k", sa.Integer(), nullable=False, comment="Neighbours the recall was checked for."
        ),
        sa.Column(
            "sample", sa.Integer(), nullable=False, comment="Stored embeddings used as queries."
        ),
        sa.Column("rows", sa.BigInteger(), nullable=False, comment="Embeddings at the time."),
        sa.Column(
            "index_file",
            sa.BigInteger(),
            nullable=False,
            comment="File number of the index measured.",
        ),
        sa.Column(
            "exact_fixed_ms", sa.Double(), nullable=False, comment="Exact search of nothing, ms."
        ),
        sa.Column(
            "exact_row_ms", sa.Double(), nullable=False, comment="Exact search, ms per photo."
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the row was written.",
        ),
        sa.CheckConstraint("target > 0 AND target <= 1", name=op.f("tunings_target_check")),
        sa.ForeignKeyConstraint(
            ["model_id"],
            ["geosearch.models.id"],
            name=op.f("tunings_model_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("tunings_pkey")),
        sa.UniqueConstraint("model_id", name=op.f("tunings_model_id_key")),
        schema="geosearch",
        comment="Measurements of a model's index: the costs its plans rest on.",
    )
    op.create_table(
        "recall_points",
        sa.Column(
            "id", sa.BigInteger(), sa.Identity(always=False), nullable=False, comment="Primary key."
        ),
        sa.Column("tuning_id", sa.BigInteger(), nullable=False, comment="The measurement."),
        sa.Column("ef_search", sa.Integer(), nullable=False, comment="Setting hnsw.ef_search."),
        sa.Column("rank", sa.Integer(), nullable=False, comment="Of so many nearest photos ..."),
        sa.Column("recall", sa.Double(), nullable=False, comment="... the share the index found."),
        sa.Column("ms", sa.Double(), nullable=False, comment="Median time at this setting, ms."),
        sa.CheckConstraint("recall BETWEEN 0 AND 1", name=op.f("recall_points_recall_check")),
        sa.ForeignKeyConstraint(
            ["tuning_id"],
            ["geosearch.tunings.id"],
            name=op.f("recall_points_tuning_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("recall_points_pkey")),
        sa.UniqueConstraint(
            "tuning_id",
            "ef_search",
            "rank",
            name=op.f("recall_points_tuning_id_ef_search_rank_key"),
        ),
        schema="geosearch",
        comment="The recall curve of an index.",
    )


def downgrade() -> None:
    op.drop_table("recall_points", schema="geosearch")
    op.drop_table("tunings", schema="geosearch")
    op.drop_index(
        op.f("recall_checks_model_id_idx"), table_name="recall_checks", schema="geosearch"
    )
    op.drop_table("recall_checks", schema="geosearch")
