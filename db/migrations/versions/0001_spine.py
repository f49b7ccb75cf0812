"""People, money, devices, market, outbox."""

from db.migrations.sql import has_timescaledb, run_file

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_file("0001_spine.sql")
    run_file("0001_purchase.sql")
    run_file("0001_timescale.sql" if has_timescaledb() else "0001_plain.sql")
