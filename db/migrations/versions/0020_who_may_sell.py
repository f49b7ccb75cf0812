"""What a device may sell: since when, of which meter, and what administrators decide of it."""

from db.migrations.sql import run_file

revision = "0020"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_file("0020_who_may_sell.sql")
