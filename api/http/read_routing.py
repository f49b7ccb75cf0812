"""What is only looked at: read from the replica where there is one, else from the primary.

An answer is never older than its request, whoever gives it (see `api.http.replica`). What lets
somebody in, what is read in order to change something, and wallets are no business of this: they
are read from the primary's pool.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Literal, TypeVar

from api.http.metrics import ApiMetrics
from api.http.replica import Replica
from core.settings import DatabaseSettings
from db.errors import TAKEN_BACK_BY_REPLAY, UNAVAILABLE, mind_cancellation
from db.pool import Connection, Pool

T = TypeVar("T")


class ReadRouting:
    """`replica` is None where none is set."""

    def __init__(self, primary: Pool, replica: Replica | None, metrics: ApiMetrics) -> None:
        self._primary = primary
        self._replica = replica
        self._answered = metrics.reads

    @property
    def replica_state(self) -> Literal["ok", "degraded", "off"]:
        if self._replica is None:
            return "off"
        return "ok" if self._replica.state == "ok" else "degraded"

    async def run(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """What `work` reads; it may be called twice, the second time on the primary."""
        if self._replica is None:
            async with self._primary.acquire() as conn:
                return await work(conn)
        if (pool := await self._replica.as_new_as_now()) is not None:
            try:
                async with pool.acquire() as conn:
                    found = await work(conn)
            except TAKEN_BACK_BY_REPLAY:
                pass
            except UNAVAILABLE as error:
                mind_cancellation(error)
                self._replica.lost(error)
            else:
                self._answered.labels("replica").inc()
                return found
        async with self._primary.acquire() as conn:
            found = await work(conn)
        self._answered.labels("primary").inc()
        return found


@contextlib.asynccontextmanager
async def open_read_routing(
    database: DatabaseSettings, primary: Pool, metrics: ApiMetrics
) -> AsyncIterator[ReadRouting]:
    """Follows the replica, if one is set, until the block ends."""
    if database.database_read_url is None:
        yield ReadRouting(primary, None, metrics)
        return
    replica = Replica(database, database.database_read_url)
    metrics.watch_replica(replica)
    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(replica.run())
        yield ReadRouting(primary, replica, metrics)
        following.cancel()
