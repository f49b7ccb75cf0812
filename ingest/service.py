"""The ingest process: subscribe, batch, write, acknowledge."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from time import perf_counter

import structlog
from prometheus_client import CollectorRegistry

from core.clock import REAL_TIME, Clock
from core.device_passwords import secret_of
from core.dialects import Dialect
from core.log import OncePerSecond
from core.prices import Grid, PriceRules
from core.readings import RejectedReading, RejectionReason
from core.retry import Backoff
from core.settings import DatabaseSettings, IngestSettings, variable
from db import partials, roles
from db.errors import BLAMES_ITS_DATA, UNSTORABLE, database_errors, shortage
from db.pool import Pool, open_pool
from ingest import flagging, late_readings, pricing, retention
from ingest.batcher import Batcher
from ingest.broker_accounts.sync import BrokerAccountSync
from ingest.firmware_decoding import nothing_more
from ingest.group import Group
from ingest.messages import IngestMessage, refused_whole
from ingest.metrics import IngestMetrics
from ingest.partitions import LANES, Partitions
from ingest.presence import always, watch
from ingest.rejection_notices import RejectionNotices
from ingest.session_takeover import SessionTakeover
from ingest.subscriber import Subscriber
from ingest.victron_keepalive import keep_publishing
from ingest.writer import Written, write

_POOL_MAX = 4 + LANES
_RETRY_FIRST_S = 0.1
_RETRY_MAX_S = 5.0
_TRIES = 3
_DUE_EVERY_S = 0.5
_DUE_MAX = 500

_log = structlog.get_logger()


async def run(
    settings: IngestSettings,
    database: DatabaseSettings,
    *,
    registry: CollectorRegistry,
    started: asyncio.Event,
    clock: Clock = REAL_TIME,
) -> None:
    """Ingest until cancelled. What was not committed then is not acknowledged: it comes again."""
    metrics = IngestMetrics(registry)
    lanes = Partitions(
        weight_max=settings.ingest_batch_max,
        age_max_s=settings.ingest_batch_age.total_seconds(),
        held_max=2 * settings.ingest_batch_max,
    )
    async with (
        open_pool(
            database, application_name="ingest", role=roles.INGEST, max_size=_POOL_MAX
        ) as pool,
        asyncio.TaskGroup() as tasks,
    ):
        subscriber: Subscriber | Group
        is_heard: Callable[[timedelta], Awaitable[bool]] = always
        if settings.ingest_group is None or settings.ingest_shared_subscription:
            subscriber = Subscriber(settings, lanes, metrics, clock=clock)
            tasks.create_task(SessionTakeover(settings, pool, lanes, metrics, clock).run())
        else:
            subscriber = Group(settings, settings.ingest_group, pool, lanes, metrics, clock)
            is_heard = subscriber.is_heard
        tasks.create_task(subscriber.run(started))
        tasks.create_task(
            watch(
                pool,
                settings.offline_after,
                settings.selling_rules,
                is_heard=is_heard,
                clock=clock,
            )
        )
        tasks.create_task(pricing.watch(pool, _price_rules(settings), now=clock.now))
        tasks.create_task(retention.watch(pool, settings.late_horizon, clock=clock))
        rules = settings.selling_rules
        tasks.create_task(flagging.watch(pool, rules, settings.late_horizon, clock=clock))
        tasks.create_task(late_readings.watch(pool, database, rules, metrics, clock))
        tasks.create_task(keep_publishing(pool, subscriber.publish, started))
        answers = RejectionNotices(subscriber.publish, metrics)
        tasks.create_task(answers.run())
        ingester = _Ingester(settings, pool, lanes, answers, metrics, clock)
        tasks.create_task(ingester.run())
        tasks.create_task(ingester.close_measurements())
        if (keeper := _keeper(settings, database, metrics)) is not None:
            tasks.create_task(keeper.run())


def _price_rules(settings: IngestSettings) -> PriceRules:
    grid = Grid(settings.grid_retail_price, settings.grid_export_price)
    return PriceRules(grid, settings.demand_max_kwh)


def _keeper(
    settings: IngestSettings, database: DatabaseSettings, metrics: IngestMetrics
) -> BrokerAccountSync | None:
    """Who keeps devices' accounts at the broker, where that is ours to do."""
    if not settings.mqtt_dynamic_security:
        return None
    secret = secret_of(settings.device_secret, settings.jwt_secret)
    if secret is None:
        wanted = " or ".join(variable(name) for name in ("device_secret", "jwt_secret"))
        _log.warning("accounts_not_kept", error=f"{wanted} is not set")
        return None
    return BrokerAccountSync(settings, database, secret, metrics)


class _Ingester:
    """Writes batches, those of a lane one after the other, and acknowledges what is committed."""

    def __init__(
        self,
        settings: IngestSettings,
        pool: Pool,
        lanes: Partitions,
        answers: RejectionNotices,
        metrics: IngestMetrics,
        clock: Clock,
    ) -> None:
        self._clock = clock
        self._late_horizon = settings.late_horizon
        self._rules = settings.selling_rules
        self._pool = pool
        self._lanes = lanes
        self._answers = answers
        self._metrics = metrics
        self._warned = OncePerSecond()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for batcher in self._lanes.batchers:
                tasks.create_task(self._run_lane(batcher))

    async def _run_lane(self, batcher: Batcher[IngestMessage]) -> None:
        async for batch in batcher.batches():
            await self._ingest(batch)

    async def close_measurements(self) -> None:
        """Close what devices told in parts, once no more of it is awaited. Several ingesters may:
        it is closed under the device's lock."""
        while True:
            now = self._clock.now()
            due = await self._due(now)
            if due:
                await self._ingest([nothing_more(name, now) for name in due])
            if len(due) < _DUE_MAX:
                await asyncio.sleep(_DUE_EVERY_S)

    async def _due(self, now: datetime) -> list[tuple[Dialect, str]]:
        try:
            return await partials.due(self._pool, now, _DUE_MAX)
        except database_errors() as error:
            _log.warning("measurements_not_closed", error=type(error).__name__)
            return []

    async def _ingest(self, batch: Sequence[IngestMessage]) -> None:
        try:
            written = await self._write(batch)
        except BLAMES_ITS_DATA as error:
            await self._isolate(batch, error)
            return
        self._lanes.acknowledge(batch)
        self._count(batch, written)
        self._answers.tell(written.rejections)

    async def _write(self, batch: Sequence[IngestMessage]) -> Written:
        """Write until it succeeds: the broker keeps what we can't store.

        Raises BLAMES_ITS_DATA: what may pass, after some tries.
        """
        backoff, tries = Backoff(_RETRY_FIRST_S, _RETRY_MAX_S), 0
        while True:
            began = perf_counter()
            try:
                written = await write(self._pool, batch, self._late_horizon, self._rules)
            except UNSTORABLE:
                raise
            except database_errors() as error:
                tries += isinstance(error, BLAMES_ITS_DATA)
                if tries >= _TRIES:
                    raise
                self._metrics.retries.inc()
                self._warn(error, retry_in_s=backoff.delay_s)
                await asyncio.sleep(backoff.next_s())
            else:
                self._metrics.commit_seconds.observe(perf_counter() - began)
                return written

    def _warn(self, error: Exception, *, retry_in_s: float) -> None:
        repeated = self._warned.due()
        if repeated is not None:
            _log.warning(
                "batch_not_written",
                error=shortage(error) or str(error),
                retry_in_s=retry_in_s,
                repeated=repeated,
            )

    async def _isolate(self, batch: Sequence[IngestMessage], error: Exception) -> None:
        """Halve a batch that the database refuses, down to the one message that is to blame."""
        if len(batch) > 1:
            half = len(batch) // 2
            await self._ingest(batch[:half])
            await self._ingest(batch[half:])
            return
        [message] = batch
        _log.error("message_unstorable", topic=message.topic, error=str(error))
        refusal = RejectedReading(RejectionReason.UNSTORABLE, type(error).__name__)
        if message.addressed is not None and message.refusal is None:
            refused = replace(message, refusal=refusal)
        else:
            decoded = refused_whole(message.decoded, refusal)
            refused = replace(message, decoded=decoded, addressed=None)
        await self._ingest([refused])

    def _count(self, batch: Sequence[IngestMessage], written: Written) -> None:
        metrics = self._metrics
        metrics.received.inc(written.received)
        metrics.stored.inc(written.stored)
        metrics.duplicate.inc(written.duplicate)
        metrics.ignored.inc(written.ignored)
        metrics.fields_ignored.inc(sum(m.decoded.fields_ignored for m in batch))
        for rejection in written.rejections:
            metrics.rejected.labels(rejection.refused.reason).inc(rejection.readings)
        metrics.batch_readings.observe(written.received)
        oldest = min(m.received_at for m in batch)
        metrics.receipt_to_commit_seconds.observe(self._clock.real_s(self._clock.now() - oldest))
