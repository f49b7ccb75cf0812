"""What keeps the database from answering: told in the log, and by `/readyz`."""

import math
import time
from collections.abc import Callable

import structlog

from core.log import OncePerSecond
from db import server
from db.errors import DATABASE_ERRORS, UNAVAILABLE, shortage
from db.pool import Pool

# Who is not ready gets no requests, and so no errors: by then it has to find out for itself.
_REMEMBERED_S = 5.0
_TRY_EVERY_S = 1.0

_log = structlog.get_logger()


class DatabaseTrouble:
    """Notes errors as they come. `fault` asks what the database lacks."""

    def __init__(self, pool: Pool, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._pool = pool
        self._monotonic = monotonic
        self._logged = OncePerSecond(monotonic=monotonic)
        self._lacked: str | None = None
        self._lacked_at = -math.inf
        self._tried_at = -math.inf

    def note(self, error: Exception) -> None:
        """Take note of what a request failed of; at most one line a second in the log."""
        lacked = shortage(error)
        if lacked is not None:
            self._lacked, self._lacked_at = lacked, self._monotonic()
        repeated = self._logged.due()
        if repeated is not None:
            event = "database_exhausted" if lacked else "database_unavailable"
            _log.warning(event, error=repr(error), repeated=repeated)

    async def fault(self) -> str | None:
        """What the server lacks, by the errors of the last seconds and a small write of ours."""
        if self._monotonic() - self._tried_at >= _TRY_EVERY_S:
            self._tried_at = self._monotonic()
            await self._try()
        return self._lacked if self._monotonic() - self._lacked_at < _REMEMBERED_S else None

    async def _try(self) -> None:
        try:
            async with self._pool.acquire() as conn:
                await server.try_disk(conn)
        except (*UNAVAILABLE, *DATABASE_ERRORS) as error:
            self.note(error)
