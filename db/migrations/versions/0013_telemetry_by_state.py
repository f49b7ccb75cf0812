"""Telemetry belongs to a device by the lock on its state, not by a foreign key."""

from db.migrations.sql import run_file

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_file("0013_telemetry_by_state.sql")
