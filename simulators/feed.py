"""The reference client of the live feed: stays connected, stays signed in, misses nothing."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing
from random import Random
from typing import Any

import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from core.feed import FeedEvent, Memory, Reload, Subscription

_BAD_FRAME = 4400
_OPEN_WITHIN_S = 10.0
_RETRY_FIRST_S = 0.2
_RETRY_MAX_S = 10.0

_log = structlog.get_logger()


class FeedRefused(Exception):
    """The hub does not do what was asked: asking again would not help."""


class FeedClient:
    """`token` fetches a fresh access token; it is asked for one whenever the hub wants one.

    `retry_max_s` bounds, on average, how long it waits before it connects again.
    """

    def __init__(
        self,
        url: str,
        subscriptions: Iterable[Subscription],
        *,
        token: Callable[[], Awaitable[str]],
        chance: Random,
        retry_max_s: float = _RETRY_MAX_S,
    ) -> None:
        self._url = url
        self._memory = Memory(subscriptions)
        self._token = token
        self._chance = chance
        self._retry_max_s = retry_max_s

    async def events(self) -> AsyncGenerator[FeedEvent | Reload, None]:
        """Every event from the first connection on, until closed. Raises FeedRefused.

        A `Reload` comes before any event of a channel: load its state over REST before you ask for
        what follows, and ignore what is older than that. Close it (`contextlib.aclosing`) to close
        the connection.
        """
        loop, wait_s = asyncio.get_running_loop(), _RETRY_FIRST_S
        while True:
            began_at = loop.time()
            try:
                async with aclosing(self._connected()) as told:
                    async for one in told:
                        yield one
            except (ConnectionClosed, InvalidHandshake, OSError, TimeoutError) as error:
                if isinstance(error, ConnectionClosed) and _code(error) == _BAD_FRAME:
                    raise FeedRefused(str(error)) from error
                _log.info("feed_lost", error=str(error), retry_in_s=wait_s)
            if loop.time() - began_at > self._retry_max_s:
                wait_s = _RETRY_FIRST_S
            # Not all at once: a hub that restarts has all its clients knocking.
            await asyncio.sleep(wait_s * self._chance.uniform(0.5, 1.5))
            wait_s = min(2 * wait_s, self._retry_max_s)

    async def _connected(self) -> AsyncGenerator[FeedEvent | Reload, None]:
        """What one connection tells, until it ends."""
        async with connect(
            self._url, compression=None, open_timeout=_OPEN_WITHIN_S, proxy=None
        ) as connection:
            await self._sign_in(connection)
            for request in self._memory.requests():
                await _say(connection, request)
            async for message in connection:
                frame = json.loads(message)
                if frame["op"] == "token_expiring":
                    await self._sign_in(connection)
                elif frame["op"] == "error":
                    raise FeedRefused(f"{frame['code']}: {frame['message']}")
                for one in self._memory.take(frame):
                    yield one

    async def _sign_in(self, connection: ClientConnection) -> None:
        await _say(connection, {"op": "auth", "token": await self._token()})


async def _say(connection: ClientConnection, frame: dict[str, Any]) -> None:
    await connection.send(json.dumps(frame))


def _code(closed: ConnectionClosed) -> int | None:
    return closed.rcvd.code if closed.rcvd else None
