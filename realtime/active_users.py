"""Who was deactivated is not let in, and is shown out within a second or so.

A token says who somebody was when it was signed; the database says whether that still holds. It is
asked once per sign-in, and each second once for all who are connected. While it is away nobody new
is let in, and nobody is sent away for that.
"""

import asyncio

import structlog

from core.ids import UserId
from db import inactive_users
from db.errors import DATABASE_ERRORS, UNAVAILABLE, mind_cancellation
from db.pool import Pool
from realtime.closing import CloseCode
from realtime.connections import ConnectionRegistry

_EVERY_S = 1.0
_ANSWER_WITHIN_S = 3.0

_log = structlog.get_logger()


class ActiveUserCheck:
    def __init__(self, pool: Pool, roster: ConnectionRegistry) -> None:
        self._pool = pool
        self._roster = roster

    async def lets_in(self, user_id: UserId) -> bool:
        """Raises what the database raises when it is away."""
        async with asyncio.timeout(_ANSWER_WITHIN_S), self._pool.acquire() as conn:
            return not await inactive_users.among(conn, [user_id])

    async def run(self) -> None:
        """Look each second until cancelled."""
        while True:
            await asyncio.sleep(_EVERY_S)
            if user_ids := self._roster.users():
                try:
                    async with self._pool.acquire() as conn:
                        inactive = await inactive_users.among(conn, user_ids)
                except (*UNAVAILABLE, *DATABASE_ERRORS) as error:
                    mind_cancellation(error)
                    _log.warning("doorkeeper_lost_database", error=str(error))
                    continue
                for user_id in inactive:
                    self._roster.end_user(user_id, CloseCode.AUTH, "the account is not active")
