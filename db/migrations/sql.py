"""Run SQL files as they are: several statements at once, which SQLAlchemy would not prepare."""

from pathlib import Path

import sqlalchemy
from alembic import op
from sqlalchemy.util import await_only

_VERSIONS = Path(__file__).parent / "versions"


def run_file(name: str) -> None:
    driver_connection = op.get_bind().connection.driver_connection
    assert driver_connection is not None
    await_only(driver_connection.execute((_VERSIONS / name).read_text("utf-8")))


def has_timescaledb() -> bool:
    """Whether the server offers the extension; creates it where it does."""
    offered = op.get_bind().scalar(
        sqlalchemy.text(
            "SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'timescaledb')"
        )
    )
    if offered:
        op.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
    return bool(offered)
