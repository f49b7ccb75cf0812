"""Outbox → Redis. Of many relays one is active, by an advisory lock on its one connection.

The same connection holds the lock, listens and takes the batches: a relay that lost the lock has
lost its transaction too, and can't delete what another one publishes.
"""

import asyncio
from collections.abc import Sequence

import structlog
from prometheus_client import CollectorRegistry

from core.log import OncePerSecond
from core.settings import DatabaseSettings, RedisSettings
from db import locks, outbox, roles
from db.errors import DATABASE_ERRORS, UNAVAILABLE, mind_cancellation, shortage
from db.locks import AdvisoryLock
from db.outbox import Pending
from db.pool import Connection, open_connection
from realtime.bus import Bus, open_bus
from realtime.feed_shard import BusAway, Published
from realtime.ledger_digests import Digester
from realtime.metrics import DigestMetrics, RelayMetrics
from realtime.throughput import ThroughputLog

BATCH_MAX = 100
_POLL_S = 0.3
_NAP_S = 0.005
_BEAT_S = 1.0
_STANDBY_S = 0.5
_RECONNECT_S = 0.5
_RETRY_FIRST_S = 0.1
_RETRY_MAX_S = 1.0  # outbox.notice_death_soon counts on it
_MEASURE_S = 1.0
_TRIES = 3

_log = structlog.get_logger()


async def run(
    database: DatabaseSettings,
    redis: RedisSettings,
    *,
    registry: CollectorRegistry,
    started: asyncio.Event,
) -> None:
    """Relay until cancelled, or stand by. `started`: the database has said which of the two."""
    async with open_bus(redis) as bus, asyncio.TaskGroup() as tasks:
        tasks.create_task(_beat(bus))
        tasks.create_task(Digester(database, DigestMetrics(registry)).run())
        tasks.create_task(_Relay(database, bus, RelayMetrics(registry), started).run())


async def _beat(bus: Bus) -> None:
    """Standing by or not: it tells hubs that they hear, which has nothing to do with the outbox."""
    while True:
        try:
            await bus.beat()
        except BusAway as error:
            _log.warning("beat_not_sent", error=str(error))
        await asyncio.sleep(_BEAT_S)


class _Relay:
    def __init__(
        self, database: DatabaseSettings, bus: Bus, metrics: RelayMetrics, started: asyncio.Event
    ) -> None:
        self._database = database
        self._bus = bus
        self._metrics = metrics
        self._started = started
        self._claim: str | None = None  # None: how the last publish ended is not known
        self._measured_at = 0.0
        self._flow = ThroughputLog(bus)
        self._published = 0  # since the flow was noted last
        self._refused_in_a_row = 0
        self._warned = OncePerSecond()

    async def run(self) -> None:
        while True:
            try:
                timeout_s = self._database.database_statement_timeout.total_seconds()
                async with open_connection(
                    self._database,
                    application_name="relay",
                    role=roles.RELAY,
                    statement_timeout_s=timeout_s,
                ) as conn:
                    await self._lead(conn)
            except (*UNAVAILABLE, *DATABASE_ERRORS) as error:
                mind_cancellation(error)
                self._warn(error)
            await asyncio.sleep(_RECONNECT_S)

    def _warn(self, error: Exception) -> None:
        repeated = self._warned.due()
        if repeated is not None:
            told = shortage(error) or str(error)
            _log.warning("relay_lost_database", error=told, repeated=repeated)

    async def _lead(self, conn: Connection) -> None:
        """Wait for the lock, then publish until the connection is lost."""
        await outbox.notice_death_soon(conn)
        while not await locks.try_lock(conn, AdvisoryLock.RELAY):
            self._started.set()
            await asyncio.sleep(_STANDBY_S)
        committed = asyncio.Event()
        await outbox.listen(conn, committed.set)
        self._started.set()
        self._metrics.active.set(1)
        _log.info("relay_active")
        try:
            while True:
                while await self._publish_batch(conn) == BATCH_MAX:
                    await self._measure(conn)
                await self._measure(conn)
                await self._rest(conn, committed)
        finally:
            self._metrics.active.set(0)

    async def _rest(self, conn: Connection, committed: asyncio.Event) -> None:
        """Sleep until something is committed; only nap while somebody counts on us being awake."""
        if not await outbox.try_sleep(conn):
            await asyncio.sleep(_NAP_S)
            return
        committed.clear()
        if await self._publish_batch(conn) == 0:
            await _wait(committed)
        await outbox.wake_up(conn)

    async def _publish_batch(self, conn: Connection) -> int:
        """Publish a batch, then forget it. Waits for Redis; returns the size of the batch."""
        wait_s = _RETRY_FIRST_S
        while True:
            try:
                return await self._try_batch(conn)
            except BusAway as error:
                self._metrics.retries.inc()
                _log.warning("batch_not_published", error=str(error), retry_in_s=wait_s)
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, _RETRY_MAX_S)
            await self._measure(conn)

    async def _try_batch(self, conn: Connection) -> int:
        claim, self._claim = self._claim, None
        async with conn.transaction():
            batch = await outbox.lock_batch(conn, BATCH_MAX)
            if batch:
                claim = claim or await self._bus.claim()
                published = await self._bus.publish(claim, batch)
                if published is None:
                    raise BusAway("another relay has claimed the feed since")
                self._metrics.published.inc(len(published.ids))
                self._published += len(published.ids)
                done = [event.id for event in batch if event.id not in published.left]
                await outbox.delete(conn, done)
                if published.refused:
                    await self._relieve(conn, batch, published)
                    return len(batch)
        self._claim, self._refused_in_a_row = claim, 0
        return len(batch)

    async def _relieve(
        self, conn: Connection, batch: Sequence[Pending], published: Published
    ) -> None:
        """Something at the head of the queue can't be published: let it not stop the rest.

        It is tried again at once, on channels that begin anew, and in the end set aside with what
        waits behind it on them. Whoever listens reloads each time: they can't know what is missing.
        The next batch makes a claim of its own: what other lanes took is not published twice.
        """
        self._refused_in_a_row += 1
        channels = {c for event in batch if event.id in published.refused for c in event.channels}
        await self._bus.reset(channels)
        error = next(iter(published.refused.values()))
        set_aside = self._refused_in_a_row >= _TRIES
        if set_aside:
            await outbox.set_aside(conn, published.left, error, tries=_TRIES)
            self._metrics.set_aside.inc(len(published.left))
            self._refused_in_a_row = 0
        _log.error(
            "events_refused", error=error, channels=sorted(channels),
            events=len(published.left), set_aside=set_aside,
        )  # fmt: skip

    async def _measure(self, conn: Connection) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._measured_at < _MEASURE_S:
            return
        self._measured_at = now
        backlog = await outbox.backlog(conn)
        self._metrics.outbox_depth.set(backlog.depth)
        self._metrics.outbox_age_seconds.set(backlog.age_s)
        events, self._published = self._published, 0
        await self._flow.note(conn, backlog, events=events)


async def _wait(committed: asyncio.Event) -> None:
    """Until something was committed, or it is time to look anyway."""
    try:
        async with asyncio.timeout(_POLL_S):
            await committed.wait()
    except TimeoutError:
        return
