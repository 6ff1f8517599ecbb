"""What was left out of a search, and evaluations that share their neighbours.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "localizations",
        sa.Column(
            "excluded",
            postgresql.JSONB(),
            comment="References left out of the search, by reason.",
        ),
        schema="geosearch",
    )
    op.add_column(
        "evaluations",
        sa.Column(
            "sweep_id",
            sa.BigInteger(),
            comment="First evaluation on the same neighbours, which has the answers; "
            "NULL if alone.",
        ),
        schema="geosearch",
    )
    op.add_column(
        "evaluations",
        sa.Column(
            "errors_km",
            postgresql.ARRAY(sa.Double()),
            comment="Error per query, kilometres, in the order of the answers; infinite without.",
        ),
        schema="geosearch",
    )
    op.add_column(
        "evaluations",
        sa.Column(
            "excluded",
            postgresql.JSONB(),
            comment="References left out, all queries together, by reason.",
        ),
        schema="geosearch",
    )
    op.create_foreign_key(
        op.f("evaluations_sweep_id_fkey"),
        "evaluations",
        "evaluations",
        ["sweep_id"],
        ["id"],
        source_schema="geosearch",
        referent_schema="geosearch",
        ondelete="CASCADE",
    )
    op.create_index(
        op.f("evaluations_sweep_id_idx"), "evaluations", ["sweep_id"], schema="geosearch"
    )


def downgrade() -> None:
    for column in ("sweep_id", "errors_km", "excluded"):  # the index goes with its column
        op.drop_column("evaluations", column, schema="geosearch")
    op.drop_column("localizations", "excluded", schema="geosearch")
