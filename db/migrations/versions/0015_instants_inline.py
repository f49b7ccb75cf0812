"""How an instant is shown becomes part of the statements that show it."""

from db.migrations.sql import run_file

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_file("0015_instants_inline.sql")
