"""Brokers are told whose access changes, and that of devices whose host is locked out."""

from db.migrations.sql import run_file

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_file("0014_access_of_hosts.sql")
