"""Where a device's clock hangs, and what is kept of devices that tell measurements in parts."""

from db.migrations.sql import run_file

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_file("0008_dialects.sql")
