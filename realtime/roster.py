"""Who is connected to this hub process."""

from collections import Counter
from typing import Protocol
from uuid import UUID

from realtime.closing import CloseCode
from realtime.metrics import HubMetrics

CONNECTIONS_PER_USER_MAX = 20


class Endable(Protocol):
    def end(self, code: CloseCode, reason: str) -> None: ...


class Roster:
    def __init__(self, metrics: HubMetrics) -> None:
        self._metrics = metrics
        self._sessions: set[Endable] = set()
        self._connections: Counter[UUID] = Counter()

    def arrive(self, session: Endable) -> None:
        self._sessions.add(session)

    def depart(self, session: Endable) -> None:
        self._sessions.discard(session)

    def sign_in(self, user_id: UUID) -> bool:
        """Whether one more connection of this user is let in."""
        if self._connections[user_id] >= CONNECTIONS_PER_USER_MAX:
            return False
        self._connections[user_id] += 1
        self._metrics.clients.inc()
        self._metrics.users.set(len(self._connections))
        return True

    def sign_out(self, user_id: UUID) -> None:
        self._connections[user_id] -= 1
        if self._connections[user_id] == 0:
            del self._connections[user_id]
        self._metrics.clients.dec()
        self._metrics.users.set(len(self._connections))

    def end_all(self, code: CloseCode, reason: str) -> None:
        for session in self._sessions:
            session.end(code, reason)
