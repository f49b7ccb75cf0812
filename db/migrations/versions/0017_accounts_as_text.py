"""Accounts as JSON text, with instants as everywhere."""

from db.migrations.sql import run_file

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_file("0017_accounts_as_text.sql")
