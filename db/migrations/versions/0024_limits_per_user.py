"""Listings are shown to 0.01 degrees; indexes for quotas and for what expires."""

from db.migrations.sql import run_file

revision = "0024"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_file("0024_limits_per_user.sql")
