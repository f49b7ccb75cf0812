"""Digests of the ledger in a chain; history, and how payments ended, can't be changed."""

from db.migrations.sql import run_file

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_file("0023_ledger_digests.sql")
