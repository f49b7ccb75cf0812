"""The realtime process: WebSockets at /ws, health at /healthz and /readyz, and /metrics."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from urllib.parse import urlsplit

import structlog
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response

from core.clock import REAL_TIME, Clock, real_now
from core.settings import DatabaseSettings, RealtimeSettings, RedisSettings
from db import roles
from db.pool import open_pool
from realtime.bus import open_bus
from realtime.connections import ActiveUserCheck, ConnectionRegistry
from realtime.control_room import ControlRoom
from realtime.hub import Hub
from realtime.live_telemetry import LiveTelemetry
from realtime.metrics import HubMetrics
from realtime.protocol import CloseCode
from realtime.session import ClientSession, HubContext
from realtime.shard_listeners import ShardListeners
from realtime.sockets import FeedConnection, WebSocket, text_frame
from realtime.throughput import report

SHUTDOWN_S = 5.0
_CLOSE_TIMEOUT_S = 4.0
_CHECK_EVERY_S = 0.2
_POOL_MAX = 4

_log = structlog.get_logger()


async def run(
    realtime: RealtimeSettings,
    redis: RedisSettings,
    database: DatabaseSettings,
    *,
    registry: CollectorRegistry,
    started: asyncio.Event,
    clock: Clock = REAL_TIME,
) -> None:
    """Serve the feed until cancelled, then close all clients with 1001 within `SHUTDOWN_S`."""
    metrics = HubMetrics(registry)
    monotonic = asyncio.get_running_loop().time
    hub = Hub(text_frame, metrics, now=real_now, monotonic=monotonic)
    connections = ConnectionRegistry(metrics)
    due = asyncio.Event()

    def lost(reason: str) -> None:
        _log.warning("feed_lost", reason=reason)
        connections.end_all(CloseCode.HUB_UNWELL, reason)

    async with (
        open_pool(
            database, application_name="realtime", role=roles.REALTIME, max_size=_POOL_MAX
        ) as pool,
        open_bus(redis) as bus,
    ):
        listeners = ShardListeners(bus, hub, due=due, lost=lost)
        live_telemetry = LiveTelemetry(pool, hub, listeners, due)
        active_users = ActiveUserCheck(pool, connections)
        context = HubContext(
            secret=realtime.jwt_secret.get_secret_value(), hub=hub, listeners=listeners, bus=bus,
            connections=connections, active_users=active_users, live_telemetry=live_telemetry,
            metrics=metrics,
        )  # fmt: skip
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(listeners.run())
            tasks.create_task(_flush(hub, due))
            tasks.create_task(live_telemetry.run())
            tasks.create_task(active_users.run())
            tasks.create_task(ControlRoom(pool, hub, listeners, due, clock).run())
            tasks.create_task(report(bus, metrics))
            tasks.create_task(_close_when_stale(listeners, connections))
            async with _serving(realtime, context, registry):
                started.set()
                await asyncio.Event().wait()


async def _flush(hub: Hub, due: asyncio.Event) -> None:
    """Flush the hub when events arrive and when a window ends."""
    next_s: float | None = None
    while True:
        try:
            async with asyncio.timeout(next_s):
                await due.wait()
        except TimeoutError:
            pass
        due.clear()
        next_s = hub.flush()


async def _close_when_stale(listeners: ShardListeners, connections: ConnectionRegistry) -> None:
    """Close all clients while heartbeats are missing: they connect to another process."""
    while True:
        await asyncio.sleep(_CHECK_EVERY_S)
        if listeners.is_any_stale:
            # After a stall of this process heartbeats may wait to be read: check again.
            await asyncio.sleep(_CHECK_EVERY_S)
            if listeners.is_any_stale:
                connections.end_all(CloseCode.HUB_UNWELL, "the feed is unavailable")


@asynccontextmanager
async def _serving(
    settings: RealtimeSettings, context: HubContext, registry: CollectorRegistry
) -> AsyncIterator[None]:
    async def handle(connection: ServerConnection) -> None:
        session = ClientSession(WebSocket(connection), context)
        context.connections.add(session)
        try:
            await session.run()
        finally:
            context.connections.discard(session)

    def answer(connection: ServerConnection, request: Request) -> Response | None:
        return _answer(connection, urlsplit(request.path).path, context, registry)

    server = await serve(
        handle, settings.realtime_host, settings.realtime_port, process_request=answer,
        compression=None, create_connection=FeedConnection, close_timeout=_CLOSE_TIMEOUT_S,
        server_header=None,
    )  # fmt: skip
    try:
        yield
    finally:
        context.hub.flush_all()
        await _close_all(server)


async def _close_all(server: Server) -> None:
    """Close all connections, and abort those that are still open after `SHUTDOWN_S`."""
    server.close()
    try:
        async with asyncio.timeout(SHUTDOWN_S):
            await server.wait_closed()
    except TimeoutError:
        for connection in list(server.handlers):
            connection.transport.abort()
        await server.wait_closed()


def _answer(
    connection: ServerConnection, path: str, context: HubContext, registry: CollectorRegistry
) -> Response | None:
    """Return the answer to a plain HTTP request. None: continue with the WebSocket handshake."""
    match path:
        case "/ws":
            return None
        case "/healthz":
            return connection.respond(HTTPStatus.OK, "alive\n")
        case "/readyz" if context.listeners.are_receiving:
            return connection.respond(HTTPStatus.OK, "ready\n")
        case "/readyz":
            text = "no heartbeat of the relay arrives through Redis\n"
            return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, text)
        case "/metrics":
            response = connection.respond(HTTPStatus.OK, generate_latest(registry).decode())
            del response.headers["Content-Type"]
            response.headers["Content-Type"] = CONTENT_TYPE_LATEST
            return response
        case _:
            return connection.respond(HTTPStatus.NOT_FOUND, "the feed is at /ws\n")
