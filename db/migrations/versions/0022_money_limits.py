"""Limits of money and energy, a least purchase and fee, and what failed in a queue."""

from db.migrations.sql import run_file

revision = "0022"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_file("0022_money_limits.sql")
