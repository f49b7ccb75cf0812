"""Sessions: each belongs to a user and a client id, and has at most one connection."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol
from uuid import uuid4

import structlog

from core.topic_filters import covers
from ingest.embedded_broker.access import HUB_USER, BrokerUser
from ingest.embedded_broker.client_packets import Publish
from ingest.embedded_broker.limits import BrokerLimits
from ingest.embedded_broker.router import Router, RouterSession
from ingest.embedded_broker.send_buffer import Outbox

_log = structlog.get_logger()


class SupersededError(Exception):
    """A newer connection has claimed the session before this one."""


class SessionConnection(Protocol):
    """A connection, as its session uses it. `order` numbers connections by their CONNECT."""

    order: int

    def end(self, reason: str) -> None:
        """Begin to end the connection."""

    async def has_ended(self) -> None:
        """Wait until the connection has released its session."""


@dataclass(slots=True, eq=False)
class BrokerSession:
    """The state of a client that outlives its connection.

    `subscriptions`: its filters with their QoS. `has_subscribed`: the router has at least one too.
    `outbox`: messages that the client has not acknowledged. `received`: packet ids of its messages
    at QoS 2 that it has not released (4.3.3). `order`: that of its last connection.
    `send_to_client`: delivers to the present connection.
    """

    user: BrokerUser
    client_id: str
    outbox: Outbox
    used_at_s: float
    is_clean: bool = True
    has_subscribed: bool = False
    routes: RouterSession | None = None
    connection: SessionConnection | None = None
    order: int = 0
    send_to_client: Callable[[Publish], None] | None = None
    subscriptions: dict[str, int] = field(default_factory=dict)
    received: set[int] = field(default_factory=set)
    # Held while the connection changes: two claims of a session must not both end the older one.
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def deliver(self, topic: str, payload: bytes) -> None:
        """Send a message on the connection. Without one, hold it at QoS 1 and drop it at QoS 0."""
        message = Publish(topic, payload, self._qos_of(topic), 0, retain=False)
        if self.send_to_client is not None:
            self.send_to_client(message)
        elif message.qos:
            self.outbox.hold(message)

    def _qos_of(self, topic: str) -> int:
        """Return the highest QoS granted for a topic (3.3.5)."""
        levels = set(self.subscriptions.values())
        if len(levels) > 1:
            levels = {qos for name, qos in self.subscriptions.items() if covers(name, topic)}
        return max(levels, default=0)

    def can_resume(self, user: BrokerUser, *, is_clean: bool) -> bool:
        """Return whether a new connection resumes this session, subscriptions included."""
        is_stored = self.routes is not None and not self.is_clean
        return is_stored and not is_clean and self.user.topics == user.topics


class Sessions:
    """All sessions, by user and client id."""

    def __init__(self, router: Router, limits: BrokerLimits, now_s: Callable[[], float]) -> None:
        self._router = router
        self._limits = limits
        self._now_s = now_s
        self._by_user: dict[str, dict[str, BrokerSession]] = {}

    def __iter__(self) -> Iterator[BrokerSession]:
        return iter([s for sessions in self._by_user.values() for s in sessions.values()])

    async def claim(
        self, user: BrokerUser, client_id: str, connection: SessionConnection, *, is_clean: bool
    ) -> tuple[BrokerSession, bool]:
        """Return the session of a signed-in connection, and whether the connection resumes it.

        Ends an older connection first (3.1.4). Without a client id, the session gets a unique one.
        Raises SupersededError.
        """
        client_id = client_id or uuid4().hex
        while True:
            session = self._find_or_create(user, client_id)
            for surplus in self._beyond_limit(session):
                await self.drop(surplus, "too many sessions")
            async with session.lock:
                if not self._has(session):
                    continue  # The session was dropped while this waited for the lock.
                if session.order > connection.order:
                    raise SupersededError
                await _end_connection(session, "taken over")
                resumes = session.can_resume(user, is_clean=is_clean)
                if not resumes:
                    self._reset(session)
                session.user, session.is_clean = user, is_clean
                session.connection, session.order = connection, connection.order
                return session, resumes

    @property
    def hub_reads(self) -> bool:
        """True if the hub has subscribed, so that devices' messages are queued for it."""
        return any(session.has_subscribed for session in self._by_user.get(HUB_USER, {}).values())

    @property
    def hub_queued_bytes(self) -> int:
        """Bytes of messages that the hub has not acknowledged."""
        return sum(s.outbox.size_bytes for s in self._by_user.get(HUB_USER, {}).values())

    def release(self, session: BrokerSession) -> None:
        """Detach a session from its connection, which has ended.

        A clean session ends with it, unless a claim waits for the lock: that resets it.
        """
        session.connection = session.send_to_client = None
        session.used_at_s = self._now_s()
        if session.is_clean and not session.lock.locked():
            self._remove(session)

    async def drop(self, session: BrokerSession, reason: str) -> None:
        """Remove a session, and end its connection."""
        async with session.lock:
            if self._has(session):
                await _end_connection(session, reason)
                self._remove(session)

    async def drop_overdue(self) -> None:
        """Drop sessions without a connection for too long, or with too many messages waiting."""
        offline = [s for s in self if s.connection is None and not s.lock.locked()]
        for session in offline:
            if reason := self._overdue(session):
                _log.warning("mqtt_session_dropped", username=session.user.username, reason=reason)
                await self.drop(session, reason)

    def _overdue(self, session: BrokerSession) -> str | None:
        if session.is_clean:
            return "clean"  # Its connection ended before the claim was complete.
        if self._now_s() - session.used_at_s > self._limits.session_expires_after_s:
            return "expired"
        limits, outbox = self._limits, session.outbox
        is_full = (
            outbox.size_bytes > limits.queued_max_bytes
            if session.user.is_hub
            else len(outbox) >= limits.waiting_messages_max
        )
        return "too many messages wait for it" if is_full else None

    def _reset(self, session: BrokerSession) -> None:
        if session.routes is not None:
            session.routes.close()
        session.routes = self._router.open(session.deliver)
        session.has_subscribed = False
        session.outbox.clear()
        session.subscriptions.clear()
        session.received.clear()

    def _find_or_create(self, user: BrokerUser, client_id: str) -> BrokerSession:
        sessions = self._by_user.setdefault(user.username, {})
        if client_id not in sessions:
            outbox = Outbox(self._limits.inflight_max)
            sessions[client_id] = BrokerSession(user, client_id, outbox, self._now_s())
        return sessions[client_id]

    def _beyond_limit(self, session: BrokerSession) -> list[BrokerSession]:
        """Return a device's other sessions to drop: the longest disconnected ones first."""
        if session.user.is_hub:
            return []
        others = [s for s in self._by_user[session.user.username].values() if s is not session]
        others.sort(key=lambda s: (s.connection is not None, s.used_at_s))
        return others[: max(0, len(others) + 1 - self._limits.sessions_per_device_max)]

    def _has(self, session: BrokerSession) -> bool:
        return self._by_user.get(session.user.username, {}).get(session.client_id) is session

    def _remove(self, session: BrokerSession) -> None:
        if session.routes is not None:
            session.routes.close()
        sessions = self._by_user[session.user.username]
        del sessions[session.client_id]
        if not sessions:
            del self._by_user[session.user.username]


async def _end_connection(session: BrokerSession, reason: str) -> None:
    if session.connection is not None:
        session.connection.end(reason)
        await session.connection.has_ended()
