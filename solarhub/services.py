"""The commands `api`, `ingest`, `relay` and `realtime`: one process of a kind, for deployments."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

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
from solarhub.run_file import clock_of, fill_environment

# Takes the keyword arguments `registry` and `started`, and runs until it is cancelled.
Work = Callable[..., Coroutine[Any, Any, None]]


def api(data: Data = DATA) -> None:
    """Run one process of the REST API."""
    from api.http.server import run

    fill_environment(data)
    settings, database = load(ApiSettings), load(DatabaseSettings)
    redis = load(RedisSettings) if load(UpSettings).redis_url else None
    _serve_as("api", partial(run, settings, database, redis, clock=clock_of(data)))


def ingest(data: Data = DATA) -> None:
    """Run one ingester; several share the messages if SOLARHUB_INGEST_GROUP is set."""
    from ingest.service import run

    fill_environment(data)
    settings, database = load(IngestSettings), load(DatabaseSettings)
    _serve_as(
        "ingest", partial(run, settings, database, clock=clock_of(data)), load(MetricsSettings)
    )


def relay(data: Data = DATA) -> None:
    """Run one relay from the outbox to Redis; of several, one is active."""
    from realtime.relay import run

    fill_environment(data)
    database, redis = load(DatabaseSettings), load(RedisSettings)
    _serve_as("relay", partial(run, database, redis), load(MetricsSettings))


def realtime(data: Data = DATA) -> None:
    """Run one process of the live feed."""
    from realtime.server import run

    fill_environment(data)
    settings = load(RealtimeSettings)
    database, redis = load(DatabaseSettings), load(RedisSettings)
    _serve_as("realtime", partial(run, settings, redis, database, clock=clock_of(data)))


def _serve_as(name: str, work: Work, metrics: MetricsSettings | None = None) -> None:
    """Run one process. `metrics` is for processes without an HTTP server of their own."""
    log.set_up(load(LogSettings), process=name)
    run_until_stopped(_serve(name, work, metrics))


async def _serve(name: str, work: Work, metrics: MetricsSettings | None) -> None:
    registry = new_registry()
    async with AsyncExitStack() as stack:
        if metrics is not None:
            await stack.enter_async_context(metrics_served(metrics, registry))
        await run_part(name, work(registry=registry, started=asyncio.Event()))
