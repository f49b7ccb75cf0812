"""A dynamic price lies between its floor and its cap, whoever writes it."""

from db.migrations.sql import run_file

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_file("0009_price_bounds.sql")
