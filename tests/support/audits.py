"""Audits of test databases."""

from core.settings import DatabaseSettings
from db.audit import audit
from db.pool import Connection


async def failed_checks(conn: Connection, database: DatabaseSettings) -> list[str]:
    """Return the names of the audit's checks that fail."""
    return [check.name async for check in audit(conn, database) if not check.ok]
