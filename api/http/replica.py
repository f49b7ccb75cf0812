"""The replica that may answer in the primary's place, while it can be as new as a request.

In rounds, the primary is asked how far it has written, and the replica until it has replayed as
much. Who asks waits for a round that begins after that: a replica that it lets through shows all
that was committed before. Any number of requests share a round; without any there is one a second.

A round that takes too long, or fails, takes the replica out; one that succeeds lets it in again.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Literal

import structlog

from core.settings import DatabaseSettings
from db import replicas, roles
from db.errors import DATABASE_ERRORS, UNAVAILABLE, mind_cancellation
from db.pool import Connection, Pool, open_connection, open_pool

State = Literal["starting", "ok", "behind", "away"]

# What a replica that can't be asked raises.
LOST = (*UNAVAILABLE, *DATABASE_ERRORS)

_ROUND_AT_LEAST_EVERY_S = 1.0
_RETRY_S = 1.0
_LOOK_AGAIN_S, _LOOK_AGAIN_MOST_S = 0.001, 0.016

_log = structlog.get_logger()


class NotOurReplica(ConnectionError):
    """The URL leads to a server that is no replica of the primary, or to several."""


class Replica:
    """`behind_bytes`: what the primary had written, and the replica had not replayed yet."""

    def __init__(self, primary: DatabaseSettings, url: str) -> None:
        self._primary = primary
        self._own = primary.model_copy(update={"database_url": url})
        self._patience_s = primary.database_read_lag_max.total_seconds()
        self.state: State = "starting"
        self.behind_bytes = 0
        self._pool: Pool | None = None
        self._wanted = asyncio.Event()
        self._next_round: asyncio.Future[None] = asyncio.Future()

    async def as_new_as_now(self) -> Pool | None:
        """Connections that show all that is committed; None where the primary must be asked."""
        if self.state != "ok":
            return None
        self._wanted.set()
        # A round may have begun before: it says nothing of now.
        done, _ = await asyncio.wait([self._next_round], timeout=self._patience_s)
        return self._pool if done and self.state == "ok" else None

    async def run(self) -> None:
        """Follow it, as often as it is lost, until cancelled."""
        while True:
            try:
                await self._follow()
            except LOST as error:
                mind_cancellation(error)
                self.lost(error)
            await asyncio.sleep(_RETRY_S)

    def lost(self, error: Exception) -> None:
        """It is out until a round succeeds; a request may be the first that finds it away."""
        self._turn("away", error=repr(error))

    async def _follow(self) -> None:
        """Raises what a database may when either can't be asked any more, NotOurReplica."""
        async with (
            open_connection(
                self._primary, application_name="api-replica", role=roles.API
            ) as primary,
            open_connection(self._own, application_name="api-replica", role=roles.API) as replica,
        ):
            if await replicas.data(replica) != await replicas.data(primary):
                raise NotOurReplica("it holds another database")
            async with self._connections(await replicas.process(replica)):
                while True:
                    await self._round(primary, replica)
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(_ROUND_AT_LEAST_EVERY_S):
                            await self._wanted.wait()

    @contextlib.asynccontextmanager
    async def _connections(self, process: object) -> AsyncIterator[None]:
        """The pool for requests; whoever still reads when the replica is lost is told at once."""

        async def same_server(conn: Connection) -> None:
            if await replicas.process(conn) != process:
                raise NotOurReplica("it leads to several servers, or was restarted")

        async with open_pool(
            self._own,
            application_name="api-read",
            role=roles.API,
            plan_once=True,
            greet=same_server,
        ) as pool:
            self._pool = pool
            try:
                yield
            except LOST as error:
                self.lost(error)
                raise
            finally:
                self._pool = None
                pool.terminate()

    async def _round(self, primary: Connection, replica: Connection) -> None:
        self._wanted.clear()
        this_round, self._next_round = self._next_round, asyncio.Future()
        try:
            if await self._caught_up(await replicas.written(primary), replica):
                self._turn("ok")
            else:
                self._turn("behind", bytes=self.behind_bytes)
        finally:
            this_round.set_result(None)

    async def _caught_up(self, written: int, replica: Connection) -> bool:
        loop, pause_s = asyncio.get_running_loop(), _LOOK_AGAIN_S
        deadline = loop.time() + self._patience_s
        while True:
            async with asyncio.timeout(self._patience_s):
                replayed = await replicas.replayed(replica)
            if replayed is None:
                raise NotOurReplica("it is no replica")
            self.behind_bytes = max(0, written - replayed)
            if not self.behind_bytes or loop.time() > deadline:
                return not self.behind_bytes
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LOOK_AGAIN_MOST_S)

    def _turn(self, state: State, **facts: object) -> None:
        if state == self.state:
            return
        self.state = state
        if state == "ok":
            _log.info("replica_answers")
        else:
            _log.warning("replica_out", state=state, **facts)
