"""The connections of a realtime process, and the check that their users are still active.

A token says who a user was when it was signed. The database says whether the user is still active:
it is queried once per sign-in, and once a second for all connected users together. While it is
unavailable no new client signs in, and no connected one is closed for that.
"""

import asyncio
from collections.abc import Collection
from typing import Protocol

import structlog

from core.ids import UserId
from db import users
from db.errors import database_errors
from db.pool import Pool
from realtime.metrics import HubMetrics
from realtime.protocol import CloseCode

CONNECTIONS_PER_USER_MAX = 20
_CHECK_EVERY_S = 1.0
_QUERY_TIMEOUT_S = 3.0

_log = structlog.get_logger()


class Endable(Protocol):
    """A session that can be closed from outside."""

    def end(self, code: CloseCode, reason: str) -> None: ...


class ConnectionRegistry:
    """All sessions of this process, and those of each signed-in user."""

    def __init__(self, metrics: HubMetrics) -> None:
        self._metrics = metrics
        self._sessions: set[Endable] = set()
        self._signed_in: dict[UserId, set[Endable]] = {}

    def add(self, session: Endable) -> None:
        """Add a session, which is not signed in yet."""
        self._sessions.add(session)

    def discard(self, session: Endable) -> None:
        """Remove a session after its end."""
        self._sessions.discard(session)

    def sign_in(self, user_id: UserId, session: Endable) -> bool:
        """Sign a session in. Return False if the user has `CONNECTIONS_PER_USER_MAX` already."""
        sessions = self._signed_in.setdefault(user_id, set())
        if len(sessions) >= CONNECTIONS_PER_USER_MAX:
            return False
        sessions.add(session)
        self._metrics.client_signed_in(users=len(self._signed_in))
        return True

    def sign_out(self, user_id: UserId, session: Endable) -> None:
        """Sign a session out that `sign_in` signed in."""
        sessions = self._signed_in[user_id]
        sessions.discard(session)
        if not sessions:
            del self._signed_in[user_id]
        self._metrics.client_left(users=len(self._signed_in))

    def users(self) -> Collection[UserId]:
        """Return the signed-in users."""
        return list(self._signed_in)

    def end_user(self, user_id: UserId, code: CloseCode, reason: str) -> None:
        """Close all sessions of a user."""
        for session in self._signed_in.get(user_id, ()):
            session.end(code, reason)

    def end_all(self, code: CloseCode, reason: str) -> None:
        """Close all sessions, signed in or not."""
        for session in self._sessions:
            session.end(code, reason)


class ActiveUserCheck:
    """Closes sessions of deactivated users with 4401 within about a second."""

    def __init__(self, pool: Pool, connections: ConnectionRegistry) -> None:
        self._pool = pool
        self._connections = connections

    async def is_active(self, user_id: UserId) -> bool:
        """Return whether a user may sign in. Raises the database's errors, TimeoutError."""
        async with asyncio.timeout(_QUERY_TIMEOUT_S), self._pool.acquire() as conn:
            return not await users.inactive_among(conn, [user_id])

    async def run(self) -> None:
        """Check all signed-in users each second, until cancelled."""
        while True:
            await asyncio.sleep(_CHECK_EVERY_S)
            if user_ids := self._connections.users():
                try:
                    async with self._pool.acquire() as conn:
                        inactive = await users.inactive_among(conn, user_ids)
                except database_errors() as error:
                    _log.warning("active_users_not_checked", error=str(error))
                    continue
                for user_id in inactive:
                    self._connections.end_user(user_id, CloseCode.AUTH, "the account is not active")
