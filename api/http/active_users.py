"""Who may act: one question to the database serves all requests that came before it.

What a request is told was asked after it came: who was locked out before does not get in. A request
alone asks at once; of many, those that come while a question is out share the next one.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from core.ids import UserId
from db import inactive_users
from db.errors import mind_cancellation
from db.pool import Pool


class ActiveUsersCheck:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._wanted = asyncio.Event()
        self._who: set[UserId] = set()
        self._answer: asyncio.Future[set[UserId]] = asyncio.Future()

    async def may_act(self, user_id: UserId) -> bool:
        """Raises what keeps the database from being asked."""
        self._who.add(user_id)
        self._wanted.set()
        return user_id not in await asyncio.shield(self._answer)

    async def run(self) -> None:
        """Ask whenever somebody waits to know, until cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            who, self._who = self._who, set()
            answer, self._answer = self._answer, asyncio.Future()
            try:
                async with self._pool.acquire() as conn:
                    answer.set_result(await inactive_users.among(conn, who))
            except Exception as error:  # noqa: BLE001 - whoever waits answers it
                mind_cancellation(error)
                answer.set_exception(error)
                answer.exception()  # Read: whoever waited may have gone.


@contextlib.asynccontextmanager
async def open_active_users_check(pool: Pool) -> AsyncIterator[ActiveUsersCheck]:
    admission = ActiveUsersCheck(pool)
    async with asyncio.TaskGroup() as tasks:
        asking = tasks.create_task(admission.run())
        yield admission
        asking.cancel()
