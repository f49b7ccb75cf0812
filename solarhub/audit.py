"""`solarhub audit`: recompute the books of a database, one check after the other."""

from collections.abc import AsyncIterator

from core.settings import DatabaseSettings
from db import audit as books
from db.audit import Check
from db.pool import open_connection


async def audit(settings: DatabaseSettings) -> AsyncIterator[Check]:
    """Every check as it is done. Reads only; takes as long as there are readings."""
    async with open_connection(settings, application_name="audit") as conn:
        async for check in books.audit(conn, settings):
            yield check
