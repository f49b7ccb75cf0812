"""A hub and a relay, as their processes run them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from core.settings import DatabaseSettings, RealtimeSettings, RedisSettings
from db.pool import Pool
from realtime import relay, server
from tests.realtime.client import ANYBODY, SECRET
from tests.support.ports import free

STARTS_WITHIN_S = 10.0


@asynccontextmanager
async def running(
    start: Callable[[asyncio.Event], Coroutine[Any, Any, None]],
) -> AsyncIterator[asyncio.Task[None]]:
    """A part of the hub: started, and stopped at the end if it still runs."""
    started = asyncio.Event()
    task = asyncio.create_task(start(started))
    waiting = asyncio.create_task(started.wait())
    try:
        async with asyncio.timeout(STARTS_WITHIN_S):
            await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        yield task
    finally:
        waiting.cancel()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@dataclass(frozen=True, slots=True)
class Parts:
    """Starts relays and hubs on one database and one Redis."""

    database: DatabaseSettings
    redis: RedisSettings

    def relay(
        self, registry: CollectorRegistry | None = None
    ) -> AbstractAsyncContextManager[asyncio.Task[None]]:
        registry = registry or CollectorRegistry()
        return running(
            lambda started: relay.run(self.database, self.redis, registry=registry, started=started)
        )

    @asynccontextmanager
    async def hub(
        self, port: int | None = None, registry: CollectorRegistry | None = None
    ) -> AsyncIterator[str]:
        """Run a server of the feed; yield its URL."""
        port = port or free()
        registry = registry or CollectorRegistry()
        settings = RealtimeSettings(jwt_secret=SECRET, realtime_port=port)
        async with running(
            lambda started: server.run(
                settings, self.redis, self.database, registry=registry, started=started
            )
        ):
            yield f"ws://127.0.0.1:{port}/ws"


_ADD_ANYBODY = """
INSERT INTO users (id, email, password_hash, full_name, role)
VALUES ($1, 'asha@example.org', '', 'Asha', 'buyer')
"""


@pytest.fixture
async def parts(pool: Pool, database: DatabaseSettings, redis_settings: RedisSettings) -> Parts:
    await pool.execute(_ADD_ANYBODY, ANYBODY)
    return Parts(database, redis_settings)


@pytest.fixture
async def feed(parts: Parts) -> AsyncIterator[str]:
    """The URL of a hub that hears a relay."""
    async with parts.relay(), parts.hub() as url:
        yield url
