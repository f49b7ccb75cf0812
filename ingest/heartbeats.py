"""What an ingester learns from saying, again and again, that it is alive."""

import time
from datetime import timedelta
from uuid import UUID

import structlog

# One rival is seen once when a new process replaces an old one; two who stay see each other always.
_CONTESTED_TIMES = 2

_log = structlog.get_logger()


class Heartbeats:
    def __init__(self, client_id: str, holder: UUID) -> None:
        self._client_id = client_id
        self._holder = holder
        self._steady_since_s: float | None = None
        self._contested = 0

    def failed(self) -> None:
        self._steady_since_s = None

    def taken(self, before: UUID | None) -> None:
        """`before`: who went by our name until now: one before us, or at the same time as we."""
        if self._steady_since_s is None:
            self._steady_since_s = time.monotonic()
        elif before is not None and before != self._holder:
            self._contested += 1
            if self._contested >= _CONTESTED_TIMES:
                _log.error(
                    "client_id_used_twice",
                    client_id=self._client_id,
                    do="give each ingester a SOLARHUB_INGEST_CLIENT_ID of its own",
                )
        else:
            self._contested = 0

    def are_steady(self, for_so_long: timedelta) -> bool:
        """After a database that was away nobody was seen for long: first all must be seen again."""
        steady = self._steady_since_s
        return steady is not None and time.monotonic() - steady >= for_so_long.total_seconds()
