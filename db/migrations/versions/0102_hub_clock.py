"""Rows get their times from the hub's clock, which is not always PostgreSQL's (db/clock.py)."""

from alembic import op

from db.migrations.functions import OF_DEFAULTS
from db.migrations.sql import run_file

revision = "0102"
down_revision = "0101"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in OF_DEFAULTS:
        run_file(op.get_bind(), f"functions/{name}.sql")
    run_file(op.get_bind(), "schema/hub_clock.sql")
