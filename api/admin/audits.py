"""The audit of the books, asked for over HTTP: one at a time in each process.

Who asks while one runs gets its result. It reads on a connection of its own, and takes as long as
there are readings, up to a limit.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from core.settings import DatabaseSettings
from db import audit as books
from db import audit_results, roles
from db.audit_results import AuditFinding
from db.pool import open_connection

_AUDIT_MAX_S = 600


class Audits:
    def __init__(self, database: DatabaseSettings) -> None:
        self._database = database
        self._running: asyncio.Task[list[AuditFinding]] | None = None

    async def checks(self) -> list[AuditFinding]:
        """Every check of an audit that runs already, or begins now."""
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._audit())
            self._running.add_done_callback(_ignore_failure)
        # Who goes away leaves it to the others, and to `stop`.
        return await asyncio.shield(self._running)

    async def stop(self) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])

    async def _audit(self) -> list[AuditFinding]:
        async with (
            asyncio.timeout(_AUDIT_MAX_S),
            open_connection(self._database, application_name="api-audit", role=roles.API) as conn,
        ):
            findings = [AuditFinding.of(check) async for check in books.audit(conn, self._database)]
            async with conn.transaction():
                await audit_results.save(conn, findings)
            return findings


@contextlib.asynccontextmanager
async def open_audits(database: DatabaseSettings) -> AsyncIterator[Audits]:
    audits = Audits(database)
    try:
        yield audits
    finally:
        await audits.stop()


def _ignore_failure(audit: asyncio.Task[list[AuditFinding]]) -> None:
    """Whoever still waits is told; that nobody does is no fault."""
    if not audit.cancelled():
        audit.exception()
