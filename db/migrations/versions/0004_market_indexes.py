"""Indexes for what the market is asked: parts of its list, and what was traded when."""

from db.migrations.sql import run_file

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_file("0004_market_indexes.sql")
