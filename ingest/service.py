"""The ingest process: its tasks, and the objects that they share."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import structlog
from prometheus_client import CollectorRegistry

from core.clock import REAL_TIME, Clock
from core.device_passwords import secret_of
from core.prices import Grid, PriceRules
from core.settings import DatabaseSettings, IngestSettings, variable
from db import roles
from db.pool import Pool, open_pool
from ingest import flagging, late_readings, presence, pricing, retention
from ingest.batcher import PARTITIONS, Partitions
from ingest.broker_accounts.sync import BrokerAccountSync
from ingest.committer import BatchCommitter
from ingest.group import Group
from ingest.metrics import IngestMetrics
from ingest.rejection_notices import RejectionNotices
from ingest.session_takeover import SessionTakeover
from ingest.subscriber import Subscriber
from ingest.victron_keepalive import keep_publishing

# One connection per partition and one for each timer that may hold one for long.
_POOL_MAX = 4 + PARTITIONS

_log = structlog.get_logger()


async def run(
    settings: IngestSettings,
    database: DatabaseSettings,
    *,
    registry: CollectorRegistry,
    started: asyncio.Event,
    clock: Clock = REAL_TIME,
) -> None:
    """Ingest until cancelled. `started` is set once the broker queues what is to be stored.

    Messages that are not committed by then are not acknowledged, so the broker sends them again.
    """
    metrics = IngestMetrics(registry)
    partitions = Partitions(
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
        subscriber, is_receiving = _subscribe(tasks, settings, pool, partitions, metrics, clock)
        tasks.create_task(subscriber.run(started))
        notices = RejectionNotices(subscriber.publish, metrics)
        tasks.create_task(notices.run())
        tasks.create_task(BatchCommitter(settings, pool, partitions, notices, metrics, clock).run())
        tasks.create_task(
            presence.watch(
                pool,
                settings.offline_after,
                settings.selling_rules,
                is_receiving=is_receiving,
                clock=clock,
            )
        )
        tasks.create_task(pricing.watch(pool, _price_rules(settings), now=clock.now))
        tasks.create_task(retention.watch(pool, settings.late_horizon, clock=clock))
        rules = settings.selling_rules
        tasks.create_task(flagging.watch(pool, rules, settings.late_horizon, clock=clock))
        tasks.create_task(late_readings.watch(pool, database, rules, metrics, clock))
        tasks.create_task(late_readings.measure(pool, metrics))
        tasks.create_task(keep_publishing(pool, subscriber.publish, started))
        if (account_sync := _account_sync(settings, database, metrics)) is not None:
            tasks.create_task(account_sync.run())


def _subscribe(
    tasks: asyncio.TaskGroup,
    settings: IngestSettings,
    pool: Pool,
    partitions: Partitions,
    metrics: IngestMetrics,
    clock: Clock,
) -> tuple[Subscriber | Group, Callable[[timedelta], Awaitable[bool]]]:
    """Return the source of messages, and whether all devices' messages are being received.

    A single ingester, or one with a shared subscription, has a session of its own. Otherwise the
    members of a group divide the group's sessions.
    """
    if settings.ingest_group is None or settings.ingest_shared_subscription:
        tasks.create_task(SessionTakeover(settings, pool, partitions, metrics, clock).run())
        return Subscriber(settings, partitions, metrics, clock=clock), presence.always
    group = Group(settings, settings.ingest_group, pool, partitions, metrics, clock)
    return group, group.is_receiving


def _price_rules(settings: IngestSettings) -> PriceRules:
    grid = Grid(settings.grid_retail_price, settings.grid_export_price)
    return PriceRules(grid, settings.demand_max_kwh)


def _account_sync(
    settings: IngestSettings, database: DatabaseSettings, metrics: IngestMetrics
) -> BrokerAccountSync | None:
    """Return the synchronization of devices' broker accounts, if this hub is to manage them."""
    if not settings.mqtt_dynamic_security:
        return None
    secret = secret_of(settings.device_secret, settings.jwt_secret)
    if secret is None:
        wanted = " or ".join(variable(name) for name in ("device_secret", "jwt_secret"))
        _log.warning("broker_accounts_not_synced", error=f"{wanted} is not set")
        return None
    return BrokerAccountSync(settings, database, secret, metrics)
