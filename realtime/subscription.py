"""The one connection by which a hub process hears a lane. It never reconnects by itself."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError

from realtime.bus import TIMEOUT_S
from realtime.feed_shard import FeedShard

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ShardMessage:
    """A message, or the confirmation of a subscription: `kind` says which."""

    kind: bytes
    channel: str
    payload: bytes


class SubscriptionConnection:
    """One task reads; any may ask, and `run` sends what they ask for, in that order."""

    def __init__(self, lane: FeedShard) -> None:
        self._lane = lane
        self._connection: AbstractConnection | None = None
        self._asked: list[tuple[str, ...]] = []
        self._asking = asyncio.Event()

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        """Connected, and subscribed to nothing yet. Raises BusAway, RedisError, OSError."""
        connection = self._lane.connection()
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await connection.connect()  # type: ignore[no-untyped-call]
            self._asked.clear()
            self._connection = connection
            yield
        finally:
            self._connection = None
            await connection.disconnect(nowait=True)

    async def read(self) -> ShardMessage:
        """The next message, however long that takes. Only while connected."""
        assert self._connection is not None
        kind, channel, payload = await self._connection.read_response(timeout=math.inf)
        return ShardMessage(kind, channel.decode(), payload)

    def ask(self, command: str, *channels: str) -> bool:
        """Have SSUBSCRIBE or SUNSUBSCRIBE sent. False: there is no connection."""
        if self._connection is None:
            return False
        self._asked.append((command, *channels))
        self._asking.set()
        return True

    async def run(self) -> None:
        """Send what is asked for. A task of its own: cancelling a send breaks the connection."""
        while True:
            await self._asking.wait()
            self._asking.clear()
            asked, self._asked = self._asked, []
            if self._connection is None or not asked:
                continue
            try:
                await self._connection.send_packed_command(self._connection.pack_commands(asked))
            except (RedisError, OSError) as error:
                _log.warning("hub_could_not_ask", error=str(error))  # the reader will fail, too
