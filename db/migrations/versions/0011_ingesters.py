"""Which ingesters there are, so that none is missed for ever."""

from db.migrations.sql import run_file

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_file("0011_ingesters.sql")
