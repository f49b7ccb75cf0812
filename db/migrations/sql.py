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


_OFFERED = """
SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'timescaledb')
   AND current_setting('timescaledb.max_background_workers', true) IS NOT NULL
"""

_LICENSE = "SELECT current_setting('timescaledb.license', true)"


def has_timescaledb() -> bool:
    """Whether the server runs the whole extension; creates it where it does.

    Installed is not enough: unless it was preloaded, which its settings tell, to create it ends the
    connection; and its Apache edition has neither compression nor continuous aggregates.
    """
    if not op.get_bind().scalar(sqlalchemy.text(_OFFERED)):
        return False
    op.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
    return str(op.get_bind().scalar(sqlalchemy.text(_LICENSE))) == "timescale"
