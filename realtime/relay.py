"""The relay: publishes committed events from the outbox to Redis.

Of several relays one is active, by an advisory lock on its connection. The same connection holds
the lock, listens for commits and locks the batches. A relay that lost the lock has lost its
transaction too, so it can't delete events that another relay publishes.
"""

import asyncio
from collections.abc import Sequence

import structlog
from prometheus_client import CollectorRegistry

from core.log import OncePerSecond
from core.retry import Backoff
from core.settings import DatabaseSettings, RedisSettings
from db import locks, outbox, roles
from db.errors import database_errors, shortage
from db.locks import AdvisoryLock
from db.outbox import Pending
from db.pool import Connection, open_connection
from realtime.bus import Bus, open_bus
from realtime.feed_shard import BusUnavailable, Published
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
# `outbox.set_short_timeouts` relies on this limit.
_RETRY_MAX_S = 1.0
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
    """Relay or stand by until cancelled. `started` is set once the database has decided which."""
    async with open_bus(redis) as bus, asyncio.TaskGroup() as tasks:
        tasks.create_task(_beat(bus))
        tasks.create_task(Digester(database, DigestMetrics(registry)).run())
        tasks.create_task(_Relay(database, bus, RelayMetrics(registry), started).run())


async def _beat(bus: Bus) -> None:
    """Publish heartbeats, active or not: they show that Redis delivers messages."""
    while True:
        try:
            await bus.beat()
        except BusUnavailable as error:
            _log.warning("heartbeat_not_published", error=str(error))
        await asyncio.sleep(_BEAT_S)


class _Relay:
    def __init__(
        self, database: DatabaseSettings, bus: Bus, metrics: RelayMetrics, started: asyncio.Event
    ) -> None:
        self._database = database
        self._bus = bus
        self._metrics = metrics
        self._started = started
        self._claim: str | None = None  # None: the result of the last publish is unknown
        self._measured_at = 0.0
        self._flow = ThroughputLog(bus)
        self._published = 0  # since the last sample of the throughput
        self._refused_in_a_row = 0
        self._warned = OncePerSecond()

    async def run(self) -> None:
        while True:
            try:
                async with open_connection(
                    self._database, application_name="relay", role=roles.RELAY, has_timeout=True
                ) as conn:
                    await self._lead(conn)
            except database_errors() as error:
                self._warn(error)
            await asyncio.sleep(_RECONNECT_S)

    def _warn(self, error: Exception) -> None:
        repeated = self._warned.due()
        if repeated is not None:
            message = shortage(error) or str(error)
            _log.warning("relay_lost_database", error=message, repeated=repeated)

    async def _lead(self, conn: Connection) -> None:
        """Wait for the lock, then publish until the connection is lost."""
        await outbox.set_short_timeouts(conn)
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
                await self._sleep_until_commit(conn, committed)
        finally:
            self._metrics.active.set(0)

    async def _sleep_until_commit(self, conn: Connection, committed: asyncio.Event) -> None:
        """Sleep until a commit. Sleep only briefly while a transaction relies on the relay
        being awake and sends no NOTIFY."""
        if not await outbox.try_sleep(conn):
            await asyncio.sleep(_NAP_S)
            return
        committed.clear()
        if await self._publish_batch(conn) == 0:
            await _wait(committed)
        await outbox.wake_up(conn)

    async def _publish_batch(self, conn: Connection) -> int:
        """Publish a batch and delete it from the outbox. Wait for Redis without a limit.

        Returns the size of the batch.
        """
        backoff = Backoff(_RETRY_FIRST_S, _RETRY_MAX_S)
        while True:
            try:
                return await self._try_batch(conn)
            except BusUnavailable as error:
                self._metrics.retries.inc()
                _log.warning("batch_not_published", error=str(error), retry_in_s=backoff.delay_s)
            await asyncio.sleep(backoff.next_s())
            await self._measure(conn)

    async def _try_batch(self, conn: Connection) -> int:
        claim, self._claim = self._claim, None
        async with conn.transaction():
            batch = await outbox.lock_batch(conn, BATCH_MAX)
            if batch:
                claim = claim or await self._bus.claim()
                published = await self._bus.publish(claim, batch)
                if published is None:
                    raise BusUnavailable("another relay has claimed the feed")
                self._metrics.published.inc(len(published.ids))
                self._published += len(published.ids)
                done = [event.id for event in batch if event.id not in published.left]
                await outbox.delete(conn, done)
                if published.refused:
                    await self._handle_refused(conn, batch, published)
                    return len(batch)
        self._claim, self._refused_in_a_row = claim, 0
        return len(batch)

    async def _handle_refused(
        self, conn: Connection, batch: Sequence[Pending], published: Published
    ) -> None:
        """Keep events that Redis refuses from stopping the rest.

        They are tried again at once, on channels with new histories, and set aside after `_TRIES`
        together with the events that wait behind them on these channels. Listening clients reload
        each time, since they can't know what is missing. The next batch makes a new claim, so that
        events that other shards accepted are not published twice.
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
    """Wait for a commit, at most `_POLL_S`."""
    try:
        async with asyncio.timeout(_POLL_S):
            await committed.wait()
    except TimeoutError:
        return
