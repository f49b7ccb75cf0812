"""The routing of reads: to a replica that is as new as the request, otherwise to the primary.

An answer is never older than its request, whichever server gives it. Authorization, wallets, and
reads that precede a change use the primary's pool instead.

The replica is checked in rounds. A round asks the primary how far it has written, and then the
replica until it has replayed as much. A request waits for a round that starts after it arrived; if
the replica passes, it shows everything that was committed before the request. All requests that
arrive during a round share the next one. Without requests there is one round a second.

A round that fails or takes too long takes the replica out of use. A round that passes restores it.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Literal, TypeVar

import structlog

from api.http.metrics import ApiMetrics
from core.retry import Backoff
from core.settings import DatabaseSettings
from db import replicas, roles
from db.errors import CANCELLED_BY_REPLAY, database_errors, unavailable_errors
from db.pool import Connection, Pool, open_connection, open_pool

T = TypeVar("T")
State = Literal["starting", "ok", "behind", "unavailable"]

_ROUND_INTERVAL_MAX_S = 1.0
_RECONNECT_DELAY_S = 1.0
# Pauses between the questions of a round to the replica, doubled up to the second.
_POLL_DELAY_MIN_S, _POLL_DELAY_MAX_S = 0.001, 0.016

_log = structlog.get_logger()


class NotOurReplica(ConnectionError):
    """The URL leads to a server that is no replica of the primary, or to several servers."""


class ReplicaMonitor:
    """Follows the replica in rounds, and holds a pool of connections to it.

    `behind_bytes` is the part of the primary's log that the replica had not replayed at the last
    round.
    """

    def __init__(self, primary: DatabaseSettings, url: str) -> None:
        self._primary = primary
        self._settings = primary.model_copy(update={"database_url": url})
        self._lag_max_s = primary.database_read_lag_max.total_seconds()
        self.state: State = "starting"
        self.behind_bytes = 0
        self._pool: Pool | None = None
        self._round_requested = asyncio.Event()
        # Done when the next round ends. A round replaces it when it starts, so requests never
        # wait for a round that started before them.
        self._next_round: asyncio.Future[None] = asyncio.Future()

    async def caught_up_pool(self) -> Pool | None:
        """Return connections that show everything committed so far.

        Returns None if the primary must be asked instead.
        """
        if self.state != "ok":
            return None
        self._round_requested.set()
        done, _ = await asyncio.wait([self._next_round], timeout=self._lag_max_s)
        return self._pool if done and self.state == "ok" else None

    async def run(self) -> None:
        """Follow the replica, and reconnect when it is lost, until cancelled."""
        while True:
            try:
                await self._follow()
            except database_errors() as error:
                self.mark_unavailable(error)
            await asyncio.sleep(_RECONNECT_DELAY_S)

    def mark_unavailable(self, error: Exception) -> None:
        """Take the replica out of use until a round passes. Also called by failed requests."""
        self._set_state("unavailable", error=repr(error))

    async def _follow(self) -> None:
        """Run rounds. Raises NotOurReplica, and the errors of either server."""
        async with (
            open_connection(
                self._primary, application_name="api-replica", role=roles.API
            ) as primary,
            open_connection(
                self._settings, application_name="api-replica", role=roles.API
            ) as replica,
        ):
            if await replicas.identity(replica) != await replicas.identity(primary):
                raise NotOurReplica("it holds another database")
            async with self._open_pool(await replicas.process(replica)):
                while True:
                    await self._round(primary, replica)
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(_ROUND_INTERVAL_MAX_S):
                            await self._round_requested.wait()

    @contextlib.asynccontextmanager
    async def _open_pool(self, process: object) -> AsyncIterator[None]:
        """Open the pool for requests. At its end, reads that still run fail at once."""

        async def check_same_server(conn: Connection) -> None:
            # The rounds measure one server process. Connections to another could be older.
            if await replicas.process(conn) != process:
                raise NotOurReplica("it leads to several servers, or was restarted")

        async with open_pool(
            self._settings,
            application_name="api-read",
            role=roles.API,
            plan_once=True,
            greet=check_same_server,
        ) as pool:
            self._pool = pool
            try:
                yield
            except database_errors() as error:
                self.mark_unavailable(error)
                raise
            finally:
                self._pool = None
                pool.terminate()

    async def _round(self, primary: Connection, replica: Connection) -> None:
        self._round_requested.clear()
        this_round, self._next_round = self._next_round, asyncio.Future()
        try:
            if await self._catches_up(await replicas.written(primary), replica):
                self._set_state("ok")
            else:
                self._set_state("behind", bytes=self.behind_bytes)
        finally:
            this_round.set_result(None)

    async def _catches_up(self, written: int, replica: Connection) -> bool:
        """Wait until the replica has replayed up to `written`. Returns False after the limit."""
        loop = asyncio.get_running_loop()
        backoff = Backoff(_POLL_DELAY_MIN_S, _POLL_DELAY_MAX_S)
        deadline = loop.time() + self._lag_max_s
        while True:
            async with asyncio.timeout(self._lag_max_s):
                replayed = await replicas.replayed(replica)
            if replayed is None:
                raise NotOurReplica("it is no replica")
            self.behind_bytes = max(0, written - replayed)
            if not self.behind_bytes or loop.time() > deadline:
                return not self.behind_bytes
            await asyncio.sleep(backoff.next_s())

    def _set_state(self, state: State, **facts: object) -> None:
        if state == self.state:
            return
        self.state = state
        if state == "ok":
            _log.info("replica_answers")
        else:
            _log.warning("replica_out", state=state, **facts)


class ReadRouting:
    """Runs reads on the replica where possible. `replica` is None where none is configured."""

    def __init__(self, primary: Pool, replica: ReplicaMonitor | None, metrics: ApiMetrics) -> None:
        self._primary = primary
        self._replica = replica
        self._reads = metrics.reads

    @property
    def replica_state(self) -> Literal["ok", "degraded", "off"]:
        """Return the state of the replica for `/readyz`."""
        if self._replica is None:
            return "off"
        return "ok" if self._replica.state == "ok" else "degraded"

    async def run(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Return what `work` reads. If the replica fails, `work` runs again on the primary."""
        if self._replica is None:
            async with self._primary.acquire() as conn:
                return await work(conn)
        if (pool := await self._replica.caught_up_pool()) is not None:
            try:
                async with pool.acquire() as conn:
                    result = await work(conn)
            except CANCELLED_BY_REPLAY:
                # The replay of a vacuum or a lock cancelled the read. The replica is well.
                pass
            except unavailable_errors() as error:
                self._replica.mark_unavailable(error)
            else:
                self._reads.labels("replica").inc()
                return result
        async with self._primary.acquire() as conn:
            result = await work(conn)
        self._reads.labels("primary").inc()
        return result


@contextlib.asynccontextmanager
async def open_read_routing(
    database: DatabaseSettings, primary: Pool, metrics: ApiMetrics
) -> AsyncIterator[ReadRouting]:
    """Follow the replica, if one is configured, until the block ends."""
    if database.database_read_url is None:
        yield ReadRouting(primary, None, metrics)
        return
    replica = ReplicaMonitor(database, database.database_read_url)
    metrics.watch_replica(
        is_ok=lambda: replica.state == "ok", lag_bytes=lambda: replica.behind_bytes
    )
    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(replica.run())
        try:
            yield ReadRouting(primary, replica, metrics)
        finally:
            following.cancel()
