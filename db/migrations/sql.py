"""SQL files of migrations."""

from pathlib import Path

import sqlalchemy
from alembic import op
from sqlalchemy import Connection
from sqlalchemy.util import await_only

_MIGRATIONS = Path(__file__).parent


def run_file(conn: Connection, name: str) -> None:
    """Run a file by its path below `db/migrations`.

    The driver runs it, not SQLAlchemy, which would prepare the text as a single statement.
    """
    driver_connection = conn.connection.driver_connection
    assert driver_connection is not None
    await_only(driver_connection.execute((_MIGRATIONS / name).read_text("utf-8")))


_IS_OFFERED = """
SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'timescaledb')
   AND current_setting('timescaledb.max_background_workers', true) IS NOT NULL
"""

_LICENSE = "SELECT current_setting('timescaledb.license', true)"


def has_timescaledb() -> bool:
    """Return whether the server runs all of TimescaleDB, and create the extension if so.

    An installed extension is not enough. Unless the server preloaded it, which its settings show,
    creating it ends the connection. The Apache edition lacks compression and continuous aggregates.
    """
    if not op.get_bind().scalar(sqlalchemy.text(_IS_OFFERED)):
        return False
    op.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
    return str(op.get_bind().scalar(sqlalchemy.text(_LICENSE))) == "timescale"
