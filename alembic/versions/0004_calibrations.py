"""Calibrations, and what they add to an answer.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def _added() -> list[sa.Column[Any]]:
    """The columns an answer gains, made anew: a column belongs to one table."""
    return [
        sa.Column(
            "calibration_id", sa.BigInteger(), comment="Calibration that was applied, if any."
        ),
        sa.Column(
            "calibration", postgresql.JSONB(), comment="What it had fitted, kept if it goes."
        ),
        sa.Column(
            "confident",
            sa.Boolean(),
            comment="False: not in this collection. NULL without calibration.",
        ),
        sa.Column(
            "probability_within_km",
            postgresql.JSONB(),
            comment="Probability of an error of at most so many kilometres.",
        ),
        sa.Column(
            "truth_level",
            sa.Double(),
            comment="Level of the smallest region that holds the truth; NULL without truth.",
        ),
    ]


def upgrade() -> None:
    op.create_table(
        "calibrations",
        sa.Column(
            "id", sa.BigInteger(), sa.Identity(always=False), nullable=False, comment="Primary key."
        ),
        sa.Column("model_id", sa.BigInteger(), comment="The model."),
        sa.Column(
            "model", sa.Text(), nullable=False, comment="Model spec, kept if the model goes."
        ),
        sa.Column(
            "filter",
            postgresql.JSONB(),
            nullable=False,
            comment="Filter on the references it was fitted with.",
        ),
        sa.Column("method", sa.Text(), nullable=False, comment="Method it was fitted for."),
        sa.Column("parameters", postgresql.JSONB(), nullable=False, comment="What was fitted."),
        sa.Column(
            "figures",
            postgresql.JSONB(),
            nullable=False,
            comment="Figures on the queries held out, by name.",
        ),
        sa.Column(
            "queries", sa.Text(), nullable=False, comment="Manifest of the labelled queries."
        ),
        sa.Column("options", postgresql.JSONB(), nullable=False, comment="Options of the command."),
        sa.Column("n_fit", sa.Integer(), nullable=False, comment="Queries it was fitted on."),
        sa.Column(
            "n_check", sa.Integer(), nullable=False, comment="Queries held out for the figures."
        ),
        sa.Column(
            "failed", sa.Integer(), nullable=False, comment="Queries that could not be used."
        ),
        sa.Column(
            "software",
            postgresql.JSONB(),
            nullable=False,
            comment="Versions of geosearch and libraries.",
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the row was written.",
        ),
        sa.CheckConstraint("n_fit > 0 AND n_check > 0", name=op.f("calibrations_n_check")),
        sa.ForeignKeyConstraint(
            ["model_id"],
            ["geosearch.models.id"],
            name=op.f("calibrations_model_id_fkey"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("calibrations_pkey")),
        schema="geosearch",
        comment="Calibrations: from evidence to bandwidth, regions and probabilities, by model.",
    )
    op.create_index(
        op.f("calibrations_model_id_idx"), "calibrations", ["model_id"], schema="geosearch"
    )
    for column in _added():
        op.add_column("localizations", column, schema="geosearch")
    op.create_foreign_key(
        op.f("localizations_calibration_id_fkey"),
        "localizations",
        "calibrations",
        ["calibration_id"],
        ["id"],
        source_schema="geosearch",
        referent_schema="geosearch",
        ondelete="SET NULL",
    )
    op.create_check_constraint(
        op.f("localizations_truth_level_check"),
        "localizations",
        "truth_level BETWEEN 0 AND 1",
        schema="geosearch",
    )
    op.create_index(
        op.f("localizations_calibration_id_idx"),
        "localizations",
        ["calibration_id"],
        schema="geosearch",
    )


def downgrade() -> None:
    for column in _added():  # their constraints and indexes go with them
        op.drop_column("localizations", column.name, schema="geosearch")
    op.drop_table("calibrations", schema="geosearch")
