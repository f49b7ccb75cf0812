"""Refusals that are counted when their records are dropped."""

from db.migrations.sql import run_file

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_file("0006_rejections.sql")
