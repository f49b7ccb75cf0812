"""The embedded broker's socket: it admits connections, and ends those over a limit or revoked."""

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import structlog

from db import device_credentials
from db.errors import database_errors
from db.pool import Connection, Pool
from ingest.embedded_broker import access, router
from ingest.embedded_broker.access import Access
from ingest.embedded_broker.admission import Admission, NoRoomError, address_of
from ingest.embedded_broker.connection import (
    CLOSED,
    DISCONNECTED,
    READ_BYTES,
    REVOKED,
    STOPPING,
    BrokerParts,
    ClientConnection,
)
from ingest.embedded_broker.limits import BrokerLimits
from ingest.embedded_broker.retained import RetainedMessages
from ingest.embedded_broker.sessions import Sessions

_BACKLOG = 512
_ACCESS_POLL_S = 5.0
_RETRY_S = 0.5
_STOP_S = 3.0
# User names in a log line, and their length: clients choose both.
_NAMED_MAX = 5
_NAME_LENGTH_MAX = 64
_USUAL = {DISCONNECTED, CLOSED, STOPPING}

_log = structlog.get_logger()


@asynccontextmanager
async def running(
    pool: Pool, *, host: str, port: int, hub_password: str, hub_first: bool, limits: BrokerLimits
) -> AsyncIterator[None]:
    """Serve MQTT on an address for the duration of the block; it holds one connection of `pool`.

    `hub_first`: see `BrokerParts`.
    """
    now_s = asyncio.get_running_loop().time
    async with router.running() as routes:
        listener = BrokerListener(
            BrokerParts(
                access=Access(pool, hub_password),
                sessions=Sessions(routes, limits, now_s),
                router=routes,
                retained=RetainedMessages(
                    topics_per_user_max=limits.retained_topics_per_user_max,
                    bytes_per_user_max=limits.retained_bytes_per_user_max,
                ),
                limits=limits,
                hub_first=hub_first,
                now_s=now_s,
            )
        )
        server = await asyncio.start_server(
            listener.serve, host, port, limit=READ_BYTES, backlog=_BACKLOG
        )
        try:
            async with asyncio.TaskGroup() as tasks:
                watching = [
                    tasks.create_task(listener.sweep()),
                    tasks.create_task(listener.watch_access(pool)),
                ]
                yield
                for task in watching:
                    task.cancel()
        finally:
            server.close()
            await listener.end_all()


class BrokerListener:
    """Accepts the connections of a socket, and owns them until they end."""

    def __init__(self, parts: BrokerParts) -> None:
        self._parts = parts
        self._connections: set[ClientConnection] = set()
        self._admission: Admission[ClientConnection] = Admission(parts.limits)
        self._refused: Counter[str] = Counter()
        self._refused_usernames: set[str] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection, if there is room for it."""
        peer = writer.get_extra_info("peername")
        if peer is None:  # The client has disconnected already.
            writer.transport.abort()
            return
        # A client without a keep-alive time may vanish silently; TCP finds out.
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection = ClientConnection(self._parts, reader, writer, address_of(peer[0]))
        try:
            oldest = self._admission.admit(connection)
        except NoRoomError:
            self._refused["no room"] += 1
            writer.transport.abort()
            return
        if oldest is not None:
            oldest.end("evicted for another connection")
        self._connections.add(connection)
        try:
            await connection.run(lambda: self._admission.signed_in(connection))
        finally:
            self._connections.discard(connection)
            self._admission.remove(connection)
            self._note_end(connection)

    def _note_end(self, connection: ClientConnection) -> None:
        reason = connection.end_reason or ""
        if connection.user is None:
            self._refused[reason] += 1
            if connection.username and len(self._refused_usernames) < _NAMED_MAX:
                self._refused_usernames.add(connection.username[:_NAME_LENGTH_MAX])
        elif reason not in _USUAL:
            _log.warning("mqtt_connection_ended", username=connection.user.username, reason=reason)

    async def sweep(self) -> None:
        """End connections that are overdue, and drop sessions that are, until cancelled."""
        while True:
            await asyncio.sleep(self._parts.limits.sweep_every_s)
            for connection in self._connections:
                if reason := connection.overdue():
                    connection.end(reason)
            self._bound_unfinished()
            await self._parts.sessions.drop_overdue()
            self._log_refused()
            if self._parts.hub_is_behind:
                _log.warning("mqtt_hub_is_behind", bytes=self._parts.sessions.hub_queued_bytes)

    def _log_refused(self) -> None:
        """Log the connections refused since the last call, in one line however many there were."""
        if self._refused:
            _log.warning(
                "mqtt_connections_refused",
                reasons=dict(self._refused),
                usernames=sorted(self._refused_usernames),
            )
            self._refused.clear()
            self._refused_usernames.clear()

    def _bound_unfinished(self) -> None:
        """End connections with the largest incomplete packets while they exceed the limit."""
        unfinished = {c: c.unfinished_bytes for c in self._connections if c.unfinished_bytes}
        surplus = sum(unfinished.values()) - self._parts.limits.unfinished_max_bytes
        for connection in sorted(unfinished, key=unfinished.__getitem__, reverse=True):
            if surplus <= 0:
                return
            surplus -= unfinished[connection]
            connection.end("too many bytes of incomplete packets")

    async def watch_access(self, pool: Pool) -> None:
        """End connections and sessions whose access has changed, until cancelled."""
        while True:
            try:
                async with pool.acquire() as conn, device_credentials.changes(conn) as changes:
                    while True:
                        changes.take()
                        await self._end_revoked(conn)
                        await changes.wait(_ACCESS_POLL_S)
            except database_errors() as error:
                _log.warning("mqtt_access_not_watched", error=str(error))
            await asyncio.sleep(_RETRY_S)

    async def _end_revoked(self, conn: Connection) -> None:
        """End connections whose access differs now; drop revoked sessions and retained messages."""
        connections = [c for c in self._connections if c.user is not None and not c.user.is_hub]
        sessions = [s for s in self._parts.sessions if not s.user.is_hub]
        usernames = {c.user.username for c in connections if c.user is not None}
        usernames |= {s.user.username for s in sessions}
        usernames |= self._parts.retained.usernames - {access.HUB_USER}
        now = await access.current(conn, usernames)
        for connection in connections:
            if connection.user is not None and now.get(connection.user.username) != connection.user:
                connection.end(REVOKED)
        for session in sessions:
            user = now.get(session.user.username)
            if user is None or user.topics != session.user.topics:
                await self._parts.sessions.drop(session, REVOKED)
        for username in usernames - now.keys():
            self._parts.retained.forget(username)

    async def end_all(self) -> None:
        """End all connections, and wait a limited time until they have ended."""
        connections = [*self._connections]
        for connection in connections:
            connection.end(STOPPING)
        with suppress(TimeoutError):
            async with asyncio.timeout(_STOP_S):
                for connection in connections:
                    await connection.has_ended()
