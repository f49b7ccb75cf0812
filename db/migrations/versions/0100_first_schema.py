"""The first released schema."""

from alembic import op

from db.migrations import functions
from db.migrations.sql import has_timescaledb, run_file

# Numbers below 0100 belong to schemas that were never released (db/schema.py).
revision = "0100"
down_revision = None
branch_labels = None
depends_on = None

# A table comes after those that it refers to.
_TABLES = (
    "users", "addresses", "wallets", "payments", "devices", "readings", "listings", "purchases",
    "investments", "prices", "outbox", "ingesters", "admin",
)  # fmt: skip


def upgrade() -> None:
    conn = op.get_bind()
    for name in functions.OF_COLUMNS:
        run_file(conn, f"functions/{name}.sql")
    for name in _TABLES:
        run_file(conn, f"schema/{name}.sql")
    run_file(conn, f"schema/{'timescaledb' if has_timescaledb() else 'plain_postgresql'}.sql")
