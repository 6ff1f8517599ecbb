"""The schema of geosearch 0.1.0.

Revision ID: 0001
Revises: none
"""

from __future__ import annotations

from alembic import op

from geosearch.borders.shipped import load_shipped_borders, load_shipped_places
from geosearch.database.migrations import run_files, wants_shipped

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Each after those it needs.
    run_files(
        revision,
        "tables/comments tables/collections roles/visibility",
        "tables/photos tables/retrieval tables/geocells tables/answers tables/reviews",
        "tables/audits tables/maps tables/leases tables/tokens tables/shards",
        "roles/derived roles/shards roles/shelves roles/copies roles/deletion roles/tokens",
        "functions/sphere functions/weights functions/kernels functions/spacing functions/mode",
        "functions/radius functions/aggregate",
        "functions/place functions/expression functions/filter functions/recall functions/plan",
        "functions/shards functions/nearest functions/calibrated functions/localize",
        "functions/record functions/review functions/version",
        "layers/lines layers/coverage layers/views layers/tiles layers/thumbnails",
        "roles/rights",
    )
    if wants_shipped():
        connection = op.get_bind().connection.driver_connection
        load_shipped_borders(connection)
        load_shipped_places(connection)


def downgrade() -> None:
    run_files(revision, "drop")
