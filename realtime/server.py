"""The hub process: a websockets server at /ws, and its health at /healthz, /readyz and /metrics."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from http import HTTPStatus
from urllib.parse import urlsplit

import structlog
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response

from core.settings import DatabaseSettings, RealtimeSettings, RedisSettings
from db import roles
from db.pool import open_pool
from realtime.active_users import ActiveUserCheck
from realtime.bus import open_bus
from realtime.closing import CloseCode
from realtime.connections import ConnectionRegistry
from realtime.control_room import ControlRoom
from realtime.hub import Hub
from realtime.listening import ShardListeners
from realtime.live_telemetry import LiveTelemetry
from realtime.metrics import HubMetrics
from realtime.session import ClientSession, HubContext
from realtime.sockets import FeedConnection, WebSocket, text_frame
from realtime.throughput import report

SHUTDOWN_S = 5.0
_CLOSE_TIMEOUT_S = 4.0
_WATCH_S = 0.2
_POOL_MAX = 4

_log = structlog.get_logger()


async def run(
    realtime: RealtimeSettings,
    redis: RedisSettings,
    database: DatabaseSettings,
    *,
    registry: CollectorRegistry,
    started: asyncio.Event,
) -> None:
    """Serve the feed until cancelled; then clients are closed with 1001, within 5 s."""
    metrics = HubMetrics(registry)
    monotonic = asyncio.get_running_loop().time
    hub = Hub(text_frame, metrics, now=lambda: datetime.now(UTC), monotonic=monotonic)
    roster = ConnectionRegistry(metrics)
    due = asyncio.Event()

    def lost(reason: str) -> None:
        _log.warning("feed_lost", reason=reason)
        roster.end_all(CloseCode.HUB_UNWELL, reason)

    async with (
        open_pool(
            database, application_name="realtime", role=roles.REALTIME, max_size=_POOL_MAX
        ) as pool,
        open_bus(redis) as bus,
    ):
        listening = ShardListeners(bus, hub, due=due, lost=lost)
        watch = LiveTelemetry(pool, hub, listening, due)
        doorkeeper = ActiveUserCheck(pool, roster)
        house = HubContext(
            secret=realtime.jwt_secret.get_secret_value(), hub=hub, listening=listening, bus=bus,
            roster=roster, doorkeeper=doorkeeper, watch=watch, metrics=metrics,
        )  # fmt: skip
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(listening.run())
            tasks.create_task(_flush(hub, due))
            tasks.create_task(watch.run())
            tasks.create_task(doorkeeper.run())
            tasks.create_task(ControlRoom(pool, hub, listening, due).run())
            tasks.create_task(report(bus, metrics))
            tasks.create_task(_watch(listening, roster))
            async with _serving(realtime, house, registry):
                started.set()
                await asyncio.Event().wait()


async def _flush(hub: Hub, due: asyncio.Event) -> None:
    """Flush when something came, and when a window ends."""
    next_s: float | None = None
    while True:
        try:
            async with asyncio.timeout(next_s):
                await due.wait()
        except TimeoutError:
            pass
        due.clear()
        next_s = hub.flush()


async def _watch(listening: ShardListeners, roster: ConnectionRegistry) -> None:
    """Send clients elsewhere while the hub is deaf."""
    while True:
        await asyncio.sleep(_WATCH_S)
        if listening.deaf:
            # After a stall of this process the heartbeats may just not be read yet: look again.
            await asyncio.sleep(_WATCH_S)
            if listening.deaf:
                roster.end_all(CloseCode.HUB_UNWELL, "the hub can't hear")


@asynccontextmanager
async def _serving(
    settings: RealtimeSettings, house: HubContext, registry: CollectorRegistry
) -> AsyncIterator[None]:
    async def attend(connection: ServerConnection) -> None:
        session = ClientSession(WebSocket(connection), house)
        house.roster.arrive(session)
        try:
            await session.run()
        finally:
            house.roster.depart(session)

    def answer(connection: ServerConnection, request: Request) -> Response | None:
        return _answer(connection, urlsplit(request.path).path, house, registry)

    server = await serve(
        attend, settings.realtime_host, settings.realtime_port, process_request=answer,
        compression=None, create_connection=FeedConnection, close_timeout=_CLOSE_TIMEOUT_S,
        server_header=None,
    )  # fmt: skip
    try:
        yield
    finally:
        house.hub.flush_all()
        await _shut_down(server)


async def _shut_down(server: Server) -> None:
    """Say goodbye to all; what does not leave in time is cut off."""
    server.close()
    try:
        async with asyncio.timeout(SHUTDOWN_S):
            await server.wait_closed()
    except TimeoutError:
        for connection in list(server.handlers):
            connection.transport.abort()
        await server.wait_closed()


def _answer(
    connection: ServerConnection, path: str, house: HubContext, registry: CollectorRegistry
) -> Response | None:
    """None: go on with the WebSocket handshake."""
    match path:
        case "/ws":
            return None
        case "/healthz":
            return connection.respond(HTTPStatus.OK, "alive\n")
        case "/readyz" if house.listening.hears:
            return connection.respond(HTTPStatus.OK, "ready\n")
        case "/readyz":
            text = "no heartbeat of the relay comes through Redis\n"
            return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, text)
        case "/metrics":
            response = connection.respond(HTTPStatus.OK, generate_latest(registry).decode())
            del response.headers["Content-Type"]
            response.headers["Content-Type"] = CONTENT_TYPE_LATEST
            return response
        case _:
            return connection.respond(HTTPStatus.NOT_FOUND, "the feed is at /ws\n")
