"""Brokers learn at once who may sign in; passwords have versions."""

from db.migrations.sql import run_file

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_file("0010_device_access.sql")
