"""What the control room shows: flow second by second, the last audit; codes to sign in once."""

from db.migrations.sql import run_file

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_file("0007_control_room.sql")
