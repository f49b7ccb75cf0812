"""The sessions that the ingesters of a group keep at the broker, and who reads them."""

from db.migrations.sql import run_file

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_file("0021_ingest_sessions.sql")
