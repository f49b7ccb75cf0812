"""`solarhub audit`: recompute the books of a database, one check after the other."""

from collections.abc import AsyncIterator

from core.settings import DatabaseSettings
from db import audit as books
from db.checks import Check
from db.pool import open_connection


async def audit(
    settings: DatabaseSettings, noted_hash: bytes | None = None
) -> AsyncIterator[Check]:
    """Every check as it is done. Reads only; takes as long as there are readings.

    `noted_hash`: of a head of the ledger's digests that was noted elsewhere.
    """
    async with open_connection(settings, application_name="audit") as conn:
        async for check in books.audit(conn, settings, noted_hash=noted_hash):
            yield check
