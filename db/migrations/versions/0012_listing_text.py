"""The JSON of a listing as text, for lists of them."""

from db.migrations.sql import run_file

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_file("0012_listing_text.sql")
