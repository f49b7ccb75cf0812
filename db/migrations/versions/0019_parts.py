"""Counters in parts: what each shows, and since when the device says that it counts."""

from db.migrations.sql import run_file

revision = "0019"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_file("0019_parts.sql")
