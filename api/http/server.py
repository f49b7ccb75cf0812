"""The API process: serve until cancelled."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from functools import partial
from typing import Any, cast

import uvicorn
from prometheus_client import CollectorRegistry

from api.http import expiry
from api.http.app import create_app
from api.http.connection import Connection, ConnectionLimits, sweep
from core.settings import ApiSettings, DatabaseSettings, RedisSettings

_STOP_S = 4
_BACKLOG = 2048
_TICKS_PER_SECOND = 10


async def run(
    api: ApiSettings,
    database: DatabaseSettings,
    redis: RedisSettings | None,
    *,
    registry: CollectorRegistry,
    started: asyncio.Event,
    limits: ConnectionLimits | None = None,
) -> None:
    """Serve; when cancelled, finish what is in hand, within a few seconds. Raises OSError."""
    app = create_app(api, database, redis, registry)
    config = uvicorn.Config(
        app,
        http=cast(Any, partial(Connection, limits=limits or ConnectionLimits())),
        ws="none",
        lifespan="on",
        loop="none",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=bool(api.trusted_proxies),
        forwarded_allow_ips=list(api.trusted_proxies),
        timeout_graceful_shutdown=_STOP_S,
    )
    with _listening(api.api_host, api.api_port) as listener:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_serve(_Server(config, started), listener))
            await started.wait()
            services = app.state.services
            tasks.create_task(expiry.watch(services.pool, api.idempotency_ttl))
            await services.providers.run()


async def _serve(server: uvicorn.Server, listener: socket.socket) -> None:
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        await asyncio.shield(serving)
    except asyncio.CancelledError:
        server.should_exit = True
        await serving
        raise


class _Server(uvicorn.Server):
    """Tells when it serves; leaves signals to whoever runs it."""

    def __init__(self, config: uvicorn.Config, started: asyncio.Event) -> None:
        super().__init__(config)
        self._started_event = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._started_event.set()

    async def on_tick(self, counter: int) -> bool:
        if counter % _TICKS_PER_SECOND == 0:
            sweep(self.server_state.connections)
        return await super().on_tick(counter)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _listening(host: str, port: int) -> socket.socket:
    """Bound by us: uvicorn would end the whole process where the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=_BACKLOG)
