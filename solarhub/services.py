"""`solarhub api`, `ingest`, `relay`, `realtime`: one process of a kind, for real deployments."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from prometheus_client import CollectorRegistry

from core import log
from core.settings import (
    ApiSettings,
    DatabaseSettings,
    IngestSettings,
    LogSettings,
    MetricsSettings,
    RealtimeSettings,
    RedisSettings,
    UpSettings,
    load,
)
from solarhub.options import DATA, Data
from solarhub.process import metrics_served, new_registry, run_part, run_until_stopped
from solarhub.whereabouts import fill_environment

Work = Callable[[CollectorRegistry, asyncio.Event], Coroutine[Any, Any, None]]


def api(data: Data = DATA) -> None:
    """One process of the REST API."""
    from api import server

    fill_environment(data)
    settings, database = load(ApiSettings), load(DatabaseSettings)
    redis = load(RedisSettings) if load(UpSettings).redis_url else None
    _run("api", lambda registry, started: server.run(
        settings, database, redis, registry=registry, started=started
    ))  # fmt: skip


def ingest(data: Data = DATA) -> None:
    """One ingester; several share the stream when SOLARHUB_INGEST_GROUP is set."""
    from ingest import service

    fill_environment(data)
    settings, database = load(IngestSettings), load(DatabaseSettings)
    _run("ingest", lambda registry, started: service.run(
        settings, database, registry=registry, started=started
    ), load(MetricsSettings))  # fmt: skip


def relay(data: Data = DATA) -> None:
    """One relay from the outbox to Redis; of several, one is active."""
    from realtime import relay as part

    fill_environment(data)
    database, redis = load(DatabaseSettings), load(RedisSettings)
    _run("relay", lambda registry, started: part.run(
        database, redis, registry=registry, started=started
    ), load(MetricsSettings))  # fmt: skip


def realtime(data: Data = DATA) -> None:
    """One process of the live feed."""
    from realtime import server

    fill_environment(data)
    settings = load(RealtimeSettings)
    database, redis = load(DatabaseSettings), load(RedisSettings)
    _run("realtime", lambda registry, started: server.run(
        settings, redis, database, registry=registry, started=started
    ))  # fmt: skip


def _run(name: str, work: Work, metrics: MetricsSettings | None = None) -> None:
    """`metrics`: for those who serve nothing that could serve them too."""
    log.set_up(load(LogSettings), process=name)
    run_until_stopped(_serve(name, work, metrics))


async def _serve(name: str, work: Work, metrics: MetricsSettings | None) -> None:
    registry = new_registry()
    part = run_part(name, work(registry, asyncio.Event()))
    if metrics is None:
        await part
        return
    async with metrics_served(metrics, registry):
        await part
