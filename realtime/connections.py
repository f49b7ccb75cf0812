"""Who is connected to this hub process."""

from collections.abc import Collection
from typing import Protocol

from core.ids import UserId
from realtime.closing import CloseCode
from realtime.metrics import HubMetrics

CONNECTIONS_PER_USER_MAX = 20


class Endable(Protocol):
    def end(self, code: CloseCode, reason: str) -> None: ...


class ConnectionRegistry:
    def __init__(self, metrics: HubMetrics) -> None:
        self._metrics = metrics
        self._sessions: set[Endable] = set()
        self._signed_in: dict[UserId, set[Endable]] = {}

    def arrive(self, session: Endable) -> None:
        self._sessions.add(session)

    def depart(self, session: Endable) -> None:
        self._sessions.discard(session)

    def sign_in(self, user_id: UserId, session: Endable) -> bool:
        """Whether one more connection of this user is let in."""
        theirs = self._signed_in.setdefault(user_id, set())
        if len(theirs) >= CONNECTIONS_PER_USER_MAX:
            return False
        theirs.add(session)
        self._metrics.came(len(self._signed_in))
        return True

    def sign_out(self, user_id: UserId, session: Endable) -> None:
        theirs = self._signed_in[user_id]
        theirs.discard(session)
        if not theirs:
            del self._signed_in[user_id]
        self._metrics.left(len(self._signed_in))

    def users(self) -> Collection[UserId]:
        return list(self._signed_in)

    def end_user(self, user_id: UserId, code: CloseCode, reason: str) -> None:
        for session in self._signed_in.get(user_id, ()):
            session.end(code, reason)

    def end_all(self, code: CloseCode, reason: str) -> None:
        for session in self._sessions:
            session.end(code, reason)
