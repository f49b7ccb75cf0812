"""The API process: serve HTTP until cancelled."""

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
from api.http.connection_limits import ConnectionLimits, LimitedConnection, sweep
from api.http.services import open_services
from core.clock import REAL_TIME, Clock
from core.settings import ApiSettings, DatabaseSettings, RedisSettings

# Time for the requests in progress when the process stops.
_SHUTDOWN_MAX_S = 4
_BACKLOG = 2048
# uvicorn calls `on_tick` this often.
_TICKS_PER_SECOND = 10


async def run(
    api: ApiSettings,
    database: DatabaseSettings,
    redis: RedisSettings | None,
    *,
    registry: CollectorRegistry,
    started: asyncio.Event,
    clock: Clock = REAL_TIME,
    limits: ConnectionLimits | None = None,
) -> None:
    """Serve until cancelled, then finish the requests in progress, within a few seconds.

    The services outlive the server, so that these requests still have them. If a background task
    fails, the server stops in the same way, and the failure is raised. Raises OSError if the port
    is in use.
    """
    app = create_app(api, registry, clock)
    config = uvicorn.Config(
        app,
        http=cast(Any, partial(LimitedConnection, limits=limits or ConnectionLimits())),
        ws="none",
        lifespan="off",
        loop="none",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=bool(api.trusted_proxies),
        forwarded_allow_ips=list(api.trusted_proxies),
        timeout_graceful_shutdown=_SHUTDOWN_MAX_S,
    )
    with _listening_socket(api.api_host, api.api_port) as listener:
        async with (
            open_services(app, api, database, redis, clock) as services,
            asyncio.TaskGroup() as tasks,
        ):
            background = [
                tasks.create_task(expiry.run(services.pool, api.idempotency_ttl)),
                tasks.create_task(services.providers.run()),
            ]
            try:
                await _serve(_Server(config, started), listener)
            finally:
                for task in background:
                    task.cancel()


async def _serve(server: uvicorn.Server, listener: socket.socket) -> None:
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        # Shielded: uvicorn stops by a flag. Cancelled, it would drop the requests in progress.
        await asyncio.shield(serving)
    except asyncio.CancelledError:
        server.should_exit = True
        await serving
        raise


class _Server(uvicorn.Server):
    """A server that sets an event once it serves, and leaves signals to its caller."""

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


def _listening_socket(host: str, port: int) -> socket.socket:
    """Return a listening socket. uvicorn would end the process if the port is in use."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=_BACKLOG)
