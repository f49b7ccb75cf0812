"""Late readings that wait to be accounted, and checkpoints that are thinned."""

from db.migrations.sql import run_file

revision = "0025"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_file("0025_unaccounted_readings.sql")
