"""The audit of energy and money, requested over HTTP: one at a time in each process.

A request that comes while an audit runs gets the result of that audit. The audit reads on a
connection of its own, so that it takes none from the pool for minutes.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from core.settings import DatabaseSettings
from db import audit_results, roles
from db.audit import audit
from db.audit_results import AuditFinding
from db.pool import open_connection

# An audit takes longer with every reading. It is cancelled after this time.
_AUDIT_MAX_S = 600


class Audits:
    """Runs one audit at a time, in a task of `tasks`."""

    def __init__(self, database: DatabaseSettings, tasks: asyncio.TaskGroup) -> None:
        self._database = database
        self._tasks = tasks
        self._running: asyncio.Task[list[AuditFinding] | Exception] | None = None

    async def checks(self) -> list[AuditFinding]:
        """Return the checks of the audit that is running, or of one that starts now.

        Raises errors of the database, and TimeoutError.
        """
        if self._running is None or self._running.done():
            self._running = self._tasks.create_task(self._run())
        # A request that is cancelled must not cancel the audit: others may wait for it.
        result = await asyncio.shield(self._running)
        if isinstance(result, Exception):
            raise result
        return result

    def stop(self) -> None:
        """Cancel the audit that is running."""
        if self._running is not None:
            self._running.cancel()

    async def _run(self) -> list[AuditFinding] | Exception:
        """Return a failure instead of raising it: it must not end the task group."""
        try:
            return await self._audit()
        except Exception as error:  # noqa: BLE001 - raised in every request that waits.
            return error

    async def _audit(self) -> list[AuditFinding]:
        async with (
            asyncio.timeout(_AUDIT_MAX_S),
            open_connection(self._database, application_name="api-audit", role=roles.API) as conn,
        ):
            findings = [AuditFinding.of(check) async for check in audit(conn, self._database)]
            async with conn.transaction():
                await audit_results.save(conn, findings)
            return findings


@contextlib.asynccontextmanager
async def open_audits(database: DatabaseSettings) -> AsyncIterator[Audits]:
    """Provide audits until the block ends. An audit that is running then is cancelled."""
    async with asyncio.TaskGroup() as tasks:
        audits = Audits(database, tasks)
        try:
            yield audits
        finally:
            audits.stop()
