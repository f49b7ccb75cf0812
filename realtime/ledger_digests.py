"""The ledger's chain of digests, which the relay extends about a second behind the commits.

Of several relays one extends it, by an advisory lock on a connection of its own. Purchases do not
wait for it and write nothing for it.
"""

import asyncio

import structlog

from core.ledger_chain import Head, append
from core.log import OncePerSecond
from core.settings import DatabaseSettings
from db import ledger_digests, locks, roles
from db.errors import database_errors, shortage
from db.ledger_digests import Mark
from db.locks import AdvisoryLock
from db.pool import Connection, open_connection
from realtime.metrics import DigestMetrics

ENTRIES_MAX = 500
_EVERY_S = 1.0
_STANDBY_S = 1.0
_RECONNECT_S = 1.0
# Each reported head is a line of the log and a series in Prometheus.
_REPORT_EVERY_S = 60.0

_log = structlog.get_logger()


class Digester:
    """Extends the chain of digests while it holds the lock, and reports the chain's head."""

    def __init__(self, database: DatabaseSettings, metrics: DigestMetrics) -> None:
        self._database = database
        self._metrics = metrics
        self._mark: Mark | None = None
        self._head = Head()  # as this process knows it
        self._reported = Head()
        self._reported_at = float("-inf")
        self._warned = OncePerSecond()

    async def run(self) -> None:
        """Digest or stand by until cancelled; report the head at the end."""
        try:
            while True:
                try:
                    await self._connect()
                except database_errors() as error:
                    self._warn(error)
                await asyncio.sleep(_RECONNECT_S)
        finally:
            self._report_head()

    def _warn(self, error: Exception) -> None:
        repeated = self._warned.due()
        if repeated is not None:
            message = shortage(error) or str(error)
            _log.warning("digests_lost_database", error=message, repeated=repeated)

    async def _connect(self) -> None:
        async with open_connection(
            self._database, application_name="digests", role=roles.RELAY, has_timeout=True
        ) as conn:
            await ledger_digests.prepare(conn)
            while True:
                if await locks.try_lock(conn, AdvisoryLock.LEDGER_DIGESTS):
                    await self._lead(conn)
                await asyncio.sleep(_STANDBY_S)

    async def _lead(self, conn: Connection) -> None:
        """Digest until the connection is lost. Catching up takes at most half of the time."""
        now = asyncio.get_running_loop().time
        while True:
            began_at = now()
            is_behind = await self.advance(conn)
            self._metrics.waiting_seconds.set(await ledger_digests.lag_s(conn, self._head.position))
            if now() - self._reported_at >= _REPORT_EVERY_S:
                self._report_head()
                self._reported_at = now()
            await asyncio.sleep(now() - began_at if is_behind else _EVERY_S)

    async def advance(self, conn: Connection) -> bool:
        """Add a digest if the next end is known. Return whether more entries are waiting."""
        async with conn.transaction():
            head = await self._last_head(conn)
            self._mark = mark = self._mark or await ledger_digests.mark(conn)
            if not await ledger_digests.is_complete(conn, mark):
                return False
            upto = mark.position.at_least(head.position)
            if upto != head.position:
                link = await ledger_digests.next_link(conn, head.position, upto, ENTRIES_MAX)
                head = append(head, link)
                await ledger_digests.append(conn, head, link)
        self._head = head
        self._metrics.sequence.set(head.sequence)
        if head.position != upto:
            return True
        self._mark = None
        return False

    async def _last_head(self, conn: Connection) -> Head:
        """Return the chain's head. Log an error if the chain lacks the head known before."""
        head = await ledger_digests.head(conn)
        if not await ledger_digests.holds(conn, self._head):
            self._metrics.conflicts.inc()
            _log.error("ledger_digests_were_changed", known=str(self._head), found=str(head))
            self._head = head
        return head

    def _report_head(self) -> None:
        if self._head in (Head(), self._reported):
            return
        sequence, digest = self._head.sequence, self._head.hash.hex()
        _log.info("ledger_digest_head", sequence=sequence, hash=digest)
        self._metrics.head.info({"sequence": str(sequence), "hash": digest})
        self._reported = self._head
