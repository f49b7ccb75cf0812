"""Devices that investors fund, and sales that pay them their share."""

from db.migrations.sql import run_file

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_file("0003_investors.sql")
    run_file("0003_purchase.sql")
